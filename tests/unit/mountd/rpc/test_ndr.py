"""NDR: bytes written by hand from C706 and [MS-RPCE], what is refused, and random values."""

import struct
import subprocess
import sys
import uuid
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from usmbd.mountd.rpc.interfaces import epmapper, mgmt
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.streams import NdrError, Reader, Writer


@ndr.structure
class Inner:
    """A byte and a pointer, so that both have their alignment."""

    flag: ndr.U8
    name: ndr.UnicodeString
    sid: ndr.SidPointer


@ndr.structure
class Outer:
    """Everything that lists are made of."""

    level: ndr.Enum
    inner: Annotated[list[Inner], ndr.Counted(ndr.of(Inner))]
    choice: Annotated[
        tuple[int, Any],
        ndr.Union(ndr.Enumeration(), {1: ndr.UINT64, 2: ndr.Unique(ndr.UINT32)}, ndr.Nothing()),
    ]
    text: ndr.WideStringPointer


def squeezed(digits: str) -> str:
    """Return hexadecimal digits without the gaps."""
    return digits.replace(" ", "")


def written(kind: ndr.Type, value: Any, ndr64: bool = False) -> bytes:
    """Write one value with all that its pointers lead to."""
    writer = Writer(ndr64=ndr64)
    kind.write(writer, value)
    writer.finish()
    return bytes(writer.data)


def read(kind: ndr.Type, data: bytes, **how: Any) -> Any:
    """Read one value with all that its pointers lead to."""
    reader = Reader(data, **how)
    found: list[Any] = [None]
    kind.read_into(reader, found, 0)
    reader.finish()
    return found[0], reader.left


def test_a_structure_is_the_bytes_of_the_document() -> None:
    """What a pointer leads to stands behind the structure, in the pointers' order."""
    data = written(ndr.of(Inner), Inner(7, "ab", "S-1-5-32-544"))
    assert data.hex() == squeezed(
        "07000000 04000400 00000200 04000200"
        " 02000000 00000000 02000000 61006200"
        " 02000000 01020000 00000005 20000000 20020000"
    )
    assert read(ndr.of(Inner), data) == (Inner(7, "ab", "S-1-5-32-544"), 0)


def test_ndr64_has_large_counts_and_gaps_at_the_end() -> None:
    data = written(ndr.of(Inner), Inner(7, None, "S-1-1-0"), ndr64=True)
    assert data.hex() == squeezed(
        "0700000000000000 0000000000000000 0000000000000000 0000020000000000"
        " 0100000000000000 0101000000000001 00000000"
    )


def test_big_endian_is_read() -> None:
    data = bytes.fromhex("0002 0002 00020004 00000001 00000000 00000001 0041")
    assert read(ndr.UNICODE_STRING, data, endian=">") == ("A", 0)


def test_a_big_endian_client_has_its_handle_back() -> None:
    # It takes the answer's number and UUID apart, and sends them in its own order.
    own = bytes(range(20))
    handle = ndr.type_of(ndr.Handle)
    number, first, second, third = struct.unpack_from("<IIHH", own)
    theirs = struct.pack(">IIHH", number, first, second, third) + own[12:]
    assert read(handle, theirs, endian=">") == (own, 0)
    assert read(handle, own) == (own, 0)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ndr.UINT32, "0000"),
        (ndr.Counted(ndr.UINT32), "01000000 00000000"),  # a count of what is not there
        (ndr.Counted(ndr.UINT32), "01000000 01000000 02000000 00000000 00000000"),
        (ndr.Counted(ndr.UINT32), "ffffffff 01000000 ffffffff 00000000"),
        (ndr.UNICODE_STRING, "0200 0000 01000000 01000000 00000000 01000000 4100"),
        (ndr.UNICODE_STRING, "0100 0200 01000000 01000000 00000000 01000000 4100"),
        (ndr.UNICODE_STRING, "0200 0200 00000000"),
        (ndr.WIDE_STRING, "01000000 00000000 02000000 4100 0000"),
        (ndr.WIDE_STRING, "02000000 01000000 01000000 4100 0000"),
        (ndr.WIDE_STRING, "01000000 00000000 01000000 4100"),  # no NUL
        (ndr.SID, "01000000 01020000 00000005 20000000"),
        (ndr.SID, "01000000 02010000 00000005 20000000"),
        (ndr.SID, "10000000 01100000 00000005" + "00000000" * 16),
        (ndr.Reference(ndr.UINT32), "00000000"),
        (ndr.Union(ndr.UINT32, {1: ndr.UINT32}), "02000000 00000000"),
        (ndr.VaryingArray(ndr.UINT8), "01000000 00000000 02000000 0000"),
        (ndr.Octets(varying=True), "01000000 00000000 02000000 0000"),
        (ndr.CountedBytes(), "0200 0100 01000000"),
    ],
)
def test_what_lies_is_refused(kind: ndr.Type, data: str) -> None:
    with pytest.raises(NdrError):
        read(kind, bytes.fromhex(data))


