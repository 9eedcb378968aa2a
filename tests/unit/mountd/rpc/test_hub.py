"""A worker's pipes: opening by name, handles, limits, and a whole call by messages."""

import dataclasses
import struct
from typing import Any

import pytest
import rpc_client as rpc
from impacket.dcerpc.v5 import srvs

from usmbd.mountd.ipc.accounts import AskReadable, AskRights, Rights
from usmbd.mountd.ipc.messages import (
    Failed,
    RpcAsks,
    RpcClose,
    RpcOpen,
    RpcRead,
    RpcStatus,
    RpcTransceive,
    RpcWrite,
    SessionRequest,
    SessionResponse,
)
from usmbd.mountd.ipc.registry import KeyOpened
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig
from usmbd.mountd.rpc import hub as hub_module
from usmbd.mountd.rpc.hub import Hub
from usmbd.mountd.rpc.interfaces import PIPES, winreg
from usmbd.mountd.rpc.outside import Alone, Answered, Denied, Question, Told
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.room import HANDLE_BYTES, Room
from usmbd.mountd.rpc.view import Caller, Snapshot


@pytest.fixture
def hub(snapshot: Snapshot) -> Hub:
    return Hub(PIPES, lambda: snapshot)


@pytest.mark.parametrize("name", ["srvsvc", "SRVSVC"])
def test_known_pipes(hub: Hub, name: str) -> None:
    assert hub.handle(RpcOpen(1, name, "alice")).status == RpcStatus.OK


@pytest.mark.parametrize(
    "name",
    [
        *("", "MsFteWds", "mdssvc", "lsarpcx", "srvsvc\\x", "\\PIPE\\"),
        *("\\srvsvc", "\\PIPE\\wkssvc", "pipe\\srvsvc", "pipe/srvsvc"),
    ],
)
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


class Mountd(Alone):
    """Vouches for alice, by the number of her password or her ticket, and for nobody else."""

    def __init__(self) -> None:
        """Begin with no question."""
        self.asked: list[Question] = []
        self.proofs: list[object] = [7, b"sealed"]
        self.there = True

    def ask(self, message: Question, answered: Answered) -> None:
        """Answer; whoever it is in whose name it is asked may do all."""
        self.asked.append(message)
        if not self.there:
            answered(Failed("mountd is not there"))
        elif isinstance(message, SessionRequest):
            proven = message.credential in self.proofs or message.ticket in self.proofs
            answered(SessionResponse(valid=message.user == "alice" and proven))
        elif isinstance(message, AskRights):
            answered(Rights(administrator=True))
        else:
            answered(KeyOpened(0x20019))

    def names(self) -> list[str]:
        """Return in whose name something was asked, and "?" for each doubt of it; forget all."""
        asked, self.asked = self.asked, []
        names = {SessionRequest: "?"}
        return [names.get(type(one)) or getattr(one, "by", "") or one.user for one in asked]


@pytest.fixture
def mountd() -> Mountd:
    return Mountd()


@pytest.fixture
def asking(snapshot: Snapshot, mountd: Mountd) -> Hub:
    return Hub(PIPES, lambda: snapshot, mountd)


OPEN_MACHINE = rpc.request(2, struct.pack("<II", 0, 0x02000000))
"""OpenLocalMachine."""


def opens_registry(hub: Hub, opened: RpcOpen | None = None) -> bool:
    """Open HKEY_LOCAL_MACHINE, perhaps on a new pipe; tell whether that was granted."""
    if opened is not None:
        assert hub.handle(opened).status == RpcStatus.OK
        syntax = winreg.CALLS.syntax.uuid, winreg.CALLS.syntax.major
        hub.handle(RpcTransceive(1, rpc.bind((0, syntax, [rpc.NDR])), 65536))
    answer = hub.handle(RpcTransceive(1, OPEN_MACHINE, 65536)).data
    return answer[2] == 2 and rpc.stub_of([answer])[-4:] == bytes(4)


def opening_fails(hub: Hub) -> Fault:
    """Open the same; return the fault."""
    return Fault(rpc.fault(hub.handle(RpcTransceive(1, OPEN_MACHINE, 65536)).data))


@pytest.mark.parametrize("proof", [{"credential": 7}, {"ticket": b"sealed"}])
def test_mountd_vouches_for_who_has_logged_in(
    asking: Hub, mountd: Mountd, proof: dict[str, Any]
) -> None:
    """Once a pipe, and again when the users may be others."""
    assert opens_registry(asking, RpcOpen(1, "winreg", "alice", **proof))
    assert mountd.names() == ["?", "alice", "alice"]  # whether she administrates, and the key
    assert opens_registry(asking)
    assert mountd.names() == ["alice"]
    asking.configured()
    assert opens_registry(asking)
    assert mountd.names() == ["?", "alice"]
    mountd.proofs.clear()
    asking.configured()
    assert opening_fails(asking) is Fault.ACCESS_DENIED
    assert mountd.names() == ["?"]
    mountd.there = False  # nobody knows: the client may ask again
    assert opening_fails(asking) is Fault.SERVER_TOO_BUSY


@pytest.mark.parametrize(
    ("user", "proof"), [("alice", {}), ("alice", {"credential": 8}), ("bob", {"credential": 7})]
)
def test_a_worker_names_nobody_else(
    asking: Hub, mountd: Mountd, user: str, proof: dict[str, Any]
) -> None:
    """One that is taken over would name an administrator."""
    assert not opens_registry(asking, RpcOpen(1, "winreg", user, **proof))
    assert mountd.names() == ["?"]


