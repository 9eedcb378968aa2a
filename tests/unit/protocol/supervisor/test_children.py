"""Children that end, that do not, and that are started again; what a worker is sent and says."""

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from smbtest.processes import alive

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.supervisor import children as module
from usmbd.protocol.supervisor.children import (
    Child,
    Kept,
    start_keeper,
    start_mountd,
    start_worker,
)
from usmbd.protocol.worker import messages

SECONDS = 30.0
OBSTINATE = "import signal, sys; signal.signal(15, 1); print(flush=True); sys.stdin.read()"
"""Does not end when told to."""


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, SECONDS))


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def started(script: str = "input()") -> Child:
    """Start an interpreter that waits."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    return Child("the child", process)


# -- ends ------------------------------------------------------------------------------------


def test_a_child_ends_when_it_is_told_to(caplog: pytest.LogCaptureFixture) -> None:
    async def tell() -> int | None:
        child = await started()
        await child.end()
        assert child.process.returncode == -signal.SIGTERM
        await child.end()  # and is told so once
        return await child.gone()

    assert run(tell()) == -signal.SIGTERM
    assert not caplog.records


def test_a_child_that_does_not_end_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.1)

    async def tell() -> int | None:
        child = await started(OBSTINATE)
        assert child.process.stdout is not None
        await child.process.stdout.readline()
        monkeypatch.setattr(module, "END_SECONDS", 0.1)
        ending = asyncio.ensure_future(child.end())
        await asyncio.sleep(0)
        status = await child.gone()
        await ending
        return status

    assert run(tell()) == -signal.SIGKILL
    assert "the child does not end and is killed" in caplog.text


class Hanging:
    """A process that the kernel does not let go."""

    def __init__(self) -> None:
        """Begin alive."""
        self.pid = 1
        self.returncode: int | None = None
        self.told: list[str] = []

    def terminate(self) -> None:
        """Take a SIGTERM."""
        self.told.append("terminate")

    def kill(self) -> None:
        """Take a SIGKILL."""
        self.told.append("kill")

    async def wait(self) -> int:
        """Never end."""
        await asyncio.Event().wait()
        return 0


def test_a_child_that_ended_before_it_was_told() -> None:
    class Ended(Hanging):
        def terminate(self) -> None:
            self.returncode = 0
            raise ProcessLookupError

        kill = terminate

    async def tell() -> int | None:
        child = Child("the child", Ended())  # type: ignore[arg-type]
        await child.end()
        await child.kill()
        return child.process.returncode

    assert run(tell()) == 0


@pytest.mark.parametrize("turns", [3, 1_000])
def test_a_child_that_computes_is_waited_for_with_a_limit(
    turns: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a busy machine a worker may take ten times as long as it should."""

    class Slow(Hanging):
        async def wait(self) -> int:
            if len(asked) < turns:
                await asyncio.Event().wait()
            self.returncode = 7
            return 7

    def ticks(pid: int) -> int:
        asked.append(pid)
        return len(asked)

    asked: list[int] = []
    monkeypatch.setattr(module, "END_SECONDS", 0.01)
    monkeypatch.setattr(module, "ticks_computed", ticks)
    process = Slow()
    run(Child("the child", process).end())  # type: ignore[arg-type]
    assert len(asked) == min(turns, 1 + module.END_TURNS)
    assert process.told == (["terminate"] if turns == 3 else ["terminate", "kill"])
    assert ("does not end" in caplog.text) == (turns != 3)


def test_a_child_that_hangs_in_the_kernel_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.05)

    async def tell() -> int | None:
        process = Hanging()
        child = Child("the child", process)  # type: ignore[arg-type]
        waiting = asyncio.ensure_future(child.gone())
        await child.end()
        assert process.told == ["terminate", "kill"]
        return await waiting

    assert run(tell()) is None
    assert "the child is killed, but hangs in the kernel" in caplog.text


# -- starts ----------------------------------------------------------------------------------


