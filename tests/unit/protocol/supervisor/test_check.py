"""The check of the files: what it says, and that somebody always hears of its end."""

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import msgspec
import pytest

from usmbd.mountd.ipc.codec import mountd_server
from usmbd.mountd.ipc.messages import (
    MAX_WARNINGS,
    MOUNTD_SOCKET,
    ConfigReloaded,
    ControlDone,
    ControlError,
    ReloadRequest,
    ReloadResponse,
)
from usmbd.mountd.ipc.server import Client, Server, listen
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.supervisor import check as module
from usmbd.protocol.supervisor.check import MORE, CheckError, check, check_again
from usmbd.protocol.supervisor.door import Door
from usmbd.protocol.supervisor.processes import Processes
from usmbd.protocol.supervisor.supervisor import ReloadOutcome, Supervisor


class FakeProcess:
    """A check that has ended, or never does."""

    def __init__(self, status: int | None) -> None:
        """Be one that ends with `status`."""
        self.status = status
        self.killed = False

    async def wait(self) -> int:
        """Wait for the end."""
        if self.status is None:
            await asyncio.Event().wait()
        assert self.status is not None
        return self.status

    def kill(self) -> None:
        """End it."""
        self.killed = True


class FakeProcesses:
    """Starts checks that print this and end so."""

    def __init__(
        self, output: bytes = b"", complaints: bytes = b"", status: int | None = 0
    ) -> None:
        """Note what the next checks come to; `status` None: they do not end."""
        self.output, self.complaints, self.status = output, complaints, status
        self.error: OSError | None = None
        self.started: list[FakeProcess] = []
        self.asked: list[tuple[str, Sequence[str], float]] = []

    def run(self, kind: str, arguments: Sequence[str], output: IO[bytes], limit: float) -> int:
        """Check before the event loop."""
        self.asked.append((kind, arguments, limit))
        if self.error is not None:
            raise self.error
        if self.status is None:
            raise TimeoutError
        output.write(self.output)
        return self.status

    async def start(self, _kind: str, _arguments: Any, *, streams: Sequence[int]) -> FakeProcess:
        """Check while serving."""
        if self.error is not None:
            raise self.error
        for stream, said in zip(streams, (self.output, self.complaints), strict=True):
            os.write(stream, said)
        self.started.append(FakeProcess(self.status))
        return self.started[-1]


GOOD = msgspec.json.encode(ServerConfig(workgroup="NEW"))


def processes(**come_to: Any) -> Processes:
    """Return a stand-in for the server's."""
    return cast(Processes, FakeProcesses(**come_to))


def reloaded(state: Path, server: Processes, refused: str = "") -> list[ReloadOutcome]:
    """Reload a server's configuration twice at once; return what the two were told.

    Its mountd refuses the files for some reason, or takes them.
    """
    told: list[ReloadOutcome] = []

    def answer(client: Client[Any], handle: int, message: object) -> None:
        assert message == ReloadRequest()
        client.send(0, ConfigReloaded(7))
        client.send(handle, ReloadResponse(refused))

    async def main() -> None:
        mountd = Server(
            listen(state / MOUNTD_SOCKET), mountd_server(), answer, lambda client, why: None
        )
        supervisor = Supervisor(ServerConfig(state_directory=str(state)), [], server)
        supervisor._loop = asyncio.get_running_loop()
        supervisor.door = cast(Door, SimpleNamespace(tell_log=lambda: None))
        for _ in range(2):
            supervisor.reload(told.append)
        await asyncio.gather(*supervisor._tasks)
        mountd.close()

    asyncio.run(main())
    return told


