"""CREATE: dispositions, rights, share modes between two sessions, deletion, contexts."""

import errno
import os
import stat
from pathlib import Path

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    GENERIC_ALL,
    GENERIC_WRITE,
    MAXIMUM_ALLOWED,
)
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_OPENED,
    FILE_OVERWRITE,
    FILE_OVERWRITE_IF,
    FILE_OVERWRITTEN,
    FILE_SHARE_DELETE,
    FILE_SHARE_READ,
    FILE_SHARE_WRITE,
    FILE_SUPERSEDE,
    FILE_SUPERSEDED,
    CreateResponse,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_ALLOCATION_SIZE,
    SMB2_CREATE_DURABLE_HANDLE_RECONNECT,
    SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST,
    SMB2_CREATE_QUERY_ON_DISK_ID,
    SMB2_CREATE_TIMEWARP_TOKEN,
    parse_contexts,
)
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_READONLY,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

MISSING, COLLISION = NtStatus.OBJECT_NAME_NOT_FOUND, NtStatus.OBJECT_NAME_COLLISION
READ, WRITE = FILE_READ_DATA, FILE_WRITE_DATA
SHARE_R, SHARE_W, SHARE_D = FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SHARE_DELETE


@pytest.fixture
def file(engine: Engine) -> Path:
    path = engine.files / "file"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize(
    ("disposition", "new", "old", "content"),
    [
        (FILE_SUPERSEDE, FILE_CREATED, FILE_SUPERSEDED, b""),
        (FILE_OPEN, MISSING, FILE_OPENED, b"old"),
        (FILE_CREATE, FILE_CREATED, COLLISION, b"old"),
        (FILE_OPEN_IF, FILE_CREATED, FILE_OPENED, b"old"),
        (FILE_OVERWRITE, MISSING, FILE_OVERWRITTEN, b""),
        (FILE_OVERWRITE_IF, FILE_CREATED, FILE_OVERWRITTEN, b""),
        (6, NtStatus.INVALID_PARAMETER, NtStatus.INVALID_PARAMETER, b"old"),
    ],
)
def test_dispositions(
    client: Client, file: Path, disposition: int, new: int, old: int, content: bytes
) -> None:
    for name, expected in (("new", new), ("FILE", old)):
        reply = client.call(Command.CREATE, requests.create(name, disposition=disposition))
        if isinstance(expected, NtStatus):
            assert reply.status is expected
        else:
            created = reply.parse(CreateResponse)
            assert created.create_action == expected
            assert created.end_of_file == (len(content) if name == "FILE" else 0)
    assert file.read_bytes() == content
    assert (file.parent / "new").exists() == (new == FILE_CREATED)


@pytest.mark.parametrize(
    ("name", "options", "status"),
    [
        ("dir", FILE_NON_DIRECTORY_FILE, NtStatus.FILE_IS_A_DIRECTORY),
        ("file", FILE_DIRECTORY_FILE, NtStatus.NOT_A_DIRECTORY),
        ("dir", FILE_DIRECTORY_FILE, NtStatus.SUCCESS),
        ("dir", 0, NtStatus.SUCCESS),
        ("dir", FILE_DIRECTORY_FILE | FILE_NON_DIRECTORY_FILE, NtStatus.INVALID_PARAMETER),
        ("file\\below", 0, NtStatus.OBJECT_PATH_NOT_FOUND),
        ("no\\below", 0, NtStatus.OBJECT_PATH_NOT_FOUND),
        ("..\\file", 0, NtStatus.OBJECT_PATH_SYNTAX_BAD),
        ("\\file", 0, NtStatus.INVALID_PARAMETER),
        ("no/below", 0, NtStatus.OBJECT_PATH_NOT_FOUND),
        ("dir/below", 0, NtStatus.SUCCESS),
        ("a*b", 0, NtStatus.OBJECT_NAME_INVALID),
        ("x" * 256, FILE_OPEN, NtStatus.OBJECT_NAME_INVALID),
    ],
)
def test_names_and_kinds(
    client: Client, file: Path, name: str, options: int, status: NtStatus
) -> None:
    (file.parent / "dir").mkdir()
    assert client.create(name, options=options, disposition=FILE_OPEN_IF) is status


