"""LZNT1 ([MS-XCA] 2.5): chunks of 4 KiB, each by itself."""

import struct
from collections.abc import Generator, Iterable

from usmbd.protocol.compression.matches import Sequence
from usmbd.protocol.compression.output import repeat
from usmbd.protocol.wire.status import MalformedError

CHUNK = 4096
_COMPRESSED = 0x8000
_SIGNATURE = 3 << 12
_HEADER = struct.Struct("<H")
_MINIMUM_MATCH = 3


def _length_bits(position: int) -> int:
    """Return how many of a match's 16 bits are its length, `position` bytes into the chunk."""
    return 16 - max(4, (position - 1).bit_length())


_LENGTH_BITS = [12, *(_length_bits(position) for position in range(1, CHUNK + 1))]


def decompress(data: memoryview, out: bytearray, size: int) -> Generator[None]:
    """Append the `size` bytes that `data` stands for; errors as of `lz77.decompress`."""
    end, total, position = len(out) + size, len(data), 0
    while position + 2 <= total:
        (header,) = _HEADER.unpack_from(data, position)
        position += 2
        if not header:
            break
        chunk = data[position : position + (header & 0xFFF) + 1]
        if len(chunk) != (header & 0xFFF) + 1:
            raise MalformedError("a chunk that is cut off")
        position += len(chunk)
        if header & _COMPRESSED:
            _chunk(chunk, out, min(end, len(out) + CHUNK))
        else:
            out += chunk
        if len(out) > end:
            raise MalformedError("more data than was announced")
        yield
    if len(out) != end:
        raise MalformedError("less data than was announced")


def _chunk(data: memoryview, out: bytearray, end: int) -> None:
    """Append one chunk's bytes."""
    begin, position, total = len(out), 0, len(data)
    while position < total:
        flags = data[position]
        position += 1
        if not flags:
            out += data[position : position + 8]
            position += 8
            continue
        for _ in range(8):
            if position >= total:
                break
            if flags & 1:
                word = data[position] | data[position + 1] << 8
                position += 2
                bits = _LENGTH_BITS[min(len(out) - begin, CHUNK)]
                length = (word & ((1 << bits) - 1)) + _MINIMUM_MATCH
                repeat(out, begin, end, (word >> bits) + 1, length)
            else:
                out.append(data[position])
                position += 1
            flags >>= 1
    if len(out) > end:
        raise MalformedError("a chunk of more than 4 KiB")


def encode_chunk(data: memoryview, sequences: Iterable[Sequence]) -> bytes:
    """Write one chunk by the matches that were found in it, or as it is if that is shorter."""
    out = bytearray(2)
    flags_at, used = 0, 8

    def flag(bit: int) -> None:
        nonlocal flags_at, used
        if used == 8:
            flags_at, used = len(out), 0
            out.append(0)
        out[flags_at] |= bit << used
        used += 1

    done = 0
    for position, distance, length in sequences:
        for byte in data[done:position]:
            flag(0)
            out.append(byte)
        done = position
        while length >= _MINIMUM_MATCH:
            bits = _LENGTH_BITS[done]
            piece = min(length, (1 << bits) - 1 + _MINIMUM_MATCH)
            flag(1)
            out += _HEADER.pack((distance - 1) << bits | piece - _MINIMUM_MATCH)
            done += piece
            length -= piece
    for byte in data[done:]:
        flag(0)
        out.append(byte)
    if len(out) - 2 >= len(data):
        return _HEADER.pack(_SIGNATURE | len(data) - 1) + data
    _HEADER.pack_into(out, 0, _COMPRESSED | _SIGNATURE | len(out) - 3)
    return bytes(out)
