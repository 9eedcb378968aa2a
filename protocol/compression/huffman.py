"""LZ77+Huffman ([MS-XCA] 2.1, 2.2): blocks of 64 KiB, each behind a table of its code lengths."""

import heapq
import struct
from collections.abc import Generator, Iterable

from usmbd.protocol.compression.matches import Sequence
from usmbd.protocol.compression.output import AT_ONCE, repeat, repeat_long
from usmbd.protocol.wire.status import MalformedError

BLOCK = 1 << 16
_SYMBOLS = 512
_END = 256
_TABLE = 256  # bytes of code lengths, two in each
_LONGEST = 15  # bits of a code
_MINIMUM_MATCH = 3
_BYTE, _WORD = 15, 255  # where a length goes on in a wider field
_U16 = struct.Struct("<H")
SYMBOLS_AT_ONCE = 512
"""Symbols between two steps: 0.4 ms."""


def _decoding(table: memoryview) -> list[int]:
    """Return for every 15 bits the symbol that they begin with, and above 9 bits its length."""
    if len(table) != _TABLE:
        raise MalformedError("a table that is cut off")
    by_length: list[list[int]] = [[] for _ in range(16)]
    for index, both in enumerate(table):
        by_length[both & 15].append(2 * index)
        by_length[both >> 4].append(2 * index + 1)
    # Before memory is taken: 256 bytes could ask for millions of entries.
    if sum(len(by_length[n]) << (_LONGEST - n) for n in range(1, 16)) != 1 << _LONGEST:
        raise MalformedError("a table that is no Huffman code")
    entries: list[int] = []
    for length in range(1, 16):
        for symbol in by_length[length]:
            entries += [length << 9 | symbol] * (1 << (_LONGEST - length))
    return entries


def decompress(data: memoryview, out: bytearray, size: int) -> Generator[None]:
    """Append the `size` bytes that `data` stands for; errors as of `lz77.decompress`."""
    begin, end, total, position = len(out), len(out) + size, len(data), 0
    word = _U16.unpack_from
    while len(out) < end:
        entries = _decoding(data[position : position + _TABLE])
        position += _TABLE
        bits = word(data, position)[0] << 16 | word(data, position + 2)[0]
        position += 4
        extra = 16
        block_end = min(len(out) + BLOCK, end)
        symbols = 0
        while len(out) < block_end:
            entry = entries[bits >> 17]
            count = entry >> 9
            bits = bits << count & 0xFFFFFFFF
            extra -= count
            if extra < 0:
                bits |= word(data, position)[0] << -extra
                position += 2
                extra += 16
            symbol = entry & 511
            if symbol < _END:
                out.append(symbol)
            else:
                if symbol == _END and position >= total:
                    raise MalformedError("less data than was announced")
                length = symbol & 15
                offset_bits = symbol - _END >> 4
                if length == _BYTE:
                    length = data[position]
                    position += 1
                    if length == _WORD:
                        (length,) = word(data, position)
                        position += 2
                        if not length:
                            (length,) = struct.unpack_from("<I", data, position)
                            position += 4
                        length -= _BYTE
                        if length < 0:
                            raise MalformedError("a match of negative length")
                    length += _BYTE
                distance = (bits >> (32 - offset_bits)) + (1 << offset_bits)
                bits = bits << offset_bits & 0xFFFFFFFF
                extra -= offset_bits
                if extra < 0:
                    bits |= word(data, position)[0] << -extra
                    position += 2
                    extra += 16
                if length > AT_ONCE:
                    yield from repeat_long(out, begin, end, distance, length + _MINIMUM_MATCH)
                else:
                    repeat(out, begin, end, distance, length + _MINIMUM_MATCH)
            symbols += 1
            if not symbols % SYMBOLS_AT_ONCE:
                yield
        yield


