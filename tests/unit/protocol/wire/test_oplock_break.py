"""Oplock and lease breaks."""

import pytest

from usmbd.protocol.wire.oplock_break import LeaseBreak, OplockBreak, parse_acknowledgment
from usmbd.protocol.wire.status import MalformedError, SmbError


def test_size_tells_oplock_from_lease() -> None:
    oplock = OplockBreak(oplock_level=1, persistent=3, volatile=4)
    assert parse_acknowledgment(bytes(64) + oplock.pack()) == oplock
    lease = LeaseBreak(lease_key=bytes(range(16)), lease_state=1)
    assert parse_acknowledgment(bytes(64) + lease.pack()) == lease


def test_other_sizes_are_refused() -> None:
    with pytest.raises(SmbError):
        parse_acknowledgment(bytes(64) + b"\x2c\0" + bytes(42))
    with pytest.raises(SmbError):
        parse_acknowledgment(bytes(64))
    with pytest.raises(MalformedError):
        parse_acknowledgment(bytes(64) + b"\x24\0" + bytes(33))
