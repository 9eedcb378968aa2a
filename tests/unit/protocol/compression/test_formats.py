"""LZ77, LZ77+Huffman and LZNT1: the document's examples, round trips, and an independent reader."""

import struct
import tracemalloc
from collections.abc import Generator
from hashlib import sha256
from pathlib import Path

import pytest
from dissect.util.compression import lznt1 as dissect_lznt1
from dissect.util.compression import lzxpress, lzxpress_huffman
from hypothesis import given, settings
from hypothesis import strategies as st

from usmbd.protocol.compression import huffman, lz77, lznt1, matches, transform
from usmbd.protocol.compression.transform import Compression, Decompress, whole
from usmbd.protocol.wire import negotiate_contexts as nc
from usmbd.protocol.wire.status import MalformedError

ALPHABET = b"abcdefghijklmnopqrstuvwxyz"
SONG = (
    b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E "
    b"F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0"
)
BROKEN = (MalformedError, ValueError, IndexError, struct.error)


def huffman_table(**lengths: int) -> bytes:
    """Return a table of code lengths, by symbols as `s97`."""
    table = bytearray(256)
    for name, length in lengths.items():
        symbol = int(name[1:])
        table[symbol // 2] |= length << 4 * (symbol % 2)
    return bytes(table)


EXAMPLES: list[tuple[Decompress, bytes, bytes]] = [
    # [MS-XCA] 3.1
    (lz77.decompress, ALPHABET, bytes.fromhex("3f000000") + ALPHABET),
    (lz77.decompress, b"abc" * 100, bytes.fromhex("ffffff1f61626317000fff2601")),
    # 3.2
    (
        huffman.decompress,
        ALPHABET,
        huffman_table(
            **{f"s{symbol}": 5 for symbol in range(97, 119)},
            **{f"s{symbol}": 4 for symbol in range(119, 123)},
            s256=4,
        )
        + bytes.fromhex("d8523ed794115be9195ff9d67cdf8d0400000000"),
    ),
    (
        huffman.decompress,
        b"abc" * 100,
        huffman_table(s97=3, s98=3, s99=2, s256=2, s287=2) + bytes.fromhex("a8dc0000ff2601"),
    ),
    # 3.3
    (
        lznt1.decompress,
        SONG,
        bytes.fromhex(
            "38b0884623200020472041 0010a24701a045204400084501507900c04520052413 8805b4024a44ef0358"
            "028c09160148 4500be009e0004011890 00"
        ),
    ),
]
FORMATS = {
    nc.COMPRESSION_LZ77: lz77.decompress,
    nc.COMPRESSION_LZNT1: lznt1.decompress,
    nc.COMPRESSION_LZ77_HUFFMAN: huffman.decompress,
}


def unpack(decompress: Decompress, packed: bytes, size: int) -> bytes:
    """Decompress all, behind something that no match may reach."""
    out = bytearray(b"before")
    whole(decompress(memoryview(packed), out, size))
    return bytes(out[6:])


def pack_lz77(data: bytes) -> bytes:
    """Write the format without asking whether it pays."""
    view = memoryview(data)

    def found() -> Generator[matches.Sequence]:
        for begin in range(0, len(data), lz77.WINDOW):
            piece = view[begin : begin + lz77.WINDOW]
            yield from matches.sequences(matches.compress(piece), begin)

    return bytes(whole(lz77.encode(view, found())))


def pack_lznt1(data: bytes) -> bytes:
    """Write the format without asking whether it pays."""
    pieces = [memoryview(data)[at : at + lznt1.CHUNK] for at in range(0, len(data), lznt1.CHUNK)]
    return b"".join(
        lznt1.encode_chunk(piece, matches.sequences(matches.compress(piece))) for piece in pieces
    )


def pack_huffman(data: bytes) -> bytes:
    """Write the format without asking whether it pays."""
    out = bytearray()
    for at in range(0, len(data), huffman.BLOCK):
        piece = memoryview(data)[at : at + huffman.BLOCK]
        found = matches.sequences(matches.compress(piece))
        last = at + huffman.BLOCK >= len(data)
        whole(huffman.encode_block(piece, found, out, last=last))
    return bytes(out)


PACKERS = [
    (pack_lz77, lz77.decompress),
    (pack_lznt1, lznt1.decompress),
    (pack_huffman, huffman.decompress),
]


@pytest.mark.parametrize(("decompress", "data", "packed"), EXAMPLES)
def test_examples_of_the_document(decompress: Decompress, data: bytes, packed: bytes) -> None:
    assert unpack(decompress, packed, len(data)) == data


@pytest.mark.parametrize(("decompress", "data", "packed"), EXAMPLES)
def test_another_size_than_the_data_is_an_error(
    decompress: Decompress, data: bytes, packed: bytes
) -> None:
    for size in (0, 1, len(data) - 1, len(data) + 1, len(data) + 70000):
        if decompress is huffman.decompress and size < len(data):
            continue  # it says nothing of its end, so a decoder stops at the announced size
        with pytest.raises(BROKEN):
            unpack(decompress, packed, size)


pieces = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda piece, times: piece * times,
            st.binary(min_size=1, max_size=9),
            st.integers(1, 40000),
        ),
    ),
    max_size=6,
)


