"""What the kernel lets only CAP_SYS_ADMIN do, done by a process of its own: both halves.

A worker sends the number of a trade and its message with two descriptors, the file's and one end of
a socket pair, on which the answer comes: an errno, 0 for success, and what the trade answers. The
kept socket is one for all workers and all lives of the keeper, as the supervisor holds both of its
ends: what one keeper has not taken, the next one does.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

THREADS: Final = 8
"""Requests that are served at a time: one of them may wait for a file system that hangs."""

SECONDS: Final = 20.0
"""Until a keeper that does not answer lets the request fail: longer than starting another takes."""

MESSAGE_MAX: Final = 65536
"""Bytes of a message: no extended attribute is longer (XATTR_SIZE_MAX)."""

ANSWER_MAX: Final = 65536
"""Bytes of an answer behind its errno."""

_ANSWER = struct.Struct("i")
_DESCRIPTORS: Final = 2


@dataclass(frozen=True, slots=True)
class Trade:
    """One kind of request: its number, and what is done with a file and a message; OSError."""

    number: int
    perform: Callable[[int, bytes], bytes]


class Keeper:
    """The worker's half; any thread may call it, whoever the thread acts as."""

    def __init__(self, sock: socket.socket) -> None:
        """Use the socket that the supervisor gave."""
        self._socket = sock

    def ask(self, trade: Trade, file: int, message: bytes) -> bytes:
        """Have the trade done for the file that a descriptor (O_PATH or not) holds; OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.settimeout(SECONDS)
            with theirs:
                parts = [bytes((trade.number,)), message]
                socket.send_fds(self._socket, parts, [file, theirs.fileno()])
            answer = ours.recv(_ANSWER.size + ANSWER_MAX)  # TimeoutError is an OSError, too
        if len(answer) < _ANSWER.size:
            raise OSError(errno.EIO, "the keeper died")
        (number,) = _ANSWER.unpack_from(answer)
        if number:
            raise OSError(number, os.strerror(number))
        return answer[_ANSWER.size :]


def serve(sock: socket.socket, trades: Iterable[Trade]) -> None:
    """Do what is asked for until all who could ask have gone; several threads may."""
    by_number = {trade.number: trade for trade in trades}
    while True:
        message, descriptors, flags, _ = socket.recv_fds(sock, MESSAGE_MAX + 2, _DESCRIPTORS)
        try:
            if not message and not descriptors:
                return
            if len(descriptors) == _DESCRIPTORS and message:
                cut = bool(flags & socket.MSG_TRUNC)
                answer = _perform(by_number.get(message[0]), descriptors[0], message[1:], cut)
                with socket.socket(fileno=descriptors.pop()) as there:
                    there.send(answer, socket.MSG_DONTWAIT)
        except OSError:
            pass  # who asked has gone
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _perform(trade: Trade | None, file: int, message: bytes, cut: bool) -> bytes:
    """Do what a message asks for; return its answer."""
    if trade is None:
        return _ANSWER.pack(errno.EINVAL)
    if cut or len(message) > MESSAGE_MAX:
        return _ANSWER.pack(errno.E2BIG)
    try:
        return _ANSWER.pack(0) + trade.perform(file, message)
    except (OSError, struct.error) as error:
        return _ANSWER.pack(getattr(error, "errno", None) or errno.EIO)


keeper: Keeper | None = None
"""This process's, where there is one: a worker of a server that runs as root."""


def use(sock: socket.socket) -> None:
    """Have this process's requests served by the keeper behind the socket."""
    global keeper
    keeper = Keeper(sock)


def ask(trade: Trade, file: int, message: bytes) -> bytes:
    """Have the trade done by the keeper, or do it as this process; OSError."""
    if keeper is not None:
        return keeper.ask(trade, file, message)
    return trade.perform(file, message)
