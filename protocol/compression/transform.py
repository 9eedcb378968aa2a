"""Compressed messages ([MS-SMB2] 2.2.42, 3.1.4.4, 3.1.5.3): the transform, chained and not.

A message that is signed is signed before it is compressed, and one that is encrypted is compressed
before: so the receiver decrypts, decompresses, and checks the signature, in this order.
"""

import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from usmbd.protocol.compression import huffman, lz77, lznt1, matches
from usmbd.protocol.compression.output import append, append_run
from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.header import (
    HEADER_SIZE,
    SMB2_COMPRESSION_FLAG_CHAINED,
    SMB2_COMPRESSION_FLAG_NONE,
    CompressionChainedHeader,
    CompressionPatternV1,
    CompressionPayloadHeader,
    CompressionTransformHeader,
)
from usmbd.protocol.wire.negotiate_contexts import (
    COMPRESSION_LZ4,
    COMPRESSION_LZ77,
    COMPRESSION_LZ77_HUFFMAN,
    COMPRESSION_LZNT1,
    COMPRESSION_NONE,
    COMPRESSION_PATTERN_V1,
    SMB2_COMPRESSION_CAPABILITIES_FLAG_CHAINED,
)
from usmbd.protocol.wire.status import MalformedError

MAXIMUM_PAYLOADS = 64
"""Payloads of one chain. Windows and Linux send four at most: a header, a pattern, the data, a
pattern; each costs a look."""

LEAST_DATA = 4096
"""Bytes of a READ's data that are worth compressing: Linux and ksmbd begin with a page, too."""

LEAST_PATTERN = 64
"""Bytes of a pattern that are worth a payload of their own ([MS-SMB2] 3.1.4.4.1)."""

WORTH = 7 / 8
"""What compressed data may have of its size to be sent: less would not pay its decompression."""

OURS_WORTH = 4
"""The part of its size that LZ4 has to make of data before one of our own formats is written. A
token costs Python 1 us and stands for 3 bytes of LZ4's at least: a MiB takes 90 ms at most, which
a line of 100 Mbit/s takes as well. In a faster one only long matches make it faster."""

RUN_STEP = 64 * 1024
"""Bytes of a run of one byte that are looked at in a step, 20 us."""

STEP = 64 * 1024
"""Bytes in which matches are looked for between two steps, 0.3 ms."""

LZ4_AT_ONCE = 512 * 1024
"""Bytes that LZ4 makes in a step: 0.5 ms, where 8 MiB of one match take 10. The way to a thread and
back takes 0.1."""

_Piece = tuple[int, memoryview, bytes]
"""Where a piece of the data begins, the piece, and its LZ4 block."""

Result = TypeVar("Result")


class Apart:
    """A long step that leaves others the interpreter's lock: it belongs on a thread."""

    def __init__(self, call: Callable[[], bytes]) -> None:
        """Call `call()` when told to."""
        self._call = call
        self._made = b""
        self._error: ValueError | None = None
        self.over: Callable[[], None] = lambda: None
        """Called when what it made is used up, or will not be used."""

    def run(self) -> None:
        """Take the step."""
        try:
            self._made = self._call()
        except ValueError as error:
            self._error = error

    def take(self) -> bytes:
        """Return what it made, which it has no more; ValueError."""
        if self._error is not None:
            raise self._error
        made, self._made = self._made, b""
        return made


Steps = Generator[Apart | None, None, Result]
"""Steps on the way to a result; one that yields something goes on when that has been `run`."""

Decompress = Callable[[memoryview, bytearray, int], Steps[None]]


def _lz4(data: memoryview, out: bytearray, size: int) -> Steps[None]:
    """Append what an LZ4 block stands for; ValueError.

    A small one is one step, with none behind it: the message goes on at once and does not wait in
    memory.
    """
    if size > LZ4_AT_ONCE:
        apart = Apart(partial(matches.decompress, data, size))
        try:
            yield apart
            yield from _append(out, apart.take(), size)
        finally:
            apart.over()
    else:
        yield from _append(out, matches.decompress(data, size), size)


