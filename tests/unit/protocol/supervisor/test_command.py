"""The command `usmbd`: which options reach the configuration, and how a start that fails ends."""

import gc
import importlib
import importlib.metadata
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol import supervisor
from usmbd.protocol.supervisor.check import CheckError
from usmbd.protocol.supervisor.supervisor import StartError

# The module gives its name to its function.
module = importlib.import_module("usmbd.protocol.supervisor.command")


class Command:
    """Runs the command with stand-ins for all that starts processes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        """Begin with a right configuration."""
        self.config = ServerConfig(log_level=1)
        self.order: list[str] = []
        self.checked: list[list[str]] = []
        self.made: list[Any] = []
        self.levels: list[tuple[str, int, bool]] = []
        self.missing: list[str] = []
        self.limit = 1 << 20
        self.umask = -1
        self.ends: BaseException | None = None
        self.end_of_check: BaseException | None = None
        patch.setattr(module, "check", self._check)
        patch.setattr(module, "confine", self._confine)
        patch.setattr(module, "Processes", self._processes)
        patch.setattr(module, "Supervisor", self._supervisor)
        patch.setattr(module.descriptors, "raise_limit", lambda: self.limit)
        patch.setattr(module, "leave", sys.exit)
        patch.setattr(module.logs, "start", lambda: self.order.append("log"))
        patch.setattr(module.logs, "set_up", self._set_up)
        self._patch = patch

    def _processes(self) -> str:
        self.order.append("fork server")
        return "the processes"

    def _check(self, processes: object, files: list[str]) -> ServerConfig:
        assert processes == "the processes"
        self.checked.append(files)
        if self.end_of_check is not None:
            raise self.end_of_check
        return self.config

    def _set_up(self, process: str, level: int, *, as_json: bool) -> None:
        self.levels.append((process, level, as_json))

    def _confine(self, profile: object) -> list[str]:
        assert profile is module.SUPERVISOR
        self.order.append("confined")
        return self.missing

    def _supervisor(
        self, config: ServerConfig, files: list[str], processes: object, *, verbose: bool
    ) -> Any:
        assert processes == "the processes"
        self.made.append((config, files, verbose))

        async def run() -> None:
            self.order.append("run")
            self.umask = os.umask(0o077)
            if self.ends is not None:
                raise self.ends

        return SimpleNamespace(run=run)

    def __call__(self, *arguments: str) -> int:
        """Run it; return its exit status."""
        self._patch.setattr(sys, "argv", ["usmbd", *arguments])
        mask = os.umask(0)
        try:
            module.command()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0
        finally:
            os.umask(mask)
        return 0


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    yield Command(monkeypatch)
    logging.getLogger("usmbd").setLevel(logging.NOTSET)


def test_the_files_are_found_from_everywhere(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("-C", "a.conf", "--pwddb", "users", "-p", "4455") == 0
    files = ["-C", f"{tmp_path}/a.conf", "-P", f"{tmp_path}/users", "-p", "4455"]
    assert command.checked == [files]
    assert command.made == [(command.config, files, False)]
    assert command.levels == [("usmbd", 1, False)]


def test_without_options_mountd_finds_the_files(command: Command) -> None:
    assert command() == 0
    assert command.checked == [[]]


def test_verbose_is_debugging_whatever_the_file_says(command: Command) -> None:
    command.config = ServerConfig(log_level=0, log_json=True)
    assert command("-v") == 0
    assert command.levels == [("usmbd", 3, True)]
    ((config, files, verbose),) = command.made
    assert (config.log_level, files, verbose) == (3, [], True)


def test_rights_go_before_anything_is_served(command: Command) -> None:
    """A thread of the log that began before would keep them, and be in no process forked."""
    command()
    assert command.order == ["fork server", "confined", "log", "run"]
    assert command.umask == 0o077


def test_what_the_machine_cannot_take_away_is_told(
    command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    command.missing = ["Landlock"]
    command.limit = module.descriptors.LEAST - 1
    assert command() == 0
    assert "the server runs without Landlock" in caplog.text
    assert f"{command.limit} open files are too few" in caplog.text


def test_nothing_is_told_where_all_is_there(
    command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    command.limit = module.descriptors.LEAST
    command()
    assert caplog.text == ""


def test_a_start_that_fails_says_why(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    command.ends = StartError("port 445 is taken")
    assert command() == 1
    assert capsys.readouterr().err == "usmbd: port 445 is taken\n"


@pytest.mark.parametrize("said", ["the check does not end", ""])
def test_files_that_cannot_be_used_are_told_once(
    command: Command, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    """What mountd's check has said itself comes without words."""
    command.end_of_check = CheckError(said, 2)
    assert command() == 2
    assert capsys.readouterr().err == (f"usmbd: {said}\n" if said else "")


def test_an_interrupt_ends_a_start_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it does just then: it imports for a second before anything could be caught."""
    found: list[object] = []
    monkeypatch.setattr(
        module, "command", lambda: found.append(signal.getsignal(signal.SIGINT)) or sys.exit(0)
    )
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            supervisor.main()
    finally:
        signal.signal(signal.SIGINT, before)
        gc.enable()
    assert found == [signal.SIG_DFL]


def test_the_version_is_the_package_s(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("-V") == 0
    assert capsys.readouterr().out.strip() == f"usmbd {importlib.metadata.version('usmbd')}"
    assert command.made == []
