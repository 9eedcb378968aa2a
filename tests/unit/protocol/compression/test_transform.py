"""Compressed messages: what is taken and what is refused before memory is taken for it."""

import struct
from collections.abc import Generator
from typing import Any, TypeVar

import pytest
from lz4 import block
from smbengine.compression import CHAIN, chain, payload, unchained

from usmbd.protocol.compression import huffman, lz77
from usmbd.protocol.compression.output import AT_ONCE
from usmbd.protocol.compression.transform import (
    LZ4_AT_ONCE,
    MAXIMUM_PAYLOADS,
    RUN_STEP,
    Compression,
    compress,
    decompress,
    negotiate,
    original_size,
    whole,
)
from usmbd.protocol.wire import negotiate_contexts as nc
from usmbd.protocol.wire.status import MalformedError

Result = TypeVar("Result")
ALL = Compression((5, 4, 2, 3, 1), chained=True)
LIMIT = 1 << 20
BROKEN = MalformedError
PLAIN = b"\xfeSMB" + bytes(range(60)) + b"0123456789abcdef" * 600


def take(message: bytes, compression: Compression = ALL, limit: int = LIMIT) -> bytes:
    """Do what the dispatcher does."""
    view = memoryview(message)
    size = original_size(view, compression, LIMIT, limit)
    plain = bytes(whole(decompress(view, compression, size)))
    assert len(plain) == size
    return plain


def lz4(data: bytes) -> bytes:
    return bytes(block.compress(data, store_size=False))


@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("chained", [False, True])
def test_what_is_compressed_is_read_again(number: int, chained: bool) -> None:
    one = Compression((number, 4) if chained else (number,), chained)
    data = b"\0" * 5000 + PLAIN + b"\xff" * 300
    payloads = whole(compress(memoryview(data), one))
    assert payloads is not None
    message = b"".join(payloads.message(PLAIN[:80]))
    assert len(message) < len(data) / 4
    assert take(message, one) == PLAIN[:80] + data


def test_a_part_may_be_left_as_it_is() -> None:
    assert take(unchained(5, lz4(PLAIN), len(PLAIN))) == PLAIN
    assert take(unchained(5, PLAIN[:80] + lz4(PLAIN[80:]), len(PLAIN) - 80, offset=80)) == PLAIN


def test_a_chain_of_all_kinds() -> None:
    message = chain(
        len(PLAIN) + 100,
        payload(0, PLAIN[:80], flags=CHAIN),
        payload(4, struct.pack("<BxHI", 7, 0, 100)),
        payload(5, lz4(PLAIN[80:]), len(PLAIN) - 80),
    )
    assert take(message) == PLAIN[:80] + b"\7" * 100 + PLAIN[80:]