def _append(out: bytearray, plain: bytes, size: int) -> Generator[None]:
    """Append what was made, if it has its size."""
    if len(plain) != size:
        raise MalformedError("less data than was announced")
    yield from append(out, plain)


_DECOMPRESS: dict[int, Decompress] = {
    COMPRESSION_LZ4: _lz4,
    COMPRESSION_LZ77: lz77.decompress,
    COMPRESSION_LZNT1: lznt1.decompress,
    COMPRESSION_LZ77_HUFFMAN: huffman.decompress,
}


@dataclass(frozen=True, slots=True)
class Compression:
    """What a connection has negotiated: Connection.CompressionIds, .SupportsChainedCompression."""

    ids: tuple[int, ...]
    chained: bool

    @property
    def patterns(self) -> bool:
        """Whether a run of one byte may be a payload."""
        return COMPRESSION_PATTERN_V1 in self.ids

    @property
    def best(self) -> int:
        """The algorithm that costs the server least; COMPRESSION_NONE where there is none."""
        return next((one for one in _FASTEST_FIRST if one in self.ids), COMPRESSION_NONE)


def negotiate(offered: tuple[int, ...], flags: int) -> Compression | None:
    """Choose what both sides can, in the client's order ([MS-SMB2] 3.3.5.4); None: nothing.

    Patterns need a chain.
    """
    chained = bool(flags & SMB2_COMPRESSION_CAPABILITIES_FLAG_CHAINED)
    ids = tuple(
        dict.fromkeys(
            one
            for one in offered
            if one in _DECOMPRESS or (one == COMPRESSION_PATTERN_V1 and chained)
        )
    )
    return Compression(ids, chained) if ids else None


# -- in ------------------------------------------------------------------------------------


def original_size(message: memoryview, compression: Compression, segment: int, limit: int) -> int:
    """Return the size of the message in a compressed one, before memory is taken for it.

    MalformedError above `limit`, or where the compressed part is above `segment`
    ([MS-SMB2] 3.3.5.2.1.2).
    """
    header = CompressionTransformHeader.parse(message)
    size = header.original_compressed_segment_size
    if size > segment:
        raise MalformedError("OriginalCompressedSegmentSize is above what is allowed")
    if header.flags == SMB2_COMPRESSION_FLAG_NONE:
        if header.compression_algorithm not in compression.ids:
            raise MalformedError("an algorithm that was not negotiated")
        if header.offset > len(message) - CompressionTransformHeader.SIZE:
            raise MalformedError("Offset is behind the message's end")
        size += header.offset
    elif header.flags != SMB2_COMPRESSION_FLAG_CHAINED or not compression.chained:
        raise MalformedError("Flags is wrong")
    if not HEADER_SIZE <= size <= limit:
        raise MalformedError("a message of a size that is not allowed")
    return size


def decompress(message: memoryview, compression: Compression, size: int) -> Steps[memoryview]:
    """Decompress a message of `original_size`; MalformedError.

    What is written never passes `size`, whatever its payloads say.
    """
    try:
        return (yield from _decompress(message, compression, size))
    except (IndexError, ValueError, struct.error) as error:
        # The formats read on until there is no byte any more, and the library has its own word.
        raise MalformedError(f"compressed data: {error}") from None


def _decompress(message: memoryview, compression: Compression, size: int) -> Steps[memoryview]:
    """Do so; errors as of `lz77.decompress`."""
    header = CompressionTransformHeader.parse(message)
    out = bytearray()
    if header.flags == SMB2_COMPRESSION_FLAG_CHAINED:
        yield from _unchain(message[CompressionChainedHeader.SIZE :], compression, out, size)
    else:
        body = message[CompressionTransformHeader.SIZE :]
        yield from append(out, body[: header.offset])
        algorithm = _algorithm(header.compression_algorithm, compression)
        yield from algorithm(body[header.offset :], out, header.original_compressed_segment_size)
    if len(out) != size:
        raise MalformedError("not as much data as was announced")
    return memoryview(out)