@pytest.mark.parametrize(("pack", "decompress"), PACKERS)
@settings(max_examples=60, deadline=None)
@given(parts=pieces)
def test_round_trips(pack: object, decompress: Decompress, parts: list[bytes]) -> None:
    data = b"".join(parts)
    packed = pack(data)  # type: ignore[operator]
    assert unpack(decompress, packed, len(data)) == data


@pytest.mark.parametrize(("pack", "decompress"), PACKERS)
@settings(max_examples=60, deadline=None)
@given(parts=pieces, at=st.integers(0), byte=st.integers(0, 255), size=st.integers(0, 100000))
def test_whatever_is_changed_never_passes_the_size(
    pack: object, decompress: Decompress, parts: list[bytes], at: int, byte: int, size: int
) -> None:
    packed = bytearray(pack(b"".join(parts)))  # type: ignore[operator]
    if packed:
        packed[at % len(packed)] = byte
    out = bytearray()
    try:
        whole(decompress(memoryview(bytes(packed)), out, size))
    except BROKEN:
        assert len(out) <= size + lznt1.CHUNK  # what a literal run or a chunk adds before the look
    else:
        assert len(out) == size


def text() -> bytes:
    """Return what has matches of all sizes."""
    folder = Path(transform.__file__).parent
    source = b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))
    return source + b"=" * 70000 + source + bytes(range(256)) * 3


def test_an_independent_reader_reads_the_same() -> None:
    data = text()
    assert lzxpress.decompress(pack_lz77(data)) == data
    assert dissect_lznt1.decompress(pack_lznt1(data)) == data
    # It stops where the input ends, with symbols in its 32 bits yet, or takes the end for a match.
    read = lzxpress_huffman.decompress(pack_huffman(data))
    assert len(read) > len(data) - 32
    assert read[: len(data) - 32] == data[:-32]


def test_a_match_before_the_beginning_is_an_error() -> None:
    for distance in (2, 8192):
        packed = struct.pack("<I", 0x7FFFFFFF) + b"a" + struct.pack("<H", (distance - 1) << 3)
        with pytest.raises(MalformedError):
            unpack(lz77.decompress, packed, 4)


def test_a_length_of_four_bytes_is_read_and_bounded() -> None:
    packed = struct.pack("<I", 0x7FFFFFFF) + b"a" + b"\x07\x00\x0f\xff\0\0"
    assert unpack(lz77.decompress, packed + struct.pack("<I", 99997), 100001) == b"a" * 100001
    for length in (21, 99998, 0xFFFFFFFF):
        with pytest.raises(MalformedError):
            unpack(lz77.decompress, packed + struct.pack("<I", length), 100001)


@pytest.mark.parametrize("lengths", [{}, {"s97": 1}, {"s97": 1, "s98": 1, "s99": 1}])
def test_a_table_that_is_no_code_is_an_error(lengths: dict[str, int]) -> None:
    with pytest.raises(MalformedError):
        unpack(huffman.decompress, huffman_table(**lengths) + bytes(100), 10)


def test_codes_are_no_longer_than_fifteen_bits() -> None:
    counts = [0] * 512
    before, now = 1, 1
    for symbol in range(30):
        counts[symbol] = before
        before, now = now, before + now
    lengths = huffman.code_lengths(counts)
    assert max(lengths) == 15
    assert sum(2.0**-length for length in lengths if length) == 1


@pytest.mark.parametrize("number", FORMATS)
def test_what_does_not_pay_is_not_written(number: int) -> None:
    one = Compression((number,), chained=False)
    noise = b"".join(sha256(bytes((at, number))).digest() for at in range(256))
    assert whole(transform.compress(memoryview(noise), one)) is None
    assert whole(transform.compress(memoryview(text()[:20000]), one)) is None
    payloads = whole(transform.compress(memoryview(b"a line that comes again\n" * 3000), one))
    assert payloads is not None
    assert sum(map(len, payloads.parts)) < 72000 / 6


@pytest.mark.parametrize("table", [b"\x11" * 256, b"\xff" * 256, b"\x77" * 256, bytes(256)])
def test_a_huffman_table_is_counted_before_memory_is_taken(table: bytes) -> None:
    """256 bytes of 0x11 stand for 8 million entries."""
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match="no Huffman code"):
            whole(huffman_message(table))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 20


def huffman_message(table: bytes) -> Generator[None]:
    """Return the steps of a message with a table of code lengths."""
    return huffman.decompress(memoryview(table + bytes(32)), bytearray(), 100)
