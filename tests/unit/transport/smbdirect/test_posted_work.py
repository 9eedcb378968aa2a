"""What completions give back, of a device that completes READs late."""

import pytest
from smbdirect.network import Network

from usmbd.transport.smbdirect.posted_work import PostedWork
from usmbd.transport.smbdirect.provider import DeviceError

from .conftest import Link, pattern
from .test_connection_transfers import remotes


def read_under_way() -> tuple[Link, PostedWork, int, list[object]]:
    """Post a READ whose completion is kept back; return its number, and what is told of it."""
    link = Link(Network()).start()
    _, remote = remotes(link, pattern(20_000), [])
    told = list[object]()
    work = link.transport._work
    link.transport.queue_pair.withhold()
    link.transport.read_remote(memoryview(bytearray(20_000)), remote, told.append)
    work.submit()
    return link, work, work._next - 1, told


def test_a_read_ends_by_its_own_completion_alone() -> None:
    link, work, number, told = read_under_way()
    slot = link.transport._sends.take()
    assert slot is not None
    work.send(slot, 24, 0, signaled=True)
    free = link.transport._sends.free
    assert work.reap(number + 1 << 1 | 1, True) is None  # as siw does
    assert (work.reads, told) == (1, [])
    assert work.pending
    assert link.transport._sends.free == free + 1
    read = work.reap(number << 1 | 1, True)
    assert read is not None
    assert not work.reads
    assert not work.pending
    assert work.reap(number << 1 | 1, True) is None  # twice: nothing more is given back


def test_what_was_never_posted_ends_the_connection() -> None:
    _, work, number, *_ = read_under_way()
    with pytest.raises(DeviceError, match="not posted"):
        work.reap(number + 1 << 1 | 1, True)
