"""Plain LZ77 ([MS-XCA] 2.3, 2.4): 32 flags, then for each a byte or a match."""

import struct
from collections.abc import Generator

from usmbd.protocol.compression.matches import Sequence
from usmbd.protocol.compression.output import AT_ONCE, repeat, repeat_long
from usmbd.protocol.wire.status import MalformedError

WINDOW = 8192
"""Bytes that a match may lie back: 13 bits."""

MINIMUM_MATCH = 3
GROUPS_AT_ONCE = 16
"""Groups of 32 flags between two steps: 0.3 ms if all are matches."""

_FLAGS = struct.Struct("<I")
_NIBBLE, _BYTE, _WORD = 7, 15, 255  # where a length goes on in a wider field


def decompress(data: memoryview, out: bytearray, size: int) -> Generator[None]:
    """Append the `size` bytes that `data` stands for; MalformedError, IndexError, struct.error.

    More than `size` is never taken, and a match never reaches before what is appended here.
    """
    begin, end, total = len(out), len(out) + size, len(data)
    position, half, groups = 0, -1, 0  # `half`: where a byte's upper nibble is still to be used
    while position < total:
        (flags,) = _FLAGS.unpack_from(data, position)
        position += 4
        left = 32
        while left:
            literals = left - flags.bit_length()
            if literals:
                out += data[position : position + literals]
                position += literals
                left -= literals
                continue
            left -= 1
            flags ^= 1 << left
            if position >= total:
                break
            word = data[position] | data[position + 1] << 8
            position += 2
            length = word & 7
            if length == _NIBBLE:
                if half < 0:
                    half = position
                    position += 1
                    length = data[half] & 15
                else:
                    length = data[half] >> 4
                    half = -1
                if length == _BYTE:
                    length = data[position]
                    position += 1
                    if length == _WORD:
                        length = data[position] | data[position + 1] << 8
                        position += 2
                        if not length:
                            (length,) = _FLAGS.unpack_from(data, position)
                            position += 4
                        length -= _NIBBLE + _BYTE
                        if length < 0:
                            raise MalformedError("a match of negative length")
                    length += _BYTE
                length += _NIBBLE
            if length > AT_ONCE:
                yield from repeat_long(out, begin, end, (word >> 3) + 1, length + MINIMUM_MATCH)
            else:
                repeat(out, begin, end, (word >> 3) + 1, length + MINIMUM_MATCH)
        if len(out) > end:
            raise MalformedError("more data than was announced")
        groups += 1
        if groups == GROUPS_AT_ONCE:
            groups = 0
            yield
    if len(out) != end or position > total:
        raise MalformedError("less data than was announced")


class Encoder:
    """Writes tokens behind their flags."""

    def __init__(self) -> None:
        """Begin with the first group of flags."""
        self.out = bytearray(4)
        self._at = 0  # the group's flags
        self._flags = 0
        self._left = 32
        self._half = -1

    def literals(self, data: memoryview) -> None:
        """Write bytes as they are."""
        position = 0
        while position < len(data):
            count = min(self._left, len(data) - position)
            self.out += data[position : position + count]
            position += count
            self._flags <<= count
            self._left -= count
            if not self._left:
                self._next_group()

    def match(self, distance: int, length: int) -> None:
        """Write a match of at least 3 bytes."""
        out = self.out
        length -= MINIMUM_MATCH
        word = (distance - 1) << 3 | min(length, _NIBBLE)
        out.append(word & 0xFF)
        out.append(word >> 8)
        if length >= _NIBBLE:
            length -= _NIBBLE
            nibble = min(length, _BYTE)
            if self._half < 0:
                self._half = len(out)
                out.append(nibble)
            else:
                out[self._half] |= nibble << 4
                self._half = -1
            if nibble == _BYTE:
                length -= _BYTE
                if length < _WORD:
                    out.append(length)
                else:
                    length += _NIBBLE + _BYTE
                    out += b"\xff" + (
                        struct.pack("<H", length)
                        if length < 1 << 16
                        else struct.pack("<HI", 0, length)
                    )
        self._flags = self._flags << 1 | 1
        self._left -= 1
        if not self._left:
            self._next_group()

    def finish(self) -> bytearray:
        """Fill the last flags up with ones, as the document does."""
        flags = (self._flags << self._left) | ((1 << self._left) - 1)
        _FLAGS.pack_into(self.out, self._at, flags)
        return self.out

    def _next_group(self) -> None:
        """Write the flags of a full group and leave room for the next."""
        _FLAGS.pack_into(self.out, self._at, self._flags)
        self._at = len(self.out)
        self.out += bytes(4)
        self._flags, self._left = 0, 32


def encode(data: memoryview, sequences: Generator[Sequence]) -> Generator[None, None, bytearray]:
    """Write `data` by the matches that were found in it."""
    encoder = Encoder()
    done = tokens = 0
    for position, distance, length in sequences:
        if distance > WINDOW:
            continue
        encoder.literals(data[done:position])
        encoder.match(distance, length)
        done = position + length
        tokens += 1
        if not tokens % 256:
            yield
    encoder.literals(data[done:])
    return encoder.finish()
