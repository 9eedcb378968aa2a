"""Compressed messages by hand, right and wrong ones."""

import struct

CHAIN = 1
"""SMB2_COMPRESSION_FLAG_CHAINED, which a chain's first payload has."""


def unchained(algorithm: int, rest: bytes, size: int, offset: int = 0, flags: int = 0) -> bytes:
    """SMB2_COMPRESSION_TRANSFORM_HEADER_UNCHAINED ([MS-SMB2] 2.2.42.1) and what follows."""
    return struct.pack("<4sIHHI", b"\xfcSMB", size, algorithm, flags, offset) + rest


def chain(size: int, *payloads: bytes) -> bytes:
    """SMB2_COMPRESSION_TRANSFORM_HEADER_CHAINED (2.2.42.2)."""
    return struct.pack("<4sI", b"\xfcSMB", size) + b"".join(payloads)


def payload(algorithm: int, data: bytes, size: int | None = None, flags: int = 0) -> bytes:
    """SMB2_COMPRESSION_CHAINED_PAYLOAD_HEADER (2.2.42.2.1); `size`: OriginalPayloadSize."""
    original = b"" if size is None else struct.pack("<I", size)
    return struct.pack("<HHI", algorithm, flags, len(original + data)) + original + data
