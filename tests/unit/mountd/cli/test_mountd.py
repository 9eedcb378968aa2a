"""The command usmbd.mountd: its options, the check, how it goes to the background and ends."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from usmbd.mountd import log as logs
from usmbd.mountd.cli import mountd as module
from usmbd.mountd.cli.mountd import main, parse_arguments


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "usmbd.conf"
    path.write_text(f"[global]\nstate directory = {tmp_path}/run\nprinting = cups\n")
    (tmp_path / "ksmbdpwd.db").touch()
    return path


class Started:
    """Stands in for the daemon, and remembers the order of what is done."""

    order: list[str]
    options: dict[str, Any]
    ready_fd: int | None

    def __init__(self, _configuration: Any, passwords: Path, **options: Any) -> None:
        """Take what the command gives."""
        Started.options = {**options, "passwords": passwords}

    def set_up_log(self) -> None:
        """Note it."""
        Started.order.append("log set up")

    def run(self, ready_fd: int | None) -> None:
        """Note it."""
        Started.order.append("run")
        Started.ready_fd = ready_fd


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> type[Started]:
    Started.order = []
    monkeypatch.setattr(module, "Daemon", Started)
    monkeypatch.setattr(module, "detach", lambda: Started.order.append("detached") or 42)
    monkeypatch.setattr(module, "end_with_parent", lambda: Started.order.append("tied"))
    monkeypatch.setattr(module, "confine", lambda _profile: Started.order.append("confined") or [])
    monkeypatch.setattr(module.logs, "start", lambda: Started.order.append("log"))
    return Started


@pytest.mark.parametrize("port", ["0", "-1", "65536", "smb"])
def test_what_is_no_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["-p", port])
    assert ended.value.code == 2
    assert "port" in capsys.readouterr().err


@pytest.mark.parametrize("port", [1, 445, 65535])
def test_what_is_one(port: int) -> None:
    assert parse_arguments(["-p", str(port)]).port == port


@pytest.mark.parametrize("other", [["-n"], ["-n", "0"], ["--ready-fd", "3"]])
def test_a_check_starts_nothing(other: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--check", *other])
    assert ended.value.code == 2
    assert parse_arguments(["--check"]).check


def test_a_check_prints_the_settings(
    file: Path, capsys: pytest.CaptureFixture[str], started: type[Started]
) -> None:
    assert main(["--check", "-C", str(file), "-p", "4455"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["tcp_port"] == 4455
    assert "printing" in printed.err
    assert started.order == []


def test_a_check_reads_the_password_file(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ksmbdpwd.db").write_text("no colon\n")
    assert main(["--check", "-C", str(file)]) == 2
    assert "ksmbdpwd.db:1" in capsys.readouterr().err
    (tmp_path / "ksmbdpwd.db").unlink()
    assert main(["--check", "-C", str(file)]) == 0, "it may be made later"
    assert "nobody can log in" in capsys.readouterr().err
    assert main(["--check", "-C", str(file), "-P", str(tmp_path / "missing")]) == 2


def test_by_hand_it_goes_to_the_background(file: Path, started: type[Started]) -> None:
    for options in ([], ["-n", "0"]):
        started.order.clear()
        assert main(["-C", str(file), *options]) == 0
        assert started.order == ["log set up", "detached", "confined", "log", "run"]
        assert started.ready_fd == 42
    passwords = file.parent / "ksmbdpwd.db"
    assert started.options == {
        "least_log_level": 0,
        "passwords": passwords,
        "fork_server": None,
    }


@pytest.mark.parametrize("options", [["-n"], ["-n", "1"], ["--nodetach"]])
def test_with_n_it_stays(file: Path, started: type[Started], options: list[str]) -> None:
    assert main(["-C", str(file), "-v", *options]) == 0
    assert started.order == ["log set up", "confined", "log", "run"]
    assert started.ready_fd is None
    assert started.options["least_log_level"] == logs.DEBUG_LEVEL


def test_the_supervisor_s_ends_with_it(file: Path, started: type[Started]) -> None:
    """The sign of the parent's death is set after the rights are given up, which clears it."""
    assert main(["-C", str(file), "-n", "--ready-fd", "7"]) == 0
    assert started.order == ["log set up", "confined", "tied", "log", "run"]
    assert started.ready_fd == 7
    assert main(["-C", str(file), "--ready-fd", "7"]) == 0
    assert "detached" not in started.order


def test_what_the_machine_cannot_take_away_is_told(
    file: Path,
    started: type[Started],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "usmbd.conn")
    monkeypatch.setattr(module, "confine", lambda _profile: ["Landlock"])
    main(["-C", str(file), "-n"])
    assert "this process runs without Landlock" in caplog.text


def test_a_named_password_file_has_to_be_right(
    file: Path, tmp_path: Path, started: type[Started], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-C", str(file), "-n", "-P", str(tmp_path / "missing")]) == 2
    assert started.order == []


# -- processes -------------------------------------------------------------------------------


def run(script: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a script that has the module as `mountd`."""
    text = "from usmbd.mountd.cli import mountd\nimport json, os, signal, sys, time\n"
    command = [sys.executable, "-c", text + textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def test_the_first_process_ends_when_the_service_is_ready(tmp_path: Path) -> None:
    done = run(
        f"""
        first = os.getpid()
        fd = mountd.detach()
        with open({str(tmp_path / "facts")!r}, "w") as facts:
            said = [os.getpid() != first, os.getsid(0) != os.getpid(), os.getcwd()]
            said += [os.readlink(f"/proc/self/fd/{{n}}") for n in (0, 1)]
            said += [os.path.exists(f"/proc/{{os.getsid(0)}}") and os.getppid() != first]
            json.dump(said, facts)
        os.write(fd, b"ready")
        """
    )
    assert done.returncode == 0
    facts = json.loads((tmp_path / "facts").read_text())
    assert facts[:5] == [True, True, "/", "/dev/null", "/dev/null"]


def test_the_first_process_says_when_it_is_not() -> None:
    assert run("fd = mountd.detach(); os._exit(0)").returncode == 1


def test_it_is_told_when_its_parent_dies(tmp_path: Path) -> None:
    path = tmp_path / "told"
    run(
        f"""
        if os.fork():
            time.sleep(0.5)
            os._exit(0)
        signal.signal(signal.SIGTERM, lambda *_: (open({str(path)!r}, "w").close(), os._exit(0)))
        mountd.end_with_parent()
        time.sleep(30)
        """
    )
    end = 100
    while not path.exists() and end:
        end -= 1
        signal.sigtimedwait([], 0.1)
    assert path.exists()


def test_a_parent_that_died_before_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    parents = iter([1234, 1])
    monkeypatch.setattr(module.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(module.os, "kill", lambda *call: told.append(call))
    monkeypatch.setattr(module, "set_death_signal", lambda number: told.append((0, number)))
    module.end_with_parent()
    assert told == [(0, signal.SIGTERM), (os.getpid(), signal.SIGTERM)]
    told.clear()
    monkeypatch.setattr(module.os, "getppid", lambda: 1234)
    module.end_with_parent()
    assert told == [(0, signal.SIGTERM)]
