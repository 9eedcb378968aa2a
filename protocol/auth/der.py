"""The part of DER that SPNEGO needs ([X.690]): one-byte tags and definite lengths.

Readers take a view and never look past its end; a malformed element raises MalformedError. Lengths
need not be minimal, for old clients are not strict about it.
"""

from collections.abc import Iterator

from usmbd.protocol.wire.status import MalformedError

OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
GENERAL_STRING = 0x1B
SEQUENCE = 0x30
APPLICATION_0 = 0x60

_MAX_LENGTH_BYTES = 4
"""Length bytes after the first: 4 already say more than any token of SMB2 has (64 KiB)."""


def context(number: int) -> int:
    """Return the tag of the constructed, context-specific element `[number]`."""
    return 0xA0 | number


def encode(tag: int, *contents: bytes) -> bytes:
    """Return one element around the concatenation of `contents`."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def split(data: memoryview) -> tuple[int, memoryview, memoryview]:
    """Return the tag and the content of the first element, and what follows it."""
    if len(data) < 2:
        raise MalformedError("a DER element is cut off")
    tag, length, start = data[0], data[1], 2
    if tag & 0x1F == 0x1F:
        raise MalformedError("DER tags of several bytes are not used here")
    if length >= 0x80:
        size = length & 0x7F
        start += size
        if not 0 < size <= _MAX_LENGTH_BYTES or start > len(data):
            raise MalformedError("a DER length is indefinite, huge or cut off")
        length = int.from_bytes(data[2:start], "big")
    end = start + length
    if end > len(data):
        raise MalformedError("a DER element is longer than what is there")
    return tag, data[start:end], data[end:]


def expect(data: memoryview, tag: int) -> memoryview:
    """Return the content of `data`, which is exactly one element with this tag."""
    found, content, rest = split(data)
    if found != tag or rest:
        raise MalformedError(f"DER tag {tag:#x} was expected, not {found:#x}")
    return content


def elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield tag and content of each element of a sequence's content."""
    while content:
        tag, inner, content = split(content)
        yield tag, inner


def fields(content: memoryview) -> dict[int, memoryview]:
    """Return the contents of a sequence's context-specific elements by their tags."""
    found: dict[int, memoryview] = {}
    for tag, inner in elements(content):
        if tag in found:
            raise MalformedError(f"DER tag {tag:#x} comes twice")
        found[tag] = inner
    return found
