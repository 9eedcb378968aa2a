"""Who may take a file, and who may not give one away ([MS-FSA] 2.1.5.17)."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.access import (
    FILE_ALL_ACCESS,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    WRITE_DAC,
    WRITE_OWNER,
)
from usmbd.protocol.wire.create import FILE_OPEN, FILE_OPEN_IF
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import (
    DACL_SECURITY_INFORMATION,
    GROUP_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION,
    SMB2_0_INFO_SECURITY,
)
from usmbd.protocol.wire.security import (
    ACCESS_ALLOWED_ACE_TYPE,
    SE_DACL_PRESENT,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import Sid, unix_group, unix_user
from usmbd.protocol.wire.status import NtStatus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

ALICE, BOB = Identity(31001, 31001), Identity(31002, 31002, (31002, 31005))
OTHER = 31006


@pytest.fixture(params=["unpinned", "pinned"])
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Run an engine whose share stores NT ACLs, with a file of alice's."""
    engine = Engine(tmp_path, apart=True, pinned=request.param == "pinned")
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], acl_xattr=True)
    engine.mountd.identities = {"alice": ALICE, "bob": BOB}
    (engine.files / "file").touch(0o640)
    os.chown(engine.files / "file", ALICE.uid, ALICE.gid)
    yield engine
    engine.close()


@pytest.fixture
def bob(engine: Engine) -> Client:
    return Client(engine).ready(user="bob")


def change(client: Client, new: SecurityDescriptor, part: int, access: int) -> NtStatus:
    """Open the file for as much as it takes, and set a part of its descriptor."""
    file = client.open("file", access, FILE_OPEN)
    body = requests.set_info(file, 0, new.pack(), SMB2_0_INFO_SECURITY, part)
    status = client.call(Command.SET_INFO, body).status
    client.call(Command.CLOSE, requests.close(file))
    return status


def give(client: Client, owner: Sid) -> NtStatus:
    return change(client, SecurityDescriptor(owner=owner), OWNER_SECURITY_INFORMATION, WRITE_OWNER)


def give_group(client: Client, group: Sid) -> NtStatus:
    return change(client, SecurityDescriptor(group=group), GROUP_SECURITY_INFORMATION, WRITE_OWNER)


def allow_bob(alice: Client, mask: int) -> None:
    """Let bob do what `mask` says, and alice everything."""
    aces = (
        Ace(ACCESS_ALLOWED_ACE_TYPE, 0, FILE_ALL_ACCESS, unix_user(ALICE.uid)),
        Ace(ACCESS_ALLOWED_ACE_TYPE, 0, mask, unix_user(BOB.uid)),
    )
    new = SecurityDescriptor(dacl=Acl(aces), control=SE_DACL_PRESENT)
    assert change(alice, new, DACL_SECURITY_INFORMATION, WRITE_DAC) is NtStatus.SUCCESS


def owner(engine: Engine) -> tuple[int, int]:
    facts = (engine.files / "file").stat()
    return facts.st_uid, facts.st_gid


def test_who_may_write_the_owner_takes_the_file(
    engine: Engine, client: Client, bob: Client
) -> None:
    """Each still may what the descriptor says, which names them, and not the place."""
    allow_bob(client, WRITE_OWNER | FILE_READ_DATA)
    assert give(bob, unix_user(BOB.uid)) is NtStatus.SUCCESS
    assert owner(engine) == (BOB.uid, ALICE.gid)
    assert bob.create("file", FILE_READ_DATA, FILE_OPEN) is NtStatus.SUCCESS
    assert bob.create("file", FILE_WRITE_DATA, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert client.create("file", FILE_WRITE_DATA, FILE_OPEN) is NtStatus.SUCCESS
    # It is his now, so that he says who may do what.
    assert bob.create("file", WRITE_DAC, FILE_OPEN) is NtStatus.SUCCESS
    assert give_group(bob, unix_group(BOB.groups[1])) is NtStatus.SUCCESS
    assert owner(engine) == (BOB.uid, BOB.groups[1])


def test_the_group_is_taken_without_the_file(engine: Engine, client: Client, bob: Client) -> None:
    allow_bob(client, WRITE_OWNER)
    assert give_group(bob, unix_group(BOB.gid)) is NtStatus.SUCCESS
    assert owner(engine) == (ALICE.uid, BOB.gid)


def test_nobody_gives_a_file_away(engine: Engine, client: Client, bob: Client) -> None:
    """Not to another, nor to another's group; whoever may write the owner is no exception."""
    allow_bob(client, WRITE_OWNER)
    for who in (client, bob):
        for sid in (unix_user(0), unix_user(OTHER)):
            assert give(who, sid) is NtStatus.INVALID_OWNER
        assert give_group(who, unix_group(OTHER)) is NtStatus.INVALID_PRIMARY_GROUP
    assert give(client, unix_user(BOB.uid)) is NtStatus.INVALID_OWNER
    assert owner(engine) == (ALICE.uid, ALICE.gid)


def test_who_may_not_write_the_owner_takes_nothing(
    engine: Engine, client: Client, bob: Client
) -> None:
    allow_bob(client, FILE_ALL_ACCESS & ~WRITE_OWNER)
    assert bob.create("file", WRITE_OWNER, FILE_OPEN) is NtStatus.ACCESS_DENIED
    new, part = SecurityDescriptor(owner=unix_user(BOB.uid)), OWNER_SECURITY_INFORMATION
    assert change(bob, new, part, WRITE_DAC) is NtStatus.ACCESS_DENIED
    assert owner(engine) == (ALICE.uid, ALICE.gid)


def test_where_none_is_stored_it_is_the_owners(engine: Engine) -> None:
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], acl_xattr=False)
    plain = Client(engine).ready()
    assert give(plain, unix_user(BOB.uid)) is NtStatus.INVALID_OWNER
    assert give_group(plain, unix_group(OTHER)) is NtStatus.INVALID_PRIMARY_GROUP
    assert owner(engine) == (ALICE.uid, ALICE.gid)


def test_admin_users_are_kept_from_nothing(engine: Engine) -> None:
    """They are root (smb.conf(5)): a file is theirs to read, to take and to give, as on smbd."""
    del engine.mountd.identities["bob"]  # he is whom the tests run as: root
    alice, root = Client(engine).ready(user="alice"), Client(engine).ready(user="bob")
    (engine.files / "folder").mkdir()
    os.chown(engine.files / "folder", ALICE.uid, ALICE.gid)
    nobody = SecurityDescriptor(dacl=Acl(()), control=SE_DACL_PRESENT)
    for name in ("file", "folder"):
        opened = alice.open(name, WRITE_DAC, FILE_OPEN)
        body = requests.set_info(
            opened, 0, nobody.pack(), SMB2_0_INFO_SECURITY, DACL_SECURITY_INFORMATION
        )
        assert alice.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    for name in ("file", "folder\\new"):
        assert alice.create(name, FILE_ALL_ACCESS, FILE_OPEN_IF) is NtStatus.ACCESS_DENIED
        assert root.create(name, FILE_ALL_ACCESS, FILE_OPEN_IF) is NtStatus.SUCCESS
    assert give(root, unix_user(BOB.uid)) is NtStatus.SUCCESS
    assert owner(engine)[0] == BOB.uid
