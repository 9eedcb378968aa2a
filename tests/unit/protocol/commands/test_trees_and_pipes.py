"""TREE_CONNECT, and named pipes on IPC$: messages, parts of them, readers that wait."""

import os
import struct

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import TreeDisconnect
from usmbd.protocol.commands import tree_connect
from usmbd.protocol.state.fair_share import FairShare
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import FILE_ALL_ACCESS, FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_CREATE, FILE_OPEN
from usmbd.protocol.wire.fscc.set_info import FileEndOfFileInformation
from usmbd.protocol.wire.fsctl import (
    FSCTL_CREATE_OR_GET_OBJECT_ID,
    FSCTL_DFS_GET_REFERRALS,
    FSCTL_PIPE_PEEK,
    FSCTL_PIPE_TRANSCEIVE,
    FSCTL_PIPE_WAIT,
    FSCTL_QUERY_NETWORK_INTERFACE_INFO,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.wire.tree_connect import (
    SMB2_SHARE_TYPE_DISK,
    SMB2_SHARE_TYPE_PIPE,
    SMB2_SHAREFLAG_ACCESS_BASED_DIRECTORY_ENUM,
    SMB2_SHAREFLAG_ENCRYPT_DATA,
    TreeConnectResponse,
)

PIPE_ACCESS = 0x0012019F


# -- trees ----------------------------------------------------------------------------------------


def test_what_a_tree_connect_tells(client: Client) -> None:
    disk = client.connect("DATA").parse(TreeConnectResponse)
    assert (disk.share_type, disk.maximal_access) == (SMB2_SHARE_TYPE_DISK, FILE_ALL_ACCESS)
    assert client.connect("readonly").parse(TreeConnectResponse).maximal_access == 0x001200A9
    sealed = client.connect("sealed").parse(TreeConnectResponse)
    assert sealed.share_flags & SMB2_SHAREFLAG_ENCRYPT_DATA
    assert client.connect("IPC$").parse(TreeConnectResponse).share_type == SMB2_SHARE_TYPE_PIPE


def test_a_share_tells_that_it_hides_what_may_not_be_read(client: Client, engine: Engine) -> None:
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], hide_unreadable=True)
    for share, expected in (("data", True), ("readonly", False), ("IPC$", False)):
        flags = client.connect(share).parse(TreeConnectResponse).share_flags
        assert bool(flags & SMB2_SHAREFLAG_ACCESS_BASED_DIRECTORY_ENUM) is expected, share
    client.connect("data")
    volume = client.session.tree_connect_table[client.tree_id].volume
    assert volume is not None
    assert volume.options.hide_unreadable


def test_trees_have_ids_of_their_own(client: Client, engine: Engine) -> None:
    first = client.tree_id
    client.connect("data")
    assert client.tree_id != first
    assert client.call(Command.TREE_DISCONNECT, requests.EMPTY).status is NtStatus.SUCCESS
    told = TreeDisconnect(session_id=client.session_id, tree_id=client.tree_id)
    assert told in engine.mountd.told
    assert client.create("file") is NtStatus.NETWORK_NAME_DELETED
    client.tree_id = first
    assert client.create("file") is NtStatus.SUCCESS


def root_of(client: Client) -> Volume:
    """Return the volume of the client's present tree."""
    volume = client.session.tree_connect_table[client.tree_id].volume
    assert volume is not None
    return volume


def test_trees_of_one_configuration_share_a_volume(client: Client, engine: Engine) -> None:
    first = root_of(client)
    client.connect("data")
    assert root_of(client) is first
    # Another configuration has a volume of its own, and so has another folder.
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], comment="new")
    client.connect("data")
    assert root_of(client) is not first


def test_a_tree_connect_sees_what_is_at_the_path_now(client: Client, engine: Engine) -> None:
    before = client.tree_id
    client.open("old")
    engine.files.rename(engine.files.with_name("moved"))
    engine.files.mkdir()
    client.connect("data")
    assert client.create("new", disposition=FILE_CREATE) is NtStatus.SUCCESS
    assert [p.name for p in engine.files.iterdir()] == ["new"]
    client.tree_id = before  # nothing is saved any more where nobody finds it
    assert client.create("old") is NtStatus.NETWORK_NAME_DELETED


