"""A blocking client, for the tools: one request, its answers, an end."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from usmbd.mountd.ipc.codec import RECEIVE_SIZE, Codec, CodecError
from usmbd.mountd.ipc.messages import Message
from usmbd.mountd.ipc.peer import is_ours, peer_uid

T = TypeVar("T", bound=Message)

# A tool's user waits no longer than this for a server that does not answer.
TIMEOUT = 10.0


class BlockingClient(Generic[T]):
    """A connection to one of the sockets; OSError and CodecError reach the caller."""

    def __init__(self, path: Path, codec: Codec[T], timeout: float = TIMEOUT) -> None:
        """Connect."""
        self._codec = codec
        self._handle = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
            if not is_ours(peer_uid(self._socket)):
                raise PermissionError(f"{path} is another user's")
        except BaseException:
            self._socket.close()
            raise

    def send(self, message: Message) -> int:
        """Send a message without waiting; return its handle."""
        self._handle += 1
        self._socket.send(self._codec.encode(self._handle, message))
        return self._handle

    def answers(self, message: Message) -> Iterator[T]:
        """Send a message and yield its answers until the caller has enough."""
        handle = self.send(message)
        while True:
            data = self._socket.recv(RECEIVE_SIZE)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            answered, answer = self._codec.decode(data)
            if answered == handle:
                yield answer
            elif answered:
                raise CodecError(f"an answer to request {answered}, which was not sent")

    def request(self, message: Message) -> T:
        """Send a message and return its one answer."""
        return next(self.answers(message))

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
