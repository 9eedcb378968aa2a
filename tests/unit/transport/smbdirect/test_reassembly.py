"""Fragments in, messages out: memory is taken once, and only for a size that is allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usmbd.transport.smbdirect.limits import ProtocolError
from usmbd.transport.smbdirect.reassembly import Reassembly

LIMIT = 1000


class Memory:
    """Counts what is taken."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def __call__(self, size: int) -> memoryview:
        """Give memory that is not zero yet."""
        self.taken.append(size)
        return memoryview(bytearray(b"\xee" * size))


@given(st.binary(min_size=1, max_size=LIMIT), st.lists(st.integers(0, 300), max_size=40))
def test_any_split_arrives_whole(message: bytes, sizes: list[int]) -> None:
    memory = Memory()
    reassembly = Reassembly(memory)
    done = None
    position = 0
    for size in [*sizes, LIMIT]:
        length = min(size, len(message) - position)
        data = memoryview(b"head" + message[position : position + length] + b"tail")
        position += length
        done = reassembly.add(data, 4, length, len(message) - position, LIMIT)
        if position == len(message):
            break
        assert done is None
    assert done == message
    assert memory.taken == [len(message)]
    assert reassembly.remaining == 0


def test_size_is_checked_before_memory_is_taken() -> None:
    memory = Memory()
    reassembly = Reassembly(memory)
    for length, remaining in [(0, LIMIT + 1), (1, LIMIT), (1, 0xFFFFFFFF)]:
        with pytest.raises(ProtocolError):
            reassembly.add(memoryview(b"x"), 0, length, remaining, LIMIT)
    assert memory.taken == []


@pytest.mark.parametrize(
    ("length", "remaining"), [(5, 0), (5, 96), (5, 94), (101, 0), (0, 99), (0, 101), (100, 1)]
)
def test_fragments_have_to_add_up(length: int, remaining: int) -> None:
    reassembly = Reassembly(Memory())
    assert reassembly.add(memoryview(bytes(200)), 0, 50, 100, LIMIT) is None
    with pytest.raises(ProtocolError):
        reassembly.add(memoryview(bytes(200)), 0, length, remaining, LIMIT)


def test_empty_message_between_fragments_is_no_fragment() -> None:
    reassembly = Reassembly(Memory())
    assert reassembly.add(memoryview(b"abc"), 0, 3, 2, LIMIT) is None
    assert reassembly.add(memoryview(b""), 0, 0, 0, LIMIT) is None
    assert reassembly.add(memoryview(b"de"), 0, 2, 0, LIMIT) == b"abcde"


def test_a_message_keeps_its_memory() -> None:
    reassembly = Reassembly(Memory())
    first = reassembly.add(memoryview(b"one"), 0, 3, 0, LIMIT)
    reassembly.add(memoryview(b"two"), 0, 3, 0, LIMIT)
    assert first == b"one"