def test_a_tree_connect_in_another_worker_sees_it_too(client: Client, engine: Engine) -> None:
    engine.files.rename(engine.files.with_name("moved"))
    engine.files.mkdir()
    other = Client(engine, server=engine.another_worker()).ready()
    assert other.create("new", disposition=FILE_CREATE) is NtStatus.SUCCESS
    assert client.create("old") is NtStatus.NETWORK_NAME_DELETED
    another = Client(engine).ready()
    assert another.create("new") is NtStatus.SUCCESS


def test_a_path_of_two_shares_is_in_use_as_long_as_one_of_them(
    client: Client, engine: Engine
) -> None:
    """Else nobody would look at it when another worker finds another folder there."""
    path = engine.shares["data"].path
    engine.shares["second"] = msgspec.structs.replace(engine.shares["data"], name="second")
    volumes = engine.server.volumes
    client.connect("second")
    client.call(Command.TREE_DISCONNECT, requests.EMPTY)
    assert volumes.has(path)
    client.disconnect()
    assert not volumes.has(path)
    assert path not in volumes._paths


def test_thousands_of_sessions_are_looked_through_in_slices(client: Client, engine: Engine) -> None:
    others = [Client(engine).ready() for _ in range(3)]
    engine.files.rename(engine.files.with_name("moved"))
    engine.files.mkdir()
    rotation = Rotation(engine, looks=0)
    engine.run(engine.server.roots.check)
    for _ in range(3):  # the first session is looked at at once
        assert not engine.server.roots._under_way
        rotation.turn()
    while rotation.waiting:
        rotation.turn()
    for one in (client, *others):
        assert not one.session.tree_connect_table


def test_a_folder_that_cannot_be_opened_for_whatever_reason_is_not_counted(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("of ours")

    monkeypatch.setattr(tree_connect, "open_for", fail)
    assert client.connect("data").status is NtStatus.INTERNAL_ERROR
    assert isinstance(engine.mountd.told[-1], TreeDisconnect)


def test_the_root_of_a_removed_folder_is_not_there(client: Client, engine: Engine) -> None:
    held = client.open("", FILE_READ_DATA)
    engine.files.rmdir()
    assert client.create("file") is NtStatus.OBJECT_PATH_NOT_FOUND
    assert client.close(held) is NtStatus.SUCCESS
    engine.files.mkdir()  # and who looks for it finds the next one, by another tree
    assert client.create("", FILE_READ_DATA) is NtStatus.OBJECT_PATH_NOT_FOUND
    assert client.create("", FILE_READ_DATA) is NtStatus.NETWORK_NAME_DELETED
    client.connect("data")
    assert client.create("file") is NtStatus.SUCCESS


@pytest.mark.parametrize("end", ["disconnect", "logoff", "connection"])
def test_the_last_tree_lets_go_of_the_folder(client: Client, engine: Engine, end: str) -> None:
    root = root_of(client).resolver.root
    client.open("file")
    client.connect("data")
    os.fstat(root)
    if end == "connection":
        client.transport.close("gone")
        engine.settle()
    elif end == "logoff":
        client.call(Command.LOGOFF, requests.EMPTY)
    else:
        for tree_id in list(client.session.tree_connect_table):
            os.fstat(root)  # the other tree is still served by it
            client.tree_id = tree_id
            client.call(Command.TREE_DISCONNECT, requests.EMPTY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(root)


def test_a_folder_that_vanishes_while_it_is_opened(client: Client, engine: Engine) -> None:
    engine.threads.held = True
    message_id = client.post(Command.TREE_CONNECT, requests.tree_connect("data"))
    engine.files.rmdir()
    engine.release(engine.threads)
    (reply,) = client.taken(message_id)
    assert reply.status is NtStatus.BAD_NETWORK_NAME
    assert isinstance(engine.mountd.told[-1], TreeDisconnect)


def test_a_tree_connect_asks_again_when_the_files_were_read_meanwhile(
    client: Client, engine: Engine
) -> None:
    engine.threads.held = True
    message_id = client.post(Command.TREE_CONNECT, requests.tree_connect("data"))
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], read_only=True)
    engine.server.generation += 1
    engine.release(engine.threads)
    (reply,) = client.taken(message_id)
    assert reply.parse(TreeConnectResponse).maximal_access == 0x001200A9


