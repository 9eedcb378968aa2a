"""Workers that do not answer: when that is said, who learns of it, when one is ended."""

import logging
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from smbtest.processes import wait_for

from usmbd.protocol.supervisor import hanging, watchdog
from usmbd.protocol.supervisor.watchdog import BEAT, SILENT_BEATS, Watchdog, silence
from usmbd.protocol.worker.messages import Ping


class Worker:
    """What the watchdog needs of a worker."""

    def __init__(self) -> None:
        """Begin ready, with nothing asked."""
        self.number = 3
        self.process = SimpleNamespace(pid=os.getpid())
        self.ready = SimpleNamespace(is_set=lambda: True)
        self.beats = 0
        self.hangs_in = ""
        self.ending = False
        self.sent: list[Any] = []

    @property
    def silent(self) -> bool:
        """As the real one."""
        return bool(self.hangs_in)

    def send(self, message: Any) -> None:
        """Take a question."""
        self.sent.append(message)


class Watched:
    """A watchdog with one worker, and what it did."""

    def __init__(self, timeout: int = 15) -> None:
        """Watch with a time-out."""
        self.worker: Any = Worker()
        self.silenced: list[Any] = []
        self.ended: list[Any] = []
        self.dog = Watchdog(
            {3: self.worker}, lambda: timeout, self.silenced.append, self.ended.append
        )

    def beats(self, count: int) -> None:
        """Let time pass."""
        for _ in range(count):
            self.dog.beat(self.worker)


def test_a_worker_that_answers_is_asked_again() -> None:
    watched = Watched()
    for _ in range(50):
        watched.beats(1)
        watched.dog.answered(watched.worker)
    assert watched.worker.sent == [Ping()] * 50
    assert not watched.silenced
    assert not watched.ended


def test_one_that_does_not_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """It is asked once, and its silence is said with what it does meanwhile."""
    watched = Watched()
    watched.beats(SILENT_BEATS)
    assert not watched.worker.silent
    watched.beats(5)
    assert watched.worker.sent == [Ping()]
    assert watched.silenced == [watched.worker]
    assert watched.worker.hangs_in.startswith("it computes")
    assert silence(watched.worker) == (SILENT_BEATS + 4) * BEAT
    (record,) = caplog.records
    assert record.getMessage().startswith("worker 3 does not answer: it computes")
    assert record.levelno == logging.WARNING
    with caplog.at_level(logging.WARNING):
        watched.dog.answered(watched.worker)
    assert "answers again" in caplog.records[-1].getMessage()
    assert not watched.worker.silent
    assert silence(watched.worker) == 0
    watched.beats(1)
    assert watched.worker.sent == [Ping()] * 2


@pytest.mark.parametrize(("timeout", "beats"), [(15, 31), (1, 3), (60, 121)])
def test_after_the_timeout_it_is_ended_once(timeout: int, beats: int) -> None:
    watched = Watched(timeout)
    watched.beats(beats - 1)
    assert not watched.ended
    watched.beats(100)
    assert watched.ended == [watched.worker]


def test_without_a_timeout_it_stays() -> None:
    watched = Watched(0)
    watched.beats(100_000)
    assert not watched.ended
    assert len(watched.silenced) == 1


def test_what_a_process_hangs_in() -> None:
    """As far as the kernel shows it: its state always, the call to whoever may trace it."""
    reader, writer = os.pipe()
    code = f"import os; os.write(1, b'!'); os.read({reader}, 1)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=[reader], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"!"
        wait_for(lambda: hanging.what_hangs(process.pid).startswith("it waits"), 10, "its wait")
        if hanging._read(hanging.Path(f"/proc/{process.pid}/syscall")):
            wait_for(lambda: "read on pipe:" in hanging.what_hangs(process.pid), 10, "its call")
        process.send_signal(19)
        wait_for(lambda: "stopped" in hanging.what_hangs(process.pid), 10, "its stop")
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)
    assert hanging.what_hangs(process.pid) == "it is gone"


def test_beats_are_counted_and_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that was stopped itself blames nobody."""
    watched = Watched()
    watched.beats(1)
    monkeypatch.setattr(time, "monotonic", lambda: 1e9)
    watched.beats(1)
    assert not watched.silenced
    assert watchdog.BEAT * SILENT_BEATS == 1.0


def test_processor_time_of_a_process_grows_while_it_computes() -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = hanging.ticks_computed(process.pid)
        wait_for(lambda: hanging.ticks_computed(process.pid) > before, 10, "its computing")
    finally:
        process.kill()
        process.wait()
    assert hanging.ticks_computed(process.pid) == 0
