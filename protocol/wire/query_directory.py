"""SMB2 QUERY_DIRECTORY ([MS-SMB2] 2.2.33, 2.2.34)."""

from usmbd.protocol.wire.base import Buffer, u8, u16, u32, u64
from usmbd.protocol.wire.body import Body, Parts, buffer_at
from usmbd.protocol.wire.header import HEADER_SIZE
from usmbd.protocol.wire.names import decode

# Flags
SMB2_RESTART_SCANS = 0x01
SMB2_RETURN_SINGLE_ENTRY = 0x02
SMB2_INDEX_SPECIFIED = 0x04
SMB2_REOPEN = 0x10


class QueryDirectoryRequest(Body, size=32):
    """SMB2 QUERY_DIRECTORY Request ([MS-SMB2] 2.2.33), before Buffer."""

    structure_size: u16 = 33
    file_information_class: u8
    flags: u8 = 0
    file_index: u32 = 0
    persistent: u64
    volatile: u64
    file_name_offset: u16 = 0
    file_name_length: u16 = 0
    output_buffer_length: u32


class QueryDirectoryResponse(Body, size=8):
    """SMB2 QUERY_DIRECTORY Response ([MS-SMB2] 2.2.34), before Buffer."""

    structure_size: u16 = 9
    output_buffer_offset: u16 = HEADER_SIZE + 8
    output_buffer_length: u32


_pack_response = QueryDirectoryResponse.LAYOUT.pack


def search_pattern(message: memoryview, request: QueryDirectoryRequest) -> str:
    """Return the search pattern; "" when none is given.

    SmbError(INVALID_PARAMETER) when out of bounds, OBJECT_NAME_INVALID when not UTF-16.
    """
    data = buffer_at(
        message, request.file_name_offset, request.file_name_length, QueryDirectoryRequest.SIZE
    )
    return decode(data)


def build_query_directory_response(data: Buffer) -> Parts:
    """Return the body with the directory entries `data`."""
    return [_pack_response(9, HEADER_SIZE + 8, len(data)), data]
