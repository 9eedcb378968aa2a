"""Whose a new file is where NT ACLs are stored: the share's masks, until somebody sets an ACL."""

import os

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    READ_CONTROL,
    WRITE_DAC,
)
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DIRECTORY_FILE, FILE_OPEN
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import DACL_SECURITY_INFORMATION, SMB2_0_INFO_SECURITY
from usmbd.protocol.wire.security import (
    ACCESS_ALLOWED_ACE_TYPE,
    CONTAINER_INHERIT_ACE,
    OBJECT_INHERIT_ACE,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import Sid, unix_group, unix_user
from usmbd.protocol.wire.status import NtStatus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acting as users takes root")

ALICE, BOB = Identity(2001, 2001), Identity(2002, 2002)
HANDED_DOWN = OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE


@pytest.fixture
def users(engine: Engine) -> tuple[Client, Client]:
    """Return two users' clients of a share that stores NT ACLs."""
    share = engine.shares["data"]
    engine.shares["data"] = msgspec.structs.replace(share, acl_xattr=True, create_mask=0o644)
    engine.files.chmod(0o777)
    engine.mountd.identities.update(alice=ALICE, bob=BOB)
    return Client(engine).ready(user="alice"), Client(engine).ready(user="bob")


def dacl(client: Client, file: FileId) -> tuple[Ace, ...]:
    what = DACL_SECURITY_INFORMATION
    body = requests.query_info(file, 0, SMB2_0_INFO_SECURITY, additional=what)
    found = SecurityDescriptor.parse(memoryview(client.call(Command.QUERY_INFO, body).data))
    assert found.dacl is not None
    return found.dacl.aces


def test_the_masks_hold_where_nobody_has_set_an_acl(
    engine: Engine, users: tuple[Client, Client]
) -> None:
    """As with smbd: nothing is stored, so that a local chmod changes it, too."""
    alice, bob = users
    alice.open("folder", disposition=FILE_CREATE, options=FILE_DIRECTORY_FILE)
    alice.open("folder\\file", disposition=FILE_CREATE)
    assert bob.create("folder\\file", FILE_READ_DATA, FILE_OPEN) is NtStatus.SUCCESS
    assert bob.create("folder\\file", FILE_WRITE_DATA, FILE_OPEN) is NtStatus.ACCESS_DENIED
    become(None)  # the tests' thread has made bob's calls
    for path in (engine.files / "folder", engine.files / "folder/file"):
        assert "security.NTACL" not in os.listxattr(path)
    (engine.files / "folder/file").chmod(0o600)
    assert bob.create("folder\\file", FILE_READ_DATA, FILE_OPEN) is NtStatus.ACCESS_DENIED


def test_an_entry_that_is_added_to_a_folder_is_not_all_that_is_handed_down(
    users: tuple[Client, Client],
) -> None:
    """A client adds to what it is told: with that, new files stay their creators'."""
    alice, _ = users
    access = READ_CONTROL | WRITE_DAC
    folder = alice.open("folder", access, FILE_CREATE, options=FILE_DIRECTORY_FILE)
    more = Ace(ACCESS_ALLOWED_ACE_TYPE, HANDED_DOWN, FILE_ALL_ACCESS, unix_user(BOB.uid))
    new = SecurityDescriptor(dacl=Acl((*dacl(alice, folder), more)), control=4).pack()
    what = DACL_SECURITY_INFORMATION
    body = requests.set_info(folder, 0, new, SMB2_0_INFO_SECURITY, what)
    assert alice.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    alice.open("folder\\file", disposition=FILE_CREATE)
    for user in users:
        for wanted in (FILE_READ_DATA, FILE_WRITE_DATA, DELETE):
            assert user.create("folder\\file", wanted, FILE_OPEN) is NtStatus.SUCCESS


def test_a_descriptor_of_the_creator_is_stored(
    engine: Engine, users: tuple[Client, Client]
) -> None:
    alice, bob = users
    only = Ace(ACCESS_ALLOWED_ACE_TYPE, 0, FILE_ALL_ACCESS, unix_user(ALICE.uid))
    own = SecurityDescriptor(dacl=Acl((only,)), control=4).pack()
    context = (b"SecD", own)
    file = alice.open("file", disposition=FILE_CREATE, contexts=[context])
    assert dacl(alice, file) == (only,)
    assert bob.create("file", FILE_READ_DATA, FILE_OPEN) is NtStatus.ACCESS_DENIED
    become(None)
    assert "security.NTACL" in os.listxattr(engine.files / "file")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"owner": unix_user(ALICE.uid), "group": unix_group(ALICE.gid)}, NtStatus.SUCCESS),
        ({"group": unix_group(2003)}, NtStatus.SUCCESS),
        ({"owner": Sid(5, (21, 9, 9, 9, 1000))}, NtStatus.SUCCESS),
        ({"owner": unix_user(BOB.uid)}, NtStatus.INVALID_OWNER),
        ({"group": unix_group(BOB.gid)}, NtStatus.INVALID_PRIMARY_GROUP),
    ],
)
def test_nobody_makes_a_file_another_s(
    engine: Engine, users: tuple[Client, Client], said: dict[str, Sid], status: NtStatus
) -> None:
    """An owner that comes with CREATE is no other than one that is set later; nothing is left."""
    engine.mountd.identities["alice"] = Identity(ALICE.uid, ALICE.gid, (2003,))
    alice = Client(engine).ready(user="alice")
    context = (b"SecD", SecurityDescriptor(**said).pack())  # type: ignore[arg-type]
    body = requests.create("file", disposition=FILE_CREATE, contexts=[context])
    assert alice.call(Command.CREATE, body).status is status
    become(None)
    path = engine.files / "file"
    assert path.exists() is (status is NtStatus.SUCCESS)
    if path.exists():
        found = path.stat()
        gid = 2003 if said.get("group") == unix_group(2003) else ALICE.gid
        assert (found.st_uid, found.st_gid) == (ALICE.uid, gid)


def test_root_makes_files_for_others(engine: Engine, users: tuple[Client, Client]) -> None:
    """As what restores a backup does, with its owners."""
    del engine.mountd.identities["alice"]  # who is the tests' own user: root
    root = Client(engine).ready(user="alice")
    said = SecurityDescriptor(owner=unix_user(BOB.uid), group=unix_group(BOB.gid)).pack()
    root.open("file", disposition=FILE_CREATE, contexts=[(b"SecD", said)])
    found = (engine.files / "file").stat()
    assert (found.st_uid, found.st_gid) == (BOB.uid, BOB.gid)
