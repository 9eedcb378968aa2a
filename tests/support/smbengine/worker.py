"""A worker in this process, and the supervisor's end of its socket."""

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.wire.header import Header
from usmbd.protocol.wire.negotiate import NegotiateRequest
from usmbd.protocol.worker import messages
from usmbd.protocol.worker.worker import Worker

GUID = bytes(range(16))


def negotiate() -> bytes:
    """Return a framed NEGOTIATE of 2.0.2."""
    body = NegotiateRequest(
        dialect_count=1, security_mode=1, capabilities=0, client_guid=bytes(range(16))
    )
    header = Header(command=0, credits=1, message_id=0, signature=bytes(16))
    message = header.pack() + body.pack() + struct.pack("<H", 0x202)
    return struct.pack(">I", len(message)) + message


class Supervised:
    """A worker and the supervisor's end of its socket."""

    def __init__(self, state: Path, loop: asyncio.AbstractEventLoop, **config: Any) -> None:
        """Start worker 3."""
        LmdbStore.create(state / messages.STORE_DIRECTORY, 8 << 20)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.config = ServerConfig(state_directory=str(state), **config)
        self.say(messages.Start(worker=3, guid=GUID, config=self.config))
        self.worker = Worker(theirs, loop)
        self.server = self.worker.server
        self.said: list[Any] = []
        self.control.setblocking(False)
        self._theirs = theirs

    def say(self, message: messages.ToWorker, *sockets: socket.socket) -> None:
        """Send a message, with sockets."""
        fds = [sock.fileno() for sock in sockets]
        socket.send_fds(self.control, [messages.encode(message)], fds)

    def heard(self, kind: type) -> Any:
        """Return the first message of a kind that the worker has sent, or None."""
        try:
            while True:
                data = self.control.recv(messages.MESSAGE_LIMIT)
                self.said.append(messages.decode_from_worker(data))
        except BlockingIOError:
            return next((m for m in self.said if isinstance(m, kind)), None)

    def client(self, number: int = 1, first: bytes = b"") -> socket.socket:
        """Hand a client over."""
        ours, theirs = socket.socketpair()
        self.say(messages.Adopt(connection=number, first=first), theirs)
        theirs.close()
        ours.settimeout(5)
        return ours

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop the worker."""
        if not self.worker._mountd._closed:
            self.worker.stop("the test is over")
        loop.remove_reader(self._theirs.fileno())
        self._theirs.close()
        self.control.close()
        self.worker._store.close()