def test_a_directory_is_made(client: Client, engine: Engine) -> None:
    reply = client.call(
        Command.CREATE,
        requests.create("dir", disposition=FILE_CREATE, options=FILE_DIRECTORY_FILE),
    )
    assert reply.parse(CreateResponse).file_attributes & FILE_ATTRIBUTE_DIRECTORY
    assert (engine.files / "dir").is_dir()
    below = client.create("DIR\\file", disposition=FILE_CREATE)
    assert below is NtStatus.SUCCESS
    assert (engine.files / "dir" / "file").exists()


def test_the_root_can_be_opened_but_not_deleted(client: Client) -> None:
    assert client.create("", READ) is NtStatus.SUCCESS
    assert client.create("", DELETE) is NtStatus.ACCESS_DENIED
    assert client.create("", READ, FILE_CREATE) is COLLISION


def test_a_name_may_not_leave_the_share(client: Client, engine: Engine) -> None:
    (engine.files / "link").symlink_to(engine.files.parent)
    status = client.create("link\\new")
    assert status is not NtStatus.SUCCESS
    assert not (engine.files.parent / "new").exists()


# -- rights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("access", [0, 0x00800000, 0x08000000])
def test_access_that_does_not_exist(client: Client, access: int) -> None:
    assert client.create("file", access) is NtStatus.ACCESS_DENIED


