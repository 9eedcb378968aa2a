"""SMB2 OPLOCK_BREAK, of oplocks and of leases ([MS-SMB2] 2.2.23, 2.2.24, 2.2.25)."""

from usmbd.protocol.wire.base import Buffer, bytes16, u8, u16, u32, u64
from usmbd.protocol.wire.body import Body
from usmbd.protocol.wire.header import HEADER_SIZE
from usmbd.protocol.wire.status import NtStatus, SmbError

# Flags of a lease break notification
SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED = 0x00000001


class OplockBreak(Body, size=24):
    """Oplock Break Notification, Acknowledgment, Response (2.2.23.1, 2.2.24.1, 2.2.25.1).

    All three have this layout; `oplock_level` takes the SMB2_OPLOCK_LEVEL_* of CREATE.
    """

    structure_size: u16 = 24
    oplock_level: u8
    reserved: u8 = 0
    reserved2: u32 = 0
    persistent: u64
    volatile: u64


class LeaseBreakNotification(Body, size=44):
    """Lease Break Notification ([MS-SMB2] 2.2.23.2); states are SMB2_LEASE_* of the contexts.

    `new_epoch` is 0 for a lease of version 1.
    """

    structure_size: u16 = 44
    new_epoch: u16 = 0
    flags: u32 = 0
    lease_key: bytes16
    current_lease_state: u32
    new_lease_state: u32
    break_reason: u32 = 0
    access_mask_hint: u32 = 0
    share_mask_hint: u32 = 0


class LeaseBreak(Body, size=36):
    """Lease Break Acknowledgment and Response ([MS-SMB2] 2.2.24.2, 2.2.25.2), one layout."""

    structure_size: u16 = 36
    reserved: u16 = 0
    flags: u32 = 0
    lease_key: bytes16
    lease_state: u32
    lease_duration: u64 = 0


def parse_acknowledgment(message: Buffer) -> OplockBreak | LeaseBreak:
    """Return the acknowledgment, whose StructureSize tells oplock from lease (3.3.5.22).

    SmbError(INVALID_PARAMETER) on any other size, or when it is cut off.
    """
    size = int.from_bytes(message[HEADER_SIZE : HEADER_SIZE + 2], "little")
    if size == OplockBreak.structure_size:
        return OplockBreak.parse(message, HEADER_SIZE)
    if size == LeaseBreak.structure_size:
        return LeaseBreak.parse(message, HEADER_SIZE)
    raise SmbError(NtStatus.INVALID_PARAMETER)
