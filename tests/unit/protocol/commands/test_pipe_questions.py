"""What a call of DCE/RPC asks of a file: with the rights of the session that has the pipe."""

import os

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import RpcAsks, TreeDisconnect
from usmbd.protocol.commands import security
from usmbd.protocol.wire.create import FILE_OPEN
from usmbd.protocol.wire.fsctl import FSCTL_PIPE_TRANSCEIVE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.security import SE_DACL_PRESENT, Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import EVERYONE, unix_user
from usmbd.protocol.wire.status import NtStatus

OWNER, GROUP, DACL, SACL = 1, 2, 4, 8


@pytest.fixture
def pipes(engine: Engine) -> Client:
    """Return a client that has connected the share of the pipes alone."""
    return Client(engine).ready(share="IPC$")


def told(client: Client, engine: Engine, *asks: RpcAsks) -> list[tuple[NtStatus, bytes]]:
    """Have a call ask; return what it was told, when it was answered by then."""
    pipe = client.open("echo", 0x0012019F, FILE_OPEN)
    engine.rpc.asks, engine.rpc.told = list(asks), []
    reply = client.call(Command.IOCTL, requests.ioctl(pipe, FSCTL_PIPE_TRANSCEIVE, b"hello"))
    fixed = reply.parse(IoctlResponse)
    assert reply.message[fixed.output_offset :][: fixed.output_count] == b"HELLO"
    client.close(pipe)
    return [(NtStatus(each.status), each.descriptor) for each in engine.rpc.told]


def test_a_descriptor_is_told_and_nothing_stays(pipes: Client, engine: Engine) -> None:
    (engine.files / "folder").mkdir()
    (engine.files / "folder" / "file").touch(0o640)
    asked = RpcAsks("DATA", "\\folder\\file", OWNER | DACL)
    ((status, data), (again, _)) = told(pipes, engine, asked, RpcAsks("data", "folder/file", OWNER))
    assert (status, again) == (NtStatus.SUCCESS, NtStatus.SUCCESS)
    descriptor = SecurityDescriptor.parse(memoryview(data))
    assert descriptor.owner == unix_user(os.getuid())
    assert descriptor.group is None
    assert descriptor.dacl is not None
    assert set(pipes.session.tree_connect_table) == {pipes.tree_id}
    assert not pipes.session.open_table
    gone = [each for each in engine.mountd.told if isinstance(each, TreeDisconnect)]
    assert len(gone) == 2


def test_a_descriptor_is_set(pipes: Client, engine: Engine) -> None:
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], acl_xattr=True)
    (engine.files / "file").touch()
    ((_, data),) = told(pipes, engine, RpcAsks("data", "file", DACL))
    descriptor = SecurityDescriptor.parse(memoryview(data))
    assert descriptor.dacl is not None
    ace = Ace(0, 0, 0x001F01FF, EVERYONE)
    changed = SecurityDescriptor(dacl=Acl((ace,)), control=SE_DACL_PRESENT).pack()
    assert told(pipes, engine, RpcAsks("data", "file", DACL, changed)) == [(NtStatus.SUCCESS, b"")]
    ((_, now),) = told(pipes, engine, RpcAsks("data", "file", DACL))
    dacl = SecurityDescriptor.parse(memoryview(now)).dacl
    assert dacl is not None
    assert [each.sid for each in dacl.aces] == [EVERYONE]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (RpcAsks("nothing", "file", DACL), NtStatus.BAD_NETWORK_NAME),
        (RpcAsks("IPC$", "echo", DACL), NtStatus.OBJECT_NAME_NOT_FOUND),
        (RpcAsks("sealed", "file", DACL), NtStatus.ACCESS_DENIED),
        (RpcAsks("data", "other", DACL), NtStatus.OBJECT_NAME_NOT_FOUND),
        (RpcAsks("data", "other\\file", DACL), NtStatus.OBJECT_PATH_NOT_FOUND),
        (RpcAsks("data", "a<b", DACL), NtStatus.OBJECT_NAME_INVALID),
        (RpcAsks("data", "..\\..\\etc", DACL), NtStatus.OBJECT_PATH_SYNTAX_BAD),
        (RpcAsks("data", "file", 0, b"x"), NtStatus.INVALID_PARAMETER),
        (RpcAsks("data", "file", DACL, b"x"), NtStatus.INVALID_SECURITY_DESCR),
        (RpcAsks("readonly", "file", DACL, b"x"), NtStatus.ACCESS_DENIED),
        (RpcAsks("data\\x", "file", DACL), NtStatus.BAD_NETWORK_NAME),
    ],
)
def test_refusals(pipes: Client, engine: Engine, asked: RpcAsks, status: NtStatus) -> None:
    (engine.files / "file").touch()
    assert told(pipes, engine, asked) == [(status, b"")]
    assert set(pipes.session.tree_connect_table) == {pipes.tree_id}


def test_a_read_answers_as_well(pipes: Client, engine: Engine) -> None:
    (engine.files / "file").touch()
    pipe = pipes.open("echo", 0x0012019F, FILE_OPEN)
    pipes.call(Command.WRITE, requests.write(pipe, b"hello"))
    engine.rpc.asks = [RpcAsks("data", "file", DACL)]
    assert pipes.call(Command.READ, requests.read(pipe, 10)).data == b"hello"
    assert [each.status for each in engine.rpc.told] == [0]


def test_whose_session_ends_meanwhile(pipes: Client, engine: Engine) -> None:
    (engine.files / "file").touch()
    pipe = pipes.open("echo", 0x0012019F, FILE_OPEN)
    engine.rpc.asks = [RpcAsks("data", "file", DACL)]
    engine.mountd.held = True
    pipes.post(Command.IOCTL, requests.ioctl(pipe, FSCTL_PIPE_TRANSCEIVE, b"hello"))
    pipes.disconnect()
    engine.release(engine.mountd)
    assert not engine.server.session_table
    assert engine.server.pipes.used == 0


def test_a_client_that_does_not_sign_asks_as_well(pipes: Client, engine: Engine) -> None:
    """A TREE_CONNECT has to be protected ([MS-SMB2] 3.3.5.7); this is none of the client's."""
    (engine.files / "file").touch()
    pipes.signs = False
    ((status, _),) = told(pipes, engine, RpcAsks("data", "file", DACL))
    assert status is NtStatus.SUCCESS
    assert not pipes.lost


def test_a_question_that_fails_is_answered(
    pipes: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The call would keep its pipe for ever."""
    (engine.files / "file").touch()
    monkeypatch.setattr(security, "require_for_query", lambda *_: [][0])
    ((status, _),) = told(pipes, engine, RpcAsks("data", "file", DACL))
    assert status is NtStatus.INTERNAL_ERROR
    assert "what a call asked of a file failed" in caplog.text
    assert set(pipes.session.tree_connect_table) == {pipes.tree_id}
