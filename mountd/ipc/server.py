"""The serving end of a SOCK_SEQPACKET socket: asyncio callbacks, no tasks, tolerant of its clients.

A client that sends what the codec refuses, does not read its answers, or is another user's
process loses its connection; nobody else notices.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from usmbd.mountd.ipc.codec import RECEIVE_SIZE, Codec, CodecError
from usmbd.mountd.ipc.messages import Message
from usmbd.mountd.ipc.outbox import Outbox
from usmbd.mountd.ipc.peer import is_ours, peer

T = TypeVar("T", bound=Message)

# Workers of a large machine and some tools; far below the descriptors of a process.
MAX_CLIENTS = 512
# Answers that wait for a client that does not read: a worker reads at once.
MAX_QUEUED = 1024
# Messages taken from one client before the others get their turn.
BURST = 32


def listen(path: Path) -> socket.socket:
    """Return a listening socket at `path`, for this user alone; an old one there is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        # The mode is the socket's from its first moment; only this thread makes files here.
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(64)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


class Client(Generic[T]):
    """One connection. `data` is the owner's, for what he keeps about the client."""

    def __init__(self, server: "Server[T]", connection: socket.socket) -> None:
        """Take the accepted connection."""
        self.data: Any = None
        self.is_open = True
        self._server = server
        self._connection = connection
        self._outbox = Outbox(connection, server.loop, self._moved)

    def send(self, handle: int, message: Message) -> None:
        """Send a message now or as soon as the client reads; a client that never does is closed."""
        if not self.is_open:
            return
        data = self._server.codec.encode(handle, message)
        if len(self._outbox) >= MAX_QUEUED:
            self.close("it does not read its answers")
            return
        self._outbox.put(data)

    def _moved(self, error: OSError | None) -> None:
        """Close the client when it is gone."""
        if error is not None:
            self.close(str(error))

    def receive(self) -> None:
        """Take what the client sent and hand it on."""
        for _ in range(BURST):
            if not self.is_open:
                return
            try:
                data = self._connection.recv(RECEIVE_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                self.close(str(error))
                return
            if not data:
                self.close("")
                return
            try:
                handle, message = self._server.codec.decode(data)
            except CodecError as error:
                self.close(f"it sent a bad message: {error}")
                return
            self._server.on_message(self, handle, message)

    def close(self, reason: str) -> None:
        """End the connection; `reason` is empty when the client ended it itself."""
        if not self.is_open:
            return
        self.is_open = False
        self._server.loop.remove_reader(self._connection)
        self._outbox.close()
        self._connection.close()
        self._server.forget(self, reason)


class Server(Generic[T]):
    """Accepts clients on a listening socket and hands their messages to `on_message`."""

    def __init__(
        self,
        listener: socket.socket,
        codec: Codec[T],
        on_message: Callable[[Client[T], int, T], None],
        on_close: Callable[[Client[T], str], None],
        admits: Callable[[int], bool] = lambda pid: True,
    ) -> None:
        """Start to accept in the running event loop, whom `admits` says of our processes."""
        self.loop = asyncio.get_running_loop()
        self.codec = codec
        self.on_message = on_message
        self.clients: set[Client[T]] = set()
        self._on_close = on_close
        self._listener = listener
        self._admits = admits
        self.loop.add_reader(listener, self._accept)

    def _accept(self) -> None:
        """Accept one client of this user or of root."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # Gone again, or no descriptor left: the listener is readable until there is one.
            return
        pid, uid = peer(connection)
        if not (is_ours(uid) and self._admits(pid)) or len(self.clients) >= MAX_CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        client = Client(self, connection)
        self.clients.add(client)
        self.loop.add_reader(connection, client.receive)

    def forget(self, client: Client[T], reason: str) -> None:
        """Drop a client that is closed."""
        self.clients.discard(client)
        self._on_close(client, reason)

    def close(self) -> None:
        """End all connections and stop to accept."""
        self.loop.remove_reader(self._listener)
        self._listener.close()
        for client in list(self.clients):
            client.close("the server ends")