def test_a_disconnect_closes_the_opens_of_its_tree(client: Client) -> None:
    first = client.tree_id
    kept = client.open("kept")
    client.connect("data")
    client.open("file", share=0)
    client.call(Command.TREE_DISCONNECT, requests.EMPTY)
    client.tree_id = first
    assert list(client.session.open_table) == [kept[1]]
    assert client.create("file", share=0) is NtStatus.SUCCESS


@pytest.mark.parametrize("share", ["nowhere", "gone"])
def test_shares_that_are_not_there(client: Client, engine: Engine, share: str) -> None:
    assert client.connect(share).status is NtStatus.BAD_NETWORK_NAME
    assert len(client.session.tree_connect_table) == 1
    if share == "gone":  # mountd had counted it
        assert isinstance(engine.mountd.told[-1], TreeDisconnect)


@pytest.mark.parametrize("path", ["", "data", "\\\\server", "\\\\server\\", "\\\\server\\a\\b"])
def test_paths_that_are_none(client: Client, path: str) -> None:
    raw = path.encode("utf-16-le")
    body = requests.tree_connect("")[:4] + b"\x48\0" + len(raw).to_bytes(2, "little") + raw
    reply = client.call(Command.TREE_CONNECT, body)
    assert reply.status in (NtStatus.BAD_NETWORK_NAME, NtStatus.INVALID_PARAMETER)


def test_a_session_that_ends_while_mountd_is_asked(client: Client, engine: Engine) -> None:
    engine.mountd.held = True
    message_id = client.post(Command.TREE_CONNECT, requests.tree_connect("data"))
    client.call(Command.LOGOFF, requests.EMPTY)
    engine.release(engine.mountd)
    (reply,) = client.taken(message_id)
    assert reply.status is NtStatus.USER_SESSION_DELETED
    assert isinstance(engine.mountd.told[-1], TreeDisconnect)


