"""mountd's end of the socket pair by which its RPC process asks."""

import asyncio
import logging
import socket
from collections.abc import Callable

from usmbd.mountd.ipc.accounts import DirectoryRequest, DirectoryResponse
from usmbd.mountd.ipc.codec import RECEIVE_SIZE, CodecError, directory_server
from usmbd.mountd.ipc.messages import Failed
from usmbd.mountd.ipc.outbox import Outbox

log = logging.getLogger("usmbd.ipc")

MAX_UNSENT = 64
"""Answers that wait for the RPC process to read: with more, its questions wait as well."""


Reply = Callable[[DirectoryResponse], None]

Answer = Callable[[DirectoryRequest, Reply], DirectoryResponse | None]
"""Returns the answer; or None, and then `Reply` takes it later."""


class Answers:
    """Answers one RPC process; it dies with its end of the pair."""

    def __init__(self, answer: Answer, distrust: Callable[[], None] = lambda: None) -> None:
        """Make the pair; needs a running loop. `distrust()` has to end who sends nonsense."""
        self._answer = answer
        self._distrust = distrust
        self._loop = asyncio.get_running_loop()
        self._codec = directory_server()
        self._socket, self.other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._outbox = Outbox(self._socket, self._loop, self._moved)
        self._loop.add_reader(self._socket, self._readable)

    def started(self) -> None:
        """Close the other end, which the process has now."""
        self.other.close()

    def close(self) -> None:
        """End both, once."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._outbox.close()
        self._socket.close()
        self.other.close()

    def _readable(self) -> None:
        """Answer one question."""
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            if not data:
                raise CodecError("its end is closed")
            handle, message = self._codec.decode(data)
        except CodecError as error:
            # It is not asked again: who sends nonsense is not trusted with another question.
            log.log(logging.ERROR if data else logging.DEBUG, "the RPC process: %s", error)
            self._loop.remove_reader(self._socket)
            if data:
                self._distrust()
            return
        try:
            answer = self._answer(message, lambda answer: self._reply(handle, answer))
        except Exception as error:
            log.exception("a %s failed", type(message).__name__)
            answer = Failed(type(error).__name__)
        if answer is not None:
            self._reply(handle, answer)

    def _reply(self, handle: int, answer: DirectoryResponse) -> None:
        """Send an answer; one that is too long becomes a failure."""
        if self._socket.fileno() < 0:  # who asked has ended
            return
        try:
            data = self._codec.encode(handle, answer)
        except CodecError as error:
            log.error("an answer is too long: %s", error)
            data = self._codec.encode(handle, Failed("the answer is too long"))
        self._outbox.put(data)

    def _moved(self, error: OSError | None) -> None:
        """Read on when little waits, and no more where nobody reads."""
        if error is None and len(self._outbox) < MAX_UNSENT:
            self._loop.add_reader(self._socket, self._readable)
        else:
            self._loop.remove_reader(self._socket)
