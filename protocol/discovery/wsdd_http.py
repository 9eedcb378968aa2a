"""wsdd's HTTP server, which takes one client after the other, made to take many at once.

It runs in the host's Python, whatever release that is, as `python3 -I -c THIS wsdd ...`: so it uses
nothing but the standard library. A request is answered when it is whole; until then its client is
one of few in wsdd's own loop.
"""

import contextlib
import http.server
import io
import re
import runpy
import socket
import sys
from collections.abc import Callable
from typing import Any

CLIENTS = 32
"""Clients whose request is not whole; with one more the oldest goes."""

REQUEST_SECONDS = 10
"""For all of a request: Windows sends it in one piece."""

REQUEST_BYTES = 65536
"""Of a request: Windows' Get has some 1,000."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,6})[ \t]*\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"


def is_whole(data: bytes) -> bool:
    """Tell whether a request has come with all of its body."""
    head, end, body = data.partition(_END)
    if not end:
        return False
    length = _LENGTH.search(head + b"\r\n")
    return len(body) >= (int(length[1]) if length else 0)


class Whole:
    """A request that has come, as the standard library's handlers want a socket to be."""

    def __init__(self, connection: socket.socket, data: bytes) -> None:
        """Take what came by the connection."""
        self._connection, self._data = connection, data

    def makefile(self, *_: object) -> io.BytesIO:
        """Return what came."""
        return io.BytesIO(self._data)

    def sendall(self, data: bytes) -> None:
        """Send an answer; it fits the kernel's buffer, and who does not take it has none."""
        self._connection.send(data)

    def settimeout(self, seconds: object) -> None:
        """Wait for nothing."""


class PatientServer(http.server.HTTPServer):
    """A server of HTTP in an event loop, `aio_loop`, which it has got before its own set-up."""

    aio_loop: Any

    def process_request(self, request: Any, client_address: Any) -> None:
        """Listen to a new client; the oldest that says nothing whole gives way."""
        waiting: dict[socket.socket, tuple[bytearray, Any]] = self.__dict__.setdefault("_all", {})
        if len(waiting) >= CLIENTS:
            self._over(next(iter(waiting)))
        request.setblocking(False)
        late = self.aio_loop.call_later(REQUEST_SECONDS, self._over, request)
        waiting[request] = bytearray(), late
        self.aio_loop.add_reader(request.fileno(), self._more, request, client_address)

    def _more(self, request: socket.socket, client_address: Any) -> None:
        """Take a part of a request; answer it when it is whole."""
        data, _ = self.__dict__["_all"][request]
        try:
            part = request.recv(REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        data += part
        if not part or len(data) > REQUEST_BYTES:
            self._over(request)
        elif is_whole(bytes(data)):
            try:
                self.finish_request(Whole(request, bytes(data)), client_address)  # type: ignore[arg-type]
            except Exception:
                self.handle_error(request, client_address)
            self._over(request)

    def _over(self, request: socket.socket) -> None:
        """Let a client go."""
        found = self.__dict__["_all"].pop(request, None)
        if found is not None:
            found[1].cancel()
            self.aio_loop.remove_reader(request.fileno())
            self.shutdown_request(request)

    def server_close(self) -> None:
        """End, with all clients."""
        for request in list(self.__dict__.get("_all", ())):
            self._over(request)
        with contextlib.suppress(OSError):
            super().server_close()


def begin(run: Callable[..., object] = runpy.run_path) -> None:
    """Become wsdd, with its arguments behind its name."""
    http.server.HTTPServer = PatientServer  # type: ignore[misc]
    del sys.argv[0]
    run(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    begin()
