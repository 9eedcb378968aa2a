"""What all command bodies share: StructureSize, and buffers found by offset from the header.

A `message` here is a memoryview that begins at the 64-byte SMB2 header and ends where this
element of the compound ends. Every offset on the wire counts from that header.
"""

from typing import TypeVar

from usmbd.protocol.wire.base import Buffer, Wire, u16
from usmbd.protocol.wire.header import HEADER_SIZE
from usmbd.protocol.wire.status import NtStatus, SmbError

# A response body: its fixed part, then its buffers as they are, never joined here.
Parts = list[Buffer]


class Body(Wire, size=2):
    """The fixed part of a command; a subclass gives `structure_size` its documented value.

    StructureSize counts one byte of a variable part, so it may be one above the fixed part's
    size ([MS-SMB2] 2.2.3 and on).
    """

    structure_size: u16


BodyT = TypeVar("BodyT", bound=Body)


def parse_body(kind: type[BodyT], message: Buffer) -> BodyT:
    """Return the body of `message`; SmbError(INVALID_PARAMETER) on another StructureSize.

    MalformedError when the message is too short for the fixed part.
    """
    body = kind.parse(message, HEADER_SIZE)
    if body.structure_size != kind.structure_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return body


def buffer_at(message: memoryview, offset: int, length: int, fixed_size: int) -> memoryview:
    """Return `length` bytes at `offset` of `message`, not copied.

    SmbError(INVALID_PARAMETER) when they overlap the header or the fixed part of
    `fixed_size` bytes, or pass the message's end. Nothing is asked of `offset` when
    `length` is 0: clients leave any value there.
    """
    if not length:
        return message[:0]
    end = offset + length
    if offset < HEADER_SIZE + fixed_size or end > len(message):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return message[offset:end]
