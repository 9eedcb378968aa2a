"""EA chains: what is read of them, and what is refused as which error ([MS-FSCC] 2.4.15)."""

import struct

import pytest

from usmbd.protocol.wire.fscc.ea import (
    LIST_MAX,
    ExtendedAttribute,
    build_full_eas,
    full_eas,
    get_eas,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

INCONSISTENT = NtStatus.EA_LIST_INCONSISTENT


def full(name: bytes, value: bytes, following: int = 0, flags: int = 0, nul: int = 0) -> bytes:
    """Return one entry of a FILE_FULL_EA_INFORMATION chain, typed from the document."""
    head = struct.pack("<IBBH", following, flags, len(name), len(value))
    return head + name + bytes([nul]) + value


def get(name: bytes, following: int = 0, nul: int = 0) -> bytes:
    """Return one entry of a FILE_GET_EA_INFORMATION chain."""
    return struct.pack("<IB", following, len(name)) + name + bytes([nul])


def read(data: bytes) -> list[ExtendedAttribute]:
    return list(full_eas(memoryview(data)))


def refused(data: bytes, names: bool = False) -> NtStatus:
    with pytest.raises(SmbError) as caught:
        list((get_eas if names else full_eas)(memoryview(data)))  # type: ignore[operator]
    return caught.value.status


def test_a_chain_is_written_as_the_document_has_it() -> None:
    chain = build_full_eas([ExtendedAttribute("A", b"12", 0x80), ExtendedAttribute("BC", b"3")])
    assert chain == full(b"A", b"12", 12, 0x80) + full(b"BC", b"3")
    assert read(chain) == [ExtendedAttribute("A", b"12", 0x80), ExtendedAttribute("BC", b"3")]


def test_an_empty_list_is_none() -> None:
    assert read(b"") == []
    assert list(get_eas(memoryview(b""))) == []


def test_entries_end_where_the_next_begins_or_the_buffer_ends() -> None:
    assert read(full(b"A", b"12")) == [ExtendedAttribute("A", b"12")]
    assert refused(full(b"A", b"12")[:-1]) is INCONSISTENT
    two = full(b"A", b"12", 12) + full(b"B", b"")
    assert [ea.name for ea in read(two)] == ["A", "B"]
    assert refused(full(b"A", b"123", 12) + full(b"B", b"")) is INCONSISTENT


@pytest.mark.parametrize("following", [1, 4, 10, 14, 24, 1 << 31])
def test_a_link_leads_forward_to_an_entry_of_the_buffer(following: int) -> None:
    data = full(b"A", b"12", following) + full(b"B", b"")
    assert len(data) == 22
    assert refused(data) is INCONSISTENT


def test_a_link_may_leave_a_gap() -> None:
    data = full(b"A", b"1", 16).ljust(16, b"\xff") + full(b"B", b"2")
    assert [ea.value for ea in read(data)] == [b"1", b"2"]
    # the least that a link may be is the fixed part
    head = struct.pack("<IBBH", 8, 0, 0, 0)
    assert refused(head + full(b"B", b"2")) is INCONSISTENT


def test_a_rest_that_holds_no_entry_is_refused() -> None:
    assert refused(full(b"A", b"", 12).ljust(12, b"\0") + bytes(7)) is INCONSISTENT
    assert refused(bytes(4), names=True) is INCONSISTENT
    assert refused(bytes(7)) is INCONSISTENT


def test_flags_are_none_or_needed() -> None:
    assert read(full(b"A", b"", flags=0x80))[0].flags == 0x80
    for flags in (1, 0x7F, 0x81, 0xFF):
        assert refused(full(b"A", b"", flags=flags)) is NtStatus.INVALID_EA_FLAG


def test_a_name_ends_with_a_nul() -> None:
    assert refused(full(b"A", b"", nul=1)) is INCONSISTENT
    assert refused(get(b"A", nul=1), names=True) is INCONSISTENT


@pytest.mark.parametrize("character", [*b'"*+,/:;<=>?[\\]|', 1, 0x1F])
def test_a_name_has_no_such_character(character: int) -> None:
    name = bytes([ord("A"), character])
    assert refused(full(name, b"")) is NtStatus.INVALID_EA_NAME
    assert refused(get(name), names=True) is NtStatus.INVALID_EA_NAME


def test_a_name_may_have_all_others() -> None:
    name = bytes(set(range(0x20, 0x100)) - set(b'"*+,/:;<=>?[\\]|'))
    (ea,) = read(full(name, b"v"))
    assert build_full_eas([ea]) == full(name, b"v"), "also what is no UTF-8"


def test_there_is_no_empty_name() -> None:
    assert refused(full(b"", b"1")) is NtStatus.INVALID_EA_NAME
    assert refused(get(b""), names=True) is NtStatus.INVALID_EA_NAME


def test_names_to_be_read() -> None:
    chain = get(b"AB", 8) + get(b"C")
    assert list(get_eas(memoryview(chain))) == ["AB", "C"]
    assert refused(get(b"AB")[:-1], names=True) is INCONSISTENT
    assert refused(get(b"ABC", 8) + get(b"C"), names=True) is INCONSISTENT


def test_a_list_is_no_longer_than_any_file_could_need() -> None:
    assert LIST_MAX == 128 * 1024
    entry = full(b"A" * 7, bytes(8), 24)
    longest = entry * 5000
    longest += full(b"A", bytes(LIST_MAX - len(longest) - 10))
    assert len(longest) == LIST_MAX
    assert len(read(longest)) == 5001
    assert refused(longest + b"\0") is NtStatus.EA_TOO_LARGE
    names = get(b"AB").ljust(LIST_MAX, b"\0")
    assert list(get_eas(memoryview(names))) == ["AB"]
    assert refused(names + b"\0", names=True) is NtStatus.EA_TOO_LARGE