NAMES = (
    some.text(max_size=6)
    .filter(lambda text: "\0" not in text)
    .map(lambda text: text.encode("utf-16-le", "replace").decode("utf-16-le"))
)
SIDS = some.builds(
    lambda authority, subs: "-".join(map(str, ("S-1", authority, *subs))),
    some.integers(0, (1 << 32) - 1),
    some.lists(some.integers(0, (1 << 32) - 1), max_size=15),
)
INNERS = some.builds(Inner, some.integers(0, 255), NAMES, some.none() | SIDS)
OUTERS = some.builds(
    Outer,
    some.integers(0, 65535),
    some.lists(INNERS, max_size=4),
    some.one_of(
        some.tuples(some.just(1), some.integers(0, (1 << 64) - 1)),
        some.tuples(some.just(2), some.none() | some.integers(0, (1 << 32) - 1)),
        some.tuples(some.just(3), some.none()),
    ),
    some.none() | NAMES,
)


@given(value=OUTERS, ndr64=some.booleans())
def test_what_is_written_is_read(value: Outer, ndr64: bool) -> None:
    found, left = read(ndr.of(Outer), written(ndr.of(Outer), value, ndr64), ndr64=ndr64)
    found.choice = tuple(found.choice)
    assert (found, left) == (value, 0)


@given(data=some.binary(max_size=200), ndr64=some.booleans(), endian=some.sampled_from("<>"))
def test_any_bytes_are_read_or_refused(data: bytes, ndr64: bool, endian: str) -> None:
    try:
        read(ndr.of(Outer), data, ndr64=ndr64, endian=endian)
    except NdrError:
        return


def test_what_other_values_are() -> None:
    identifier = uuid.UUID("12345778-1234-abcd-ef00-0123456789ab")
    assert read(ndr.Guid(), written(ndr.Guid(), identifier)) == (identifier, 0)
    assert written(ndr.Guid(), identifier)[:4].hex() == "78573412"
    assert written(ndr.CountedBytes(), b"abc").hex() == squeezed(
        "03000300 00000200 03000000 00000000 03000000 616263"
    )
    assert written(ndr.CountedString(large=True), "a").hex() == squeezed(
        "02000400 00000200 02000000 00000000 01000000 6100"
    )
    for authority in ("0x100000000000", "0x000100000000", "4294967295", "5"):
        sid = f"S-1-{authority}-1"
        assert read(ndr.SID, written(ndr.SID, sid))[0] == sid


def test_alignments_and_what_stands_for_nothing() -> None:
    """C706 14.2.2, 14.3; [MS-RPCE] 2.2.5: counts and pointers have 4 bytes, in NDR64 8."""
    for kind, alignment, alignment64, null in (
        (ndr.UINT8, 1, 1, 0),
        (ndr.UINT16, 2, 2, 0),
        (ndr.UINT32, 4, 4, 0),
        (ndr.UINT64, 8, 8, 0),
        (ndr.Size(), 4, 8, 0),
        (ndr.Enumeration(), 2, 4, 0),
        (ndr.Boxed(ndr.UINT64), 8, 8, None),
        (ndr.Bytes(20, 4), 4, 4, bytes(20)),
        (ndr.Bytes(3), 1, 1, bytes(3)),
        (ndr.Guid(), 4, 4, uuid.UUID(int=0)),
        (ndr.Nothing(), 1, 1, None),
        (ndr.Unique(ndr.UINT8), 4, 8, None),
        (ndr.Reference(ndr.UINT8), 4, 8, 0),
        (ndr.Array(ndr.UINT8), 4, 8, []),
        (ndr.Array(ndr.UINT64), 8, 8, []),
        (ndr.Octets(), 4, 8, b""),
        (ndr.WideCharacters(), 4, 8, ""),
        (ndr.UNICODE_STRING, 4, 8, None),
        (ndr.CountedBytes(), 4, 8, None),
        (ndr.Counted(ndr.UINT8), 4, 8, None),
        (ndr.SID, 4, 8, None),
        (ndr.of(Inner), 4, 8, Inner(0, None, None)),
        (mgmt.Vector(), 4, 8, None),
        (epmapper.Tower(), 4, 8, None),
        (epmapper.Varying(ndr.UINT8), 4, 8, (0, [])),
        (epmapper.Annotation(), 4, 8, None),
    ):
        name = type(kind).__name__
        assert (kind.alignment(False), kind.alignment(True)) == (alignment, alignment64), name
        assert kind.null() == null, name


def test_nothing_is_loaded_when_a_big_endian_string_comes() -> None:
    """The RPC process has no file system then."""
    program = "import sys, usmbd.mountd.rpc.service; print('encodings.utf_16_be' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"True\n"
