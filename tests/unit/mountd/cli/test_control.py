"""usmbd.control with a server that is none: what it asks, and what it prints of the answers."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from usmbd.mountd.cli import common, control
from usmbd.mountd.ipc.messages import (
    CONTROL_SOCKET,
    MOUNTD_SOCKET,
    ControlDebug,
    ControlDone,
    ControlError,
    ControlList,
    ControlReload,
    ControlRows,
    ControlShutdown,
    ControlVersion,
    ControlVersionInfo,
    LimitRow,
    LimitsRequest,
    LimitsResponse,
    ListKind,
    Message,
    ReloadRequest,
    ReloadResponse,
)

LIMIT = LimitRow("usmbd", "connections", 5, 1)
OF_MOUNTD = LimitRow("mountd", "clients", 512, 2)


class Server:
    """Both sockets of a server: what was asked, and the answers that it gives."""

    def __init__(self) -> None:
        """Answer with nothing yet."""
        self.answers_to: dict[str, list[Message]] = {CONTROL_SOCKET: [], MOUNTD_SOCKET: []}
        self.asked: list[tuple[str, Message]] = []
        self.closed = 0
        self.gone: set[str] = set()

    def connect(self, path: Path, _codec: object) -> "Client":
        """Take a client, unless nobody listens."""
        if path.name in self.gone:
            raise FileNotFoundError(2, "No such file or directory")
        return Client(self, path.name)


class Client:
    """A connection to one of them."""

    def __init__(self, server: Server, name: str) -> None:
        """Be connected."""
        self._server, self._name = server, name

    def answers(self, message: Message) -> Iterator[Message]:
        """Ask, and give the answers."""
        self._server.asked.append((self._name, message))
        yield from self._server.answers_to[self._name]
        raise AssertionError("asked for more than there is")

    def request(self, message: Message) -> Message:
        """Ask for one answer."""
        return next(self.answers(message))

    def close(self) -> None:
        """Count."""
        self._server.closed += 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(control, "BlockingClient", made.connect)
    return made


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    config = tmp_path / "usmbd.conf"
    config.write_text(f"[global]\nstate directory = {tmp_path}/state\n[data]\npath = /usr\n")
    return ["-C", str(config), "-P", str(tmp_path / "pwd.db")]


TABLES = [ListKind.WORKERS, ListKind.SESSIONS, ListKind.CONNECTIONS, ListKind.OPENS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-s"], ControlShutdown()),
        (["-r"], ControlReload()),
        (["-c"], ControlVersion()),
        (["-d", "smb"], ControlDebug(["smb"], True)),
        (["-d", "all", "--off"], ControlDebug(["all"], False)),
    ],
)
def test_what_is_asked(
    server: Server, files: list[str], options: list[str], message: Message,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.answers_to[CONTROL_SOCKET] = [ControlDone("a note", "warning: one\nwarning: two")]
    assert control.main([*options, *files]) == 0
    assert server.asked == [(CONTROL_SOCKET, message)]
    assert server.closed == 1
    assert capsys.readouterr() == ("a note\n", "warning: one\nwarning: two\n")


@pytest.mark.parametrize(
    ("options", "kinds", "said"),
    [
        (["-l"], TABLES, "nobody is logged in\nnobody is connected\nnothing is open\n"),
        (["-l", "sessions"], [ListKind.SESSIONS], "nobody is logged in\n"),
        (["--rdma"], [ListKind.RDMA], "RDMA is not in use: there is no interface with an"),
        (["-l", "opens", "--json"], [ListKind.OPENS], ""),
    ],
)
def test_empty_lists(
    server: Server, files: list[str], options: list[str], kinds: list[ListKind], said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.answers_to[CONTROL_SOCKET] = [ControlRows([], more=True), ControlRows([])]
    assert control.main([*options, *files]) == 0
    assert server.asked == [(CONTROL_SOCKET, ControlList(kinds))]
    out, error = capsys.readouterr()
    assert out.startswith(said)
    assert bool(out) == bool(said)
    assert not error


def test_limits_are_those_of_mountd_too(
    server: Server, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers_to[CONTROL_SOCKET] = [ControlRows([LIMIT], more=True), ControlRows([LIMIT])]
    server.answers_to[MOUNTD_SOCKET] = [LimitsResponse([OF_MOUNTD])]
    assert control.main(["--limits", *files]) == 0
    assert server.asked[1] == (MOUNTD_SOCKET, LimitsRequest())
    assert server.closed == 2
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines] == ["what", "connections", "connections", "clients"]
    assert control.main(["--limits", "--json", *files]) == 0
    found = [json.loads(line)["what"] for line in capsys.readouterr().out.splitlines()]
    assert found == ["connections", "connections", "clients"]
    server.gone = {MOUNTD_SOCKET}
    assert control.main(["--limits", "--json", *files]) == 0
    out, error = capsys.readouterr()
    assert (len(out.splitlines()), error[:8]) == (2, "mountd: ")


def test_the_limits_of_a_process_stand_together(
    server: Server, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers answer when they can."""
    rows = [LimitRow(f"worker {number}", "pipes", 1, 0) for number in (10, 2, 10, 2)]
    server.answers_to[CONTROL_SOCKET] = [ControlRows([*rows, LIMIT])]
    server.answers_to[MOUNTD_SOCKET] = [LimitsResponse([OF_MOUNTD])]
    assert control.main(["--limits", *files]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.partition("  ")[0] for line in lines] == [
        *("usmbd", "worker 2", "worker 2", "worker 10", "worker 10", "mountd")
    ]


