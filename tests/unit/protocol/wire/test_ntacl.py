"""`security.NTACL` against values that Samba 4.17 wrote."""

import struct

import pytest

from usmbd.protocol.wire.ntacl import (
    HASH_TYPE_SHA256,
    build_ntacl,
    parse_ntacl,
    posix_acl_hash,
)
from usmbd.protocol.wire.security import Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import EVERYONE, unix_group, unix_user
from usmbd.protocol.wire.status import NtStatus, SmbError

# What smbd's acl_xattr stored for O:S-1-22-1-1000 G:S-1-22-2-100
# D:P(A;;FA;;;S-1-22-1-1000)(A;;0x1200a9;;;WD) on a file, and that file's POSIX ACL afterwards.
STORED = bytes.fromhex(
    "04000400000002000400020001001aca388800aeb5d18af6bba869277e29619ca349f4cbf07f03cf8cd4ad50"
    "6e110000000000000000000000000000000000000000000000000000000000000000706f7369785f61636c00"
    "d80f72f59c7add011a58072cae57d940d35b772495f0783b2d55d298ea8a29d1e03ec6b1c66ba92100000000"
    "0000000000000000000000000000000000000000000000000000000001000490b4000000c400000000000000"
    "d4000000010200000000001601000000e8030000010200000000001602000000640000000400340002000000"
    "00001800ff011f00010200000000001601000000e803000000001400a9001200010100000000000100000000"
)
STORED_ACCESS_ACL = bytes.fromhex(
    "0200000001000700ffffffff02000700e803000004000500ffffffff08000500640000001000"
    "0700ffffffff20000500ffffffff"
)
STORED_MODE = 0o100775
# The same descriptor on a directory without a default ACL: only the hash differs.
DIRECTORY_HASH = "01b9b09328186e80fbb4412729eaa7278965e73ec75f03494ca27a8c166c081d"

DESCRIPTOR = SecurityDescriptor(
    owner=unix_user(1000),
    group=unix_group(100),
    dacl=Acl(
        (Ace(0, 0, 0x1F01FF, unix_user(1000)), Ace(0, 0, 0x1200A9, EVERYONE)),
        revision=4,
    ),
    control=0x9004,
)


def stored_hash(*, is_directory: bool = False, mode: int = STORED_MODE) -> bytes:
    return posix_acl_hash(1000, 100, mode, STORED_ACCESS_ACL, None, is_directory=is_directory)


def test_samba_value() -> None:
    ntacl = parse_ntacl(STORED)
    assert ntacl.version == 4
    assert ntacl.hash_type == HASH_TYPE_SHA256
    assert ntacl.description == "posix_acl"
    assert ntacl.time == 134_398_378_442_362_840
    assert ntacl.descriptor == DESCRIPTOR


def test_the_posix_hash_is_sambas() -> None:
    assert parse_ntacl(STORED).posix_acl_hash == stored_hash()
    directory = stored_hash(is_directory=True, mode=0o40775)
    assert directory == bytes.fromhex(DIRECTORY_HASH) + bytes(32)


def test_a_changed_file_has_no_current_acl() -> None:
    ntacl = parse_ntacl(STORED)
    assert ntacl.is_current(stored_hash())
    assert not ntacl.is_current(stored_hash(mode=0o100755))


def test_ours_differs_from_sambas_in_one_hash() -> None:
    built = build_ntacl(DESCRIPTOR, 134_398_378_442_362_840, stored_hash())
    assert len(built) == len(STORED)
    assert built[:14] == STORED[:14]
    assert built[78:] == STORED[78:]


# Made by python3-samba 4.17 (samba.dcerpc.xattr.NTACL), with hashes of counting bytes.
SD_TAIL = (
    "010200000000001601000000e8030000010200000000001602000000e9030000040034000200000000031800"
    "ff011f00010200000000001601000000e80300000100140002000000010100000000000100000000"
)
V1 = "0100010000000200010004901c0000002c000000000000003c000000" + SD_TAIL
V2 = (
    "020002000000020004000200000102030405060708090a0b0c0d0e0f"
    "0100049030000000400000000000000050000000" + SD_TAIL
)
V3 = (
    "03000300000002000400020001"
    "00000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627"
    "28292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f0000"
    "0100049064000000740000000000000084000000" + SD_TAIL
)


@pytest.mark.parametrize(("version", "value"), [(1, V1), (2, V2), (3, V3)])
def test_older_versions(version: int, value: str) -> None:
    ntacl = parse_ntacl(bytes.fromhex(value))
    assert ntacl.version == version
    assert ntacl.descriptor.owner == unix_user(1000)
    assert ntacl.descriptor.dacl is not None
    assert [ace.mask for ace in ntacl.descriptor.dacl.aces] == [0x1F01FF, 2]
    assert ntacl.is_current(b"")


# python3-samba's value for the description "abc", after which the time is aligned to four.
def test_another_description_moves_what_follows() -> None:
    value = bytes.fromhex(
        "040004000000020004000200" + "0100" + "11" * 64 + "61626300" + "0000"
        "0807060504030201" + "22" * 64 + "01000080b0000000c00000000000000000000000"
        "01020000000000052000000020020000010100000000000512000000"
    )
    ntacl = parse_ntacl(value)
    assert ntacl.description == "abc"
    assert ntacl.time == 0x0102030405060708
    assert str(ntacl.descriptor.owner) == "S-1-5-32-544"
    assert not ntacl.is_current(ntacl.posix_acl_hash)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        STORED[:11],
        STORED[:80],
        STORED[:170],
        b"\x05" + STORED[1:],
        b"\x04\0\x03\0" + STORED[4:],
        struct.pack("<HHI", 0, 0, 1) + STORED[8:],
        STORED[:4] + bytes(4) + STORED[8:],
        STORED[:8] + bytes(4) + STORED[12:],
        STORED[:78] + b"\xff" * len(STORED[78:]),
    ],
)
def test_malformed_values(value: bytes) -> None:
    with pytest.raises(SmbError) as caught:
        parse_ntacl(value)
    assert caught.value.status == NtStatus.INVALID_SECURITY_DESCR


def test_a_mode_is_a_posix_acl() -> None:
    explicit = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, bits, 0xFFFFFFFF) for tag, bits in ((1, 6), (4, 4), (0x20, 0))
    )
    from_mode = posix_acl_hash(1, 2, 0o100640, None, None, is_directory=False)
    assert from_mode == posix_acl_hash(1, 2, 0o100640, explicit, None, is_directory=False)


@pytest.mark.parametrize("value", [b"", b"\1\0\0\0", b"\2\0\0\0\1", b"\2\0\0\0" + b"\3" * 8])
def test_malformed_posix_acls(value: bytes) -> None:
    with pytest.raises(ValueError, match="POSIX ACL"):
        posix_acl_hash(1, 2, 0o100640, value, None, is_directory=False)
