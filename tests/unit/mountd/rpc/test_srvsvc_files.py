"""NetrpGetFileSecurity and NetrpSetFileSecurity: what the worker is asked, and answers."""

from typing import Any

import pytest
import rpc_client as rpc
from impacket.dcerpc.v5 import srvs
from impacket.dcerpc.v5.dtypes import NULL

from usmbd.mountd.ipc.accounts import DirectoryResponse
from usmbd.mountd.ipc.messages import (
    LoginResponse,
    LoginStatus,
    RpcAnswer,
    RpcAsks,
    RpcClose,
    RpcOpen,
    RpcRead,
    RpcResponse,
    RpcStatus,
    RpcTold,
    RpcTransceive,
    RpcWrite,
)
from usmbd.mountd.rpc import hub as hub_module
from usmbd.mountd.rpc.hub import Hub
from usmbd.mountd.rpc.interfaces import PIPES
from usmbd.mountd.rpc.view import Snapshot

EMPTY = RpcResponse(RpcStatus.EMPTY)


@pytest.fixture
def hub(snapshot: Snapshot) -> Hub:
    """Return a worker's pipes, of which alice's 7 is bound to srvsvc."""
    made = Hub(PIPES, lambda: snapshot)
    made.handle(RpcOpen(7, "srvsvc", "alice"))
    made.handle(RpcTransceive(7, rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), 65536))
    return made


def get(share: Any = "data\0", path: str = "folder\\file\0", information: int = 5) -> bytes:
    request = srvs.NetrpGetFileSecurity()
    request["ServerName"] = NULL
    request["ShareName"] = share
    request["lpFileName"] = path
    request["RequestedInformation"] = information
    return rpc.request(39, request.getData())


def change(descriptor: bytes) -> bytes:
    request = srvs.NetrpSetFileSecurity()
    request["ServerName"] = NULL
    request["ShareName"] = "data\0"
    request["lpFileName"] = "file\0"
    request["SecurityInformation"] = 4
    request["SecurityDescriptor"]["Length"] = len(descriptor)
    request["SecurityDescriptor"]["Buffer"] = list(descriptor)
    return rpc.request(40, request.getData())


def code(answer: RpcAnswer | None) -> int:
    """Return the status that a response ends with."""
    assert isinstance(answer, RpcResponse)
    return int.from_bytes(rpc.stub_of([answer.data])[-4:], "little")


def test_the_worker_is_asked_and_its_answer_told(hub: Hub) -> None:
    asked = hub.handle(RpcTransceive(7, get(), 65536))
    assert asked == RpcAsks("data", "folder\\file", 5)
    answer = hub.handle(RpcTold(7, 0, 65536, b"descriptor"))
    assert isinstance(answer, RpcResponse)
    found = srvs.NetrpGetFileSecurityResponse(rpc.stub_of([answer.data]))["SecurityDescriptor"]
    assert (found["Length"], b"".join(found["Buffer"])) == (10, b"descriptor")


def test_who_writes_and_reads_is_asked_at_the_read(hub: Hub) -> None:
    assert hub.handle(RpcWrite(7, get())) == RpcResponse(RpcStatus.OK)
    assert hub.handle(RpcRead(7, 100, keep=True)) == EMPTY
    assert isinstance(hub.handle(RpcRead(7, 65536)), RpcAsks)
    assert code(hub.handle(RpcTold(7, 0xC0000034, 65536))) == 2


def test_a_descriptor_is_handed_over(hub: Hub) -> None:
    asked = hub.handle(RpcTransceive(7, change(b"new one"), 65536))
    assert asked == RpcAsks("data", "file", 4, b"new one")
    assert code(hub.handle(RpcTold(7, 0, 65536))) == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [(0xC0000022, 5), (0xC00000CC, 2310), (0xC000003A, 3), (0xC0000061, 1314), (0xC00000E5, 31)],
)
def test_statuses(hub: Hub, status: int, error: int) -> None:
    hub.handle(RpcTransceive(7, get(), 65536))
    assert code(hub.handle(RpcTold(7, status, 65536))) == error


def test_what_is_refused_without_asking(hub: Hub) -> None:
    assert code(hub.handle(RpcTransceive(7, get(NULL), 65536))) == 2310
    assert code(hub.handle(RpcTransceive(7, get("x" * 300 + "\0"), 65536))) == 123


def test_nobody_asked(hub: Hub) -> None:
    assert hub.handle(RpcTold(7, 0, 65536, b"lie")) == EMPTY
    assert hub.handle(RpcTold(8, 0, 65536)) == RpcResponse(RpcStatus.BAD_HANDLE)
    hub.handle(RpcWrite(7, get()))
    answers: list[RpcAnswer] = []
    # The question has not gone out yet, so this is no answer to it; whoever reads next hears it.
    assert isinstance(hub.handle(RpcTold(7, 0, 65536, b"lie"), answers.append), RpcAsks)
    assert code(hub.handle(RpcTold(7, 0xC0000022, 65536))) == 5


def test_a_pipe_that_is_closed_meanwhile(hub: Hub) -> None:
    hub.handle(RpcTransceive(7, get(), 65536))
    answers: list[RpcAnswer] = []
    assert hub.handle(RpcRead(7, 100), answers.append) is None
    hub.handle(RpcClose(7))
    assert answers == [RpcResponse(RpcStatus.BROKEN)]
    assert hub.handle(RpcTold(7, 0, 65536)) == RpcResponse(RpcStatus.BAD_HANDLE)


class _Late:
    """mountd, which answers when the test says so."""

    def __init__(self) -> None:
        self.answered: Any = None

    def ask(self, message: object, answered: Any) -> None:
        """Take a question."""
        self.answered = answered

    def wait(self) -> float:
        """Let every call run at once."""
        return 0.0

    def later(self, seconds: float, run: Any) -> None:
        """Run nothing."""


def test_a_reader_that_waits_hears_the_question(hub: Hub) -> None:
    view = hub._views[7]
    late = _Late()
    worker = hub_module._AskedWorker(view)
    pace = hub_module._AtPace(late, hub._paces[0], worker, hub._vouched[7])
    pipe, _ = hub._pipes[7]
    heard: list[RpcAnswer] = []
    pipe.busy = True
    assert worker.wait(pipe, lambda: EMPTY, heard.append) is None
    answers: list[DirectoryResponse | RpcTold] = []
    pace.ask(RpcAsks("data", "file", 4), answers.append)
    assert heard == [RpcAsks("data", "file", 4)]
    worker.told(RpcTold(7, 0, 100))
    assert answers == [RpcTold(7, 0, 100)]
    pipe.busy = False
    pipe._rest()
    assert len(heard) == 1


def test_who_logged_in_on_the_pipe_alone_is_refused(hub: Hub) -> None:
    login = LoginResponse(LoginStatus.OK, "bob", uid=1001)
    hub_module._became(hub._views[7], login, bytes(16))
    answer = hub.handle(RpcTransceive(7, get(), 65536))
    assert isinstance(answer, RpcResponse)
    assert rpc.fault(answer.data)
