"""Messages that wait for a socket to take them."""

import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol


class Loop(Protocol):
    """What it needs of an event loop."""

    def add_writer(self, fd: int, callback: Callable[..., Any], /) -> object:
        """Call when the descriptor takes more."""

    def remove_writer(self, fd: int, /) -> object:
        """Call no more; nothing where nobody would be called."""


Moved = Callable[[OSError | None], None]


class Outbox:
    """Sends whole messages in their order, now or as soon as the other side reads."""

    def __init__(self, sock: socket.socket, loop: Loop, moved: Moved | None = None) -> None:
        """Send by `sock`, which does not block.

        `moved(None)` follows every time that it was tried, `moved(error)` where the other side is
        gone: then nothing waits any more.
        """
        self._socket = sock
        self._loop = loop
        self._moved = moved
        self._unsent: deque[bytes] = deque()

    def __len__(self) -> int:
        """Count what waits."""
        return len(self._unsent)

    def put(self, message: bytes) -> bool:
        """Send after what waits; False where the other side is gone."""
        self._unsent.append(message)
        return self._send()

    def close(self) -> None:
        """Forget what waits. The socket stays its owner's to close, after this."""
        self._unsent.clear()
        self._loop.remove_writer(self._socket.fileno())

    def _send(self) -> bool:
        """Send what the socket takes."""
        unsent, failure = self._unsent, None
        try:
            while unsent:
                self._socket.send(unsent[0])
                unsent.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._send)
        except OSError as error:
            failure = error
        if failure is not None:
            self.close()
        elif not unsent:
            self._loop.remove_writer(self._socket.fileno())
        if self._moved is not None:
            self._moved(failure)
        return failure is None