class _Bits:
    """Bits in words of 16, and bytes between them where the decoder reads them.

    The decoder is always two words ahead, so the places of the next two are kept free.
    """

    def __init__(self, out: bytearray) -> None:
        """Write behind `out`."""
        self.out = out
        self._first, self._second = len(out), len(out) + 2
        out += bytes(4)
        self._word, self._free = 0, 16

    def write(self, bits: int, count: int) -> None:
        """Write `count` bits, 16 at most."""
        if count <= self._free:
            self._word = self._word << count | bits
            self._free -= count
            return
        over = count - self._free
        _U16.pack_into(self.out, self._first, self._word << self._free | bits >> over)
        self._first, self._second = self._second, len(self.out)
        self.out += bytes(2)
        self._word = bits & ((1 << over) - 1)
        self._free = 16 - over

    def finish(self) -> None:
        """Write the last word."""
        _U16.pack_into(self.out, self._first, self._word << self._free)


def encode_block(
    data: memoryview, sequences: Iterable[Sequence], out: bytearray, *, last: bool
) -> Generator[None]:
    """Append one block, by the matches that were found in it; the last one says that it ends.

    But not if it is full: then the decoder looks for another block, and there is none.
    """
    tokens: list[Sequence] = []  # symbol, length, distance
    done = 0
    for position, distance, length in sequences:
        tokens += [(byte, 0, 0) for byte in data[done:position]]
        short = min(length - _MINIMUM_MATCH, _BYTE)
        bits = distance.bit_length() - 1
        tokens.append((_END + (bits << 4 | short), length - _MINIMUM_MATCH, distance))
        done = position + length
        if len(tokens) % 256 == 0:
            yield
    tokens += [(byte, 0, 0) for byte in data[done:]]
    if last and len(data) < BLOCK:
        tokens.append((_END, 0, 1))
    yield
    counts = [0] * _SYMBOLS
    for symbol, _, _ in tokens:
        counts[symbol] += 1
    lengths = code_lengths(counts)
    codes = _codes(lengths)
    out += bytes(lengths[i] | lengths[i + 1] << 4 for i in range(0, _SYMBOLS, 2))
    stream = _Bits(out)
    for number, (symbol, length, distance) in enumerate(tokens):
        stream.write(codes[symbol], lengths[symbol])
        if symbol >= _END:
            if length >= _BYTE:
                if length - _BYTE < _WORD:
                    out.append(length - _BYTE)
                else:
                    out += b"\xff" + _U16.pack(length)
            bits = symbol - _END >> 4
            stream.write(distance - (1 << bits), bits)
        if not number % SYMBOLS_AT_ONCE:
            yield
    stream.finish()


def code_lengths(counts: list[int]) -> list[int]:
    """Return the length of each symbol's code: 0 where it does not occur, else 1 to 15.

    Where a code would be longer the counts are made flatter, which costs a few bits in rare cases.
    """
    used = [symbol for symbol, count in enumerate(counts) if count]
    if len(used) == 1:  # a code needs two
        used.append(used[0] ^ 1)
    weights = [max(counts[symbol], 1) for symbol in used]
    while True:
        depths = _depths(weights)
        if max(depths) <= _LONGEST:
            break
        weights = [weight // 2 + 1 for weight in weights]
    lengths = [0] * _SYMBOLS
    for symbol, depth in zip(used, depths, strict=True):
        lengths[symbol] = depth
    return lengths


def _depths(weights: list[int]) -> list[int]:
    """Return how deep each leaf lies in the Huffman tree of these weights."""
    heap: list[tuple[int, int]] = [(weight, leaf) for leaf, weight in enumerate(weights)]
    heapq.heapify(heap)
    parents = [0] * (2 * len(weights))
    node = len(weights)
    while len(heap) > 1:
        first, left = heapq.heappop(heap)
        second, right = heapq.heappop(heap)
        parents[left] = parents[right] = node
        heapq.heappush(heap, (first + second, node))
        node += 1
    depths = [0] * node
    for child in range(node - 2, -1, -1):
        depths[child] = depths[parents[child]] + 1
    return depths[: len(weights)]


def _codes(lengths: list[int]) -> list[int]:
    """Return the canonical codes: by length, then by symbol."""
    codes = [0] * _SYMBOLS
    code = before = 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        code <<= length - before
        codes[symbol] = code
        code += 1
        before = length
    return codes