def test_what_the_server_is(
    server: Server, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers_to[CONTROL_SOCKET] = [ControlVersionInfo("1.2", 77, 3, 4000)]
    assert control.main(["-c", "-v", *files]) == 0
    out, error = capsys.readouterr()
    assert out == "usmbd 1.2, pid 77, 3 workers, up 4000 s\n"
    assert error.startswith(f"the server of {files[1]}, in ")


def test_an_error_of_the_server_is_ours(
    server: Server, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers_to[CONTROL_SOCKET] = [ControlError("it cannot be")]
    for option, status in (("-r", 2), ("-l", 1)):  # wrong files, and what cannot be done
        assert control.main([option, *files]) == status
        out, error = capsys.readouterr()
        assert not out
        assert "it cannot be" in error
    assert server.closed == 2


def test_what_is_done_without_a_word(
    server: Server, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers_to[CONTROL_SOCKET] = [ControlDone()]
    assert control.main(["-s", *files]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("option", "sent"), [("-r", signal.SIGHUP), ("-s", signal.SIGTERM), ("-l", None)]
)
def test_a_mountd_that_runs_alone(
    server: Server, files: list[str], monkeypatch: pytest.MonkeyPatch, option: str,
    sent: signal.Signals | None, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    killed: list[tuple[int, int]] = []
    server.gone = {CONTROL_SOCKET}
    monkeypatch.setattr(control.lockfile, "running", lambda directory: 4711)
    monkeypatch.setattr(control.lockfile, "tell_to_reload", lambda directory: not os.kill(4711, 1))
    monkeypatch.setattr(os, "kill", lambda *of: killed.append(of))
    assert control.main([option, *files]) == (0 if sent else 1)
    assert killed == ([(4711, sent)] if sent else [])
    said = "" if sent else "only mountd runs here, without a server\n"
    assert capsys.readouterr().err == said


def test_a_mountd_that_runs_alone_says_why_it_does_not_use_the_files(
    server: Server, files: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.gone = {CONTROL_SOCKET}
    monkeypatch.setattr(
        common, "BlockingClient", lambda path, codec, _: server.connect(path, codec)
    )
    monkeypatch.setattr(control.lockfile, "running", lambda directory: 4711)
    server.answers_to[MOUNTD_SOCKET] = [ReloadResponse("users: there is no such file", False)]
    assert control.main(["-r", *files]) == 2
    assert capsys.readouterr().err == "users: there is no such file\n"
    assert server.asked == [(MOUNTD_SOCKET, ReloadRequest())]
    server.answers_to[MOUNTD_SOCKET] = [ReloadResponse()]
    assert control.main(["-r", *files]) == 0
    assert capsys.readouterr().err == ""


def test_a_server_whose_socket_is_gone_is_ended_whole(
    server: Server, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    killed: list[tuple[int, int]] = []
    server.gone = {CONTROL_SOCKET}
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "usmbd.lock").write_text("4710\n")
    monkeypatch.setattr(control.lockfile, "running", lambda directory: 4711)
    assert control.lockfile.supervisor(tmp_path / "state") is None  # nobody holds it

    def held(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "lockf", held)
    monkeypatch.setattr(os, "kill", lambda *of: killed.append(of))
    for option in ("-r", "-l"):
        assert control.main([option, *files]) == 1
        assert "the server (process 4710) cannot be asked" in capsys.readouterr().err
    assert control.main(["-s", *files]) == 0
    assert killed == [(4710, signal.SIGTERM)]


@pytest.mark.parametrize("named", [True, False])
def test_no_server_at_all(
    server: Server, files: list[str], monkeypatch: pytest.MonkeyPatch, named: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.gone = {CONTROL_SOCKET}
    options = control.parse_arguments(["-l", *(files if named else [])])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    directory = control.paths.state_directory()
    assert control.without_supervisor(options, directory) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"no server runs in {directory}")
    assert ("-C names the configuration" in said) != named
    assert "root's servers are asked as root" in said
    assert control.without_supervisor(options, directory / "other") == 1
    assert "as root" not in capsys.readouterr().err
