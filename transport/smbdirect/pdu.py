"""The messages of [MS-SMBD] 2.2: fixed parts, packed and unpacked by precompiled structs.

All fields are little-endian. Unpacking what is too short raises struct.error; what the values
mean, and which are refused, is the engine's.
"""

from struct import Struct
from typing import NamedTuple, Self

VERSION = 0x0100
"""The one version there is, [MS-SMBD] 1.7."""

RESPONSE_REQUESTED = 0x0001
"""`SMB_DIRECT_RESPONSE_REQUESTED`, the one flag of a Data Transfer message."""

STATUS_SUCCESS = 0x00000000
STATUS_INSUFFICIENT_RESOURCES = 0xC000009A
STATUS_NOT_SUPPORTED = 0xC00000BB

NEGOTIATE_REQUEST_SIZE = 20
NEGOTIATE_RESPONSE_SIZE = 32
DATA_TRANSFER_SIZE = 20
"""The fixed part, which is all of an empty message."""

DATA_OFFSET = 24
"""Where the payload of our messages begins: the first offset after the fixed part that is
aligned to 8 bytes, as [MS-SMBD] 3.1.5.4 recommends."""

_REQUEST = Struct("<4H3I")
_RESPONSE = Struct("<6H5I")
_DATA = Struct("<4H3I")
_DATA_PADDED = Struct("<4H3I4x")

unpack_data_transfer = _DATA.unpack_from
"""(buffer) -> credits_requested, credits_granted, flags, reserved, remaining_data_length,
data_offset, data_length of a Data Transfer message, [MS-SMBD] 2.2.3."""

pack_empty = _DATA.pack_into
"""(buffer, 0, and the fields as above): a message without payload, 20 bytes."""

pack_data_header = _DATA_PADDED.pack_into
"""(buffer, 0, and the fields as above): header and padding up to `DATA_OFFSET`."""


class NegotiateRequest(NamedTuple):
    """A client's first message, [MS-SMBD] 2.2.1."""

    min_version: int
    max_version: int
    reserved: int
    credits_requested: int
    preferred_send_size: int
    max_receive_size: int
    max_fragmented_size: int

    @classmethod
    def unpack(cls, buffer: bytes | bytearray | memoryview) -> Self:
        """Take the first 20 bytes of `buffer`; what follows them is ignored."""
        return cls._make(_REQUEST.unpack_from(buffer))

    def pack_into(self, buffer: memoryview) -> int:
        """Write the message to the beginning of `buffer` and return its length."""
        _REQUEST.pack_into(buffer, 0, *self)
        return NEGOTIATE_REQUEST_SIZE


class NegotiateResponse(NamedTuple):
    """A server's first message, [MS-SMBD] 2.2.2; a failure has zeros but versions and status."""

    min_version: int = VERSION
    max_version: int = VERSION
    negotiated_version: int = 0
    reserved: int = 0
    credits_requested: int = 0
    credits_granted: int = 0
    status: int = STATUS_SUCCESS
    max_read_write_size: int = 0
    preferred_send_size: int = 0
    max_receive_size: int = 0
    max_fragmented_size: int = 0

    @classmethod
    def unpack(cls, buffer: bytes | bytearray | memoryview) -> Self:
        """Take the first 32 bytes of `buffer`; what follows them is ignored."""
        return cls._make(_RESPONSE.unpack_from(buffer))

    def pack_into(self, buffer: memoryview) -> int:
        """Write the message to the beginning of `buffer` and return its length."""
        _RESPONSE.pack_into(buffer, 0, *self)
        return NEGOTIATE_RESPONSE_SIZE
