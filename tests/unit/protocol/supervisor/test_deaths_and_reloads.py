"""What the supervisor does for the others when a worker has died, and when the files were read."""

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from usmbd.mountd import log as logs
from usmbd.mountd.ipc.messages import ControlDone, ControlError
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.store.base import SweepResult
from usmbd.protocol.state.store.bus import WakeFile
from usmbd.protocol.supervisor import supervisor as module
from usmbd.protocol.supervisor.check import Checked, CheckError
from usmbd.protocol.supervisor.processes import Processes
from usmbd.protocol.supervisor.supervisor import Supervisor
from usmbd.protocol.worker import messages

WAITERS = [(1, b"one"), (0, b"its own"), (2, b"two")]


class Dying:
    """A supervisor whose store says what a worker has left."""

    def __init__(self, state: Path, sweep: SweepResult) -> None:
        self.supervisor = Supervisor(
            ServerConfig(state_directory=str(state)), [], cast(Processes, None)
        )
        self.woken: list[tuple[int, WakeFile]] = []
        self.flushed = 0
        self.asked: list[Any] = []
        supervisor: Any = self.supervisor
        supervisor._store = SimpleNamespace(
            drop_worker=lambda number: self.asked.append(number) or WAITERS,
            sweep=lambda living, heir: self.asked.append((set(living), heir)) or sweep,
        )
        supervisor._bus = SimpleNamespace(
            send=lambda worker, message: self.woken.append((worker, message)),
            flush=lambda: setattr(self, "flushed", self.flushed + 1),
        )


def test_what_a_dead_worker_leaves_is_done(tmp_path: Path) -> None:
    """Who waited for it is woken, but for itself; what it was to delete is its successor's."""
    dying = Dying(tmp_path, SweepResult(0, []))
    dying.supervisor.workers.update({1: cast(Any, None), 2: cast(Any, None)})
    dying.supervisor._drop_records(0)
    assert dying.asked == [0, ({1, 2}, 0)]
    assert dying.woken == [(1, WakeFile(b"one")), (2, WakeFile(b"two"))]
    assert dying.flushed == 1


def test_what_belonged_to_nobody_is_told_and_done_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dying = Dying(tmp_path, SweepResult(3, [(2, b"three")]))
    dying.supervisor._drop_records(0)
    assert dying.woken[-1] == (2, WakeFile(b"three"))
    (told,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "3 records that belonged to nobody" in told.getMessage()


class Reloading:
    """A supervisor with one worker, whose files say something new."""

    def __init__(
        self,
        state: Path,
        fresh: ServerConfig | CheckError,
        monkeypatch: pytest.MonkeyPatch,
        *,
        verbose: bool = False,
    ) -> None:
        before = ServerConfig(state_directory=str(state), tcp_port=4455, log_level=2)
        self.supervisor = Supervisor(before, [], cast(Processes, None), verbose=verbose)
        self.sent: list[Any] = []
        self.door_told = 0
        self.logs: list[tuple[Any, ...]] = []
        self.outcome: list[ControlDone | ControlError] = []
        worker = SimpleNamespace(send=self.sent.append)
        self.supervisor.workers[0] = cast(Any, worker)

        async def check(*_: object) -> Checked:
            if isinstance(fresh, CheckError):
                raise fresh
            return Checked(fresh, "warning: look")

        def tell() -> None:
            self.door_told += 1

        def set_up(name: str, level: int, *, as_json: bool) -> None:
            self.logs.append((level, as_json))

        supervisor: Any = self.supervisor
        supervisor.door = SimpleNamespace(tell_log=tell)
        monkeypatch.setattr(module, "read_again", check)
        monkeypatch.setattr(module.logs, "set_up", set_up)

    def run(self) -> None:
        """Reload."""
        asyncio.run(self.supervisor._reload(self.outcome.append))


def test_a_reload_reaches_the_log_the_door_and_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = ServerConfig(tcp_port=445, log_level=0, log_json=True, keepalive=9)
    reloading = Reloading(tmp_path, fresh, monkeypatch)
    reloading.run()
    config = reloading.supervisor.config
    assert (config.keepalive, config.log_level, config.log_json) == (9, 0, True)
    assert (config.tcp_port, config.state_directory) == (4455, str(tmp_path))  # they stay
    assert reloading.sent == [messages.Configure(config=config)]
    assert reloading.logs == [(0, True)]
    assert reloading.door_told == 1
    (outcome,) = reloading.outcome
    assert isinstance(outcome, ControlDone)
    assert "only a new start changes" in outcome.note
    assert "tcp port" in outcome.note
    assert outcome.warnings == "warning: look"


def test_what_was_asked_for_on_the_command_line_outlasts_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Reloading(tmp_path, ServerConfig(), monkeypatch).supervisor.config
    fresh = msgspec.structs.replace(before, log_level=0)
    reloading = Reloading(tmp_path, fresh, monkeypatch, verbose=True)
    reloading.run()
    assert reloading.supervisor.config.log_level == logs.DEBUG_LEVEL
    assert reloading.outcome == [ControlDone("", "warning: look")]


def test_files_that_are_wrong_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloading = Reloading(tmp_path, CheckError("line 3: what is that?"), monkeypatch)
    before = reloading.supervisor.config
    reloading.run()
    assert reloading.supervisor.config is before
    assert (reloading.sent, reloading.logs, reloading.door_told) == ([], [], 0)
    assert reloading.outcome == [ControlError("line 3: what is that?")]
