"""What is kept of a durable open whose client is gone."""

import os
from pathlib import Path

import msgspec
import pytest

from usmbd.protocol.state.durable import seen
from usmbd.protocol.state.store.records import DurableRecord
from usmbd.protocol.vfs import kernel

LAST = (1 << 63) - 1  # of FILETIMEs, in 100 ns since 1601
EPOCH = 11_644_473_600
WRITE_TIME, CHANGE_TIME = 15, 13


def test_a_durable_open_is_no_more_than_it_is_said_to_be() -> None:
    """What a database of an older server does not tell counts as not asked for."""
    record = DurableRecord(b"key", "data", "/", b"file", 0, (0, 0), 1)
    assert msgspec.structs.astuple(record)[7:] == (
        (),
        0,
        0,
        0,
        0,
        False,
        False,
        False,
        False,
        0,
        None,
    )


@pytest.mark.parametrize("filetime", [1, LAST])
def test_any_time_that_a_client_sets_is_kept(tmp_path: Path, filetime: int) -> None:
    """Btrfs, XFS and tmpfs keep years that nanoseconds since 1970 in 64 bits do not."""
    fd = os.open(tmp_path, os.O_RDONLY)
    statx = list(kernel.statx_fd(fd))
    os.close(fd)
    for at in (WRITE_TIME, CHANGE_TIME):
        statx[at], statx[at + 1] = filetime // 10_000_000 - EPOCH, filetime % 10_000_000 * 100
    found = seen(tuple(statx))  # type: ignore[arg-type]
    record = DurableRecord(b"key", "data", "/", b"file", 0, (0, 0), 1, seen=found)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=DurableRecord)
    assert kept.seen == found
