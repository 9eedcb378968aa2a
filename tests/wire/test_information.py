"""Queries and settings of attributes, descriptors and folders that lie (rows 28 to 31)."""

import shutil
import struct
import time

import pytest
from smbtest import smb2
from smbtest.raw import Raw
from smbtest.smb2 import create_body, create_context

from .conftest import Connect, Target, refused, survives

# --- extended attributes -----------------------------------------------------------------


def ea_entry(name: bytes, value: bytes, following: int = 0, size: int | None = None) -> bytes:
    """Pack FILE_FULL_EA_INFORMATION."""
    return (
        struct.pack("<IBBH", following, 0, len(name), len(value) if size is None else size)
        + name + b"\0" + value
    )  # fmt: skip


EA_LISTS = (
    b"", b"\0", bytes(8), ea_entry(b"a", b"x", 0xFFFFFFFF), ea_entry(b"a", b"x", 4) + bytes(20),
    ea_entry(b"a", b"x", 1), ea_entry(b"a", b"x", 12), ea_entry(b"a", b"x", 0, 0xFFFF),
    ea_entry(b"", b"x"), ea_entry(b"a" * 255, b"x"), ea_entry(b"a\0b", b"x"),
    ea_entry(b"\xff\xfe", b"x"), ea_entry(b"DOSATTRIB", b"x"), ea_entry(b"DosStream.x:$DATA", b"x"),
    (ea_entry(b"a", b"x" * 2, 12)) * 5000 + ea_entry(b"z", b""),
    ea_entry(b"a", b"v" * 65000), ea_entry(b"a/../b", b"x"),
)  # fmt: skip


def test_ea_chains(client: Raw) -> None:
    """Row 28."""
    file_id = client.open("eas")
    for data in EA_LISTS:
        survives(client, smb2.SET_INFO, smb2.set_body(file_id, 1, 15, data))
    for i in range(40):
        data = ea_entry(b"n%d" % i, b"v" * i)
        survives(client, smb2.SET_INFO, smb2.set_body(file_id, 1, 15, data))
    for size in range(400):
        survives(client, smb2.QUERY_INFO, smb2.query_body(file_id, 1, 15, size))
    for names in (b"\0", b"\xff" * 8, struct.pack("<IB", 0, 255), struct.pack("<IB", 4, 1) + b"a\0",
                  struct.pack("<IB", 0xFFFFFFF8, 1) + b"a\0"):  # fmt: skip
        survives(client, smb2.QUERY_INFO, smb2.query_body(file_id, 1, 15, 4096, names))


# --- security descriptors ----------------------------------------------------------------


def sid(count: int, *parts: int) -> bytes:
    """Pack a SID that says it has `count` sub-authorities."""
    return struct.pack("<BB", 1, count) + b"\0\0\0\0\0\5" + struct.pack(f"<{len(parts)}I", *parts)


def ace(size: int | None = None, trustee: bytes = sid(1, 11)) -> bytes:
    """Pack an ACCESS_ALLOWED_ACE."""
    return (
        struct.pack("<BBHI", 0, 0, 8 + len(trustee) if size is None else size, 0x1F01FF) + trustee
    )


def descriptor(dacl: bytes = b"", owner: bytes = b"", **wrong: int) -> bytes:
    """Pack a self-relative security descriptor."""
    dacl_at = wrong.get("dacl_at", 20 + len(owner) if dacl else 0)
    return (
        struct.pack("<BBHIIII", 1, 0, wrong.get("control", 0x8004),
                    wrong.get("owner_at", 20 if owner else 0), 0, 0, dacl_at)
        + owner + dacl
    )  # fmt: skip


def acl(*aces: bytes, count: int | None = None, size: int | None = None) -> bytes:
    """Pack an ACL."""
    length = 8 + sum(map(len, aces)) if size is None else size
    return struct.pack(
        "<BBHHH", 2, 0, length & 0xFFFF, len(aces) if count is None else count, 0
    ) + b"".join(aces)


DESCRIPTORS = (
    b"", b"\1", bytes(20), b"\xff" * 40, descriptor(owner=sid(0)), descriptor(owner=sid(255, 1)),
    descriptor(owner=sid(15, *range(15))), descriptor(owner=sid(1, 0), owner_at=0xFFFFFFFF),
    descriptor(owner=sid(1, 0), owner_at=4), descriptor(acl(), dacl_at=0xFFFFFFF0),
    descriptor(acl(), dacl_at=1), descriptor(acl(ace(), count=0xFFFF)),
    descriptor(acl(ace(0))), descriptor(acl(ace(4))), descriptor(acl(ace(0xFFFF))),
    descriptor(acl(ace(), size=0)), descriptor(acl(ace(), size=0xFFFF)),
    descriptor(acl(ace(trustee=sid(255, 1)))), descriptor(acl(ace(trustee=sid(0)))),
    descriptor(acl(ace(10, b"\1\1"))), descriptor(acl(*[ace()] * 3000)),
    descriptor(acl(*[ace()] * 3300)), descriptor(acl(ace(trustee=sid(200, *range(200))))),
)  # fmt: skip


