"""The supervisor's end of a SOCK_SEQPACKET pair to a child: messages, and sockets beside them."""

import logging
import socket
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

log = logging.getLogger("usmbd.conn")

MESSAGES_AT_ONCE = 64
"""Messages of one child before others have their turn."""


class Channel:
    """Sends what the child takes, keeps the rest, and never waits."""

    def __init__(
        self,
        name: str,
        sock: socket.socket,
        loop: AbstractEventLoop,
        said: Callable[[bytes, list[int]], None],
        limit: int,
        descriptors: int = 0,
        lost: Callable[[bytes], None] = lambda data: None,
    ) -> None:
        """Give `said(data, descriptors)` what comes: `limit` bytes and `descriptors` at most.

        The descriptors are then the receiver's to close; others the kernel closes. `lost(data)`
        is told of a message that the kernel does not take, while the child lives.
        """
        self._lost = lost
        self._name = name
        self._socket = sock
        self._loop = loop
        self._limit = limit
        self._said = said
        self._descriptors = descriptors
        self._unsent: deque[tuple[bytes, socket.socket | None]] = deque()
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._readable)

    def send(self, data: bytes, sock: socket.socket | None = None) -> None:
        """Send a message, with a socket that is then closed here."""
        self._unsent.append((data, sock))
        if len(self._unsent) == 1:
            self._flush()

    def _flush(self) -> None:
        """Send what waits, as far as the child takes it."""
        while self._unsent:
            data, sock = self._unsent[0]
            try:
                if sock is None:
                    self._socket.send(data)
                else:
                    socket.send_fds(self._socket, [data], [sock.fileno()])
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._flush)
                return
            except (BrokenPipeError, ConnectionResetError):
                pass  # it is gone, as whoever watches it will say
            except OSError as error:
                log.error("%s: a message is lost: %s", self._name, error.strerror)
                self._lost(data)
            self._unsent.popleft()
            if sock is not None:
                sock.close()
        if self._socket.fileno() >= 0:
            self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        """Take messages from the child."""
        for _ in range(MESSAGES_AT_ONCE):
            if self._socket.fileno() < 0:  # closed for what was said last
                return
            try:
                data, descriptors, _, _ = socket.recv_fds(
                    self._socket, self._limit, self._descriptors
                )
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._loop.remove_reader(self._socket.fileno())
                return
            self._said(data, descriptors)

    def close(self) -> None:
        """Close it, and the sockets that were meant for the child."""
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, sock in self._unsent:
            if sock is not None:
                sock.close()
        self._unsent.clear()
