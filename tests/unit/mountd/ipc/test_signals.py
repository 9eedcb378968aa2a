"""Signals of an asyncio loop, and what comes of them afterwards."""

import asyncio
import os
import signal

from usmbd.mountd.ipc.signals import handled


def test_a_signal_is_handled_on_the_loop_and_ignored_afterwards() -> None:
    called = []

    async def handle() -> None:
        came = asyncio.Event()
        with handled({signal.SIGUSR1: lambda: (called.append(1), came.set())}):
            os.kill(os.getpid(), signal.SIGUSR1)
            await came.wait()
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    try:
        asyncio.run(handle())
        os.kill(os.getpid(), signal.SIGUSR1)
        # Not SIG_IGN: Python tells of a signal in the moment of the change as of an error.
        assert callable(signal.getsignal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert called == [1]
