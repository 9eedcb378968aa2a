"""Whether a service behind a Unix socket answers: it is asked until it does not."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from usmbd.mountd.ipc.codec import RECEIVE_SIZE, Codec, CodecError
from usmbd.mountd.ipc.messages import Message

BEAT = 0.5
"""Seconds between two questions, and of the steps in which an answer is waited for."""


STOPPED_SECONDS = 1.0
"""A process that a signal has stopped will not answer, however long it is waited for."""


def is_stopped(pid: int) -> bool:
    """Tell whether a signal has stopped a process (proc(5)); not a debugger."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")
    except OSError:
        return False


async def silence(
    path: Path,
    codec: Codec[Any],
    question: Message,
    seconds: float,
    *,
    first: float = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Return when the service at `path` has not answered `question` for so many seconds.

    STOPPED_SECONDS are enough where it is `stopped`. For the first answer it has `first` seconds,
    if that is more. A service that is not there, or ends a connection, is not silent: who started
    it knows of that. The time is counted in beats of this process, so that no other is blamed when
    this one was stopped.
    """
    beats = max(seconds, first) / BEAT
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as sock:
            handle = 0
            try:
                sock.connect(str(path))
                while True:
                    handle += 1
                    if not await _answered(sock, codec, handle, question, beats, stopped):
                        return
                    beats = seconds / BEAT
                    await asyncio.sleep(BEAT)
            except (OSError, CodecError):
                await asyncio.sleep(BEAT)


async def _answered(
    sock: socket.socket,
    codec: Codec[Any],
    handle: int,
    question: Message,
    beats: float,
    stopped: Callable[[], bool],
) -> bool:
    """Ask once; False when no answer comes within so many beats. OSError, CodecError."""
    loop = asyncio.get_running_loop()

    async def ask() -> None:
        await loop.sock_sendall(sock, codec.encode(handle, question))
        while codec.decode(await loop.sock_recv(sock, RECEIVE_SIZE))[0] != handle:
            pass

    asking = loop.create_task(ask())
    try:
        waited = 0
        while waited < beats:
            await asyncio.wait({asking}, timeout=BEAT)
            if asking.done():
                await asking
                return True
            waited += 1
            if waited >= STOPPED_SECONDS / BEAT and stopped():
                break
        return False
    finally:
        asking.cancel()
