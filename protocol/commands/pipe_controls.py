"""FSCTLs of named pipes: PIPE_TRANSCEIVE, PIPE_PEEK, PIPE_WAIT ([MS-FSCC] 2.3.45 to 2.3.52)."""

from functools import partial

from usmbd.protocol.commands.pipe_questions import file_security
from usmbd.protocol.commands.request import Handling, Reply, Request
from usmbd.protocol.state.pipe import Pipe
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.ioctl import IoctlRequest, build_ioctl_response
from usmbd.protocol.wire.status import NtStatus, SmbError


def transceive(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_PIPE_TRANSCEIVE ([MS-SMB2] 3.3.5.15.3)."""
    asked = partial(file_security, request)
    output, status = yield from _pipe(request).transceive(data, body.max_output_response, asked)
    return Reply(list(build_ioctl_response(body, output)), status)


def peek(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_PIPE_PEEK ([MS-SMB2] 3.3.5.15.4): what could be read, which stays; never waits.

    BUFFER_OVERFLOW where the message is longer than what is asked for, as [MS-FSCC] 2.3.46 has it.
    """
    pipe = _pipe(request)
    room = body.max_output_response - fsctl.PipePeek.SIZE
    if room < 0:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    found, waiting, more = yield from pipe.peek(room)
    # Pipes are read as bytes, and then the counts of messages are 0 ([MS-FSCC] 2.3.46).
    head = fsctl.PipePeek(read_data_available=waiting, number_of_messages=0, message_length=0)
    status = NtStatus.BUFFER_OVERFLOW if more else NtStatus.SUCCESS
    return Reply(list(build_ioctl_response(body, head.pack() + found)), status)


def wait(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_PIPE_WAIT ([MS-SMB2] 3.3.5.15.10): a pipe that there is takes one more client at once.

    Whether there is one is asked by opening it; SmbError(OBJECT_NAME_NOT_FOUND).
    """
    session, tree, connection = request.session, request.tree, request.connection
    if not tree.is_pipe:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    _, name = fsctl.parse_pipe_wait(data)
    server = connection.server
    pipe = Pipe(server, name)
    place = server.pipes.take(session.proven_user, connection.network)
    try:
        yield from pipe.open(session, tree, connection.transport.peer)
        pipe.close()
    finally:
        place.give_back()
    return list(build_ioctl_response(body))


def _pipe(request: Request) -> Pipe:
    """Return the open pipe; a file has none: INVALID_DEVICE_REQUEST, as from Windows and Samba."""
    if request.open is None:
        raise SmbError(NtStatus.FILE_CLOSED)
    if request.open.pipe is None:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    return request.open.pipe
