"""SMB2 CHANGE_NOTIFY ([MS-SMB2] 2.2.35, 2.2.36) and its records ([MS-FSCC] 2.7.1)."""

import struct

from usmbd.protocol.wire.base import Buffer, u16, u32, u64
from usmbd.protocol.wire.body import Body, Parts
from usmbd.protocol.wire.header import HEADER_SIZE
from usmbd.protocol.wire.names import encode

# Flags
SMB2_WATCH_TREE = 0x0001

# CompletionFilter
FILE_NOTIFY_CHANGE_FILE_NAME = 0x00000001
FILE_NOTIFY_CHANGE_DIR_NAME = 0x00000002
FILE_NOTIFY_CHANGE_ATTRIBUTES = 0x00000004
FILE_NOTIFY_CHANGE_SIZE = 0x00000008
FILE_NOTIFY_CHANGE_LAST_WRITE = 0x00000010
FILE_NOTIFY_CHANGE_LAST_ACCESS = 0x00000020
FILE_NOTIFY_CHANGE_CREATION = 0x00000040
FILE_NOTIFY_CHANGE_EA = 0x00000080
FILE_NOTIFY_CHANGE_SECURITY = 0x00000100
FILE_NOTIFY_CHANGE_STREAM_NAME = 0x00000200
FILE_NOTIFY_CHANGE_STREAM_SIZE = 0x00000400
FILE_NOTIFY_CHANGE_STREAM_WRITE = 0x00000800
FILE_NOTIFY_CHANGE_ALL = 0x00000FFF

# Action of a record
FILE_ACTION_ADDED = 0x00000001
FILE_ACTION_REMOVED = 0x00000002
FILE_ACTION_MODIFIED = 0x00000003
FILE_ACTION_RENAMED_OLD_NAME = 0x00000004
FILE_ACTION_RENAMED_NEW_NAME = 0x00000005
FILE_ACTION_ADDED_STREAM = 0x00000006
FILE_ACTION_REMOVED_STREAM = 0x00000007
FILE_ACTION_MODIFIED_STREAM = 0x00000008


class ChangeNotifyRequest(Body, size=32):
    """SMB2 CHANGE_NOTIFY Request ([MS-SMB2] 2.2.35)."""

    structure_size: u16 = 32
    flags: u16 = 0
    output_buffer_length: u32
    persistent: u64
    volatile: u64
    completion_filter: u32
    reserved: u32 = 0


class ChangeNotifyResponse(Body, size=8):
    """SMB2 CHANGE_NOTIFY Response ([MS-SMB2] 2.2.36), before Buffer."""

    structure_size: u16 = 9
    output_buffer_offset: u16 = HEADER_SIZE + 8
    output_buffer_length: u32


_pack_response = ChangeNotifyResponse.LAYOUT.pack
_RECORD = struct.Struct("<III")
_NEXT = struct.Struct("<I")


class NotifyInformation:
    """FILE_NOTIFY_INFORMATION records, aligned to 4, as they are gathered ([MS-FSCC] 2.7.1)."""

    __slots__ = ("_data", "_last")

    def __init__(self) -> None:
        """Begin without a record."""
        self._data = bytearray()
        self._last = 0

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    def add(self, action: int, name: str, limit: int) -> bool:
        r"""Add a record of a name with `\`; False where it were longer than `limit` bytes then."""
        encoded = encode(name)
        before = len(self._data)
        start = before + -before % 4
        if start + _RECORD.size + len(encoded) > limit:
            return False
        self._data += bytes(start - before) + _RECORD.pack(0, action, len(encoded)) + encoded
        if before:
            _NEXT.pack_into(self._data, self._last, start - self._last)
        self._last = start
        return True


def build_change_notify_response(data: Buffer = b"") -> Parts:
    """Return the body with the records `data`; empty goes with STATUS_NOTIFY_ENUM_DIR."""
    return [_pack_response(9, HEADER_SIZE + 8, len(data)), data]
