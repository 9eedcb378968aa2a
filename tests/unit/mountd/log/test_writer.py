"""Nobody waits for who reads the log, and no line that is missing is missing in silence."""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from usmbd.mountd.log import form, limit, setup, writer
from usmbd.mountd.log.writer import Journal, QueueHandler, Stream, journal_reads

WAIT = 30.0


class Gate:
    """A sink whose reader may stop."""

    def __init__(self) -> None:
        """Begin with a reader who reads."""
        self.lines: list[str] = []
        self.reading = threading.Event()
        self.reading.set()
        self.wrote = threading.Semaphore(0)

    def write(self, line: bytes) -> None:
        """Keep a line when it is read."""
        assert self.reading.wait(WAIT)
        self.lines.append(line.decode())
        self.wrote.release()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def handler(gate: Gate) -> Iterator[QueueHandler]:
    handler = QueueHandler(gate, form.text, "test")
    yield handler
    gate.reading.set()
    handler.close()


def record(message: str, level: int = logging.DEBUG, **facts: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "usmbd.conn", "levelno": level, "msg": message, "args": (), **facts}
    )


def test_a_reader_who_stops_stops_nobody(handler: QueueHandler, gate: Gate) -> None:
    gate.reading.clear()
    handler.start()
    text, count = "x" * 500, 10_000
    for number in range(count):
        handler.handle(record(f"{number} {text}"))  # returns, or the test hangs
    assert handler._bytes <= writer.QUEUE_BYTES
    gate.reading.set()
    for _ in range(1000):
        assert gate.wrote.acquire(timeout=WAIT)
    handler.handle(record("afterwards"))
    handler.close()
    (loss,) = [n for n, line in enumerate(gate.lines) if "lines were lost" in line]
    lost = int(gate.lines[loss].split(": ")[1].split()[0])
    assert lost + len(gate.lines) - 2 == count
    assert "afterwards" in gate.lines[-1]
    # It stands where the lines are missing: those before it are the first, in their order.
    numbers = [int(line.split(": ")[1].split()[0]) for line in gate.lines[:loss]]
    assert numbers == list(range(loss))


def test_a_loss_is_told_though_nothing_follows(handler: QueueHandler, gate: Gate) -> None:
    gate.reading.clear()
    handler.start()
    for _ in range(4000):
        handler.handle(record("x" * 500))
    gate.reading.set()
    while not any("lines were lost" in line for line in gate.lines):
        assert gate.wrote.acquire(timeout=WAIT)


def test_lines_wait_until_it_is_started(handler: QueueHandler, gate: Gate) -> None:
    handler.handle(record("early"))
    assert gate.lines == []
    handler.start()
    assert gate.wrote.acquire(timeout=WAIT)
    assert "early" in gate.lines[0]


def test_a_process_that_ends_before_it_started_says_why(handler: QueueHandler, gate: Gate) -> None:
    handler.handle(record("the configuration cannot be used"))
    handler.close()
    assert len(gate.lines) == 1


def test_what_is_said_before_there_is_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "_handler", None)
    setup.start()
    setup.say("usmbd: ready")
    assert capsys.readouterr().err == "usmbd: ready\n"
    assert setup.queue_state() == (writer.QUEUE_BYTES, 0, 0)


def test_its_thread_ends_with_it(handler: QueueHandler) -> None:
    """It is woken: nobody waits for the time that an end may take at most."""
    handler.start()
    thread = handler._thread
    assert thread is not None
    handler.close()
    assert not thread.is_alive()


def test_what_was_left_out_is_told_at_the_period_s_end(
    handler: QueueHandler, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "PERIOD_SECONDS", 0.2)
    handler.start()
    for _ in range(100):
        handler.handle(record("again", logging.INFO, client="192.0.2.1"))
    while not any("more like this: again addresses=1" in line for line in gate.lines):
        assert gate.wrote.acquire(timeout=WAIT)


def test_what_was_left_out_is_told_at_the_end(handler: QueueHandler, gate: Gate) -> None:
    handler.start()
    for _ in range(100):
        handler.handle(record("again", logging.INFO, client="192.0.2.1"))
    handler.close()
    assert len(gate.lines) == limit.STRANGERS[0] + 1
    assert "95 more like this: again" in gate.lines[-1]


