"""What all decompressors do with their output."""

from usmbd.protocol.wire.status import MalformedError


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
