"""The RPC process as mountd keeps it: told what to serve, started again, replaced, ended."""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from smbtest.processes import alive

from usmbd.mountd import rpc_process as module
from usmbd.mountd.ipc import forking
from usmbd.mountd.ipc.accounts import Rights
from usmbd.mountd.ipc.messages import RpcClose
from usmbd.mountd.rpc_process import RpcProcess
from usmbd.mountd.rpc_start import ForkServer

SECONDS = 30.0


class Kept:
    """An RPC process that is a shell, and the loop that keeps it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        """Listen; `start` starts it."""
        self.loop = asyncio.new_event_loop()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(folder / "rpc.sock"))
        self.listener.listen()
        self.begun = b"begin\n"
        self.patch = patch
        self.silence = asyncio.Event()
        self.asked: list[Any] = []
        self.script = "exec cat >/dev/null"
        self.times: list[float] = []

        async def silence(
            path: Path, codec: Any, question: Any, seconds: float, **more: Any
        ) -> None:
            self.asked.append((path, question, seconds, more))
            await self.silence.wait()

        async def make() -> RpcProcess:
            return RpcProcess(
                self.listener, lambda: self.begun, lambda message, reply: Rights(False)
            )

        patch.setattr(module, "silence", silence)
        self.kept = self.loop.run_until_complete(make())
        patch.setattr(self.kept, "command", lambda *given: ["/bin/sh", "-c", self.script])

    @property
    def pid(self) -> int:
        """Return the process, or 0."""
        return self.kept._process.pid if self.kept._process else 0

    def start(self) -> int:
        """Start it for the first time."""
        self.loop.call_soon(self.kept.start)
        self.until(lambda: self.pid)
        return self.pid

    def until(self, condition: Callable[[], object]) -> None:
        """Run the loop until something is so."""
        end = self.loop.time() + SECONDS
        while not condition():
            assert self.loop.time() < end
            self.loop.run_until_complete(asyncio.sleep(0.005))

    def close(self) -> None:
        """End all."""
        self.kept.stop()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.listener.close()
        self.loop.close()


@pytest.fixture
def kept(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    made = Kept(state, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def delays(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have what is scheduled come soon, and return after which time it was to come."""
    found: list[float] = []
    real = kept.loop.call_later

    def call_later(delay: float, call: Any, *args: Any) -> Any:
        if call == kept.kept.start:
            found.append(delay)
            delay = 0
        return real(delay, call, *args)

    monkeypatch.setattr(kept.loop, "call_later", call_later)
    return found


def test_the_command_names_the_socket(kept: Kept) -> None:
    kept.patch.undo()
    number = kept.listener.fileno()
    command = kept.kept.command(number, 77)
    assert command[1:3] == ["-m", "usmbd.mountd.rpc_child"]
    assert command[3:] == ["--listen-fd", str(number), "--ask-fd", "77"]


def test_it_has_the_listening_socket_and_a_pipe_of_mountd_s(kept: Kept) -> None:
    pid = kept.start()
    number = kept.listener.fileno()
    assert os.readlink(f"/proc/{pid}/fd/{number}") == os.readlink(f"/proc/self/fd/{number}")
    assert os.readlink(f"/proc/{pid}/fd/0").startswith("pipe:")

    def others() -> set[int]:
        return {int(name) for name in os.listdir(f"/proc/{pid}/fd")} - {0, 1, 2, number}

    # One end of the pair, and nothing else: the password file's, were one open, too. While it
    # begins it has the files of its program open.
    kept.until(lambda: len(others()) == 1)
    (asking,) = others()
    assert os.readlink(f"/proc/{pid}/fd/{asking}").startswith("socket:")
    kept.until(lambda: kept.asked)
    ((path, question, seconds, more),) = kept.asked
    assert path == Path(kept.listener.getsockname())
    assert isinstance(question, RpcClose)
    assert (seconds, more["first"]) == (10, 180)


