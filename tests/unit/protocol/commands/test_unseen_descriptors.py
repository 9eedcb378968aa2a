"""Where NT ACLs are stored nobody comes to something new before it has its descriptor."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.notify import ADDED, NAMES, Watcher
from smbengine.server import Engine

from usmbd.protocol.vfs import acl, kernel, name_rights, new_descriptor
from usmbd.protocol.vfs.identity import Identity, as_process, become
from usmbd.protocol.vfs.name_rights import StoredNameRights
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.posix_acl import ACCESS, DEFAULT, PosixAcl
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import (
    FILE_ADD_FILE,
    FILE_ALL_ACCESS,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
)
from usmbd.protocol.wire.change_notify import SMB2_WATCH_TREE
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DIRECTORY_FILE, FILE_OPEN
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import DACL_SECURITY_INFORMATION
from usmbd.protocol.wire.security import (
    ACCESS_ALLOWED_ACE_TYPE,
    ACCESS_DENIED_ACE_TYPE,
    CONTAINER_INHERIT_ACE,
    INHERIT_ONLY_ACE,
    OBJECT_INHERIT_ACE,
    SE_DACL_PRESENT,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import EVERYONE, unix_user
from usmbd.protocol.wire.status import NtStatus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acting as users takes root")

ALICE = Identity(2001, 2001)
HANDED_DOWN = OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE
FILE, FOLDER = 0, FILE_DIRECTORY_FILE
ALL = Ace(ACCESS_ALLOWED_ACE_TYPE, 0, FILE_ALL_ACCESS, EVERYONE)
ONLY_ALICE = Ace(ACCESS_ALLOWED_ACE_TYPE, 0, FILE_ALL_ACCESS, unix_user(ALICE.uid))
NO_FILES = Ace(
    ACCESS_DENIED_ACE_TYPE, CONTAINER_INHERIT_ACE | INHERIT_ONLY_ACE, FILE_ADD_FILE, EVERYONE
)
ALL_BELOW = Ace(ACCESS_ALLOWED_ACE_TYPE, HANDED_DOWN, FILE_ALL_ACCESS, EVERYONE)


@pytest.fixture
def alice(engine: Engine) -> Client:
    """Return a client of a share that stores NT ACLs; others have the same user."""
    share = engine.shares["data"]
    engine.shares["data"] = msgspec.structs.replace(share, acl_xattr=True)
    engine.files.chmod(0o777)
    engine.mountd.identities["alice"] = ALICE
    return Client(engine).ready(user="alice")


def describe(folder: Path, *aces: Ace) -> None:
    """Store a descriptor with these entries for a folder."""
    volume = Volume(str(folder.parent))
    with volume.lookup(folder.name) as node:
        new = SecurityDescriptor(dacl=Acl(aces), control=SE_DACL_PRESENT)
        acl.store(node, acl.from_posix(node).with_parts(new, DACL_SECURITY_INFORMATION))


def watch(monkeypatch: pytest.MonkeyPatch, look: Callable[[], None]) -> None:
    """Have others look after each call that changes a file, or makes one."""

    def looked(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **keywords: Any) -> Any:
            result = call(*args, **keywords)
            look()
            return result

        return made

    for name in ("mkdir", "setxattr", "removexattr", "chmod", "chown"):
        monkeypatch.setattr(os, name, looked(getattr(os, name)))
    monkeypatch.setattr(kernel.How, "open", looked(kernel.How.open))


OWN = (b"SecD", SecurityDescriptor(dacl=Acl((ONLY_ALICE,)), control=SE_DACL_PRESENT).pack())


@pytest.mark.parametrize("contexts", [(), (OWN,)], ids=["inherited", "own"])
@pytest.mark.parametrize("above", [(), (ALL,), (NO_FILES, ALL_BELOW)], ids=len)
@pytest.mark.parametrize(("name", "kind"), [("a", FOLDER), ("a", FILE), ("a:stream", FILE)])
def test_at_no_time_is_there_a_file_without_its_descriptor(
    engine: Engine,
    alice: Client,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: int,
    above: tuple[Ace, ...],
    contexts: tuple[tuple[bytes, bytes], ...],
) -> None:
    if not above and not contexts:
        pytest.skip("nothing is stored")
    if above:
        describe(engine.files, *above)
    seen: list[bool] = []
    folder = os.open(engine.files, os.O_PATH)  # which the user may not reach by its path
    path = Path(kernel.fd_path(folder), "a")

    def look() -> None:
        if path.exists():
            mode = path.stat().st_mode
            seen.append(mode & 0o777 == 0 or "security.NTACL" in os.listxattr(path))

    with monkeypatch.context() as patched:
        watch(patched, look)
        alice.open(name, disposition=FILE_CREATE, options=kind, contexts=contexts)
    become(None)
    assert len(seen) > 3
    assert all(seen)
    assert not path.stat().st_mode & stat.S_ISVTX
    os.close(folder)


def test_what_inherits_nothing_is_made_as_ever(
    engine: Engine, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call more: neither the mode nor a descriptor is written."""
    calls = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "chmod", lambda *args: calls.append(args))
        patched.setattr(acl, "store", lambda *args, **_: calls.append(args))
        alice.open("folder", disposition=FILE_CREATE, options=FOLDER)
        alice.open("folder\\file", disposition=FILE_CREATE)
    become(None)
    assert not calls
    assert (engine.files / "folder").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("kind", [FOLDER, FILE])
