"""SMB2 QUERY_INFO ([MS-SMB2] 2.2.37, 2.2.38)."""

from usmbd.protocol.wire.base import Buffer, Wire, u8, u16, u32, u64
from usmbd.protocol.wire.body import Body, Parts, buffer_at
from usmbd.protocol.wire.header import HEADER_SIZE

# InfoType, of SET_INFO as well
SMB2_0_INFO_FILE = 0x01
SMB2_0_INFO_FILESYSTEM = 0x02
SMB2_0_INFO_SECURITY = 0x03
SMB2_0_INFO_QUOTA = 0x04

# AdditionalInformation for security descriptors, of SET_INFO as well
OWNER_SECURITY_INFORMATION = 0x00000001
GROUP_SECURITY_INFORMATION = 0x00000002
DACL_SECURITY_INFORMATION = 0x00000004
SACL_SECURITY_INFORMATION = 0x00000008
LABEL_SECURITY_INFORMATION = 0x00000010
ATTRIBUTE_SECURITY_INFORMATION = 0x00000020
SCOPE_SECURITY_INFORMATION = 0x00000040
BACKUP_SECURITY_INFORMATION = 0x00010000

# Flags, for extended attributes
SL_RESTART_SCAN = 0x00000001
SL_RETURN_SINGLE_ENTRY = 0x00000002
SL_INDEX_SPECIFIED = 0x00000004


class QueryInfoRequest(Body, size=40):
    """SMB2 QUERY_INFO Request ([MS-SMB2] 2.2.37), before Buffer."""

    structure_size: u16 = 41
    info_type: u8
    file_info_class: u8
    output_buffer_length: u32
    input_buffer_offset: u16 = 0
    reserved: u16 = 0
    input_buffer_length: u32 = 0
    additional_information: u32 = 0
    flags: u32 = 0
    persistent: u64
    volatile: u64


class QueryInfoResponse(Body, size=8):
    """SMB2 QUERY_INFO Response ([MS-SMB2] 2.2.38), before Buffer."""

    structure_size: u16 = 9
    output_buffer_offset: u16 = HEADER_SIZE + 8
    output_buffer_length: u32


class QueryQuotaInfo(Wire, size=16):
    """SMB2_QUERY_QUOTA_INFO ([MS-SMB2] 2.2.37.1), before SidBuffer."""

    return_single: u8
    restart_scan: u8
    reserved: u16 = 0
    sid_list_length: u32
    start_sid_length: u32
    start_sid_offset: u32


_pack_response = QueryInfoResponse.LAYOUT.pack


def query_info_input(message: memoryview, request: QueryInfoRequest) -> memoryview:
    """Return the input (EA names, quota SIDs); SmbError(INVALID_PARAMETER) out of bounds."""
    return buffer_at(
        message, request.input_buffer_offset, request.input_buffer_length, QueryInfoRequest.SIZE
    )


def build_query_info_response(data: Buffer) -> Parts:
    """Return the body with the information `data`."""
    return [_pack_response(9, HEADER_SIZE + 8, len(data)), data]
