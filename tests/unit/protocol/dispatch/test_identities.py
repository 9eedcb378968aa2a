"""Users who are not root: what they make is theirs, what they may not is refused, pinned or not."""

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.dispatch.calls import on_loop
from usmbd.protocol.vfs.identity import Identity, IdentityNeededError, become
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_APPEND_DATA,
    FILE_LIST_DIRECTORY,
    FILE_READ_ATTRIBUTES,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.access import FILE_READ_DATA as READ
from usmbd.protocol.wire.access import FILE_WRITE_DATA as WRITE
from usmbd.protocol.wire.close import SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_OVERWRITE_IF,
    SMB2_OPLOCK_LEVEL_BATCH,
)
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_HIDDEN
from usmbd.protocol.wire.fscc.directory import FileNamesInformation
from usmbd.protocol.wire.fscc.file_info import FileBasicInformation, FileStandardInformation
from usmbd.protocol.wire.fscc.set_info import (
    FileDispositionInformation,
    FileEndOfFileInformation,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import DACL_SECURITY_INFORMATION, SMB2_0_INFO_SECURITY
from usmbd.protocol.wire.security import (
    ACCESS_ALLOWED_ACE_TYPE,
    SE_DACL_PRESENT,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import EVERYONE, unix_user
from usmbd.protocol.wire.status import NtStatus

ALICE = Identity(31001, 31001, (31001, 31005))
BOB = Identity(31002, 31002)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(params=["unpinned", "pinned"])
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Run an engine whose users are not root, on a thread of its own."""
    engine = Engine(tmp_path, apart=True, pinned=request.param == "pinned")
    engine.mountd.identities = {"alice": ALICE, "bob": BOB}
    engine.files.chmod(0o777)
    yield engine
    engine.close()


@pytest.fixture
def bob(engine: Engine, client: Client) -> Client:
    return Client(engine).ready(user="bob")


@pytest.fixture
def secret(engine: Engine) -> Path:
    """Make a file of root's that nobody else may open."""
    return foreign(engine.files / "secret")


def foreign(path: Path, mode: int = 0o600) -> Path:
    path.write_bytes(b"secret")
    path.chmod(mode)
    return path


def owner(path: Path) -> tuple[int, int]:
    facts = path.lstat()
    return facts.st_uid, facts.st_gid


def change(client: Client, file: FileId, level: int, data: bytes) -> NtStatus:
    return client.call(Command.SET_INFO, requests.set_info(file, level, data)).status


def rename(client: Client, file: FileId, name: str, replace: bool = False) -> NtStatus:
    return client.call(Command.SET_INFO, requests.rename(file, name, replace=replace)).status


def test_what_a_user_makes_is_his(client: Client, bob: Client, engine: Engine) -> None:
    """One after the other, so that a forgotten change of the identity is seen."""
    for who, user in ((client, ALICE), (bob, BOB), (client, ALICE)):
        name = f"{user.uid}-{len(list(engine.files.iterdir()))}"
        who.open(f"{name}-dir", options=FILE_DIRECTORY_FILE)
        file = who.open(f"{name}-dir\\file", attributes=FILE_ATTRIBUTE_HIDDEN)
        who.call(Command.WRITE, requests.write(file, b"data"))
        stream = who.open(f"{name}-dir\\file:stream")
        who.call(Command.WRITE, requests.write(stream, b"more"))
        assert who.call(Command.READ, requests.read(stream, 9)).data == b"more"
        directory = engine.files / f"{name}-dir"
        assert owner(directory) == owner(directory / "file") == (user.uid, user.gid)
        assert (directory / "file").read_bytes() == b"data"
        assert os.getxattr(directory / "file", "user.DosStream.stream:$DATA") == b"more\0"


def test_a_compound_is_one_users(client: Client, bob: Client, engine: Engine) -> None:
    bob.open("bobs")
    replies = client.compound(
        (Command.CREATE, requests.create("new")),
        (Command.WRITE, requests.write(requests.RELATED, b"data")),
        (Command.QUERY_INFO, requests.query_info(requests.RELATED, FileStandardInformation)),
        (Command.CLOSE, requests.close(requests.RELATED)),
    )
    assert [reply.status for reply in replies] == [NtStatus.SUCCESS] * 4
    assert owner(engine.files / "new") == (ALICE.uid, ALICE.gid)
    assert (engine.files / "new").read_bytes() == b"data"


@pytest.mark.parametrize("access", [READ, WRITE, READ | WRITE])
@pytest.mark.parametrize("name", ["secret", "secret:stream"])
def test_what_may_not_be_opened(client: Client, secret: Path, access: int, name: str) -> None:
    os.setxattr(secret, "user.DosStream.stream:$DATA", b"x\0")
    assert client.create(name, access, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert client.create("secret", access, FILE_OVERWRITE_IF) is NtStatus.ACCESS_DENIED
    assert secret.read_bytes() == b"secret"


def test_what_may_not_be_entered_or_changed(client: Client, engine: Engine) -> None:
    closed = engine.files / "closed"
    closed.mkdir(mode=0o700)
    foreign(closed / "file", 0o666)
    assert client.create("closed\\file", READ, FILE_OPEN) is NtStatus.ACCESS_DENIED
    closed.chmod(0o755)
    client.open("closed\\file", READ | WRITE, FILE_OPEN)
    for options in (0, FILE_DIRECTORY_FILE):
        status = client.create("closed\\new", READ, FILE_CREATE, options=options)
        assert status is NtStatus.ACCESS_DENIED
    status = client.create("closed\\file", DELETE, FILE_OPEN, options=FILE_DELETE_ON_CLOSE)
    assert status is NtStatus.ACCESS_DENIED
    assert [path.name for path in closed.iterdir()] == ["file"]


def test_supplementary_groups_count(client: Client, bob: Client, secret: Path) -> None:
    os.chown(secret, 0, 31005)
    secret.chmod(0o660)
    file = client.open("secret", READ | WRITE, FILE_OPEN)
    assert client.call(Command.READ, requests.read(file, 9)).data == b"secret"
    assert bob.create("secret", READ, FILE_OPEN) is NtStatus.ACCESS_DENIED


def test_rights_of_an_open_outlive_the_mode(client: Client, engine: Engine) -> None:
    file = client.open("file")
    path = engine.files / "file"
    os.chown(path, 0, 0)
    path.chmod(0o600)
    assert client.call(Command.WRITE, requests.write(file, b"data")).status is NtStatus.SUCCESS
    assert client.call(Command.READ, requests.read(file, 9)).data == b"data"
    assert client.create("file", READ, FILE_OPEN) is NtStatus.ACCESS_DENIED


@pytest.mark.parametrize("end", ["close", "logoff", "tree", "lost"])
@pytest.mark.parametrize("way", ["option", "disposition"])
def test_delete_on_close(client: Client, bob: Client, engine: Engine, end: str, way: str) -> None:
    """The one file may go; the other's directory is not the user's any more, and it stays."""
    kept = engine.files / "kept"
    kept.mkdir()
    kept.chmod(0o777)
    option = FILE_DELETE_ON_CLOSE if way == "option" else 0
    files = [client.open(name, options=option) for name in ("file", "kept\\file")]
    if way == "disposition":
        for file in files:
            assert change(client, file, FileDispositionInformation, b"\1") is NtStatus.SUCCESS
    kept.chmod(0o755)
    bob.open("bobs")  # the thread was another user's in between
    opens = [client.open_of(file) for file in files]
    if end == "close":
        assert [client.close(file) for file in files] == [NtStatus.SUCCESS] * 2
    elif end == "lost":
        client.disconnect()
    else:
        client.call(Command.LOGOFF if end == "logoff" else Command.TREE_DISCONNECT, requests.EMPTY)
    assert not (engine.files / "file").exists()
    assert (kept / "file").exists()
    assert [open_.node.fd for open_ in opens] == [-1, -1]
    assert [engine.store.opens(open_.key) for open_ in opens] == [[], []]
    assert engine.server.closing == 0
    # Nothing is left behind that would keep others from the names.
    assert bob.create("file", READ, FILE_CREATE) is NtStatus.SUCCESS
    assert bob.create("kept\\file", FILE_READ_ATTRIBUTES, FILE_OPEN) is NtStatus.SUCCESS


def test_delete_on_close_of_a_stream(client: Client, engine: Engine) -> None:
    client.open("file")
    stream = client.open("file:stream", options=FILE_DELETE_ON_CLOSE)
    path = engine.files / "file"
    os.chown(path, 0, 0)
    path.chmod(0o644)
    assert any("DosStream" in name for name in os.listxattr(path))
    client.close(stream)
    assert not any("DosStream" in name for name in os.listxattr(path))


def test_renames(client: Client, bob: Client, engine: Engine) -> None:
    closed = engine.files / "closed"
    closed.mkdir(mode=0o755)
    file = client.open("file")
    bob.open("bobs")
    assert rename(client, file, "closed\\file") is NtStatus.ACCESS_DENIED
    assert rename(client, file, "other") is NtStatus.SUCCESS
    assert owner(engine.files / "other") == (ALICE.uid, ALICE.gid)
    assert list(closed.iterdir()) == []


def test_sizes_times_and_attributes(client: Client, bob: Client, engine: Engine) -> None:
    file = client.open("file")
    bob.open("bobs")
    eof = struct.pack("<Q", 100)
    assert change(client, file, FileEndOfFileInformation, eof) is NtStatus.SUCCESS
    basic = struct.pack("<QQQQI4x", 0, 0, 116444736010000000, 0, FILE_ATTRIBUTE_HIDDEN)
    assert change(client, file, FileBasicInformation, basic) is NtStatus.SUCCESS
    facts = (engine.files / "file").stat()
    assert (facts.st_size, facts.st_mtime, facts.st_uid) == (100, 1, ALICE.uid)
    reply = client.call(Command.QUERY_INFO, requests.query_info(file, FileBasicInformation))
    assert struct.unpack_from("<I", reply.data, 32) == (FILE_ATTRIBUTE_HIDDEN,)


def test_attributes_of_a_file_that_may_not_be_read(client: Client, secret: Path) -> None:
    """The kernel refuses the attribute to nobody and to the user: the process reads it."""
    made = client.open("own", attributes=FILE_ATTRIBUTE_HIDDEN)
    client.close(made)
    value = os.getxattr(secret.parent / "own", "user.DOSATTRIB")
    os.setxattr(secret, "user.DOSATTRIB", value)
    file = client.open("secret", FILE_READ_ATTRIBUTES, FILE_OPEN)
    reply = client.call(Command.QUERY_INFO, requests.query_info(file, FileBasicInformation))
    assert struct.unpack_from("<I", reply.data, 32)[0] & FILE_ATTRIBUTE_HIDDEN
    reply = client.call(Command.CLOSE, requests.close(file, SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB))
    assert struct.unpack_from("<I", reply.body, 56)[0] & FILE_ATTRIBUTE_HIDDEN


def test_a_listing_hides_what_its_user_may_not_read(engine: Engine, secret: Path) -> None:
    share = engine.shares["data"]
    engine.shares["data"] = msgspec.structs.replace(share, hide_unreadable=True, create_mask=0o600)
    alice, bob = Client(engine).ready(), Client(engine).ready(user="bob")
    alice.open("alices")
    bob.open("bobs")
    for client, expected in ((alice, {"alices"}), (bob, {"bobs"}), (alice, {"alices"})):
        folder = client.open("", FILE_LIST_DIRECTORY, FILE_OPEN)
        body = requests.query_directory(folder, FileNamesInformation)
        names = listed(client.call(Command.QUERY_DIRECTORY, body).data)
        assert names - {".", ".."} == expected


def listed(data: bytes) -> set[str]:
    """Return the names of a FileNamesInformation listing."""
    names, offset = set(), 0
    while True:
        following, _, length = struct.unpack_from("<III", data, offset)
        names.add(data[offset + 12 : offset + 12 + length].decode("utf-16-le"))
        if not following:
            return names
        offset += following


def test_a_directory_that_may_not_be_listed(client: Client, engine: Engine) -> None:
    (engine.files / "closed").mkdir(mode=0o711)
    assert client.create("closed", FILE_LIST_DIRECTORY, FILE_OPEN) is NtStatus.ACCESS_DENIED


def test_security_descriptors(engine: Engine) -> None:
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], acl_xattr=True)
    alice, bob = Client(engine).ready(), Client(engine).ready(user="bob")
    file = alice.open("file", requests.READ_WRITE_DELETE | 0x000C0000)
    full = Ace(ACCESS_ALLOWED_ACE_TYPE, 0, 0x001F01FF, unix_user(ALICE.uid))
    append = Ace(ACCESS_ALLOWED_ACE_TYPE, 0, FILE_APPEND_DATA, EVERYONE)
    sent = SecurityDescriptor(dacl=Acl((full, append)), control=SE_DACL_PRESENT)
    kind, part = SMB2_0_INFO_SECURITY, DACL_SECURITY_INFORMATION
    body = requests.set_info(file, 0, sent.pack(), kind, part)
    assert alice.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    assert "security.NTACL" in os.listxattr(engine.files / "file")
    # The mode alone would let bob write anywhere in it.
    assert (engine.files / "file").stat().st_mode & 0o777 == 0o622
    assert bob.create("file", FILE_WRITE_DATA, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert bob.create("file", FILE_APPEND_DATA, FILE_OPEN) is NtStatus.SUCCESS
    assert bob.create("file", READ, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert alice.create("file", READ, FILE_OPEN) is NtStatus.SUCCESS
    reply = alice.call(Command.QUERY_INFO, requests.query_info(file, 0, kind, additional=part))
    assert SecurityDescriptor.parse(memoryview(reply.data)).dacl == sent.dacl


def test_a_file_of_another_is_not_linked(bob: Client, engine: Engine) -> None:
    """Whatever fs.protected_hardlinks says: it would keep what its owner deletes."""
    (engine.files / "alices").touch(0o644)
    os.chown(engine.files / "alices", ALICE.uid, ALICE.gid)
    file = bob.open("alices", READ, FILE_OPEN)
    name = "kept".encode("utf-16-le")
    body = requests.set_info(file, 11, struct.pack("<8xQI", 0, len(name)) + name)
    assert bob.call(Command.SET_INFO, body).status is NtStatus.ACCESS_DENIED
    (engine.files / "alices").chmod(0o666)
    assert bob.call(Command.SET_INFO, body).status is NtStatus.SUCCESS


def test_who_waited_for_an_oplock_is_still_himself(
    client: Client, bob: Client, engine: Engine
) -> None:
    file = client.open("file", options=FILE_DELETE_ON_CLOSE, oplock=SMB2_OPLOCK_LEVEL_BATCH)
    (engine.files / "file").chmod(0o666)
    body = requests.create("file", READ | WRITE, FILE_OPEN_IF)
    message_id, _ = bob.pending(Command.CREATE, body)
    client.close(file)
    (reply,) = bob.taken(message_id)
    assert bob.call(Command.WRITE, requests.write(reply.file_id, b"x")).status is NtStatus.SUCCESS
    assert owner(engine.files / "file") == (BOB.uid, BOB.gid)


def test_a_write_takes_privileges_away(client: Client, engine: Engine) -> None:
    """As when a program of the user's writes: neither root's capabilities nor its uid do it."""
    path = engine.files / "program"
    client.close(client.open("program"))  # with FILE_ATTRIBUTE_ARCHIVE, which a WRITE would set
    path.chmod(0o6777)
    # A VFS_CAP_REVISION_2 with CAP_NET_RAW, permitted and effective.
    capability = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    os.setxattr(path, "security.capability", capability)
    assert path.stat().st_mode & 0o7777 == 0o6777
    file = client.open("program", READ | WRITE, FILE_OPEN)
    before = engine.threads.submitted
    assert client.call(Command.WRITE, requests.write(file, b"x")).status is NtStatus.SUCCESS
    assert engine.threads.submitted == before
    assert path.stat().st_mode & 0o7777 == 0o777
    assert "security.capability" not in os.listxattr(path)


def test_the_hot_path_stays_on_the_loop(client: Client, engine: Engine) -> None:
    file = client.open("file")
    before = engine.threads.submitted
    client.call(Command.WRITE, requests.write(file, b"data"))
    assert client.call(Command.READ, requests.read(file, 9)).data == b"data"
    reply = client.call(Command.QUERY_INFO, requests.query_info(file, FileBasicInformation))
    assert reply.status is NtStatus.SUCCESS
    body = requests.close(file, SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB)
    assert client.call(Command.CLOSE, body).status is NtStatus.SUCCESS
    assert engine.threads.submitted == before


def test_the_pinned_thread_is_nobody(client: Client, engine: Engine, secret: Path) -> None:
    """What would run there by mistake is refused, by the kernel or by an exception."""
    if not engine.server.pinned:
        pytest.skip("of pinned engines")
    client.open("file")
    for identity in (None, ALICE, BOB):
        with pytest.raises(IdentityNeededError):
            engine.run(lambda identity=identity: become(identity))
    with pytest.raises(PermissionError):
        engine.run(lambda: os.open(secret, os.O_RDONLY))

    def status() -> str:
        return Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text()

    lines = dict(line.split(":\t", 1) for line in engine.run(status).splitlines())
    assert lines["Uid"].split() == ["0", "0", "0", "65534"]
    assert lines["Groups"].strip() == ""
    effective = int(lines["CapEff"], 16)
    for lost in (0, 1, 2, 3, 4, 24):  # CHOWN, DAC_*, FOWNER, FSETID, SYS_RESOURCE
        assert not effective & 1 << lost
    assert effective & 1 << 10  # NET_BIND_SERVICE: the port of RDMA's listener


def test_a_call_of_no_share_is_made_by_nobody_else(engine: Engine, client: Client) -> None:
    """What a user's request left the thread as does not count; a pinned loop stays as it is."""
    (tree,) = client.session.tree_connect_table.values()
    seen: list[int] = []

    def look() -> None:
        seen.append(fsuid())
        for asked in (tree, None):
            on_loop(engine.server, asked, lambda: seen.append(fsuid()), ())

    engine.run(look)
    pinned = engine.server.pinned
    assert seen[1:] == (seen[:1] * 2 if pinned else [tree.identity.uid, os.geteuid()])


def fsuid() -> int:
    """Return as whom this thread opens files."""
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[4])
    raise AssertionError


def test_a_mistake_is_an_error_of_its_request(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not engine.server.pinned:
        pytest.skip("of pinned engines")
    file = client.open("file")
    monkeypatch.setattr(engine.store, "check_io", lambda *_: become(ALICE))
    reply = client.call(Command.READ, requests.read(file, 1))
    assert reply.status is NtStatus.INTERNAL_ERROR