def test_nor_does_it_hear_what_shares_another_may_use(asking: Hub, mountd: Mountd) -> None:
    """By `access based share enum`."""
    for number, proof in enumerate(({}, {"credential": 7}), 1):
        asking.handle(RpcOpen(number, "srvsvc", "alice", **proof))
        told: list[Told] = []
        question = AskReadable(["data"], "alice", False, False, "192.0.2.1")
        asking._vouched[number].ask(question, told.append)
        assert (told == [Denied()]) is not bool(proof)
    assert mountd.names() == ["?", "?", "alice"]


def test_a_worker_is_asked_for_nobody_whom_it_does_not_know(asking: Hub) -> None:
    """He has logged in on the pipe alone."""
    opened(asking, 1, user="alice")
    view, told = asking._views[1], list[Told]()
    view.caller = dataclasses.replace(view.caller, user="bob")
    asking._asked[1].ask(RpcAsks("data", "file", 1), told.append)
    assert told == [Denied()]


@pytest.mark.parametrize(("kind", "name"), [("guest", "nobody"), ("anonymous", "")])
def test_who_has_proved_nothing_has_no_account(
    asking: Hub, mountd: Mountd, kind: str, name: str
) -> None:
    opens_registry(asking, RpcOpen(1, "winreg", "alice", **{kind: True}))
    assert set(mountd.names()) <= {name}


# -- what pipes keep ------------------------------------------------------------------------------


def share_list() -> bytes:
    """Build a call whose answer is longer than it."""
    request = srvs.NetrShareEnum()
    request["ServerName"] = "\\\\nas\x00"
    request["PreferedMaximumLength"] = 0xFFFFFFFF
    request["InfoStruct"]["Level"] = 1
    request["InfoStruct"]["ShareInfo"]["tag"] = 1
    return rpc.request(15, request.getData())


def opened(hub: Hub, pipe: int, **who: Any) -> None:
    """Open srvsvc on a pipe and bind it."""
    assert hub.handle(RpcOpen(pipe, "srvsvc", **who)).status == RpcStatus.OK
    hub.handle(RpcTransceive(pipe, rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), 65536))


def asked(hub: Hub, pipe: int, most: int = 1000) -> int:
    """Ask without reading; return how often that went well."""
    message = share_list()
    for number in range(most):
        if hub.handle(RpcWrite(pipe, message)).status is not RpcStatus.OK:
            return number
    return most


def test_who_reads_nothing_leaves_as_much_to_others(snapshot: Snapshot) -> None:
    """In all pipes of all his sessions and workers; what he has goes with the pipe."""
    room = Room(1 << 16)
    first, second = (Hub(PIPES, lambda: snapshot, room=room) for _ in range(2))
    opened(first, 1, user="alice")
    opened(second, 1, user="alice")
    got = asked(first, 1, 50)
    assert got == 50
    share = room.used
    assert asked(second, 1) < 1000
    assert share <= room.used <= (1 << 15)
    assert second.handle(RpcRead(1, 100)).status == RpcStatus.BROKEN
    opened(second, 2, user="bob")
    assert asked(second, 2, 20) == 20
    first.handle(RpcClose(1))
    second.close()
    assert room.used == 0


def test_who_reads_goes_on(snapshot: Snapshot) -> None:
    room = Room(1 << 14)
    hub = Hub(PIPES, lambda: snapshot, room=room)
    opened(hub, 1, user="alice")
    for _ in range(200):
        assert hub.handle(RpcTransceive(1, share_list(), 65536)).status == RpcStatus.OK
    assert room.used == 0


def test_what_is_begun_counts_and_handles_do(asking: Hub, mountd: Mountd) -> None:
    opened(asking, 1, user="alice")
    asking.handle(RpcWrite(1, share_list()[:-1]))
    assert asking._room.used == len(share_list()) - 1
    asking.handle(RpcClose(1))
    assert opens_registry(asking, RpcOpen(1, "winreg", "alice", credential=7))
    assert opens_registry(asking)
    assert asking._room.used == 2 * HANDLE_BYTES


@pytest.mark.parametrize("kind", ["guest", "anonymous"])
def test_who_has_proved_nothing_counts_by_his_address(snapshot: Snapshot, kind: str) -> None:
    """And all such have a quarter, whatever they call themselves."""
    room = Room(1 << 16)
    hub = Hub(PIPES, lambda: snapshot, room=room)
    for number in range(4):
        where = f"2001:db8::{number}" if number < 2 else f"2001:db8:{number}::1"
        opened(hub, number, user="x", client_address=where, **{kind: True})
    assert asked(hub, 0) < 1000
    assert asked(hub, 1, 5) == 5, "his pipe has ended, and what it kept"
    before = room.used
    assert asked(hub, 2) < 1000
    assert before <= room.used <= 1 << 14
    opened(hub, 9, user="alice")
    assert asked(hub, 9, 50) == 50


@pytest.mark.parametrize("address", ["fe80::1%eth0", "192.0.2.1", "unix", "", "a:b"])
def test_who_comes_from_anywhere_counts_by_that(snapshot: Snapshot, address: str) -> None:
    hub = Hub(PIPES, lambda: snapshot, room=Room(1 << 16))
    opened(hub, 1, user="x", client_address=address, guest=True)
    assert asked(hub, 1, 5) == 5