def test_sizes_are_looked_at_before_memory_is_taken() -> None:
    for size in (0, 63, LIMIT + 1, 0xFFFFFFFF):
        with pytest.raises(MalformedError):
            original_size(memoryview(unchained(5, b"x" * 100, size)), ALL, LIMIT, LIMIT)
        with pytest.raises(MalformedError):
            original_size(memoryview(chain(size, b"x" * 100)), ALL, LIMIT, LIMIT)
    for offset in (101, 0xFFFFFFFF):  # behind the message's end: CVE-2020-0796
        message = unchained(5, b"x" * 100, 4096, offset=offset)
        with pytest.raises(MalformedError):
            original_size(memoryview(message), ALL, LIMIT, LIMIT)
    inside = memoryview(unchained(5, b"x" * 100, LIMIT, offset=100))
    with pytest.raises(MalformedError):
        original_size(inside, ALL, LIMIT, LIMIT)  # both together are above the limit
    assert original_size(inside, ALL, LIMIT, LIMIT + 100) == LIMIT + 100
    with pytest.raises(MalformedError):
        original_size(inside[:15], ALL, LIMIT, LIMIT)


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (payload(0, PLAIN[:-1], flags=CHAIN),),
        (payload(0, PLAIN + b"x", flags=CHAIN),),
        (payload(0, PLAIN[:80], flags=CHAIN), payload(0, PLAIN[80:], flags=CHAIN)),
        (payload(0, PLAIN, flags=CHAIN)[:-1],),
        (payload(0, PLAIN, flags=CHAIN), b"\0" * 7),
        (payload(4, struct.pack("<BxHI", 7, 0, len(PLAIN) + 1), flags=CHAIN),),
        (payload(4, struct.pack("<BxHI", 7, 0, 0xFFFFFFFF), flags=CHAIN),),
        (payload(4, struct.pack("<BxH", 7, 0), flags=CHAIN),),
        (payload(5, lz4(PLAIN), len(PLAIN) + 1, flags=CHAIN),),
        (payload(5, lz4(PLAIN), len(PLAIN) - 1, flags=CHAIN),),
        (payload(5, lz4(PLAIN), 0xFFFFFFFF, flags=CHAIN),),
        (payload(5, b"", flags=CHAIN),),
        (payload(6, PLAIN, len(PLAIN), flags=CHAIN),),
        (payload(0, b"", flags=CHAIN), *[payload(0, b"")] * MAXIMUM_PAYLOADS, payload(0, PLAIN)),
    ],
)
def test_broken_chains(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(BROKEN):
        take(chain(len(PLAIN), *parts))


def test_only_what_was_negotiated() -> None:
    with pytest.raises(MalformedError):
        take(unchained(5, lz4(PLAIN), len(PLAIN)), Compression((2,), chained=False))
    whole_chain = chain(len(PLAIN), payload(5, lz4(PLAIN), len(PLAIN), flags=CHAIN))
    assert take(whole_chain) == PLAIN
    for one in (Compression((5,), chained=False), Compression((2, 4), chained=True)):
        with pytest.raises(MalformedError):
            take(whole_chain, one)
    pattern = chain(100, payload(4, struct.pack("<BxHI", 7, 0, 100), flags=CHAIN))
    assert take(pattern) == b"\7" * 100
    with pytest.raises(MalformedError):
        take(pattern, Compression((5,), chained=True))
    for flags in (2, 3, 0xFFFF):
        with pytest.raises(MalformedError):
            take(unchained(5, lz4(PLAIN), len(PLAIN), flags=flags))


def test_what_is_common_is_negotiated_in_the_clients_order() -> None:
    windows = (nc.COMPRESSION_PATTERN_V1, nc.COMPRESSION_LZ77, nc.COMPRESSION_LZ77_HUFFMAN)
    assert negotiate(windows, 1) == Compression(windows, chained=True)
    assert negotiate(windows, 0) == Compression(windows[1:], chained=False)
    assert negotiate((9, 2, 2, 0), 0) == Compression((2,), chained=False)
    assert negotiate((0,), 1) is None
    assert negotiate((9, 0x8000), 1) is None
    assert negotiate((4,), 1) == Compression((4,), chained=True)
    one = negotiate((4,), 1)
    assert one is not None
    payloads = whole(compress(memoryview(b"\1" * 8192), one))
    assert payloads is not None
    assert len(payloads.parts) == 1
    assert whole(compress(memoryview(PLAIN), one)) is None


def counted(steps: Generator[Any, Any, Result]) -> tuple[Result, int]:
    """Take all steps; return what they lead to, and how many there are."""
    taken = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value, taken
        taken += 1


def test_a_long_run_is_looked_at_in_pieces() -> None:
    data = memoryview(bytes(4 << 20) + b"x" * 70 + b"y" * (4 << 20))
    payloads, taken = counted(compress(data, ALL))
    assert taken >= 2 * ((4 << 20) // RUN_STEP)
    assert payloads is not None
    message = b"".join(map(bytes, payloads.message(PLAIN[:64])))
    assert len(message) < 400
    assert bytes(whole(decompress(memoryview(message), ALL, 64 + len(data))))[64:] == data


def one_match(number: int, length: int) -> bytes:
    """Return a byte, and a match of it that stands for millions, compressed."""
    if number == nc.COMPRESSION_LZ77:
        encoder = lz77.Encoder()
        encoder.literals(memoryview(b"x"))
        encoder.match(1, length)
        return bytes(encoder.finish())
    out = bytearray()
    whole(huffman.encode_block(memoryview(b"x"), [(1, 1, 0x5678)], out, last=False))
    found = b"\xff" + struct.pack("<H", 0x5678 - 3)
    assert out.count(found) == 1
    return bytes(out).replace(found, b"\xff\0\0" + struct.pack("<I", length - 3))


@pytest.mark.parametrize("kind", ["match", "match of Huffman", "pattern", "plain"])
def test_what_is_short_and_stands_for_much_is_written_in_steps(kind: str) -> None:
    """No step appends more than a part."""
    size = 2 << 20
    if kind == "pattern":
        message = chain(size, payload(4, struct.pack("<BxHI", 7, 0, size), flags=CHAIN))
    elif kind == "plain":
        message = chain(size, payload(0, bytes(size), flags=CHAIN))
    else:
        number = nc.COMPRESSION_LZ77 if kind == "match" else nc.COMPRESSION_LZ77_HUFFMAN
        message = unchained(number, one_match(number, size - 1), size)
    steps = decompress(memoryview(message), ALL, size)
    plain, taken = counted(steps)
    assert len(plain) == size
    assert taken >= size // AT_ONCE - 1


def test_much_of_lz4_is_made_elsewhere() -> None:
    data = bytes(LZ4_AT_ONCE + 1)
    steps = decompress(memoryview(unchained(5, lz4(data), len(data))), ALL, len(data))
    apart = next(steps)
    assert apart is not None
    apart.run()
    assert apart.take() == data
    little = data[:-1]
    message = unchained(5, lz4(little), len(little))
    assert list(decompress(memoryview(message), ALL, len(little))) == [None]


@pytest.mark.parametrize("number", [63, 64, 65, RUN_STEP - 1, RUN_STEP, RUN_STEP + 1])
def test_runs_end_where_they_end(number: int) -> None:
    data = memoryview(b"a" * number + bytes(range(250)) * 200 + b"z" * number)
    payloads = whole(compress(data, ALL))
    assert payloads is not None
    message = b"".join(map(bytes, payloads.message(PLAIN[:64])))
    assert bytes(whole(decompress(memoryview(message), ALL, 64 + len(data))))[64:] == data
