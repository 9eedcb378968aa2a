"""`security.NTACL` stored by a process of its own: the worker's half and the keeper's.

A worker sends the value with two descriptors, the file's and one end of a socket pair, on which the
answer comes: an errno, 0 for success. The kept socket is one for all workers and all lives of the
keeper, as the supervisor holds both of its ends: what one keeper has not taken, the next one does.
"""

import errno
import os
import socket
import struct
from typing import Final

from usmbd.protocol.vfs import kernel

XATTR: Final = "security.NTACL"

THREADS: Final = 8
"""Values that are stored at a time: one of them may wait for a file system that hangs."""

SECONDS: Final = 20.0
"""Until a keeper that does not answer lets the request fail: longer than starting another takes."""

_ANSWER = struct.Struct("i")
_DESCRIPTORS: Final = 2


class NtAclKeeper:
    """The worker's half; any thread may call it, whoever the thread acts as."""

    def __init__(self, sock: socket.socket) -> None:
        """Use the socket that the supervisor gave."""
        self._socket = sock

    def store(self, file: int, value: bytes) -> None:
        """Store the value for the file that a descriptor (O_PATH or not) holds; OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.settimeout(SECONDS)
            with theirs:
                socket.send_fds(self._socket, [value], [file, theirs.fileno()])
            answer = ours.recv(_ANSWER.size)  # TimeoutError is an OSError, too
        if len(answer) != _ANSWER.size:
            raise OSError(errno.EIO, "the keeper of NT ACLs died")
        (number,) = _ANSWER.unpack(answer)
        if number:
            raise OSError(number, os.strerror(number))


def serve(sock: socket.socket) -> None:
    """Store values until all who could send have gone; several threads may."""
    while True:
        value, descriptors, flags, _ = socket.recv_fds(
            sock, kernel.XATTR_SIZE_MAX + 1, _DESCRIPTORS
        )
        try:
            if not value and not descriptors:
                return
            if len(descriptors) == _DESCRIPTORS:
                number = _store(descriptors[0], value, flags)
                with socket.socket(fileno=descriptors.pop()) as answer:
                    answer.send(_ANSWER.pack(number), socket.MSG_DONTWAIT)
        except OSError:
            pass  # who asked has gone
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _store(file: int, value: bytes, flags: int) -> int:
    """Store a value; return the errno."""
    if flags & socket.MSG_TRUNC or len(value) > kernel.XATTR_SIZE_MAX:
        return errno.E2BIG
    try:
        os.setxattr(kernel.fd_path(file), XATTR, value)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


keeper: NtAclKeeper | None = None
"""This process's, where there is one: a worker of a server that runs as root."""


def use(sock: socket.socket) -> None:
    """Have this process's NT ACLs stored by the keeper behind the socket."""
    global keeper
    keeper = NtAclKeeper(sock)


def store(file: int, value: bytes) -> None:
    """Store the value of a file by the keeper, or as this process; OSError."""
    if keeper is not None:
        keeper.store(file, value)
    else:
        os.setxattr(kernel.fd_path(file), XATTR, value)
