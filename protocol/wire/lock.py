"""SMB2 LOCK ([MS-SMB2] 2.2.26, 2.2.27)."""

from usmbd.protocol.wire.base import Wire, u16, u32, u64
from usmbd.protocol.wire.body import Body, buffer_at
from usmbd.protocol.wire.header import HEADER_SIZE
from usmbd.protocol.wire.status import NtStatus, SmbError

# Flags of an element
SMB2_LOCKFLAG_SHARED_LOCK = 0x00000001
SMB2_LOCKFLAG_EXCLUSIVE_LOCK = 0x00000002
SMB2_LOCKFLAG_UNLOCK = 0x00000004
SMB2_LOCKFLAG_FAIL_IMMEDIATELY = 0x00000010


class LockRequest(Body, size=24):
    """SMB2 LOCK Request ([MS-SMB2] 2.2.26), before Locks.

    StructureSize is 48: it counts one element. The properties split LockSequence, which
    matters from 2.1 on.
    """

    structure_size: u16 = 48
    lock_count: u16
    lock_sequence: u32 = 0
    persistent: u64
    volatile: u64

    @property
    def lock_sequence_number(self) -> int:
        """LockSequenceNumber, 4 bits."""
        return self.lock_sequence & 0xF

    @property
    def lock_sequence_index(self) -> int:
        """LockSequenceIndex, 28 bits; 1 to 64 when valid."""
        return self.lock_sequence >> 4


class LockElement(Wire, size=24):
    """SMB2_LOCK_ELEMENT ([MS-SMB2] 2.2.26.1)."""

    offset: u64
    length: u64
    flags: u32
    reserved: u32 = 0


class LockResponse(Body, size=4):
    """SMB2 LOCK Response ([MS-SMB2] 2.2.27)."""

    structure_size: u16 = 4
    reserved: u16 = 0


def parse_locks(message: memoryview, request: LockRequest) -> list[LockElement]:
    """Return Locks in order; SmbError(INVALID_PARAMETER) when none or out of bounds."""
    if not request.lock_count:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    length = request.lock_count * LockElement.SIZE
    data = buffer_at(message, HEADER_SIZE + LockRequest.SIZE, length, LockRequest.SIZE)
    return [LockElement.parse(data, offset) for offset in range(0, length, LockElement.SIZE)]
