"""Chains of entries linked by NextEntryOffset, the first four bytes of each ([MS-FSCC] 2.4)."""

import struct
from collections.abc import Iterable

_NEXT = struct.Struct("<I")


def build_chain(entries: Iterable[bytes], alignment: int) -> bytes:
    """Join `entries`, each aligned and linked to the next; none is padded after the last.

    Each entry begins with four bytes for NextEntryOffset, which are overwritten.
    """
    buffer = bytearray()
    last = -1
    for entry in entries:
        start = -(-len(buffer) // alignment) * alignment
        buffer.extend(bytes(start - len(buffer)))
        if last >= 0:
            _NEXT.pack_into(buffer, last, start - last)
        buffer += entry
        _NEXT.pack_into(buffer, start, 0)
        last = start
    return bytes(buffer)


def whole_entries(chain: bytes, limit: int) -> bytes:
    """Return the longest prefix of a `chain` of our own making that ends with an entry.

    The prefix has at most `limit` bytes, fewer than `chain`; its last entry ends the chain.
    """
    start = 0
    last = -1
    while True:
        (following,) = _NEXT.unpack_from(chain, start)
        if not following or start + following > limit:
            break
        last, start = start, start + following
    if last < 0:
        return b""
    cut = bytearray(chain[:start])
    _NEXT.pack_into(cut, last, 0)
    return bytes(cut)