def test_a_read_only_share(engine: Engine, file: Path) -> None:
    client = Client(engine).ready(share="readonly")
    assert client.create("file", WRITE, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert client.create("file", DELETE, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert client.create("file", READ, FILE_OVERWRITE) is NtStatus.ACCESS_DENIED
    assert client.create("new", READ) is NtStatus.ACCESS_DENIED
    assert client.create("file", READ, FILE_OPEN) is NtStatus.SUCCESS
    opened = client.open("file", MAXIMUM_ALLOWED, FILE_OPEN)
    granted = client.open_of(opened).granted_access
    assert granted & READ
    assert not granted & (WRITE | FILE_APPEND_DATA | DELETE)
    assert os.listdir(engine.files) == ["file"]


def test_a_file_that_cannot_be_written_after_all(
    client: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that runs, say: as much as there may be is no writing, to write is refused."""
    opened_data = Node.open_data

    def open_data(node: Node, *, read: bool, write: bool) -> None:
        if write:
            raise OSError(errno.ETXTBSY, "it runs")
        opened_data(node, read=read, write=write)

    monkeypatch.setattr(Node, "open_data", open_data)
    opened = client.open("file", MAXIMUM_ALLOWED, FILE_OPEN)
    assert client.call(Command.READ, requests.read(opened, 3)).data == b"old"
    assert client.create("file", WRITE, FILE_OPEN) is NtStatus.SHARING_VIOLATION


def test_what_an_open_was_not_granted_it_may_not(client: Client, file: Path) -> None:
    reader, writer = client.open("file", READ), client.open("file", WRITE)
    read = client.call(Command.READ, requests.read(writer, 3))
    assert read.status is NtStatus.ACCESS_DENIED
    write = client.call(Command.WRITE, requests.write(reader, b"new"))
    assert write.status is NtStatus.ACCESS_DENIED
    assert client.call(Command.READ, requests.read(reader, 3)).data == b"old"


def test_a_read_only_file(client: Client, file: Path) -> None:
    made = client.open("locked", attributes=FILE_ATTRIBUTE_READONLY)
    assert client.call(Command.WRITE, requests.write(made, b"by its creator")).status == 0
    assert client.create("locked", WRITE, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert client.create("locked", READ, FILE_OVERWRITE) is NtStatus.ACCESS_DENIED
    status = client.create("locked", DELETE, FILE_OPEN, options=FILE_DELETE_ON_CLOSE)
    assert status is NtStatus.CANNOT_DELETE
    opened = client.open("locked", MAXIMUM_ALLOWED, FILE_OPEN)
    assert client.open_of(opened).granted_access == 0x1F01B9  # [MS-FSA] 2.1.5.1.2.1


def test_masks_of_the_share_hold(client: Client, engine: Engine) -> None:
    client.open("new")
    assert stat.S_IMODE((engine.files / "new").stat().st_mode) & 0o600 == 0o600


# -- share modes between two sessions -----------------------------------------------------------

VIOLATION, SUCCESS = NtStatus.SHARING_VIOLATION, NtStatus.SUCCESS


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ((READ, SHARE_R), (READ, SHARE_R), SUCCESS),
        ((READ, SHARE_R), (WRITE, SHARE_R | SHARE_W), VIOLATION),
        ((WRITE, SHARE_R | SHARE_W), (READ, SHARE_R), VIOLATION),
        ((WRITE, SHARE_R | SHARE_W), (WRITE, SHARE_R | SHARE_W), SUCCESS),
        ((READ, 0), (READ, SHARE_R), VIOLATION),
        ((READ, SHARE_R), (DELETE, 7), VIOLATION),
        ((DELETE, 7), (READ, SHARE_R), VIOLATION),
        ((DELETE, 7), (READ, SHARE_R | SHARE_D), SUCCESS),
        ((READ, 0), (FILE_READ_ATTRIBUTES, 0), SUCCESS),
        ((FILE_READ_ATTRIBUTES, 0), (FILE_ALL_ACCESS, 0), SUCCESS),
    ],
)
def test_share_modes(
    engine: Engine, client: Client, first: tuple[int, int], second: tuple[int, int], status: int
) -> None:
    other = Client(engine).ready(user="bob")
    held = client.open("file", first[0], share=first[1])
    assert other.create("file", second[0], FILE_OPEN, share=second[1]) is status
    assert client.close(held) is SUCCESS
    assert Client(engine).ready().create("file", first[0], share=7) in (SUCCESS, VIOLATION)


def test_share_modes_hold_across_workers(engine: Engine, client: Client) -> None:
    other = Client(engine, server=engine.another_worker()).ready()
    held = client.open("file", share=0)
    assert other.create("file") is VIOLATION
    client.close(held)
    assert other.create("file") is SUCCESS


def test_a_refused_open_leaves_the_file_alone(engine: Engine, client: Client, file: Path) -> None:
    client.open("file", READ, share=SHARE_R)
    other = Client(engine).ready()
    assert other.create("file", READ, FILE_OVERWRITE_IF) is VIOLATION
    assert file.read_bytes() == b"old"
    assert other.session.open_table == {}


@pytest.mark.parametrize("disposition", [FILE_OVERWRITE, FILE_OVERWRITE_IF, FILE_SUPERSEDE])
def test_who_has_overwritten_a_file_to_read_it_does_not_write(
    engine: Engine, client: Client, file: Path, disposition: int
) -> None:
    """The others have to share writing for it; afterwards it is an open that reads."""
    access = READ | (DELETE if disposition == FILE_SUPERSEDE else 0)
    opened = client.open("file", access, disposition, share=SHARE_R | SHARE_D)
    other = Client(engine, server=engine.another_worker()).ready()
    held = other.open("file", READ, FILE_OPEN, share=SHARE_R | SHARE_D)
    assert client.create("file", access, disposition, share=SHARE_R | SHARE_D) is VIOLATION
    assert other.create("file", WRITE, FILE_OPEN, share=7) is VIOLATION
    client.close(opened)
    other.close(held)
    assert other.create("file", WRITE, FILE_OPEN, share=7) is SUCCESS


# -- delete on close ------------------------------------------------------------------------------


def test_the_file_goes_with_its_last_open(engine: Engine, client: Client, file: Path) -> None:
    other = Client(engine).ready()
    doomed = client.open("file", options=FILE_DELETE_ON_CLOSE)
    held = other.open("file")
    assert client.close(doomed) is SUCCESS
    assert file.exists()
    assert other.create("file") is NtStatus.DELETE_PENDING
    assert other.call(Command.READ, requests.read(held, 3)).data == b"old"
    assert other.close(held) is SUCCESS
    assert not file.exists()
    assert other.create("file", disposition=FILE_CREATE) is SUCCESS


def test_a_lost_connection_deletes_too(client: Client, file: Path) -> None:
    client.open("file", options=FILE_DELETE_ON_CLOSE)
    client.disconnect()
    assert not file.exists()


def test_delete_on_close_needs_the_right(client: Client, file: Path) -> None:
    status = client.create("file", READ, options=FILE_DELETE_ON_CLOSE)
    assert status is NtStatus.INVALID_PARAMETER
    assert file.exists()


def test_only_empty_directories_are_deleted(client: Client, engine: Engine) -> None:
    (engine.files / "dir" / "below").mkdir(parents=True)
    options = FILE_DIRECTORY_FILE | FILE_DELETE_ON_CLOSE
    assert client.close(client.open("dir", options=options)) is SUCCESS
    assert (engine.files / "dir" / "below").exists()
    assert client.close(client.open("dir\\below", options=options)) is SUCCESS
    assert client.close(client.open("dir", options=options)) is SUCCESS
    assert os.listdir(engine.files) == []


def test_a_file_that_became_another_is_not_deleted(client: Client, file: Path) -> None:
    """The name may be another file's by now: somebody on the server renamed it."""
    doomed = client.open("file", options=FILE_DELETE_ON_CLOSE)
    file.rename(file.with_name("moved"))
    file.write_bytes(b"another")
    client.close(doomed)
    assert file.read_bytes() == b"another"


# -- contexts and limits --------------------------------------------------------------------------


def test_contexts_that_ask_are_answered(client: Client, file: Path) -> None:
    asked = [(SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST, b""), (SMB2_CREATE_QUERY_ON_DISK_ID, b"")]
    reply = client.call(Command.CREATE, requests.create("file", contexts=asked))
    created = reply.parse(CreateResponse)
    start = created.create_contexts_offset
    chain = memoryview(reply.message)[start : start + created.create_contexts_length]
    answers = parse_contexts(chain)
    assert set(answers) == {name for name, _ in asked}
    maximal = bytes(answers[SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST])
    assert int.from_bytes(maximal[:4], "little") == NtStatus.SUCCESS
    assert int.from_bytes(maximal[4:], "little") & READ
    disk = bytes(answers[SMB2_CREATE_QUERY_ON_DISK_ID])
    assert int.from_bytes(disk[:8], "little") == file.stat().st_ino


@pytest.mark.parametrize(
    ("context", "status"),
    [
        ((SMB2_CREATE_TIMEWARP_TOKEN, (1 << 60).to_bytes(8, "little")), MISSING),
        ((SMB2_CREATE_DURABLE_HANDLE_RECONNECT, bytes(16)), MISSING),
        ((SMB2_CREATE_ALLOCATION_SIZE, b"\0" * 7), NtStatus.INVALID_PARAMETER),
        ((b"what", b"ever"), SUCCESS),
    ],
)
def test_contexts_that_cannot_be(
    client: Client, context: tuple[bytes, bytes], status: NtStatus
) -> None:
    assert client.create("file", contexts=[context]) is status
    if status is not SUCCESS:
        assert client.session.open_table == {}


def test_an_allocation_size_keeps_the_file_empty(client: Client, engine: Engine) -> None:
    size = (1 << 20).to_bytes(8, "little")
    client.open("file", contexts=[(SMB2_CREATE_ALLOCATION_SIZE, size)])
    assert (engine.files / "file").stat().st_size == 0


def test_so_many_opens_of_a_session(tmp_path: Path) -> None:
    engine = Engine(tmp_path, max_open_files=2)
    try:
        client = Client(engine).ready()
        held = client.open("one")
        client.open("two")
        assert client.create("three") is NtStatus.INSUFFICIENT_RESOURCES
        client.close(held)
        assert client.create("three") is SUCCESS
    finally:
        engine.close()


# -- what is asked for is done, or refused ---------------------------------------------------------


@pytest.mark.parametrize("bit", range(32))
def test_each_create_option_alone(client: Client, file: Path, bit: int) -> None:
    """[MS-SMB2] 2.2.13: what smbtorture's create.gentest expects of Windows."""
    option = 1 << bit
    reply = client.call(
        Command.CREATE, requests.create("file", 0x02000000, FILE_OPEN, options=option)
    )
    if option == FILE_DIRECTORY_FILE:
        expected = NtStatus.NOT_A_DIRECTORY
    elif option & 0x00102080:
        expected = NtStatus.NOT_SUPPORTED
    elif option & 0xFF000000:
        expected = NtStatus.INVALID_PARAMETER
    elif option == 0x00001000:
        expected = reply.status  # FILE_DELETE_ON_CLOSE has tests of its own
    else:
        expected = NtStatus.SUCCESS
    assert reply.status is expected


@pytest.mark.parametrize("attribute", [0x200, 0x4000])
def test_what_a_file_is_not_by_its_creation(client: Client, attribute: int) -> None:
    """SPARSE_FILE and ENCRYPTED are told of a file that is so, whatever was asked."""
    created = client.call(Command.CREATE, requests.create("new", attributes=attribute))
    assert created.parse(CreateResponse).file_attributes == 0x20  # FILE_ATTRIBUTE_ARCHIVE


def test_no_buffers_and_appending_exclude_each_other(client: Client, file: Path) -> None:
    unbuffered = 0x00000008  # FILE_NO_INTERMEDIATE_BUFFERING, [MS-FSA] 2.1.5.1
    assert client.create("file", 0x4, options=unbuffered) is NtStatus.INVALID_PARAMETER
    assert client.create("file", 0x2, options=unbuffered) is NtStatus.SUCCESS


def test_the_allocation_that_is_asked_for_is_the_one_that_is_told(client: Client) -> None:
    context = b"AlSi", (0x100000).to_bytes(8, "little")
    created = client.call(Command.CREATE, requests.create("new", contexts=[context]))
    assert created.parse(CreateResponse).allocation_size == 0x100000
    query = requests.query_info(created.file_id, 5)  # FileStandardInformation
    assert client.call(Command.QUERY_INFO, query).data[:8] == context[1]


@pytest.mark.parametrize(
    ("mask", "force", "mode"),
    [
        (0o2755, 0o2755, 0o2755),
        (0o3750, 0o3750, 0o3750),
        (0o755, 0o2000, 0o2755),
        (0o2755, 0, 0o755),
    ],
)
def test_new_directories_have_the_special_bits_of_the_share(
    tmp_path: Path, mask: int, force: int, mode: int
) -> None:
    engine = Engine(tmp_path)
    engine.shares["data"] = msgspec.structs.replace(
        engine.shares["data"], directory_mask=mask, force_directory_mode=force
    )
    client = Client(engine).ready()
    client.open("dir", options=FILE_DIRECTORY_FILE)
    assert (engine.files / "dir").stat().st_mode & 0o7777 == mode
    engine.close()


@pytest.mark.parametrize("access", [GENERIC_ALL, GENERIC_WRITE, MAXIMUM_ALLOWED, FILE_WRITE_DATA])
@pytest.mark.parametrize("name", ["new", "old"])
def test_deletion_at_the_close_takes_the_right_by_its_name(
    client: Client, engine: Engine, access: int, name: str
) -> None:
    """As by Windows' NtCreateFile and smbd, before anything is made."""
    (engine.files / "old").touch()
    body = requests.create(name, access, FILE_OPEN_IF, options=FILE_DELETE_ON_CLOSE)
    assert client.call(Command.CREATE, body).status is NtStatus.INVALID_PARAMETER
    assert [path.name for path in engine.files.iterdir()] == ["old"]


@pytest.mark.parametrize("disposition", [FILE_SUPERSEDE, FILE_OVERWRITE, FILE_OVERWRITE_IF])
def test_what_is_hidden_by_its_name_alone_is_overwritten(
    client: Client, engine: Engine, disposition: int
) -> None:
    """`echo x > .profile` on a mount, smbclient's `put`: they know of no attributes."""
    for name in (".profile", "plain"):
        (engine.files / name).write_bytes(b"data")
        created = client.call(Command.CREATE, requests.create(name, disposition=disposition))
        assert created.status is NtStatus.SUCCESS, name
        client.close(created.file_id)
        assert (engine.files / name).read_bytes() == b""
    body = requests.create("hidden", attributes=FILE_ATTRIBUTE_HIDDEN)
    hidden = client.call(Command.CREATE, body).file_id
    client.close(hidden)
    refused = client.call(Command.CREATE, requests.create("hidden", disposition=disposition))
    assert refused.status is NtStatus.ACCESS_DENIED


@pytest.mark.parametrize("options", [0, FILE_DIRECTORY_FILE])
def test_what_is_made_is_looked_at_twice(
    client: Client, monkeypatch: pytest.MonkeyPatch, options: int
) -> None:
    """When it is there, and when all of it is done; its directory once."""
    looks: list[str] = []
    statx_fd, fstat = kernel.statx_fd, os.fstat
    monkeypatch.setattr(kernel, "statx_fd", lambda fd: looks.append("statx") or statx_fd(fd))
    monkeypatch.setattr(os, "fstat", lambda fd: looks.append("fstat") or fstat(fd))
    client.create("new", disposition=FILE_CREATE, options=options)
    assert looks == ["statx"] * 3