def test_a_line_that_has_no_form_stops_nothing(handler: QueueHandler, gate: Gate) -> None:
    handler.start()
    bad = record("%d apples")
    bad.args = ("no",)
    handler.handle(bad)
    handler.handle(record("next"))
    handler.close()
    assert "has no form" in gate.lines[0]
    assert "next" in gate.lines[1]


def test_a_stream_that_somebody_made_non_blocking_gets_all() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    lines = [b"%d %s\n" % (n, b"x" * 4000) for n in range(100)]

    def write() -> None:
        for line in lines:
            Stream(writing).write(line)
        os.close(writing)

    threading.Thread(target=write, daemon=True).start()
    with os.fdopen(reading, "rb") as stream:
        assert stream.read() == b"".join(lines)


def test_a_reader_who_is_gone_costs_the_line() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Stream(writing).write(b"nobody\n")
    os.close(writing)


def test_the_journal_is_away_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)
    path = tmp_path / "socket"

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.settimeout(WAIT)
        sock.bind(str(path))
        return sock

    journal = Journal(str(path))
    sending = threading.Thread(target=journal.write, args=(b"MESSAGE=1\n",), daemon=True)
    sending.start()
    first = listen()
    assert first.recv(100) == b"MESSAGE=1\n"
    first.close()
    path.unlink()
    second = listen()
    journal.write(b"MESSAGE=2\n")
    assert second.recv(100) == b"MESSAGE=2\n"
    second.close()


def test_the_journal_is_known_by_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    stat = os.fstat(ours.fileno())
    for stream, is_it in (
        (f"{stat.st_dev}:{stat.st_ino}", True),
        (f"{stat.st_dev}:{stat.st_ino + 10**6}", False),
        ("", False),
        ("a:b", False),
    ):
        monkeypatch.setenv("JOURNAL_STREAM", stream)
        assert journal_reads(ours.fileno()) is is_it
    ours.close()
    theirs.close()


PROGRAM = """
import logging, sys
from usmbd.mountd import log as logs
from usmbd.mountd.log import writer
writer.Journal.__init__.__defaults__ = (sys.argv[2],)
logs.set_up("test", 1, as_json=sys.argv[1] == "json")
logs.start()
logs.say("test: ready")
logging.getLogger("usmbd.auth").info("logged in", extra={"client": "192.0.2.1"})
logging.getLogger("usmbd.auth").debug("not this")
logging.getLogger("asyncio").error("a library")
raise ValueError("an end\\nby an error")
"""


@pytest.mark.processes("mountd/log/setup")
@pytest.mark.parametrize("kind", ["text", "json", "journal"])
def test_a_process_s_log_has_one_form(kind: str, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(tmp_path / "journal"))
    journal.settimeout(WAIT)
    stat = os.fstat(theirs.fileno())
    stream = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"} if kind == "journal" else {}
    path = os.pathsep.join(sys.path)
    subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, str(tmp_path / "journal")],
        stderr=theirs, timeout=60, check=False, env={**os.environ, "PYTHONPATH": path, **stream},
    )  # fmt: skip
    theirs.close()
    with ours.makefile("rb") as file:
        said = file.read().decode()
    ours.close()
    if kind == "journal":
        assert said == ""
        entries = [journal.recv(65536) for _ in range(4)]
        assert entries[0].startswith(b"MESSAGE=test: ready\n")
        assert b"USMBD_CLIENT=192.0.2.1\n" in entries[1]
        assert b"USMBD_AREA=asyncio\n" in entries[2]
        assert b"USMBD_TRACE\n" in entries[3]
    else:
        lines = said.splitlines()
        assert lines[0] == "test: ready"
        assert "192.0.2.1" in lines[1]
        assert "a library" in lines[2]
        assert "the process ends by an error" in lines[3]
        trace = lines[4:]
        assert len(trace) == 0 if kind == "json" else trace[-1].startswith("  | ")
    journal.close()
