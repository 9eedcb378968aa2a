"""What a stored NT ACL forbids a user by CREATE, he does not get by rename or link.

The ACL lets everybody add files, which POSIX says by write permission on the folder; that also lets
him add folders, and replace and delete what is there, which the ACL does not.
"""

import os
import struct

import pytest
from smbtest import smb2
from smbtest.raw import Raw
from smbtest.server import ALICE, BOB

from .conftest import Connect, Target

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="without root there is one user")

ALL, READ, ADD_FILE = 0x001F01FF, 0x001200A9, 0x2
RENAME, LINK = 10, 11
DIRECTORY = 1


def ace(mask: int, authority: int, *parts: int) -> bytes:
    """Pack an ACCESS_ALLOWED_ACE."""
    sid = struct.pack("<BB", 1, len(parts)) + authority.to_bytes(6, "big")
    sid += struct.pack(f"<{len(parts)}I", *parts)
    return struct.pack("<BBHI", 0, 0, 8 + len(sid), mask) + sid


def protect(client: Raw, file_id: bytes, mask: int) -> None:
    """Give ALICE everything and everybody `mask`."""
    entries = ace(ALL, 22, 1, 5) + ace(mask, 1, 0)
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(entries), 2, 0) + entries
    data = struct.pack("<BBHIIII", 1, 0, 0x8004, 0, 0, 0, 20) + acl
    body = struct.pack("<HBBIHHI", 33, 3, 0, len(data), 96, 0, 4) + file_id + data
    assert client.call(smb2.SET_INFO, body).status == smb2.SUCCESS


def move(client: Raw, kind: int, file_id: bytes, to: str, replace: bool) -> int:
    """Rename or link: the status."""
    name = to.encode("utf-16-le")
    data = struct.pack("<B7xQI", replace, 0, len(name)) + name
    body = struct.pack("<HBBIHHI", 33, 1, kind, len(data), 96, 0, 0) + file_id + data
    return client.call(smb2.SET_INFO, body).status


def test_a_guarded_folder(connect: Connect, target: Target) -> None:
    alice = connect().ready(share="acls", account=ALICE)
    bob = connect().ready(share="acls", account=BOB)
    folder = alice.open("guarded", ALL, smb2.OPEN_IF, DIRECTORY)
    precious = alice.open("guarded\\precious", ALL)
    alice.call(smb2.WRITE, smb2.write_body(precious, b"alice's"))
    protect(alice, precious, READ)
    protect(alice, folder, READ | ADD_FILE)
    for file_id in (precious, folder):
        alice.call(smb2.CLOSE, struct.pack("<HHI", 24, 0, 0) + file_id)
    place = target.data / "guarded"
    try:
        assert place.stat().st_mode & 0o002, "POSIX alone would let him"
        kept = os.stat(place / "precious").st_ino
        for number, (kind, replace) in enumerate(
            (kind, replace) for kind in (RENAME, LINK) for replace in (False, True)
        ):
            mine = bob.open(f"bobs-{number}", ALL)
            bob.call(smb2.WRITE, smb2.write_body(mine, b"bob's"))
            for name in ("guarded\\precious", "GUARDED\\Precious"):
                status = move(bob, kind, mine, name, replace)
                assert status == (smb2.ACCESS_DENIED if replace else 0xC0000035)
            # What he may: a new name of his own.
            assert move(bob, kind, mine, f"guarded\\new-{number}", replace) == smb2.SUCCESS
        bobs = bob.open("bobs-folder", ALL, smb2.OPEN_IF, DIRECTORY)
        assert move(bob, RENAME, bobs, "guarded\\folder", False) == smb2.ACCESS_DENIED
        looked = bob.call(smb2.CREATE, smb2.create_body("guarded\\precious", 0x80, smb2.OPEN))
        assert move(bob, LINK, looked.file_id, "kept", False) == smb2.ACCESS_DENIED
        assert (place / "precious").read_bytes() == b"alice's"
        assert os.stat(place / "precious").st_ino == kept
        assert sorted(os.listdir(place)) == ["new-0", "new-1", "new-2", "new-3", "precious"]
    finally:
        for client in (alice, bob):
            client.close()
