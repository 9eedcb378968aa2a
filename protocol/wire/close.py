"""SMB2 CLOSE ([MS-SMB2] 2.2.15, 2.2.16)."""

from usmbd.protocol.wire.base import u16, u32, u64
from usmbd.protocol.wire.body import Body
from usmbd.protocol.wire.fscc.file_stat import FileStat

# Flags of both
SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB = 0x0001


class CloseRequest(Body, size=24):
    """SMB2 CLOSE Request ([MS-SMB2] 2.2.15)."""

    structure_size: u16 = 24
    flags: u16 = 0
    reserved: u32 = 0
    persistent: u64
    volatile: u64


class CloseResponse(Body, size=60):
    """SMB2 CLOSE Response ([MS-SMB2] 2.2.16); all zero without POSTQUERY_ATTRIB."""

    structure_size: u16 = 60
    flags: u16 = 0
    reserved: u32 = 0
    creation_time: u64 = 0
    last_access_time: u64 = 0
    last_write_time: u64 = 0
    change_time: u64 = 0
    allocation_size: u64 = 0
    end_of_file: u64 = 0
    file_attributes: u32 = 0


_pack_response = CloseResponse.LAYOUT.pack
_EMPTY = CloseResponse().pack()


def pack_close_response(stat: FileStat | None) -> bytes:
    """Return the body, with the file's attributes where asked for and known."""
    if stat is None:
        return _EMPTY
    return _pack_response(
        CloseResponse.structure_size,
        SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB,
        0,
        stat.creation_time,
        stat.last_access_time,
        stat.last_write_time,
        stat.change_time,
        stat.allocation,
        stat.size,
        stat.attributes,
    )
