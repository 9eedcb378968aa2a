"""FILE_QUOTA_INFORMATION ([MS-FSCC] 2.4.41): the bytes, and chains that are none."""

import struct

import pytest

from usmbd.protocol.wire.fscc.quota import Quota, build_quotas, parse_quotas, parse_sids
from usmbd.protocol.wire.sid import Sid
from usmbd.protocol.wire.status import NtStatus, SmbError

ALICE = Sid.from_string("S-1-5-21-1-2-3-1000")
BOB = Sid.from_string("S-1-22-1-7")

GOLDEN = bytes.fromhex(
    "48000000 1c000000 0000000000000000 0100000000000000 0200000000000000 ffffffffffffffff"
    "0105000000000005 15000000 01000000 02000000 03000000 e8030000 00000000"
    "00000000 10000000 0000000000000000 0400000000000000 0500000000000000 0600000000000000"
    "0102000000000016 01000000 07000000"
)


def test_entries_are_aligned_to_eight() -> None:
    quotas = [Quota(ALICE, 1, 2, -1), Quota(BOB, 4, 5, 6)]
    assert build_quotas(quotas) == GOLDEN
    assert list(parse_quotas(memoryview(GOLDEN))) == quotas


@pytest.mark.parametrize("length", range(len(GOLDEN)))
def test_a_chain_that_is_cut_is_refused(length: int) -> None:
    with pytest.raises(SmbError) as error:
        list(parse_quotas(memoryview(GOLDEN[:length])))
    assert error.value.status is NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize("link", [1, 4, 8, 39, 44, len(GOLDEN), 0x80, 0x1000, 0xFFFFFFF8])
def test_a_link_that_leads_elsewhere_is_refused(link: int) -> None:
    with pytest.raises(SmbError) as error:
        list(parse_quotas(memoryview(struct.pack("<I", link) + GOLDEN[4:])))
    assert error.value.status is NtStatus.INVALID_PARAMETER


def test_a_list_of_sids() -> None:
    """[MS-FSCC] 2.4.41.1: aligned to four."""
    first = struct.pack("<II", 8 + ALICE.size, ALICE.size) + ALICE.pack()
    chain = first + struct.pack("<II", 0, BOB.size) + BOB.pack()
    assert list(parse_sids(memoryview(chain))) == [ALICE, BOB]