def test_before_the_event_loop() -> None:
    assert check(processes(output=GOOD), []) == ServerConfig(workgroup="NEW")
    with pytest.raises(CheckError) as refused:
        check(processes(output=b"{", status=2), [])
    assert (str(refused.value), refused.value.status) == ("", 2)
    hangs = FakeProcesses(status=None)
    with pytest.raises(CheckError, match="does not end") as given_up:
        check(cast(Processes, hangs), ["-C", "some"])
    assert given_up.value.status == 1
    assert hangs.asked == [("check", ["--check", "--quiet", "-C", "some"], 60)]
    hangs.error = OSError(errno.EAGAIN, "no room for a process")
    with pytest.raises(CheckError, match="it cannot be checked: no room for a process"):
        check(cast(Processes, hangs), [])


def test_a_check_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.01)
    fake = FakeProcesses(status=None)
    with pytest.raises(CheckError, match="does not end"):
        asyncio.run(check_again(cast(Processes, fake), []))
    assert fake.started[0].killed


def test_whoever_reloads_is_told_how_it_ended(tmp_path: Path) -> None:
    said = b"warning: first\nnote: a note\nwarning: second\n"
    told = reloaded(tmp_path, processes(output=GOOD, complaints=said))
    note = "only a new start changes: state directory"
    assert told == [ControlDone(note, "warning: first\nwarning: second")] * 2
    many = reloaded(tmp_path, processes(output=GOOD, complaints=b"warning: one of many\n" * 999))
    assert isinstance(many[0], ControlDone)
    assert len(many[0].warnings) <= MAX_WARNINGS
    assert many[0].warnings.endswith("one of many\n" + MORE)
    long = b"warning: ".ljust(MAX_WARNINGS - len(MORE), b"x") + b"\nwarning: more\n"
    (full, _) = reloaded(tmp_path, processes(output=GOOD, complaints=long))
    assert isinstance(full, ControlDone)
    assert len(full.warnings) <= MAX_WARNINGS
    wrong = processes(complaints=b"usmbd.conf:3: wrong\n", status=2)
    assert reloaded(tmp_path, wrong) == [ControlError("usmbd.conf:3: wrong")] * 2
    assert (
        reloaded(tmp_path, processes(output=GOOD), "users: gone")
        == [ControlError("users: gone")] * 2
    )
    killed = processes(status=-9)
    assert reloaded(tmp_path, killed) == [ControlError("its check ended with status -9")] * 2
    full = FakeProcesses()
    full.error = OSError(12, "Cannot allocate memory")
    said = ControlError("it cannot be checked: Cannot allocate memory")
    assert reloaded(tmp_path, cast(Processes, full)) == [said] * 2


def test_mountd_is_waited_for_where_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT", 0.01)

    def answer(client: Client[Any], handle: int, _message: object) -> None:
        client.send(handle, ReloadResponse("a reason"))

    async def main() -> str:
        asked = asyncio.create_task(module.mountd_refuses(tmp_path))
        await asyncio.sleep(0)  # it has found nobody
        path = tmp_path / MOUNTD_SOCKET
        ends = Server(
            listen(path), mountd_server(), lambda client, *_: client.close(""), lambda *_: None
        )
        await asyncio.sleep(0.05)
        ends.close()
        serves = Server(listen(path), mountd_server(), answer, lambda *_: None)
        try:
            return await asked
        finally:
            serves.close()

    assert asyncio.run(main()) == "a reason"
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.02)
    (tmp_path / MOUNTD_SOCKET).unlink()
    said = asyncio.run(module.mountd_refuses(tmp_path))
    assert said == "mountd does not say whether it uses the files"


def test_a_part_that_fails_ends_the_server(tmp_path: Path, caplog: Any) -> None:
    """Without its watchdog or its worker's keeper a server only looks as if it ran."""

    async def fails() -> None:
        raise ValueError("a fault")

    async def main() -> None:
        supervisor = Supervisor(ServerConfig(state_directory=str(tmp_path)), [], processes())
        supervisor._loop = asyncio.get_running_loop()
        supervisor._watch(fails())
        await asyncio.wait_for(supervisor._stopping.wait(), 60)

    asyncio.run(main())
    assert "a part of the server has failed" in caplog.text