def _algorithm(number: int, compression: Compression) -> Decompress:
    """Return a negotiated algorithm that makes data of data; MalformedError."""
    algorithm = _DECOMPRESS.get(number) if number in compression.ids else None
    if algorithm is None:
        raise MalformedError("an algorithm that was not negotiated")
    return algorithm


def _unchain(rest: memoryview, compression: Compression, out: bytearray, size: int) -> Steps[None]:
    """Append the payloads of a chain ([MS-SMB2] 3.1.5.3)."""
    for number in range(MAXIMUM_PAYLOADS):
        payload = CompressionPayloadHeader.parse(rest)
        rest = rest[CompressionPayloadHeader.SIZE :]
        length, algorithm, left = payload.length, payload.compression_algorithm, size - len(out)
        if number and payload.flags != SMB2_COMPRESSION_FLAG_NONE:
            raise MalformedError("a first payload that is none")
        if length > len(rest):
            raise MalformedError("a payload behind the message's end")
        data, rest = rest[:length], rest[length:]
        if algorithm == COMPRESSION_NONE:
            if length > left:
                raise MalformedError("more data than was announced")
            yield from append(out, data)
        elif algorithm == COMPRESSION_PATTERN_V1 and compression.patterns:
            if length != CompressionPatternV1.SIZE:
                raise MalformedError("a pattern of another size")
            pattern = CompressionPatternV1.parse(data)
            if pattern.repetitions > left:
                raise MalformedError("more data than was announced")
            yield from append_run(out, pattern.pattern, pattern.repetitions)
        else:
            decoder = _algorithm(algorithm, compression)
            (original,) = struct.unpack_from("<I", data)
            if original > left:
                raise MalformedError("more data than was announced")
            yield from decoder(data[4:], out, original)
        yield None
        if not rest:
            return
    raise MalformedError("a chain of too many payloads")


def whole(steps: Steps[Result]) -> Result:
    """Take all steps, where nobody waits for the thread."""
    while True:
        try:
            apart = next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        if apart is not None:
            apart.run()


# -- out -----------------------------------------------------------------------------------


class Payloads:
    """Data that is compressed, to be put behind what is not."""

    __slots__ = ("algorithm", "chained", "parts", "size")

    def __init__(self, parts: list[Buffer], size: int, algorithm: int, chained: bool) -> None:
        """Keep payloads: with their headers where they go into a chain; `size` uncompressed."""
        self.parts = parts
        self.size = size
        self.algorithm = algorithm
        self.chained = chained

    def message(self, plain: bytes) -> list[Buffer]:
        """Return the compressed message that begins with `plain` and goes on with the data."""
        if self.chained:
            head = CompressionChainedHeader(
                original_compressed_segment_size=len(plain) + self.size
            ).pack()
            first = CompressionPayloadHeader(
                compression_algorithm=COMPRESSION_NONE,
                flags=SMB2_COMPRESSION_FLAG_CHAINED,
                length=len(plain),
            ).pack()
            return [head + first + plain, *self.parts]
        head = CompressionTransformHeader(
            original_compressed_segment_size=self.size,
            compression_algorithm=self.algorithm,
            offset=len(plain),
        ).pack()
        return [head + plain, *self.parts]


def compress(data: memoryview, compression: Compression) -> Generator[None, None, Payloads | None]:
    """Compress data that goes behind a header; None where it does not pay."""
    if len(data) < LEAST_DATA:
        return None
    if not compression.chained:
        if compression.best == COMPRESSION_NONE:
            return None
        packed = yield from _COMPRESS[compression.best](data)
        if packed is None:
            return None
        return Payloads([packed], len(data), compression.best, False)
    front = back = 0
    if compression.patterns:
        front = yield from _run(data)
        if front < len(data):
            back = yield from _run(data, back=True)
    middle = data[front : len(data) - back]
    parts: list[Buffer] = []
    if front:
        parts.append(_pattern(data[0], front))
    packed = None
    if len(middle) >= LEAST_DATA and compression.best != COMPRESSION_NONE:
        packed = yield from _COMPRESS[compression.best](middle)
    if packed is not None:
        parts.append(
            CompressionPayloadHeader(
                compression_algorithm=compression.best, length=len(packed) + 4
            ).pack()
            + struct.pack("<I", len(middle))
        )
        parts.append(packed)
    elif middle:
        parts.append(
            CompressionPayloadHeader(
                compression_algorithm=COMPRESSION_NONE, length=len(middle)
            ).pack()
        )
        parts.append(middle)
    if back:
        parts.append(_pattern(data[-1], back))
    if sum(map(len, parts)) > len(data) * WORTH:
        return None
    return Payloads(parts, len(data), compression.best, True)