class Starter:
    """Starts stand-ins, or fails to."""

    def __init__(self, *outcomes: object) -> None:
        """Return or raise these in turn, then wait for ever."""
        self._outcomes = list(outcomes)
        self.starts: list[float] = []
        self.exhausted = asyncio.Event()

    async def __call__(self) -> Child:
        """Start the next."""
        self.starts.append(asyncio.get_running_loop().time())
        if not self._outcomes:
            self.exhausted.set()
            await asyncio.Event().wait()
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        assert isinstance(outcome, Ended)
        return outcome  # type: ignore[return-value]


class Ended:
    """A child that ended, at once or when it is killed."""

    name = "the child"

    def __init__(self, status: int | None = None) -> None:
        """End with `status`; None: when killed."""
        self._end = asyncio.Event()
        self.status = status
        if status is not None:
            self._end.set()

    async def gone(self) -> int | None:
        """Wait for its end."""
        await self._end.wait()
        return self.status

    async def kill(self) -> None:
        """End it."""
        self.status = -9
        self._end.set()


def test_a_child_that_dies_is_started_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.2)

    async def keep() -> list[float]:
        starter = Starter(Ended(1), OSError(errno.ENOMEM, "no memory"), Ended(2))
        kept = Kept(starter)
        await kept.start()
        task = asyncio.ensure_future(kept.keep(asyncio.Event()))
        await starter.exhausted.wait()
        task.cancel()
        return starter.starts

    starts = run(keep())
    assert len(starts) == 4
    assert all(later - sooner >= 0.2 for sooner, later in pairwise(starts))
    said = [record.getMessage() for record in caplog.records]
    # after the failed start the same child is still the dead one
    assert said[:2] == [
        "the child ended (1) and is started again",
        "the child cannot be started: [Errno 12] no memory",
    ]
    assert said[-1] == "the child ended (2) and is started again"


def test_a_child_that_lived_is_started_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def keep() -> None:
        first = Ended()
        starter = Starter(first)
        kept = Kept(starter)
        await kept.start()
        task = asyncio.ensure_future(kept.keep(asyncio.Event()))
        loop = asyncio.get_running_loop()
        began = loop.time()
        real = asyncio.sleep
        await real(0)
        monkeypatch.setattr(loop, "time", lambda: began + module.RESTART_SECONDS + 1)
        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        await first.kill()
        await starter.exhausted.wait()
        task.cancel()

    run(keep())
    assert slept == []


def test_nothing_is_started_again_once_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    async def keep() -> int:
        stopping = asyncio.Event()
        stopping.set()
        starter = Starter(Ended(0))
        kept = Kept(starter)
        await kept.start()
        await kept.keep(stopping)
        return len(starter.starts)

    assert run(keep()) == 1
    assert not caplog.records


def test_what_watches_a_child_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)
    ended: list[Any] = []

    async def probe(child: Any) -> None:
        try:
            if child.status is None:
                await child.kill()  # it does not answer
            await asyncio.Event().wait()
        finally:
            ended.append(child)

    async def keep() -> list[Any]:
        children = [Ended(), Ended()]
        starter = Starter(*children)
        kept = Kept(starter, probe)
        await kept.start()
        task = asyncio.ensure_future(kept.keep(asyncio.Event()))
        await starter.exhausted.wait()
        task.cancel()
        return children

    assert ended == (children := run(keep())), "each child has a probe of its own"
    assert [child.status for child in children] == [-9, -9]


def test_a_signal_goes_to_a_child_that_lives() -> None:
    async def send() -> int | None:
        kept = Kept(started)
        kept.signal(signal.SIGTERM)  # there is none yet
        await kept.end()
        await kept.start()
        assert kept.child is not None
        kept.signal(signal.SIGUSR1)
        status = await kept.child.gone()
        kept.signal(signal.SIGUSR1)  # it has gone
        await kept.end()
        return status

    assert run(send()) == -signal.SIGUSR1


def test_the_end_of_what_is_kept() -> None:
    async def end() -> int | None:
        kept = Kept(started)
        await kept.start()
        await kept.end()
        assert kept.child is not None
        return kept.child.process.returncode

    assert run(end()) == -signal.SIGTERM


# -- mountd ----------------------------------------------------------------------------------


