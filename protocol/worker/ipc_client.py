"""The worker's end of mountd's sockets: requests out, answers back in any order.

mountd may be restarted at any time. The client then connects again by itself, asks again what
is unanswered, and only after a time-out lets a request fail.
"""

import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from usmbd.mountd.ipc.codec import RECEIVE_SIZE, Codec, CodecError
from usmbd.mountd.ipc.messages import Failed, Message
from usmbd.mountd.ipc.outbox import Outbox
from usmbd.mountd.ipc.peer import is_ours, peer_uid
from usmbd.protocol.state.mountd import Answered
from usmbd.protocol.vfs.identity import call_as_process
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.transport.loop import EventLoop

log = logging.getLogger("usmbd.ipc")

RETRY_SECONDS = 0.05
"""Between two tries to connect: a restarted mountd serves again within 0.3 s."""

TIMEOUT_SECONDS = 15.0
"""Until a request fails; longer than mountd's delay of a repeatedly wrong password (`ipc timeout`
sets another)."""

MAXIMUM_PENDING = 4096
"""Requests without an answer; further ones fail at once, so a dead mountd costs no memory."""


class IpcClient:
    """A connection to one of mountd's sockets."""

    def __init__(
        self,
        path: Path,
        codec: Codec[Message],
        loop: EventLoop,
        *,
        timeout: float = 0,
        on_message: Callable[[Message], None] = lambda message: None,
        on_connect: Callable[["IpcClient"], None] = lambda client: None,
    ) -> None:
        """Connect as soon as the socket is there."""
        self._path = path
        self._codec = codec
        self._loop = loop
        self._timeout = timeout or TIMEOUT_SECONDS
        self._on_message = on_message
        self._on_connect = on_connect
        self._socket: socket.socket | None = None
        self._next = 1
        self._pending: dict[int, tuple[bytes, Answered, float]] = {}
        self._outbox: Outbox | None = None
        self._closed = False
        self._said = False
        self._connect()
        self._sweep()

    @property
    def pending(self) -> int:
        """How many requests have no answer yet."""
        return len(self._pending)

    def ask(self, message: Message, answered: Answered) -> None:
        """Send a request; `answered(answer)` or `answered(None, SmbError)` follows."""
        if len(self._pending) >= MAXIMUM_PENDING:
            answered(None, SmbError(NtStatus.INSUFF_SERVER_RESOURCES))
            return
        handle, self._next = self._next, self._next + 1
        try:
            data = self._codec.encode(handle, message)
        except (CodecError, UnicodeEncodeError):  # a name of a client may hold lone surrogates
            answered(None, SmbError(NtStatus.INVALID_PARAMETER))
            return
        log.debug("%s: %d: asks %s", self._path.name, handle, type(message).__name__)
        self._pending[handle] = data, answered, self._loop.time() + self._timeout
        self._send(data)

    def tell(self, message: Message) -> None:
        """Send a message without an answer; lost when mountd is away, which then forgot it."""
        if self._socket is not None:
            log.debug("%s: tells %s", self._path.name, type(message).__name__)
            self._send(self._codec.encode(self._next, message))
            self._next += 1

    def close(self) -> None:
        """End the connection."""
        self._closed = True
        self._drop()

    def _send(self, data: bytes) -> None:
        """Send now, or when the socket takes more."""
        if self._outbox is not None:
            self._outbox.put(data)

    def _moved(self, error: OSError | None) -> None:
        """Connect again when mountd is gone."""
        if error is not None:
            self._lost()

    def _connect(self) -> None:
        """Connect, or try again a little later."""
        if self._closed or self._socket is not None:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            call_as_process(sock.connect, str(self._path))
            if not is_ours(peer_uid(sock)):
                raise PermissionError(errno.EPERM, "its listener is another user's process")
        except OSError as error:
            sock.close()
            if not self._said:
                log.debug("%s: %s; trying again", self._path.name, error.strerror)
                self._said = True
            self._loop.call_later(RETRY_SECONDS, self._connect)
            return
        if self._said:
            log.info("%s: connected", self._path.name)
            self._said = False
        self._socket, self._outbox = sock, Outbox(sock, self._loop, self._moved)
        self._loop.add_reader(sock.fileno(), self._readable)
        self._on_connect(self)
        for data, _, _ in list(self._pending.values()):
            self._send(data)

    def _readable(self) -> None:
        """Take one answer."""
        assert self._socket is not None
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        try:
            handle, message = self._codec.decode(data)
        except CodecError as error:
            log.error("%s: %s", self._path.name, error)
            self._lost()
            return
        log.debug("%s: %d: answers %s", self._path.name, handle, type(message).__name__)
        if not handle:
            self._on_message(message)
            return
        known = self._pending.pop(handle, None)
        if known is None:
            return
        if isinstance(message, Failed):
            log.error("%s: a request failed: %s", self._path.name, message.reason)
            known[1](None, SmbError(NtStatus.UNSUCCESSFUL))
        else:
            known[1](message)

    def _lost(self) -> None:
        """Mountd went away: connect again."""
        self._drop()
        if not self._closed:
            log.info("%s: the connection is lost", self._path.name)
            self._said = True
            self._loop.call_later(RETRY_SECONDS, self._connect)

    def _drop(self) -> None:
        """Close the socket."""
        sock, self._socket = self._socket, None
        outbox, self._outbox = self._outbox, None
        if sock is not None and outbox is not None:
            self._loop.remove_reader(sock.fileno())
            outbox.close()
            sock.close()

    def _sweep(self) -> None:
        """Let requests fail whose time is over."""
        if self._closed:
            return
        now = self._loop.time()
        late = [handle for handle, pending in self._pending.items() if pending[2] < now]
        for handle in late:
            _, answered, _ = self._pending.pop(handle)
            answered(None, SmbError(NtStatus.IO_TIMEOUT))
        self._loop.call_later(1.0, self._sweep)