def _pattern(byte: int, repetitions: int) -> bytes:
    """Return a run of one byte as a payload."""
    return (
        CompressionPayloadHeader(
            compression_algorithm=COMPRESSION_PATTERN_V1, length=CompressionPatternV1.SIZE
        ).pack()
        + CompressionPatternV1(pattern=byte, repetitions=repetitions).pack()
    )


def _run(data: memoryview, *, back: bool = False) -> Generator[None, None, int]:
    """Return how often the first byte comes at the front, or the last at the `back`.

    0 below 64 ([MS-SMB2] 3.1.4.4.1). Looked for by the C of `==` and `strip`, in pieces.
    """
    size = len(data)
    edge = bytes(data[-1:] if back else data[:1])
    if bytes(data[-LEAST_PATTERN:] if back else data[:LEAST_PATTERN]) != edge * LEAST_PATTERN:
        return 0
    wanted = edge * RUN_STEP
    for done in range(0, size, RUN_STEP):
        end = size - done
        piece = bytes(data[max(end - RUN_STEP, 0) : end] if back else data[done : done + RUN_STEP])
        if piece != wanted:
            rest = piece.rstrip(edge) if back else piece.lstrip(edge)
            return done + len(piece) - len(rest)
        yield
    return size


def _pack_lz4(data: memoryview) -> Generator[None, None, Buffer | None]:
    """Compress by LZ4."""
    packed = matches.compress(data)
    yield
    return packed if len(packed) <= len(data) * WORTH else None


def _pieces(data: memoryview, size: int) -> Generator[None, None, list[_Piece] | None]:
    """Look for matches in pieces of `size` bytes; None as soon as there are too few."""
    pieces: list[_Piece] = []
    most = len(data) // OURS_WORTH
    for begin in range(0, len(data), size):
        piece = data[begin : begin + size]
        found = matches.compress(piece)
        pieces.append((begin, piece, found))
        most -= len(found)
        if most < 0:
            return None
        if not (begin + size) % STEP:
            yield
    return pieces


def _pack_lz77(data: memoryview) -> Generator[None, None, Buffer | None]:
    """Compress by plain LZ77: what a piece holds is within its window."""
    pieces = yield from _pieces(data, lz77.WINDOW)
    if pieces is None:
        return None
    found = (one for begin, _, packed in pieces for one in matches.sequences(packed, begin))
    return (yield from lz77.encode(data, found))


def _pack_lznt1(data: memoryview) -> Generator[None, None, Buffer | None]:
    """Compress by LZNT1."""
    pieces = yield from _pieces(data, lznt1.CHUNK)
    if pieces is None:
        return None
    out = bytearray()
    for _, piece, packed in pieces:
        out += lznt1.encode_chunk(piece, matches.sequences(packed))
        yield
    return out


def _pack_huffman(data: memoryview) -> Generator[None, None, Buffer | None]:
    """Compress by LZ77+Huffman."""
    pieces = yield from _pieces(data, huffman.BLOCK)
    if pieces is None:
        return None
    out = bytearray()
    for _, piece, packed in pieces:
        last = piece is pieces[-1][1]
        yield from huffman.encode_block(piece, matches.sequences(packed), out, last=last)
    return out


_COMPRESS: dict[int, Callable[[memoryview], Generator[None, None, Buffer | None]]] = {
    COMPRESSION_LZ4: _pack_lz4,
    COMPRESSION_LZ77: _pack_lz77,
    COMPRESSION_LZNT1: _pack_lznt1,
    COMPRESSION_LZ77_HUFFMAN: _pack_huffman,
}
_FASTEST_FIRST = tuple(_COMPRESS)