class Shell:
    """Starts shells in the place of children: `$0` is the kind, `$@` what it is told."""

    def __init__(self) -> None:
        """Begin with a script that waits."""
        self.script = "exec sleep 60"
        self.error: OSError | None = None

    async def start(
        self, kind: str, arguments: Sequence[str] = (), *, options: Mapping[str, int]
    ) -> asyncio.subprocess.Process:
        """Start one with its descriptors."""
        if self.error is not None:
            raise self.error
        told = [*arguments, *(word for name, fd in options.items() for word in (name, str(fd)))]
        return await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", self.script, kind, *told, pass_fds=tuple(options.values())
        )


@pytest.fixture
def shell() -> Any:
    return Shell()


def test_mountd_is_there_when_it_says_so(shell: Any, tmp_path: Path) -> None:
    shell.script = f'echo "$0 $@" >{tmp_path}/said; echo ready >/proc/$$/fd/$5; exec sleep 60'

    async def start() -> str:
        child = await start_mountd(shell, ["-C", "some.conf"])
        await child.end()
        return child.name

    before = len(os.listdir("/proc/self/fd"))
    assert run(start()) == "mountd"
    said = (tmp_path / "said").read_text().split()
    assert said[:-1] == ["mountd", "-n", "-C", "some.conf", "--ready-fd"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_mountd_that_ends_at_once_is_an_error(shell: Any) -> None:
    shell.script = "exit 2"
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ChildProcessError, match="mountd ended with status 2"):
        run(start_mountd(shell, []))
    shell.error = OSError(errno.ENOMEM, "no memory")
    with pytest.raises(OSError, match="no memory"):
        run(start_mountd(shell, []))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_start_of_mountd_that_is_given_up_leaves_none(shell: Any, tmp_path: Path) -> None:
    shell.script = f"echo $$ >{tmp_path}/pid; exec sleep 60"

    async def give_up() -> int:
        starting = asyncio.ensure_future(start_mountd(shell, []))
        path = tmp_path / "pid"
        await until(lambda: path.exists() and path.read_text().strip())
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        pid = int(path.read_text())
        await until(lambda: not alive(pid))
        return pid

    assert run(give_up())


def test_the_keeper_has_its_end_of_the_socket(shell: Any, tmp_path: Path) -> None:
    shell.script = f'echo "$0 $@" >{tmp_path}/said; exec sleep 60'
    ours, theirs = socket.socketpair()

    async def start() -> str:
        child = await start_keeper(shell, theirs)
        said = tmp_path / "said"
        await until(lambda: said.exists() and said.read_text().strip())
        await child.end()
        return child.name

    with ours, theirs:
        assert run(start()) == "the keeper of NT ACLs and quotas"
        said = (tmp_path / "said").read_text().split()
        assert said == ["keeper", "--socket-fd", str(theirs.fileno())]


def test_a_worker_begins_with_what_it_is_to_be(shell: Any, tmp_path: Path) -> None:
    shell.script = f'echo "$0 $@" >{tmp_path}/said; exec sleep 60'
    start = messages.Start(worker=2, guid=bytes(16), config=ServerConfig())
    keeper, other = socket.socketpair()

    async def begin(*sockets: socket.socket) -> list[str]:
        worker = await start_worker(shell, start, lambda *said: None, *sockets)
        assert worker.number == 2
        path = tmp_path / "said"
        await until(lambda: path.exists() and path.read_text().strip())
        said = path.read_text().split()
        path.unlink()
        await worker.kill()
        worker.forget()
        return said

    with keeper, other:
        said = run(begin(keeper))
        assert said[:2] == ["worker", "--control-fd"]
        assert said[3:] == ["--keeper-fd", str(keeper.fileno())]
        assert run(begin())[:2] + run(begin())[3:] == ["worker", "--control-fd"]


def test_a_worker_that_cannot_be_started_leaves_no_socket(shell: Any) -> None:
    shell.error = OSError(errno.ENOMEM, "no memory")
    start = messages.Start(worker=2, guid=bytes(16), config=ServerConfig())
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="no memory"):
        run(start_worker(shell, start, lambda *said: None))
    assert len(os.listdir("/proc/self/fd")) == before
