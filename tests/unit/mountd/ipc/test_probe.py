"""Whether a service answers: a stopped one is silent, one that is away is not."""

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from usmbd.mountd.ipc import probe
from usmbd.mountd.ipc.codec import mountd_client, mountd_server
from usmbd.mountd.ipc.messages import ShareConfigRequest, ShareConfigResponse
from usmbd.mountd.ipc.probe import is_stopped, silence
from usmbd.mountd.ipc.server import Client, Server, listen

QUESTION = ShareConfigRequest(name="IPC$")
SOON, NEVER = 0.2, 3.0


class Service:
    """Answers while it is told to."""

    def __init__(self, path: Path) -> None:
        """Listen at `path`."""
        self.answers = True
        self.asked = 0
        self.server: Server[Any] = Server(
            listen(path), mountd_server(), self._asked, lambda client, reason: None
        )

    def _asked(self, client: Client[Any], handle: int, message: Any) -> None:
        self.asked += 1
        if self.answers:
            client.send(0, ShareConfigResponse(None))  # what nobody asked for is passed over
            client.send(handle, ShareConfigResponse(None))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(probe, "BEAT", 0.01)
    return tmp_path / "sock"


async def ends(watch: "asyncio.Task[None]", seconds: float) -> bool:
    """Whether the watch ends in this time."""
    await asyncio.wait({watch}, timeout=seconds)
    return watch.done()


def test_one_that_answers_is_asked_on_until_it_does_not(path: Path) -> None:
    async def run() -> None:
        service = Service(path)
        watch = asyncio.create_task(silence(path, mountd_client(), QUESTION, SOON))
        assert not await ends(watch, 3 * SOON)
        assert service.asked > 3
        service.answers = False
        assert await ends(watch, NEVER)
        service.server.close()

    asyncio.run(run())


def test_one_that_never_accepts_is_silent(path: Path) -> None:
    """As a stopped process is: the kernel connects for it."""

    async def run() -> None:
        with listen(path):
            assert await ends(
                asyncio.create_task(silence(path, mountd_client(), QUESTION, SOON)), NEVER
            )

    asyncio.run(run())


def test_the_first_answer_may_take_longer(path: Path) -> None:
    async def run() -> None:
        with listen(path):
            watch = asyncio.create_task(
                silence(path, mountd_client(), QUESTION, SOON, first=100 * SOON)
            )
            assert not await ends(watch, 3 * SOON)
            watch.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("there", [False, True])
def test_one_that_is_away_or_hangs_up_is_not_silent(path: Path, there: bool) -> None:
    async def run() -> None:
        if there:
            listener = listen(path)
            loop = asyncio.get_running_loop()
            loop.add_reader(listener, lambda: _hang_up(listener))
        watch = asyncio.create_task(silence(path, mountd_client(), QUESTION, SOON))
        assert not await ends(watch, 3 * SOON)
        watch.cancel()
        if there:
            loop.remove_reader(listener)
            listener.close()

    asyncio.run(run())


def _hang_up(listener: socket.socket) -> None:
    """Accept and close."""
    listener.accept()[0].close()


def test_one_that_a_signal_has_stopped_is_not_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "STOPPED_SECONDS", SOON)

    async def run() -> None:
        service = Service(path)
        service.answers = False
        state = {"stopped": False}
        watch = asyncio.create_task(
            silence(path, mountd_client(), QUESTION, 100 * NEVER, stopped=lambda: state["stopped"])
        )
        assert not await ends(watch, 3 * SOON)
        state["stopped"] = True
        assert await ends(watch, NEVER)
        service.server.close()

    asyncio.run(run())


def test_who_is_stopped() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert is_stopped(process.pid)
        process.kill()
    assert not is_stopped(process.pid)