def test_so_many_trees(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usmbd.protocol.commands.tree_connect.MAXIMUM_TREES", 2)
    assert client.connect().status is NtStatus.SUCCESS
    assert client.connect().status is NtStatus.INSUFFICIENT_RESOURCES


def test_one_user_s_trees_leave_as_many_to_others(client: Client, engine: Engine) -> None:
    """In all his sessions; what has ended, or was refused, takes no place."""
    trees = engine.server.trees = FairShare(lambda: 9)
    for _ in range(3):
        assert client.connect().status is NtStatus.SUCCESS
    assert client.call(Command.TREE_DISCONNECT, requests.EMPTY).status is NtStatus.SUCCESS
    assert client.connect("nothing").status is NtStatus.BAD_NETWORK_NAME
    assert trees.used == 2
    another = Client(engine).ready()
    assert another.connect().status is NtStatus.SUCCESS
    assert another.connect().status is NtStatus.INSUFFICIENT_RESOURCES
    assert another.call(Command.LOGOFF, requests.EMPTY).status is NtStatus.SUCCESS
    assert trees.used == 2
    client.disconnect()
    assert trees.used == 0


# -- pipes ----------------------------------------------------------------------------------------


@pytest.fixture
def pipes(engine: Engine) -> Client:
    """Return a client connected to IPC$."""
    return Client(engine).ready(share="IPC$")


@pytest.fixture
def pipe(pipes: Client) -> FileId:
    return pipes.open("echo", PIPE_ACCESS, FILE_OPEN)


def test_unknown_pipes(pipes: Client, engine: Engine) -> None:
    """They take no place of those that there are for pipes."""
    assert pipes.create("nothing", PIPE_ACCESS, FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert pipes.create("", PIPE_ACCESS, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert pipes.create("\\echo", PIPE_ACCESS, FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert engine.server.pipes.used == 0
    assert pipes.create("ECHO", PIPE_ACCESS, FILE_OPEN) is NtStatus.SUCCESS


def test_what_is_written_can_be_read_in_parts(pipes: Client, pipe: FileId) -> None:
    assert pipes.call(Command.WRITE, requests.write(pipe, b"hello")).status is NtStatus.SUCCESS
    part = pipes.call(Command.READ, requests.read(pipe, 3))
    assert (part.status, part.data) == (NtStatus.BUFFER_OVERFLOW, b"hel")
    rest = pipes.call(Command.READ, requests.read(pipe, 3))
    assert (rest.status, rest.data) == (NtStatus.SUCCESS, b"lo")


def test_a_pipe_has_nothing_to_set(pipes: Client, pipe: FileId) -> None:
    body = requests.set_info(pipe, FileEndOfFileInformation, bytes(8))
    assert pipes.call(Command.SET_INFO, body).status is NtStatus.NOT_SUPPORTED


def test_a_transaction(pipes: Client, pipe: FileId) -> None:
    body = requests.ioctl(pipe, FSCTL_PIPE_TRANSCEIVE, b"hello")
    reply = pipes.call(Command.IOCTL, body)
    fixed = reply.parse(IoctlResponse)
    assert reply.message[fixed.output_offset :][: fixed.output_count] == b"HELLO"
    short = pipes.call(
        Command.IOCTL, requests.ioctl(pipe, FSCTL_PIPE_TRANSCEIVE, b"hello", limit=2)
    )
    assert short.status is NtStatus.BUFFER_OVERFLOW
    assert pipes.call(Command.READ, requests.read(pipe, 10)).data == b"LLO"


def peeked(client: Client, pipe: FileId, limit: int) -> tuple[NtStatus, int, bytes]:
    """Return the status, the bytes that wait, and those that came."""
    reply = client.call(Command.IOCTL, requests.ioctl(pipe, FSCTL_PIPE_PEEK, limit=limit))
    fixed = reply.parse(IoctlResponse)
    data = reply.message[fixed.output_offset :][: fixed.output_count]
    state, waiting, messages, length = struct.unpack_from("<IIII", data)
    assert (state, messages, length) == (3, 0, 0)
    return reply.status, waiting, data[16:]


def test_a_look_takes_nothing_and_never_waits(pipes: Client, pipe: FileId) -> None:
    assert peeked(pipes, pipe, 16) == (NtStatus.SUCCESS, 0, b"")
    pipes.call(Command.WRITE, requests.write(pipe, b"hello"))
    for _ in range(2):
        assert peeked(pipes, pipe, 21) == (NtStatus.SUCCESS, 5, b"hello")
        assert peeked(pipes, pipe, 65536) == (NtStatus.SUCCESS, 5, b"hello")
        assert peeked(pipes, pipe, 18) == (NtStatus.BUFFER_OVERFLOW, 5, b"he")
        assert peeked(pipes, pipe, 16) == (NtStatus.BUFFER_OVERFLOW, 5, b"")
    assert pipes.call(Command.READ, requests.read(pipe, 10)).data == b"hello"
    assert peeked(pipes, pipe, 21) == (NtStatus.SUCCESS, 0, b"")
    small = pipes.call(Command.IOCTL, requests.ioctl(pipe, FSCTL_PIPE_PEEK, limit=15))
    assert small.status is NtStatus.INVALID_PARAMETER


def test_a_look_into_a_broken_pipe(pipes: Client, pipe: FileId, engine: Engine) -> None:
    engine.rpc.pipes.clear()
    reply = pipes.call(Command.IOCTL, requests.ioctl(pipe, FSCTL_PIPE_PEEK))
    assert reply.status is NtStatus.PIPE_DISCONNECTED


def test_a_wait_for_a_pipe(pipes: Client, client: Client, engine: Engine) -> None:
    """One that there is has room; no other comes, and none is left open."""

    def wait(name: str, asker: Client = pipes, cut: int = 0) -> NtStatus:
        raw = name.encode("utf-16-le")
        data = struct.pack("<qIBx", 0, len(raw), 0) + raw
        body = requests.ioctl(requests.RELATED, FSCTL_PIPE_WAIT, data[: len(data) - cut])
        return asker.call(Command.IOCTL, body).status

    assert wait("echo") is NtStatus.SUCCESS
    assert wait("ECHO") is NtStatus.SUCCESS
    assert wait("nothing") is NtStatus.OBJECT_NAME_NOT_FOUND
    assert wait("") is NtStatus.OBJECT_NAME_NOT_FOUND
    assert wait("echo", cut=1) is NtStatus.INVALID_PARAMETER
    assert wait("echo", client) is NtStatus.INVALID_DEVICE_REQUEST
    assert engine.rpc.pipes == {}
    assert engine.server.pipes.used == 0


def test_a_reader_of_an_empty_pipe_waits(pipes: Client, pipe: FileId) -> None:
    message_id, _ = pipes.pending(Command.READ, requests.read(pipe, 10))
    pipes.call(Command.WRITE, requests.write(pipe, b"late"))
    (reply,) = pipes.taken(message_id)
    assert reply.data == b"late"


def test_a_waiting_reader_is_cancelled(pipes: Client, pipe: FileId) -> None:
    message_id, async_id = pipes.pending(Command.READ, requests.read(pipe, 10))
    pipes.cancel(message_id, async_id)
    assert pipes.taken(message_id)[0].status is NtStatus.CANCELLED
    pipes.call(Command.WRITE, requests.write(pipe, b"kept"))
    assert pipes.call(Command.READ, requests.read(pipe, 10)).data == b"kept"


def test_a_waiting_reader_learns_of_the_close(pipes: Client, pipe: FileId, engine: Engine) -> None:
    message_id, _ = pipes.pending(Command.READ, requests.read(pipe, 10))
    assert pipes.close(pipe) is NtStatus.SUCCESS
    assert pipes.taken(message_id)[0].status is NtStatus.PIPE_BROKEN
    assert engine.rpc.pipes == {}


def test_a_lost_connection_closes_its_pipes(pipes: Client, pipe: FileId, engine: Engine) -> None:
    pipes.pending(Command.READ, requests.read(pipe, 10))
    pipes.disconnect()
    assert engine.rpc.pipes == {}


def test_a_pipe_that_is_opened_for_a_client_that_went(engine: Engine, pipes: Client) -> None:
    engine.rpc.held = True
    pipes.post(Command.CREATE, requests.create("echo", PIPE_ACCESS, FILE_OPEN))
    pipes.disconnect()
    engine.release(engine.rpc)
    assert engine.rpc.pipes == {}


def test_a_restarted_rpc_process_breaks_its_pipes(
    pipes: Client, pipe: FileId, engine: Engine
) -> None:
    engine.rpc.pipes.clear()
    reply = pipes.call(Command.WRITE, requests.write(pipe, b"x"))
    assert reply.status is NtStatus.PIPE_DISCONNECTED


def test_what_pipes_cannot(pipes: Client, pipe: FileId) -> None:
    for command, body in (
        (Command.LOCK, requests.lock(pipe, (0, 1, 0x12))),
        (Command.QUERY_DIRECTORY, requests.query_directory(pipe, 12)),
        (Command.SET_INFO, requests.set_info(pipe, 20, bytes(8))),
        (Command.IOCTL, requests.ioctl(pipe, FSCTL_CREATE_OR_GET_OBJECT_ID)),
    ):
        status = pipes.call(command, body).status
        assert status in (
            NtStatus.INVALID_DEVICE_REQUEST,
            NtStatus.INVALID_PARAMETER,
            NtStatus.NOT_SUPPORTED,
        )
    assert pipes.call(Command.QUERY_INFO, requests.query_info(pipe, 5)).status is NtStatus.SUCCESS
    assert pipes.call(Command.FLUSH, requests.flush(pipe)).status is NtStatus.SUCCESS


# -- other control codes -----------------------------------------------------------------------


def test_control_codes(client: Client, pipes: Client) -> None:
    file = client.open("file")

    def code(code: int, file_id: FileId = file, **options: int) -> NtStatus:
        return client.call(Command.IOCTL, requests.ioctl(file_id, code, **options)).status

    assert code(FSCTL_DFS_GET_REFERRALS, requests.RELATED) is NtStatus.NOT_FOUND
    assert code(0x00090000) is NtStatus.INVALID_DEVICE_REQUEST
    assert code(0x00090000, requests.RELATED) is NtStatus.FILE_CLOSED
    assert code(FSCTL_PIPE_TRANSCEIVE) is NtStatus.INVALID_DEVICE_REQUEST
    assert code(FSCTL_CREATE_OR_GET_OBJECT_ID) is NtStatus.SUCCESS
    assert code(FSCTL_CREATE_OR_GET_OBJECT_ID, limit=63) is NtStatus.INVALID_PARAMETER
    assert code(FSCTL_CREATE_OR_GET_OBJECT_ID, limit=65537) is NtStatus.INVALID_PARAMETER
    assert code(FSCTL_PIPE_WAIT) is NtStatus.INVALID_PARAMETER
    body = requests.ioctl(requests.RELATED, FSCTL_QUERY_NETWORK_INTERFACE_INFO)
    assert client.call(Command.IOCTL, body).status is NtStatus.SUCCESS
