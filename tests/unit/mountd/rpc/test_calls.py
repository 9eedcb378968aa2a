"""How calls are declared, what they answer, and what asks mountd before it answers."""

import struct
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import rpc_client as rpc

from usmbd.mountd.ipc.accounts import AskRights, DirectoryRequest, DirectoryResponse, Rights
from usmbd.mountd.ipc.messages import (
    Failed,
    RpcClose,
    RpcOpen,
    RpcRead,
    RpcResponse,
    RpcStatus,
    RpcTransceive,
    RpcWrite,
    SessionRequest,
    SessionResponse,
)
from usmbd.mountd.rpc import handles, outside
from usmbd.mountd.rpc.calls import Asking, Calls, Status
from usmbd.mountd.rpc.endpoint import CallError, Encoding, Pipe
from usmbd.mountd.rpc.handles import NO_HANDLE, Handles
from usmbd.mountd.rpc.hub import Hub
from usmbd.mountd.rpc.ndr.types import U32, Handle, U32Pointer, WideStringPointer
from usmbd.mountd.rpc.outside import Pace
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import Snapshot, View

PLAIN = Encoding(False, "<")
CALLS = Calls(rpc.SRVSVC[0], 3)


@CALLS.call(1)
def add(view: View, first: U32, second: U32) -> tuple[U32, U32Pointer]:
    """Answer a sum, or a status with values, or one with nothing."""
    if first == 100:
        raise Status(5)
    if first == 200:
        raise Status(6, 7, 8)
    return first + second, None


@CALLS.call(2)
def ask(view: View, user: WideStringPointer) -> Asking[U32]:
    """Answer what mountd says."""
    answer = yield AskRights(user or "")
    assert isinstance(answer, Rights)
    if user == "second":
        answer = yield AskRights("again")
    if user == "status":
        raise Status(9)
    return 40 + answer.administrator


@CALLS.call(3)
def nothing(view: View) -> None:
    """Answer that it was done."""


@CALLS.call(4)
def open_handle(view: View) -> Handle:
    """Open a handle."""
    return view.handles.add("it")


@CALLS.call(5)
def asks_nothing(view: View, number: U32) -> Asking[U32]:
    """Answer at once, although it could ask."""
    if number == 0:
        yield AskRights("")
    return number


class Mountd:
    """Answers when it is told to: what is around a pipe (`Outside`)."""

    def __init__(self) -> None:
        self.asked: list[tuple[DirectoryRequest, Callable[[DirectoryResponse], None]]] = []
        self.turns: list[tuple[float, Callable[[], None]]] = []
        self.seconds = 0.0

    def ask(self, message: DirectoryRequest, answered: Callable[[DirectoryResponse], None]) -> None:
        """Keep a question; nobody doubts who it is that asks."""
        if isinstance(message, SessionRequest):
            answered(SessionResponse(valid=True))
        else:
            self.asked.append((message, answered))

    def wait(self) -> float:
        """Tell the seconds that the test wants."""
        return self.seconds

    def later(self, seconds: float, run: Callable[[], None]) -> None:
        """Keep what is to run."""
        self.turns.append((seconds, run))

    def answer(self, value: DirectoryResponse) -> DirectoryRequest:
        """Answer the eldest question; return it."""
        message, answered = self.asked.pop(0)
        answered(value)
        return message


@pytest.mark.parametrize(
    ("numbers", "answer"),
    [((3, 4), (7, 0, 0)), ((100, 0), (0, 0, 5)), ((200, 0), (7, 0x20000, 8, 6))],
)
def test_values_and_statuses(view: View, numbers: tuple[int, int], answer: tuple[int, ...]) -> None:
    stub = CALLS.bind(view).calls[1](struct.pack("<2I", *numbers), PLAIN)
    assert stub == struct.pack(f"<{len(answer)}I", *answer)


def test_no_values(view: View) -> None:
    assert CALLS.bind(view).calls[3](b"", PLAIN) == bytes(4)


def test_short_stubs(view: View) -> None:
    with pytest.raises(CallError) as error:
        CALLS.bind(view).calls[1](b"\0\0\0\0", PLAIN)
    assert error.value.status == Fault.BAD_STUB_DATA


def test_a_call_is_declared_by_its_types() -> None:
    with pytest.raises(TypeError):

        @Calls(uuid.uuid4(), 1).call(0)
        def wrong(view: View, number: int) -> U32:
            return number


# -- calls that ask ------------------------------------------------------------------------------


@pytest.fixture
def mountd() -> Mountd:
    return Mountd()


@pytest.fixture
def hub(snapshot: Snapshot, mountd: Mountd) -> Hub:
    hub = Hub({"srvsvc": [CALLS.bind]}, lambda: snapshot, mountd)
    assert hub.handle(RpcOpen(1, "srvsvc", "alice")) == RpcResponse(RpcStatus.OK)
    bind = rpc.bind((0, rpc.SRVSVC, [rpc.NDR]))
    assert hub.handle(RpcTransceive(1, bind, 4280)) is not None
    return hub