@pytest.mark.parametrize("share", ["data", "acls"])
def test_security_descriptors(connect: Connect, share: str) -> None:
    """Row 29: in SET_INFO and in CREATE's SecD, with and without stored ACLs."""
    client = connect().ready(share=share)
    for number, data in enumerate(DESCRIPTORS):
        file_id = client.open(f"sd-{share}-{number}", access=0x1F01FF)
        for parts in (1, 2, 4, 7, 15, 0xFFFFFFFF):
            survives(client, smb2.SET_INFO, smb2.set_body(file_id, 3, 0, data, parts), charge=2)
        survives(client, smb2.QUERY_INFO, smb2.query_body(file_id, 3, 0, 65536, additional=7))
        survives(client, smb2.QUERY_INFO, smb2.query_body(file_id, 3, 0, 1, additional=7))
        client.call(smb2.CLOSE, smb2.close_body(file_id))
        extra = create_context(b"SecD", data)
        name = f"sdc-{share}-{number}"
        answer = client.call(smb2.CREATE, create_body(name, extra=extra), charge=2)
        assert answer.status != smb2.INTERNAL_ERROR
        if answer.status == smb2.SUCCESS:
            client.call(smb2.CLOSE, smb2.close_body(answer.file_id))


# --- information classes -----------------------------------------------------------------


@pytest.mark.parametrize("share", ["data", "IPC$"])
def test_every_information_class(connect: Connect, share: str) -> None:
    """Rows 30 and 28: each class, buffers from none to one too many, on a file and on a pipe."""
    client = connect().ready(share=share)
    file_id = client.open("info" if share == "data" else "srvsvc")
    for kind in (0, 1, 2, 3, 4, 5, 255):
        for level in (*range(72), 255):
            for size in (0, 1, 8, 23, 24, 100, 4096):
                body = smb2.query_body(file_id, kind, level, size)
                assert survives(client, smb2.QUERY_INFO, body) != smb2.PENDING
            if (kind, level) in ((1, 10), (1, 11), (1, 13), (1, 64), (1, 65)):
                continue  # names and deletion have tests of their own
            for data in (b"", b"\xff" * 7, b"\xff" * 8, b"\xff" * 40, bytes(40)):
                survives(client, smb2.SET_INFO, smb2.set_body(file_id, kind, level, data))
        for wrong in ({"offset": 1}, {"offset": 0xFFFF}, {"length": 0xFFFF0000}, {"length": 200}):
            survives(
                client, smb2.QUERY_INFO, smb2.query_body(file_id, kind, 15, 64, b"abc", **wrong)
            )
            survives(client, smb2.SET_INFO, smb2.set_body(file_id, kind, 4, bytes(40), **wrong))


# --- directories --------------------------------------------------------------------------

PATTERNS = (
    "*a" * 120, "?" * 255, "<" * 255, ">" * 255, '"' * 255, '<"' * 127, "*<" * 100 + "x",
    "*?" * 120,
    "<a" * 100, ">*" * 120, "a" * 255, "a" * 256, "*" * 30000, "(a+)+$", "[", "..", ".", "",
)  # fmt: skip


def test_pattern_bombs(client: Raw, target: Target) -> None:
    """Row 31: no pattern takes long, in a folder of long names that nearly match."""
    folder = target.data / "patterns"
    folder.mkdir()
    folder.chmod(0o777)
    for i in range(300):
        (folder / ("a" * 200 + str(i))).touch()
    root = client.open("patterns", disposition=smb2.OPEN, options=1, access=0x120089)
    for pattern in PATTERNS:
        began = time.monotonic()
        body = smb2.directory_body(root, pattern, flags=0x10)
        survives(client, smb2.QUERY_DIRECTORY, body)
        assert time.monotonic() - began < 5, pattern
    for raw_pattern in (b"a", b"\0\xd8", b"\0\0", b"a\0\\\0"):
        survives(client, smb2.QUERY_DIRECTORY, smb2.directory_body(root, raw_pattern, flags=0x10))
    for size in (*range(0, 130, 5), 65536):
        for level in (1, 2, 3, 12, 37, 38, 60, 0, 255):
            body = smb2.directory_body(root, "*", size, level, 0x11)
            survives(client, smb2.QUERY_DIRECTORY, body)
    for wrong in ({"offset": 0}, {"offset": 0xFFFF}, {"length": 0xFFFF}, {"length": 0xFFFE}):
        survives(client, smb2.QUERY_DIRECTORY, smb2.directory_body(root, "*", **wrong))
    file_id = client.open("patterns\\file")
    refused(client, smb2.QUERY_DIRECTORY, smb2.directory_body(file_id))
    client.close()
    shutil.rmtree(folder)
