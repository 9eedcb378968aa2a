"""Apple's create context AAPL, which macOS sends first ([AAPL] as Samba's vfs_fruit answers it).

With it macOS learns that directory listings may carry Finder info and UNIX modes
(kAAPL_SUPPORTS_READ_DIR_ATTR) and that copies happen on the server.
"""

import struct

from usmbd.protocol.wire.base import Buffer, Wire, u32, u64
from usmbd.protocol.wire.names import encode
from usmbd.protocol.wire.status import NtStatus, SmbError

SMB2_CREATE_AAPL = b"AAPL"

# CommandCode
AAPL_SERVER_QUERY = 1
AAPL_RESOLVE_ID = 2

# RequestBitmap and ReplyBitmap
AAPL_SERVER_CAPS = 0x01
AAPL_VOLUME_CAPS = 0x02
AAPL_MODEL_INFO = 0x04

# Client and server capabilities
AAPL_SUPPORTS_READ_DIR_ATTR = 0x01
AAPL_SUPPORTS_OSX_COPYFILE = 0x02
AAPL_UNIX_BASED = 0x04
AAPL_SUPPORTS_NFS_ACE = 0x08

# Volume capabilities
AAPL_SUPPORT_RESOLVE_ID = 0x01
AAPL_CASE_SENSITIVE = 0x02
AAPL_SUPPORTS_FULL_SYNC = 0x04


class ServerQuery(Wire, size=24):
    """The request of AAPL_SERVER_QUERY."""

    command_code: u32
    reserved: u32 = 0
    request_bitmap: u64
    client_capabilities: u64


def parse_server_query(data: Buffer) -> ServerQuery | None:
    """Return the query, or None for another command, which is left unanswered.

    SmbError(INVALID_PARAMETER) when the query has another size.
    """
    if len(data) < 4 or int.from_bytes(data[:4], "little") != AAPL_SERVER_QUERY:
        return None
    if len(data) != ServerQuery.SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return ServerQuery.parse(data)


def server_query_response(
    query: ServerQuery, server_capabilities: int, volume_capabilities: int, model: str
) -> tuple[bytes, bytes]:
    """Return AAPL with what `query` asks for; `model` chooses the icon that Finder shows."""
    reply = query.request_bitmap & (AAPL_SERVER_CAPS | AAPL_VOLUME_CAPS | AAPL_MODEL_INFO)
    data = struct.pack("<IIQ", AAPL_SERVER_QUERY, 0, reply)
    if reply & AAPL_SERVER_CAPS:
        data += struct.pack("<Q", server_capabilities)
    if reply & AAPL_VOLUME_CAPS:
        data += struct.pack("<Q", volume_capabilities)
    if reply & AAPL_MODEL_INFO:
        name = encode(model)
        data += struct.pack("<II", 0, len(name)) + name
    return SMB2_CREATE_AAPL, data
