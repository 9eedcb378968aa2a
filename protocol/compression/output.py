"""What all decompressors do with their output."""

from collections.abc import Generator
from typing import Final

from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.status import MalformedError

AT_ONCE: Final = 256 * 1024
"""Bytes that are appended in a step: 0.1 ms, most of it for pages that the kernel has to give."""


def repeat(out: bytearray, begin: int, end: int, distance: int, length: int) -> None:
    """Append `length` bytes of what lies `distance` back, which may overlap what is appended.

    MalformedError where that lies before `begin`, or the output would pass `end`.
    """
    position = len(out)
    start = position - distance
    if start < begin or position + length > end:
        raise MalformedError("a match outside of the data")
    if distance >= length:
        out += out[start : start + length]
    else:
        whole, rest = divmod(length, distance)
        out += out[start:] * whole + out[start : start + rest]


def repeat_long(
    out: bytearray, begin: int, end: int, distance: int, length: int
) -> Generator[None]:
    """Do so in steps: 16 bytes may stand for millions."""
    if len(out) + length > end:
        raise MalformedError("a match outside of the data")
    while length > AT_ONCE:
        repeat(out, begin, end, distance, AT_ONCE)
        length -= AT_ONCE
        yield
    repeat(out, begin, end, distance, length)


def append(out: bytearray, data: Buffer) -> Generator[None]:
    """Append data in steps."""
    for begin in range(0, len(data), AT_ONCE):
        if begin:
            yield
        out += data[begin : begin + AT_ONCE]


def append_run(out: bytearray, byte: int, length: int) -> Generator[None]:
    """Append a run of one byte in steps."""
    piece = bytes((byte,)) * min(length, AT_ONCE)
    while length > AT_ONCE:
        out += piece
        length -= AT_ONCE
        yield
    out += piece[:length]