@pytest.mark.parametrize("default", [None, PosixAcl(7, 4, 1), PosixAcl(6, 5, 5, {2002: 3})])
@pytest.mark.parametrize("mode", [0o1753, 0o4755, 0o6751])
def test_permissions_are_what_the_kernel_would_have_given(
    engine: Engine, kind: int, default: PosixAcl | None, mode: int
) -> None:
    """Set-gid and a default ACL come from the folder, whose descriptor hands nothing down."""
    for name in ("with", "without"):
        folder = engine.files / name
        folder.mkdir()
        if default is not None:
            os.setxattr(folder, DEFAULT, default.pack())
        os.chown(folder, -1, 2003)
        folder.chmod(0o2777)
    describe(engine.files / "with", ALL)
    volume = Volume(str(engine.files))
    make = volume.create_directory if kind == FOLDER else volume.create_file
    found, umask = [], os.umask(0)  # as a worker's
    for name in ("with", "without"):
        rights = StoredNameRights(ALICE)
        become(ALICE)
        with make(f"{name}/new", mode=mode, rights=rights) as node:
            if rights.birth is not None:
                new_descriptor.give(node, ALICE, None, rights.birth)
        become(None)
        path = engine.files / name / "new"
        attributes = os.listxattr(path)
        acls = [os.getxattr(path, each) for each in (ACCESS, DEFAULT) if each in attributes]
        found.append((path.stat().st_mode, acls, "security.NTACL" in attributes))
    os.umask(umask)
    assert found[0][2]
    assert not found[1][2]
    assert found[0][:2] == found[1][:2]


Made = tuple[Node, StoredNameRights]


