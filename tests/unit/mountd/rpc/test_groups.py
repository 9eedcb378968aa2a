"""Association groups: whose handles are good on which pipes."""

import struct
from typing import Any

import pytest
import rpc_client as rpc

from usmbd.mountd.ipc.accounts import Rights
from usmbd.mountd.ipc.messages import (
    LoginResponse,
    LoginStatus,
    RpcClose,
    RpcOpen,
    RpcResponse,
    RpcTransceive,
    SessionRequest,
    SessionResponse,
)
from usmbd.mountd.rpc import hub as hub_module
from usmbd.mountd.rpc.groups import Groups
from usmbd.mountd.rpc.hub import Hub
from usmbd.mountd.rpc.interfaces import PIPES, lsarpc, samr
from usmbd.mountd.rpc.outside import Alone, Answered, Question
from usmbd.mountd.rpc.view import Snapshot

MISMATCH = 0x1C00001A


class Mountd(Alone):
    """Vouches for everybody, of whom nobody administrates."""

    def ask(self, message: Question, answered: Answered) -> None:
        """Answer at once."""
        session = isinstance(message, SessionRequest)
        answered(SessionResponse(valid=True) if session else Rights(administrator=False))


class Worker:
    """A worker's pipes, by their numbers."""

    def __init__(self, snapshot: Snapshot, groups: Groups) -> None:
        self.hub = Hub(PIPES, lambda: snapshot, Mountd(), groups)

    def ask(self, pipe: int, message: bytes) -> bytes:
        """Write a PDU and return the answer."""
        answer = self.hub.handle(RpcTransceive(pipe, message, 65536))
        assert isinstance(answer, RpcResponse)
        return answer.data

    def open(self, pipe: int, name: str, group: int = 0, user: str = "alice", **known: Any) -> int:
        """Open a pipe and bind it in a group; return the group's number, 0 where it is refused."""
        self.hub.handle(RpcOpen(pipe, name, user, **known))
        calls = {"lsarpc": lsarpc.CALLS, "samr": samr.CALLS}[name]
        syntax = calls.syntax.uuid, calls.syntax.major
        message = bytearray(rpc.bind((0, syntax, [rpc.NDR])))
        struct.pack_into("<I", message, 20, group)
        answer = self.ask(pipe, bytes(message))
        return int(struct.unpack_from("<I", answer, 20)[0]) if answer[2] == 12 else 0

    def policy(self, pipe: int) -> bytes:
        """Open LSA's policy."""
        attributes = struct.pack("<6I", 24, 0, 0, 0, 0, 0)
        stub = struct.pack("<I", 0) + attributes + struct.pack("<I", 0x801)
        return rpc.stub_of([self.ask(pipe, rpc.request(44, stub))])[:20]

    def close(self, pipe: int, handle: bytes) -> int:
        """Close a handle; return the fault, 0 for none."""
        answer = self.ask(pipe, rpc.request(0 if pipe < 10 else 1, handle))
        return rpc.fault(answer) if answer[2] == 3 else 0


@pytest.fixture
def groups() -> Groups:
    return Groups()


@pytest.fixture
def worker(snapshot: Snapshot, groups: Groups) -> Worker:
    return Worker(snapshot, groups)


def test_handles_are_good_on_all_pipes_of_a_group(
    worker: Worker, snapshot: Snapshot, groups: Groups
) -> None:
    group = worker.open(1, "lsarpc")
    assert worker.open(2, "lsarpc", group) == group
    other = Worker(snapshot, groups)
    assert other.open(3, "lsarpc", group) == group
    handle = worker.policy(1)
    worker.hub.handle(RpcClose(1))
    assert other.close(3, handle) == 0
    assert worker.close(2, handle) == MISMATCH


def test_other_groups_and_interfaces_have_handles_of_their_own(worker: Worker) -> None:
    group = worker.open(1, "lsarpc")
    assert worker.open(2, "lsarpc") not in (0, group)
    assert worker.open(10, "samr", group) == group
    handle = worker.policy(1)
    assert [worker.close(pipe, handle) for pipe in (2, 10, 1)] == [MISMATCH, MISMATCH, 0]


def test_a_group_that_is_not_there(worker: Worker, groups: Groups) -> None:
    group = worker.open(1, "lsarpc")
    assert worker.open(2, "lsarpc", group ^ 1) == 0
    assert worker.open(3, "lsarpc", group, user="bob") == 0
    for pipe in (1, 2, 3):
        worker.hub.handle(RpcClose(pipe))
    assert len(groups) == 0
    assert worker.open(4, "lsarpc", group) == 0


@pytest.mark.parametrize("known", [{"credential": 7}, {"ticket": b"sealed"}])
def test_a_worker_that_has_not_seen_a_user_gets_none_of_his_handles(
    worker: Worker, snapshot: Snapshot, groups: Groups, known: dict[str, Any]
) -> None:
    """Whatever it says of itself: of a user who is in another worker it knows the name alone."""
    group = worker.open(1, "lsarpc", **known)
    other = Worker(snapshot, groups)
    assert other.open(2, "lsarpc", group) == 0
    assert other.open(3, "lsarpc", group, credential=8) == 0
    assert other.open(4, "lsarpc", group, **known) == group


def test_who_binds_as_another_shares_nothing(worker: Worker) -> None:
    group = worker.open(1, "lsarpc")
    worker.open(2, "lsarpc", group)
    hub_module._became(worker.hub._views[2], LoginResponse(LoginStatus.OK, "root"), bytes(16))
    handle = worker.policy(2)
    assert worker.close(1, handle) == MISMATCH
    assert worker.close(2, handle) == 0