def test_one_that_dies_at_once_is_started_at_a_growing_distance(
    kept: Kept, delays: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    kept.script = "exit 3"
    kept.start()
    kept.until(lambda: len(delays) >= 9)
    assert delays[:9] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert "the RPC process ended (3), again in 0.5 s" in caplog.text


def test_one_that_lived_resets_it(
    kept: Kept, delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.script = "exit 3"
    kept.start()
    kept.until(lambda: len(delays) >= 3)
    kept.script = "cat >/dev/null"
    kept.until(lambda: kept.pid and alive(kept.pid) and not kept.kept._timer)
    kept.kept._started -= 61
    before = len(delays)
    os.kill(kept.pid, signal.SIGKILL)
    kept.until(lambda: len(delays) > before)
    assert delays[before] == 0.5


def test_one_that_cannot_be_started_is_tried_again(
    kept: Kept, delays: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    kept.patch.setattr(kept.kept, "command", lambda *given: ["/nonexistent/python"])
    kept.loop.call_soon(kept.kept.start)
    kept.until(lambda: len(delays) >= 2)
    assert delays[:2] == [0.5, 1]
    assert "the RPC process cannot be started" in caplog.text
    kept.patch.setattr(kept.kept, "command", lambda *given: ["/bin/sh", "-c", "cat >/dev/null"])
    kept.until(lambda: kept.pid)


def test_one_that_does_not_answer_is_killed(
    kept: Kept, delays: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    before = kept.start()
    kept.silence.set()
    kept.until(lambda: delays)
    kept.silence.clear()
    kept.until(lambda: kept.pid not in (0, before))
    assert not alive(before)
    assert "does not answer and is ended" in caplog.text


def test_one_that_sends_nonsense_is_replaced(kept: Kept, delays: list[float]) -> None:
    """It is not answered any more, so none of its clients would be; the next process is."""
    program = "import os, time; os.write({}, b'no'); time.sleep(60)"
    kept.patch.setattr(
        kept.kept,
        "command",
        lambda _, asking: [sys.executable, "-IS", "-c", program.format(asking)],
    )
    pid = kept.start()
    kept.until(lambda: kept.pid not in (0, pid))
    assert not alive(pid)


def test_its_end_leaves_nothing_open(kept: Kept, delays: list[float]) -> None:
    kept.start()
    before = len(os.listdir("/proc/self/fd"))
    for count in (1, 2, 3):
        pid = kept.pid
        os.kill(pid, signal.SIGKILL)
        kept.until(lambda count=count: len(delays) == count)
        kept.until(lambda pid=pid: kept.pid not in (0, pid))
    assert len(os.listdir("/proc/self/fd")) == before
    kept.until(lambda: len(asyncio.all_tasks(kept.loop)) == 1)  # one probe, of the last


def test_it_is_told_what_to_serve_and_what_changes(kept: Kept, tmp_path: Path) -> None:
    kept.kept.tell(b"to nobody\n")
    kept.script = f"cat >{tmp_path}/told"
    kept.start()
    told = tmp_path / "told"
    kept.until(lambda: told.exists() and told.read_bytes() == b"begin\n")
    kept.kept.tell(b"more\n")
    kept.until(lambda: told.read_bytes() == b"begin\nmore\n")


def test_what_it_does_not_read_yet_waits(kept: Kept, tmp_path: Path) -> None:
    kept.begun = bytes(1 << 20)  # more than a pipe holds
    whole = (1 << 20) + len(b"and the rest")
    kept.script = f"read line <{tmp_path}/go; head -c {whole} >{tmp_path}/told; exec sleep 60"
    os.mkfifo(tmp_path / "go")
    kept.start()
    kept.kept.tell(b"and the rest")
    assert kept.kept._unsent
    with (tmp_path / "go").open("w") as go:
        go.write("\n")
    kept.until(lambda: not kept.kept._unsent)
    assert kept.kept._process is not None
    assert kept.kept._process.stdin is not None
    assert not kept.loop.remove_writer(kept.kept._process.stdin), "asked without need"
    told = tmp_path / "told"
    kept.until(lambda: told.exists() and told.stat().st_size == whole)
    assert told.read_bytes().endswith(b"\0and the rest")


def test_what_one_that_died_was_not_told_goes_with_it(
    kept: Kept, delays: list[float], tmp_path: Path
) -> None:
    kept.begun = bytes(1 << 20)
    kept.script = "exec sleep 60"
    pid = kept.start()
    assert kept.kept._unsent
    kept.begun = b"anew"
    kept.script = f"cat >{tmp_path}/told"
    os.kill(pid, signal.SIGKILL)
    told = tmp_path / "told"
    kept.until(lambda: told.exists() and told.read_bytes())
    assert told.read_bytes() == b"anew"


def test_one_that_closes_its_ear_is_not_told(kept: Kept) -> None:
    kept.script = "exec <&-; exec sleep 60"
    pid = kept.start()
    kept.until(lambda: not os.path.exists(f"/proc/{pid}/fd/0"))
    kept.kept.tell(b"more")
    assert kept.kept._unsent == b""
    assert alive(pid)


def test_what_waits_to_be_written_when_it_has_ended_is_nobody_s(kept: Kept) -> None:
    """The loop may have its writer called in the turn that sees its end."""
    kept.kept._flush()
    pid = kept.start()
    kept.kept.stop()
    kept.kept._flush()
    assert not alive(pid)


def test_the_end(kept: Kept) -> None:
    pid = kept.start()
    kept.kept.stop()
    assert not alive(pid)
    assert kept.pid == 0
    kept.kept.stop()


def test_one_that_does_not_end_is_killed(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.2)
    kept.script = "trap '' TERM; while :; do read line; done"
    pid = kept.start()
    kept.until(
        lambda: (
            int(Path(f"/proc/{pid}/status").read_text().split("SigIgn:")[1].split()[0], 16) >> 14
            & 1
        )
    )
    kept.kept.stop()
    assert not alive(pid)


def test_the_end_while_it_waits_to_be_started(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.script = "exit 3"
    kept.loop.call_soon(kept.kept.start)
    kept.until(lambda: kept.kept._timer)
    kept.kept.stop()
    assert kept.kept._timer is not None
    assert kept.kept._timer.cancelled()


def test_the_log_says_who_was_started(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "usmbd.conn")
    pid = kept.start()
    assert f"the RPC process started, pid {pid}" in caplog.text


@pytest.mark.parametrize("answer", [b"", b"\xff", None])
def test_a_fork_server_that_does_not_answer_is_asked_once(
    answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has died, or says nonsense, or nothing at all."""
    monkeypatch.setattr("usmbd.mountd.rpc_start.FORK_SECONDS", 0.01)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        if answer == b"":
            theirs.shutdown(socket.SHUT_RDWR)
        elif answer is not None:
            theirs.send(answer)
        before = len(os.listdir("/proc/self/fd"))
        server = ForkServer(ours.detach())
        assert server.start(0, 0) is None
        assert server.start(0, 0) is None
        assert len(os.listdir("/proc/self/fd")) == before - 1


def test_a_fork_server_without_room_for_a_process_says_so() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        theirs.send(forking.encode(forking.Forked(error=errno.EAGAIN)))
        server = ForkServer(ours.detach())
        with pytest.raises(BlockingIOError):
            server.start(0, 0)
        assert server._sock is not None
        server.close()
