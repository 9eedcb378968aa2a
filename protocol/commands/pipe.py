"""Named pipes on IPC$, carried to mountd's RPC process and back ([MS-RPCE] 2.1.1.2).

A pipe is a stream of messages: a WRITE hands over a request, a READ or FSCTL_PIPE_TRANSCEIVE
takes the answer. The RPC process prepares whole answers, so that this side only carries them.
"""

import itertools
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from usmbd.mountd.ipc.messages import (
    MAX_RPC_DATA,
    RpcClose,
    RpcOpen,
    RpcRead,
    RpcResponse,
    RpcStatus,
    RpcTransceive,
    RpcWrite,
)
from usmbd.protocol.commands.request import Answer, Effect, Handling, Reply, Request, Resume, Wait
from usmbd.protocol.state.open import Open
from usmbd.protocol.wire.access import FILE_ALL_ACCESS
from usmbd.protocol.wire.create import FILE_OPENED, CreateRequest, build_create_response
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_NORMAL
from usmbd.protocol.wire.fscc.file_info import QueriedFile
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.transport.base import Part

if TYPE_CHECKING:
    from usmbd.protocol.state.server import Server

MAXIMUM_WAITING_READS = 512
"""READs of empty pipes that one connection may have waiting, as Samba's `smb2 max async
credits`: each holds a request until somebody writes."""

PIPE_BUFFER = 4096
"""AllocationSize of a pipe, as Windows and Samba report it."""

_STATUS = {
    RpcStatus.NO_PIPE: NtStatus.OBJECT_NAME_NOT_FOUND,
    RpcStatus.BAD_HANDLE: NtStatus.PIPE_DISCONNECTED,
    RpcStatus.BROKEN: NtStatus.PIPE_DISCONNECTED,
    RpcStatus.EMPTY: NtStatus.PIPE_EMPTY,
    RpcStatus.ACCESS_DENIED: NtStatus.ACCESS_DENIED,
    RpcStatus.TOO_MANY: NtStatus.INSUFFICIENT_RESOURCES,
    RpcStatus.ERROR: NtStatus.UNSUCCESSFUL,
}
_STAT = FileStat(
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
_numbers = itertools.count(1)


class Pipe:
    """One open named pipe."""

    __slots__ = ("_closed", "_number", "_readers", "_server", "name")

    def __init__(self, server: "Server", number: int, name: str) -> None:
        """Stand for the pipe that the RPC process knows by `number`."""
        self._server = server
        self._number = number
        self.name = name
        self._closed = False
        self._readers: set[Callable[[], None]] = set()

    def close(self) -> None:
        """Close the pipe; readers that wait learn from the RPC process that it is gone."""
        self._closed = True
        self._server.rpc.ask(RpcClose(pipe=self._number), lambda *_: None)
        for retry in list(self._readers):
            retry()

    def queried(self, open_: Open) -> QueriedFile:
        """Return what queries of a pipe are answered with."""
        return QueriedFile(stat=_STAT, name="\\" + self.name, granted_access=open_.granted_access)

    def write(self, data: memoryview) -> Generator[Effect, Any, None]:
        """Hand over bytes; readers that wait look again."""
        for start in range(0, len(data), MAX_RPC_DATA):
            chunk = bytes(data[start : start + MAX_RPC_DATA])
            yield from self._ask(RpcWrite(pipe=self._number, data=chunk), keeps=len(data))
        for retry in list(self._readers):
            retry()

    def read(self, length: int) -> Generator[Effect, Any, tuple[bytes, NtStatus]]:
        """Take at most `length` bytes of an answer; waits while there is none."""
        message = RpcRead(pipe=self._number, max_length=min(length, MAX_RPC_DATA))
        while True:
            answer: RpcResponse = yield Wait(lambda resume: self._server.rpc.ask(message, resume))
            if answer.status is not RpcStatus.EMPTY:
                break
            if self._closed:  # while the RPC process was asked: nobody would wake this reader
                raise SmbError(NtStatus.PIPE_DISCONNECTED)
            if len(self._readers) >= MAXIMUM_WAITING_READS:
                raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
            yield Wait(self._wait_for_data, interim=True)
        return answer.data, _status(answer)

    def transceive(
        self, data: memoryview, limit: int
    ) -> Generator[Effect, Any, tuple[bytes, NtStatus]]:
        """Write a message and take its answer (FSCTL_PIPE_TRANSCEIVE, [MS-FSCC] 2.3.45)."""
        if len(data) > MAX_RPC_DATA:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        answer = yield from self._ask(
            RpcTransceive(pipe=self._number, data=bytes(data), max_output=min(limit, MAX_RPC_DATA)),
            keeps=len(data),
        )
        return answer.data, _status(answer)

    @staticmethod
    def answer(parts: list[Part], status: NtStatus) -> Answer:
        """Return a response with BUFFER_OVERFLOW where a part of the message still waits."""
        return parts if status is NtStatus.SUCCESS else Reply(parts, status)

    def _ask(self, message: Any, keeps: int) -> Generator[Effect, Any, RpcResponse]:
        """Ask the RPC process; SmbError with the status that its answer means."""
        answer: RpcResponse = yield Wait(
            lambda resume: self._server.rpc.ask(message, resume), keeps=keeps
        )
        _status(answer)
        return answer

    def _wait_for_data(self, resume: Resume) -> Callable[[], None]:
        """Wait for the next write to the pipe."""

        def retry() -> None:
            self._readers.discard(retry)
            resume()

        self._readers.add(retry)
        return lambda: self._readers.discard(retry)


def _status(answer: RpcResponse) -> NtStatus:
    """Return SUCCESS or BUFFER_OVERFLOW; SmbError for every other answer."""
    if answer.status is RpcStatus.OK:
        return NtStatus.SUCCESS
    if answer.status is RpcStatus.MORE_DATA:
        return NtStatus.BUFFER_OVERFLOW
    raise SmbError(_STATUS.get(answer.status, NtStatus.UNSUCCESSFUL))


def open_pipe(request: Request, body: CreateRequest, name: str) -> Handling:
    """Open a named pipe of the RPC process."""
    session, tree, connection = request.session, request.tree, request.connection
    server = connection.server
    name = name.removeprefix("\\")
    if not name or len(name) > 255:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND if name else NtStatus.ACCESS_DENIED)
    number = next(_numbers)
    message = RpcOpen(
        pipe=number,
        name=name,
        user=session.user,
        domain=session.domain[:256],
        uid=session.identity.uid,
        gid=session.identity.gid,
        groups=list(session.identity.groups),
        session_id=session.session_id,
        client_address=connection.transport.peer,
        server_name=tree.server_name,
        guest=session.guest,
        anonymous=session.anonymous,
    )
    place = server.pipes.take(session.proven_user, connection.network)
    try:
        answer: RpcResponse = yield Wait(lambda resume: server.rpc.ask(message, resume))
        _status(answer)
        pipe = Pipe(server, number, name)
        if tree.closed:  # meanwhile
            pipe.close()
            raise SmbError(NtStatus.NETWORK_NAME_DELETED)
    except BaseException:
        place.give_back()
        raise
    open_ = Open(
        session,
        tree,
        connection,
        server.store.new_open_id(),
        body.desired_access & FILE_ALL_ACCESS or FILE_ALL_ACCESS,
        pipe=pipe,
        path=name,
        place=place,
    )
    request._open = open_
    return list(
        build_create_response(
            _STAT, open_.persistent_id, open_.volatile_id, create_action=FILE_OPENED
        )
    )
