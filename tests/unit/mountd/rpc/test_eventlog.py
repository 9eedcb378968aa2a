"""The event logs against impacket."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from impacket.dcerpc.v5 import even
from rpc_client import Served

from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces import eventlog

DENIED, PARAMETER, END, LEVEL = 0xC0000022, 0xC000000D, 0xC0000011, 0xC0000148
SEQUENTIAL, SEEK, FORWARDS, BACKWARDS = 1, 2, 4, 8


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Return a server whose logs the administrator man asks for."""
    return Served(eventlog.interface, tmp_path, ndr64=False)


def fails(status: int, call: Callable[[], Any]) -> Any:
    with pytest.raises(even.DCERPCSessionError) as found:
        call()
    assert found.value.get_error_code() == status
    return found.value.get_packet()


@pytest.mark.parametrize("name", ["System", "security", "none of the three"])
def test_an_empty_log(served: Served, name: str) -> None:
    log = even.hElfrOpenELW(served, name)["LogHandle"]
    assert even.hElfrNumberOfRecords(served, log)["NumberOfRecords"] == 0
    oldest = even.ElfrOldestRecord()
    oldest["LogHandle"] = log
    assert served.request(oldest)["OldestRecordNumber"] == 0
    told = fails(END, lambda: even.hElfrReadELW(served, log, SEQUENTIAL | BACKWARDS, 0, 100))
    assert (told["NumberOfBytesRead"], told["MinNumberOfBytesNeeded"]) == (0, 0)
    fails(END, lambda: even.hElfrReadELW(served, log, SEEK | FORWARDS, 1, 0x7FFFF))
    for flags in (0, SEQUENTIAL, SEQUENTIAL | SEEK | FORWARDS, SEEK | FORWARDS | BACKWARDS):
        fails(PARAMETER, lambda flags=flags: even.hElfrReadELW(served, log, flags, 0, 100))
    with pytest.raises(CallError):
        even.hElfrReadELW(served, log, SEEK | FORWARDS, 0, 0x80000)
    even.hElfrClearELFW(served, log)
    even.hElfrCloseEL(served, log)
    with pytest.raises(CallError):
        even.hElfrNumberOfRecords(served, log)


def test_whether_it_is_full(served: Served) -> None:
    log = bytes(even.hElfrOpenELW(served, "System")["LogHandle"])

    def ask(level: int, size: int) -> tuple[bytes, int, int]:
        answer = served.run(22, log + struct.pack("<II", level, size))
        return (answer[4 : 4 + size], *struct.unpack("<II", answer[-8:]))

    assert ask(1, 0) == (b"", 0, LEVEL)
    assert ask(0, 0) == (b"", 4, 0xC0000023)
    assert ask(0, 8) == (bytes(8), 4, 0)
    with pytest.raises(CallError):
        ask(0, 1025)


def test_nobody_writes(served: Served) -> None:
    log = even.hElfrOpenELW(served, "System")["LogHandle"]
    fails(DENIED, lambda: even.hElfrClearELFW(served, log, "C:\\backup.evt"))
    fails(DENIED, lambda: even.hElfrBackupELFW(served, log, "C:\\backup.evt"))
    fails(DENIED, lambda: even.hElfrRegisterEventSourceW(served, "me"))
    fails(0xC0000034, lambda: even.hElfrOpenBELW(served, "C:\\backup.evt"))
    report = even.ElfrReportEventW()
    report["LogHandle"] = log
    report["EventType"] = 4
    with pytest.raises(even.DCERPCSessionError) as found:
        served.request(report)
    assert found.value.get_error_code() == DENIED


def test_others_are_refused(served: Served) -> None:
    served.become("games")
    fails(DENIED, lambda: even.hElfrOpenELW(served, "System"))