def asking(user: str, call_id: int = 1) -> bytes:
    """Build a request of call 2."""
    text = (user + "\0").encode("utf-16-le")
    stub = struct.pack("<4I", 1, len(text) // 2, 0, len(text) // 2) + text
    return rpc.request(2, stub, call_id=call_id)


def value(answer: Any) -> tuple[int, ...]:
    """Return the numbers of an answer's stub."""
    assert answer.status is RpcStatus.OK
    stub = rpc.stub_of([answer.data], struct.unpack_from("<I", answer.data, 12)[0])
    return struct.unpack(f"<{len(stub) // 4}I", stub)


def test_a_transceive_waits_for_mountd(hub: Hub, mountd: Mountd) -> None:
    answers: list[RpcResponse] = []
    assert hub.handle(RpcTransceive(1, asking("second"), 4280), answers.append) is None
    assert mountd.answer(Rights(False)) == AskRights("second")
    assert not answers
    assert mountd.answer(Rights(True)) == AskRights("again")
    (answer,) = answers
    assert value(answer) == (41, 0)


def test_reads_wait_and_looks_do_not(hub: Hub, mountd: Mountd) -> None:
    answers: list[RpcResponse] = []
    assert hub.handle(RpcWrite(1, asking("x"))) == RpcResponse(RpcStatus.OK)
    look = hub.handle(RpcRead(1, 4280, keep=True), answers.append)
    assert look == RpcResponse(RpcStatus.EMPTY)
    assert hub.handle(RpcRead(1, 4280), answers.append) is None
    # What is written meanwhile is taken afterwards.
    assert hub.handle(RpcWrite(1, rpc.request(3, b"", call_id=2))) == RpcResponse(RpcStatus.OK)
    mountd.answer(Rights(True))
    assert value(answers[0]) == (41, 0)
    assert value(hub.handle(RpcRead(1, 4280))) == (0,)


def test_mountd_does_not_tell(hub: Hub, mountd: Mountd) -> None:
    answers: list[RpcResponse] = []
    hub.handle(RpcTransceive(1, asking("x"), 4280), answers.append)
    mountd.answer(Failed("too late"))
    assert rpc.fault(answers[0].data) == Fault.SERVER_TOO_BUSY
    assert value(hub.handle(RpcTransceive(1, rpc.request(3, b""), 4280))) == (0,)


def test_a_status_after_the_answer(hub: Hub, mountd: Mountd) -> None:
    answers: list[RpcResponse] = []
    hub.handle(RpcTransceive(1, asking("status"), 4280), answers.append)
    mountd.answer(Rights(True))
    assert value(answers[0]) == (0, 9)


def test_a_pipe_is_closed_meanwhile(hub: Hub, mountd: Mountd) -> None:
    answers: list[RpcResponse] = []
    hub.handle(RpcTransceive(1, asking("x"), 4280), answers.append)
    hub.handle(RpcClose(1))
    assert answers == [RpcResponse(RpcStatus.BROKEN)]
    mountd.answer(Rights(True))
    assert len(answers) == 1
    assert hub.handle(RpcRead(1, 10)) == RpcResponse(RpcStatus.BAD_HANDLE)


def test_who_could_ask_and_does_not(hub: Hub, mountd: Mountd) -> None:
    request = rpc.request(5, struct.pack("<I", 3))
    assert value(hub.handle(RpcTransceive(1, request, 4280))) == (3, 0)
    assert not mountd.asked


# -- the pace --------------------------------------------------------------------------------------


def test_calls_that_come_too_fast_wait_for_their_turn(mountd: Mountd, view: View) -> None:
    pipe = rpc.bound(Pipe("srvsvc", [CALLS.bind(view)], mountd))
    mountd.seconds = 0.5
    pipe.write(rpc.request(3, b"") + rpc.request(3, b"", call_id=2))
    assert pipe.busy
    assert pipe.read(4280) == (b"", False)
    for call_id in (1, 2):
        ((seconds, turn),) = mountd.turns
        mountd.turns.clear()
        assert seconds == 0.5
        turn()
        assert rpc.stub_of(rpc.messages(pipe), call_id) == bytes(4)
    assert not pipe.busy


def test_a_turn_that_comes_after_the_end(mountd: Mountd, view: View) -> None:
    pipe = rpc.bound(Pipe("srvsvc", [CALLS.bind(view)], mountd))
    mountd.seconds = 0.5
    pipe.write(rpc.request(3, b""))
    pipe.close()
    mountd.turns[0][1]()
    assert not pipe.waiting


def test_the_pace_of_a_session() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    assert [pace.wait() for _ in range(outside.BURST)] == [0.0] * outside.BURST
    assert pace.wait() == pytest.approx(1 / outside.CALLS_PER_SECOND)
    assert pace.wait() == pytest.approx(2 / outside.CALLS_PER_SECOND)
    now[0] += 1.0
    assert [pace.wait() for _ in range(outside.CALLS_PER_SECOND - 2)][-1] == 0.0
    assert pace.wait() > 0
    now[0] += 1000.0
    assert [pace.wait() for _ in range(outside.BURST)][-1] == 0.0
    assert pace.wait() > 0


# -- handles --------------------------------------------------------------------------------------


def test_handles() -> None:
    held = Handles()
    first, second = held.add("a"), held.add(3)
    assert len({first, second, NO_HANDLE}) == 3
    assert held.get(first, str) == "a"
    assert held.close(second) == NO_HANDLE
    for handle in (second, NO_HANDLE):
        with pytest.raises(CallError) as error:
            held.get(handle, int)
        assert error.value.status == Fault.CONTEXT_MISMATCH
        with pytest.raises(CallError):
            held.close(handle)
    with pytest.raises(CallError):
        held.get(first, int)  # another kind


def test_there_are_so_many_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "MAX_HANDLES", 2)
    held = Handles()
    held.add("a")
    held.add("b")
    with pytest.raises(CallError) as error:
        held.add("c")
    assert error.value.status == Fault.REMOTE_NO_MEMORY
