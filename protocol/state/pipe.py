"""Named pipes on IPC$, carried to mountd's RPC process and back ([MS-RPCE] 2.1.1.2).

A pipe is a stream of messages: a WRITE hands over a request, a READ or FSCTL_PIPE_TRANSCEIVE
takes the answer. The RPC process prepares whole answers, so that this side only carries them.
"""

import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from usmbd.mountd.ipc.messages import (
    MAX_RPC_DATA,
    Message,
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
from usmbd.protocol.effects import Resume, Wait, Waiting
from usmbd.protocol.state.mountd import ask
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_NORMAL
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.server import Server
    from usmbd.protocol.state.session import Session
    from usmbd.protocol.state.tree import TreeConnect

log = logging.getLogger("usmbd.ipc")

MAXIMUM_WAITING_READS = 512
"""READs of empty pipes that one connection may have waiting, as Samba's `smb2 max async
credits`: each holds a request until somebody writes."""

PIPE_BUFFER = 4096
"""AllocationSize of a pipe, as Windows and Samba report it."""

_STATUS_OF = {
    RpcStatus.NO_PIPE: NtStatus.OBJECT_NAME_NOT_FOUND,
    RpcStatus.BAD_HANDLE: NtStatus.PIPE_DISCONNECTED,
    RpcStatus.BROKEN: NtStatus.PIPE_DISCONNECTED,
    RpcStatus.EMPTY: NtStatus.PIPE_EMPTY,
    RpcStatus.ACCESS_DENIED: NtStatus.ACCESS_DENIED,
    RpcStatus.TOO_MANY: NtStatus.INSUFFICIENT_RESOURCES,
    RpcStatus.ERROR: NtStatus.UNSUCCESSFUL,
}
PIPE_STAT: Final = FileStat(
    dev=0,
    ino=0,
    mode=0,
    nlink=1,
    uid=0,
    gid=0,
    size=0,
    allocation=PIPE_BUFFER,
    creation_time=0,
    last_access_time=0,
    last_write_time=0,
    change_time=0,
    attributes=FILE_ATTRIBUTE_NORMAL,
)
"""What queries of a pipe are answered with."""

_numbers = itertools.count(1)

Asked = Callable[[RpcAsks], Waiting[tuple[NtStatus, bytes]]]
"""Does with a file what a call asks for: the status, and what is told."""


class Pipe:
    """One open named pipe."""

    __slots__ = ("_closed", "_number", "_readers", "_server", "name")

    def __init__(self, server: "Server", name: str) -> None:
        """Give the pipe a number, by which the RPC process knows it once it is opened."""
        self._server = server
        self._number = next(_numbers)
        self.name = name
        self._closed = False
        self._readers: set[Resume[None]] = set()

    def open(self, session: "Session", tree: "TreeConnect", client: str) -> Waiting[None]:
        """Have the RPC process open it for the session's user; `client` is the peer's address."""
        identity = session.identity
        message = RpcOpen(
            pipe=self._number,
            name=self.name,
            user=session.user,
            domain=session.domain[:256],
            uid=identity.uid,
            gid=identity.gid,
            groups=list(identity.groups),
            session_id=session.session_id,
            client_address=client,
            server_name=tree.server_name,
            guest=session.guest,
            anonymous=session.anonymous,
            key=session.application_key,
            credential=session.credential,
            ticket=session.ticket,
        )
        yield from self._ask(message)

    def close(self) -> None:
        """Close the pipe; readers that wait learn from the RPC process that it is gone."""
        self._closed = True
        self._server.rpc.ask(RpcClose(pipe=self._number), lambda *_: None)
        self._wake()

    def write(self, data: memoryview) -> Waiting[None]:
        """Hand over bytes; readers that wait look again."""
        for start in range(0, len(data), MAX_RPC_DATA):
            chunk = bytes(data[start : start + MAX_RPC_DATA])
            yield from self._ask(RpcWrite(pipe=self._number, data=chunk), keeps=len(data))
        self._wake()

    def _wake(self) -> None:
        """Have all readers look again whether there is something."""
        readers, self._readers = self._readers, set()
        for resume in readers:
            resume()

    def read(self, length: int, asked: Asked) -> Waiting[tuple[bytes, NtStatus]]:
        """Take at most `length` bytes of an answer; waits while there is none."""
        limit = min(length, MAX_RPC_DATA)
        message = RpcRead(pipe=self._number, max_length=limit)
        while True:
            answer = yield from self._answer(message, limit, asked)
            if self._closed and not answer.data:
                # While it waited, or while the RPC process was asked: nobody would wake this
                # reader. Windows says so of a pipe that its client closes (smbtorture).
                raise SmbError(NtStatus.PIPE_BROKEN)
            if answer.status is not RpcStatus.EMPTY:
                break
            if len(self._readers) >= MAXIMUM_WAITING_READS:
                raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
            yield Wait(self._wait_for_data, interim=True)
        return answer.data, _status(answer)

    def peek(self, length: int) -> Waiting[tuple[bytes, int, bool]]:
        """Look at most `length` bytes of an answer: them, how many wait, and whether there is more.

        More of the same message. Never waits (FSCTL_PIPE_PEEK, [MS-FSCC] 2.3.45).
        """
        message = RpcRead(pipe=self._number, max_length=min(length, MAX_RPC_DATA), keep=True)
        answer = yield from ask(self._server.rpc, message, RpcResponse)
        if answer.status is RpcStatus.EMPTY:
            return b"", 0, False
        return answer.data, answer.waiting, _status(answer) is NtStatus.BUFFER_OVERFLOW

    def transceive(
        self, data: memoryview, limit: int, asked: Asked
    ) -> Waiting[tuple[bytes, NtStatus]]:
        """Write a message and take its answer (FSCTL_PIPE_TRANSCEIVE, [MS-FSCC] 2.3.45)."""
        if len(data) > MAX_RPC_DATA:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        limit = min(limit, MAX_RPC_DATA)
        message = RpcTransceive(pipe=self._number, data=bytes(data), max_output=limit)
        answer = yield from self._answer(message, limit, asked, keeps=len(data))
        return answer.data, _status(answer)

    def _answer(
        self, message: Message, limit: int, asked: Asked, keeps: int = 0
    ) -> Waiting[RpcResponse]:
        """Have a message's answer, after what the call has asked for."""
        answer = yield from ask(self._server.rpc, message, Message, keeps)
        while isinstance(answer, RpcAsks):
            try:
                status, told = yield from asked(answer)
            except Exception:  # the call, and with it the pipe, would wait for ever
                log.exception("what a call asked of a file failed")
                status, told = NtStatus.INTERNAL_ERROR, b""
            message = RpcTold(self._number, status, limit, told)
            answer = yield from ask(self._server.rpc, message, Message)
        if not isinstance(answer, RpcResponse):
            raise SmbError(NtStatus.INTERNAL_ERROR)
        return answer

    def _ask(self, message: Message, keeps: int = 0) -> Waiting[RpcResponse]:
        """Ask the RPC process; SmbError with the status that its answer means."""
        answer = yield from ask(self._server.rpc, message, RpcResponse, keeps)
        _status(answer)
        return answer

    def _wait_for_data(self, resume: Resume[None]) -> Callable[[], None]:
        """Wait for the next write to the pipe."""
        self._readers.add(resume)
        return lambda: self._readers.discard(resume)


def _status(answer: RpcResponse) -> NtStatus:
    """Return SUCCESS or BUFFER_OVERFLOW; SmbError for every other answer."""
    if answer.status is RpcStatus.OK:
        return NtStatus.SUCCESS
    if answer.status is RpcStatus.MORE_DATA:
        return NtStatus.BUFFER_OVERFLOW
    raise SmbError(_STATUS_OF.get(answer.status, NtStatus.UNSUCCESSFUL))
