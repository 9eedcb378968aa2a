"""A worker's pipes: opening by name, handles, limits, and a whole call by messages."""

import dataclasses

import pytest
import rpc_client as rpc
from impacket.dcerpc.v5 import srvs

from usmbd.mountd.ipc.messages import (
    RpcClose,
    RpcOpen,
    RpcRead,
    RpcStatus,
    RpcTransceive,
    RpcWrite,
)
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig
from usmbd.mountd.rpc import hub as hub_module
from usmbd.mountd.rpc.hub import Hub
from usmbd.mountd.rpc.interfaces import PIPES
from usmbd.mountd.rpc.view import Caller, Snapshot


@pytest.fixture
def hub(snapshot: Snapshot) -> Hub:
    return Hub(PIPES, lambda: snapshot)


@pytest.mark.parametrize("name", ["srvsvc", "SRVSVC", "\\srvsvc", "\\PIPE\\wkssvc", "pipe/srvsvc"])
def test_known_pipes(hub: Hub, name: str) -> None:
    assert hub.handle(RpcOpen(1, name, "alice")).status == RpcStatus.OK


@pytest.mark.parametrize("name", ["", "MsFteWds", "mdssvc", "lsarpcx", "srvsvc\\x", "\\PIPE\\"])
def test_unknown_pipes(hub: Hub, name: str) -> None:
    assert hub.handle(RpcOpen(1, name, "alice")).status == RpcStatus.NO_PIPE
    assert hub.handle(RpcRead(1, 100)).status == RpcStatus.BAD_HANDLE


def test_share_list_by_messages(hub: Hub) -> None:
    assert hub.handle(RpcOpen(7, "srvsvc", "alice")).status == RpcStatus.OK
    assert hub.handle(RpcRead(7, 100)).status == RpcStatus.EMPTY
    bind = rpc.bind((0, rpc.SRVSVC, [rpc.NDR]))
    written = hub.handle(RpcWrite(7, bind))
    assert written.status == RpcStatus.OK
    for size in (0, 10, 65536):
        look = hub.handle(RpcRead(7, size, keep=True))
        assert look.waiting == written.waiting
        assert len(look.data) == min(size, written.waiting)
        more = size < written.waiting
        assert look.status == (RpcStatus.MORE_DATA if more else RpcStatus.OK)
    answer = hub.handle(RpcRead(7, 65536))
    assert answer.data == look.data
    assert len(answer.data) == written.waiting
    assert hub.handle(RpcRead(7, 100, keep=True)).status == RpcStatus.EMPTY
    assert rpc.results(answer.data)[0][:2] == (0, 0)
    request = srvs.NetrShareEnum()
    request["ServerName"] = "\\\\nas\x00"
    request["PreferedMaximumLength"] = 0xFFFFFFFF
    request["InfoStruct"]["Level"] = 1
    request["InfoStruct"]["ShareInfo"]["tag"] = 1
    request["InfoStruct"]["ShareInfo"]["Level1"]["Buffer"] = b""
    first = hub.handle(RpcTransceive(7, rpc.request(15, request.getData()), 64))
    assert (first.status, len(first.data)) == (RpcStatus.MORE_DATA, 64)
    rest = hub.handle(RpcRead(7, 65536))
    assert (rest.status, rest.waiting) == (RpcStatus.OK, 0)
    stub = rpc.stub_of([first.data + rest.data])
    shares = srvs.NetrShareEnumResponse(stub)["InfoStruct"]["ShareInfo"]["Level1"]["Buffer"]
    assert [share["shi1_netname"] for share in shares] == ["data\x00", "Büro\x00", "IPC$\x00"]
    assert hub.handle(RpcClose(7)).status == RpcStatus.OK
    assert hub.handle(RpcWrite(7, b"x")).status == RpcStatus.BAD_HANDLE
    assert hub.handle(RpcClose(7)).status == RpcStatus.OK


def test_broken_pipe_stays_until_it_is_closed(hub: Hub) -> None:
    hub.handle(RpcOpen(1, "srvsvc", "alice"))
    hub.handle(RpcWrite(1, b"\xff" * 16))
    assert hub.handle(RpcRead(1, 10)).status == RpcStatus.BROKEN
    assert hub.handle(RpcRead(1, 10, keep=True)).status == RpcStatus.BROKEN
    assert hub.handle(RpcTransceive(1, b"", 10)).status == RpcStatus.BROKEN
    hub.handle(RpcClose(1))
    assert hub.handle(RpcOpen(1, "srvsvc", "alice")).status == RpcStatus.OK


def test_limits(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(hub_module.MAX_PIPES_PER_SESSION):
        assert hub.handle(RpcOpen(number, "srvsvc", "a", session_id=1)).status == RpcStatus.OK
    assert hub.handle(RpcOpen(0, "srvsvc", "a")).status == RpcStatus.ERROR
    assert hub.handle(RpcOpen(900, "srvsvc", "a", session_id=1)).status == RpcStatus.TOO_MANY
    assert hub.handle(RpcOpen(900, "srvsvc", "a", session_id=2)).status == RpcStatus.OK
    hub.handle(RpcClose(0))
    assert hub.handle(RpcOpen(0, "srvsvc", "a", session_id=1)).status == RpcStatus.OK
    monkeypatch.setattr(hub_module, "MAX_PIPES_PER_WORKER", len(hub))
    assert hub.handle(RpcOpen(901, "srvsvc", "a", session_id=2)).status == RpcStatus.TOO_MANY


def test_null_sessions_may_be_kept_out() -> None:
    closed = Snapshot(ServerConfig(restrict_anonymous=2), ())
    hub = Hub(PIPES, lambda: closed)
    assert hub.handle(RpcOpen(1, "srvsvc", "", anonymous=True)).status == RpcStatus.ACCESS_DENIED
    assert hub.handle(RpcOpen(1, "srvsvc", "alice")).status == RpcStatus.OK


def test_a_user_sees_his_own_home_and_no_other(snapshot: Snapshot) -> None:
    def home(user: str) -> ShareConfig | None:
        if user == "nobody":
            return None
        return ShareConfig(name=user, path=f"/home/{user}", browseable=False)

    with_homes = dataclasses.replace(snapshot, home=home)
    names = [share.name for share in with_homes.seen_by(Caller("alice")).shares]
    assert names == ["data", "Büro", "secret", "alice"]
    assert with_homes.seen_by(Caller("alice")).shares[-1].browseable
    # Neither a guest, nor who has none, nor where a section has the name.
    for caller in (Caller("bob", guest=True), Caller(anonymous=True), Caller("nobody")):
        assert with_homes.seen_by(caller) is with_homes
    assert with_homes.seen_by(Caller("DATA")) is with_homes