@pytest.fixture(params=[0o1000, 0o1700], ids=["root", "a server of another user"])
def half_made(
    engine: Engine, alice: Client, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Made:
    """Return a folder that another worker is making, which nobody may add files to."""
    for module in (new_descriptor, name_rights):
        monkeypatch.setattr(module, "CLOSED", request.param)
    describe(engine.files, NO_FILES, ALL_BELOW)
    return half_make(engine)


def half_make(engine: Engine) -> Made:
    """Make a folder as another worker, which has not given it its descriptor yet."""
    become(None)
    rights, volume = StoredNameRights(ALICE), Volume(str(engine.files))
    become(ALICE)
    node = volume.create_directory("folder", rights=rights)
    become(None)
    return node, rights


def give(half_made: Made) -> None:
    """Let the other worker give the folder its descriptor."""
    node, rights = half_made
    with as_process():
        become(ALICE)
        assert rights.birth is not None
        new_descriptor.give(node, ALICE, None, rights.birth)


@pytest.mark.parametrize(
    ("name", "disposition", "expected"),
    [
        ("folder", FILE_OPEN, NtStatus.SUCCESS),
        ("folder\\file", FILE_CREATE, NtStatus.ACCESS_DENIED),
        ("folder\\file", FILE_OPEN, NtStatus.OBJECT_NAME_NOT_FOUND),
        ("folder\\none\\file", FILE_CREATE, NtStatus.OBJECT_PATH_NOT_FOUND),
    ],
)
def test_who_comes_between_waits_for_the_descriptor(
    engine: Engine,
    alice: Client,
    half_made: Made,
    name: str,
    disposition: int,
    expected: NtStatus,
    request: pytest.FixtureRequest,
) -> None:
    """The same user's other connection, too (smb2.create.mkdir-visible of Samba 4.25)."""
    body = requests.create(name, FILE_READ_ATTRIBUTES, disposition)
    if "NOT_FOUND" in expected.name and half_made[0].last_stat.mode & 0o700:
        pytest.skip("nothing is there whoever may enter")
    message_id, _ = alice.pending(Command.CREATE, body)
    engine.clock.advance(0.005)
    assert not alice.taken(message_id)
    give(half_made)
    engine.clock.advance(0.005)
    engine.settle()
    (reply,) = alice.taken(message_id)
    assert reply.status is expected


def test_who_waits_long_is_refused(engine: Engine, alice: Client, half_made: Made) -> None:
    body = requests.create("folder", FILE_READ_DATA, FILE_OPEN)
    message_id, _ = alice.pending(Command.CREATE, body)
    for _ in range(500):
        engine.clock.advance(0.005)
        engine.settle()
    (reply,) = alice.taken(message_id)
    assert reply.status is NtStatus.SHARING_VIOLATION


def test_what_a_worker_has_left_stays_closed_and_holds_nobody_up(
    alice: Client, half_made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_descriptor, "MAKING_SECONDS", 0.0)
    if not half_made[0].last_stat.mode & 0o700:
        denied = alice.create("folder\\file", FILE_READ_DATA, FILE_CREATE)
        assert denied is NtStatus.ACCESS_DENIED
    assert alice.create("folder", FILE_READ_ATTRIBUTES, FILE_OPEN) is NtStatus.SUCCESS


def test_the_owner_is_let_into_what_a_dead_worker_has_left(
    engine: Engine, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client tries again, and finds its file there; others are not let in."""
    monkeypatch.setattr(new_descriptor, "MAKING_SECONDS", 0.0)
    become(None)
    left = engine.files / "left"
    left.touch()
    os.chown(left, ALICE.uid, ALICE.gid)
    left.chmod(new_descriptor.CLOSED)
    engine.mountd.identities["bob"] = Identity(2002, 2002)
    bob = Client(engine).ready(user="bob")
    assert bob.create("left", FILE_READ_DATA, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert alice.create("left", FILE_READ_DATA, FILE_OPEN) is NtStatus.SUCCESS
    assert bob.create("left", FILE_READ_DATA, FILE_OPEN) is NtStatus.ACCESS_DENIED
    become(None)
    assert stat.S_IMODE(left.stat().st_mode) == 0o600


def test_a_watched_tree_waits_to_see_into_a_new_folder(engine: Engine, alice: Client) -> None:
    """What comes into it before it is watched is told, too."""
    describe(engine.files, NO_FILES, ALL_BELOW)
    watcher = Watcher(alice, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    half_made = half_make(engine)
    assert watcher.all_told() == [(ADDED, "folder")]
    give(half_made)
    become(None)
    (engine.files / "folder" / "first").touch()
    engine.clock.advance(0.005)
    become(None)
    (engine.files / "folder" / "second").touch()
    assert watcher.all_told() == [(ADDED, "folder\\first"), (ADDED, "folder\\second")]
