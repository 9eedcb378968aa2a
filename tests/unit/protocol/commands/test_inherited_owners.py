"""Whose new files are where they belong to who has their folder (`inherit owner`), as with smbd."""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.quotas import FakeQuotas
from smbengine.server import Engine

from usmbd.mountd.ipc.settings import InheritOwner
from usmbd.protocol.vfs.identity import Identity, as_process
from usmbd.protocol.wire.access import (
    FILE_ALL_ACCESS,
    FILE_READ_ATTRIBUTES,
    READ_CONTROL,
    WRITE_OWNER,
)
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DIRECTORY_FILE, FILE_OPEN
from usmbd.protocol.wire.fscc import fs_info
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import (
    OWNER_SECURITY_INFORMATION,
    SMB2_0_INFO_FILESYSTEM,
    SMB2_0_INFO_SECURITY,
)
from usmbd.protocol.wire.security import SecurityDescriptor
from usmbd.protocol.wire.sid import Sid, unix_group, unix_user
from usmbd.protocol.wire.status import NtStatus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

ALICE, BOB = Identity(31001, 31001), Identity(31002, 31002)
NO, BOTH, UNIX = InheritOwner.NO, InheritOwner.WINDOWS_AND_UNIX, InheritOwner.UNIX_ONLY

Serve = Callable[[InheritOwner, bool], Client]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return what has bob at a share with a folder `drop` of alice's, in which all may write."""
    engines = []

    def start(rule: InheritOwner, acls: bool) -> Client:
        engine = Engine(tmp_path, apart=True)
        engines.append(engine)
        share = msgspec.structs.replace(
            engine.shares["data"], inherit_owner=rule, acl_xattr=acls, create_mask=0o700
        )
        engine.shares["data"] = share
        engine.mountd.identities = {"alice": ALICE, "bob": BOB}
        (engine.files / "drop").mkdir()
        (engine.files / "drop").chmod(0o777)
        os.chown(engine.files / "drop", ALICE.uid, ALICE.gid)
        return Client(engine).ready(user="bob")

    yield start
    for engine in engines:
        engine.close()


def owners(client: Client, name: str) -> tuple[Sid | None, Sid | None]:
    """Return what a client is told of a file's owner and group."""
    file = client.open(name, READ_CONTROL, FILE_OPEN)
    body = requests.query_info(file, 0, SMB2_0_INFO_SECURITY, additional=3)
    told = SecurityDescriptor.parse(memoryview(client.call(Command.QUERY_INFO, body).data))
    return told.owner, told.group


@pytest.mark.parametrize("options", [0, FILE_DIRECTORY_FILE])
@pytest.mark.parametrize(
    ("rule", "acls", "ids", "told"),
    [
        (NO, False, BOB, BOB),
        (NO, True, BOB, BOB),
        (BOTH, False, Identity(ALICE.uid, BOB.gid), Identity(ALICE.uid, BOB.gid)),
        (BOTH, True, ALICE, ALICE),
        (UNIX, False, Identity(ALICE.uid, BOB.gid), Identity(ALICE.uid, BOB.gid)),
        (UNIX, True, Identity(ALICE.uid, BOB.gid), BOB),
    ],
)
def test_whose_a_new_file_is(
    serve: Serve, rule: InheritOwner, acls: bool, ids: Identity, told: Identity, options: int
) -> None:
    bob = serve(rule, acls)
    bob.open("drop\\new", FILE_ALL_ACCESS, FILE_CREATE, options=options)
    found = (bob.engine.files / "drop/new").stat()
    assert (found.st_uid, found.st_gid) == (ids.uid, ids.gid)
    alice = Client(bob.engine).ready(user="alice")
    who = bob if told.uid == BOB.uid else alice
    assert owners(who, "drop\\new") == (unix_user(told.uid), unix_group(told.gid))


@pytest.mark.parametrize("acls", [False, True])
def test_who_made_it_goes_on_with_it(serve: Serve, acls: bool) -> None:
    """His open has the rights that he asked for, streams and attributes with them."""
    bob = serve(BOTH, acls)
    file = bob.open("drop\\new:stream", FILE_ALL_ACCESS, FILE_CREATE)
    assert bob.call(Command.WRITE, requests.write(file, b"data")).status is NtStatus.SUCCESS
    file = bob.open("drop\\data", FILE_ALL_ACCESS, FILE_CREATE)
    assert bob.call(Command.WRITE, requests.write(file, b"data")).status is NtStatus.SUCCESS
    assert (bob.engine.files / "drop/data").read_bytes() == b"data"


def test_the_owner_that_windows_sets_is_none_of_the_system_s(serve: Serve) -> None:
    bob = serve(UNIX, True)
    file = bob.open("drop\\new", FILE_ALL_ACCESS | WRITE_OWNER, FILE_CREATE)
    new = SecurityDescriptor(owner=unix_user(BOB.uid + 1)).pack()
    body = requests.set_info(file, 0, new, SMB2_0_INFO_SECURITY, OWNER_SECURITY_INFORMATION)
    assert bob.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    assert (bob.engine.files / "drop/new").stat().st_uid == ALICE.uid
    assert owners(bob, "drop\\new")[0] == unix_user(BOB.uid + 1)


@pytest.mark.parametrize(("rule", "free"), [(NO, 3), (BOTH, 1), (UNIX, 1)])
def test_the_quota_that_counts_is_his(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, rule: InheritOwner, free: int
) -> None:
    mib, quotas = 1 << 20, FakeQuotas()
    quotas.install(monkeypatch)
    quotas.give(ALICE.uid, 4 * mib, hard=5 * mib)
    quotas.give(BOB.uid, 4 * mib, hard=7 * mib)
    bob = serve(rule, False)
    drop = bob.open("drop", READ_CONTROL, FILE_OPEN)
    level = fs_info.FileFsFullSizeInformation
    body = requests.query_info(drop, level, kind=SMB2_0_INFO_FILESYSTEM)
    told = struct.unpack("<3QII", bob.call(Command.QUERY_INFO, body).data)
    assert told[1] * told[3] * told[4] == free * mib


@pytest.mark.parametrize("rule", [NO, BOTH])
@pytest.mark.parametrize("acls", [False, True])
def test_no_folder_of_others_is_taken_for_a_new_one(
    serve: Serve, rule: InheritOwner, acls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the directory puts another's folder in the place of the one that bob has made."""
    bob = serve(rule, acls)
    drop = bob.engine.files / "drop"
    (drop / "carol").mkdir(0o700)
    os.chown(drop / "carol", BOB.uid + 1, BOB.gid + 1)
    mkdir = os.mkdir

    def swapped(name: bytes, mode: int, *, dir_fd: int) -> None:
        mkdir(name, mode, dir_fd=dir_fd)
        with as_process():
            os.rmdir(name, dir_fd=dir_fd)
            os.rename("carol", name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", swapped)
    body = requests.create(
        "drop\\new", FILE_READ_ATTRIBUTES, FILE_CREATE, options=FILE_DIRECTORY_FILE
    )
    assert bob.call(Command.CREATE, body).status is NtStatus.OBJECT_NAME_COLLISION
    found = (drop / "new").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (BOB.uid + 1, BOB.gid + 1, 0o700)
    assert not os.listxattr(drop / "new")
