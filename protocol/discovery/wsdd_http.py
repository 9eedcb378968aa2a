"""wsdd's HTTP server, which takes one client after the other, made to take many at once.

It runs in the host's Python, whatever release that is, as `python3 -I -c THIS wsdd ...`: so it uses
nothing but the standard library. A request is answered when it is whole; until then its client is
one of few in wsdd's own loop.
"""

import contextlib
import http.server
import io
import logging
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

LINES = 8
"""Of faults in the log, for as long as it runs."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,6})[ \t]*\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"


_told: list[str] = []


def tell(what: str) -> None:
    """Print one line of a fault, and none after LINES: what strangers send may always be one."""
    if len(_told) < LINES:
        _told.append(what)
        more = " (and no more like this)" if len(_told) == LINES else ""
        print(f"wsdd: {what}{more}", file=sys.stderr, flush=True)


class Quiet(logging.Filter):
    """Has the event loop's faults, which come with where they were, told in a line each."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell of one, and let nothing through."""
        error = record.exc_info[1] if record.exc_info else None
        tell(record.getMessage().partition("\n")[0] if error is None else repr(error))
        return False


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
        self.answered = False

    def makefile(self, *_: object) -> io.BytesIO:
        """Return what came."""
        return io.BytesIO(self._data)

    def sendall(self, data: bytes) -> None:
        """Send an answer; it fits the kernel's buffer, and who does not take it has none."""
        self._connection.send(data)
        self.answered = True

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
            whole = Whole(request, bytes(data))
            try:
                self.finish_request(whole, client_address)  # type: ignore[arg-type]
            except Exception as error:
                self._not_understood(whole, error)
            self._over(request)

    def _not_understood(self, request: Whole, error: Exception) -> None:
        """Answer what the handler had no answer to: most of it is no request.

        wsdd reads on without a length, a type or an end. The standard library would print where
        that failed, 15 lines for each that a stranger sends.
        """
        if isinstance(error, OSError):  # he has gone
            return
        if not request.answered:
            with contextlib.suppress(OSError):
                request.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        tell(f"a request is not understood: {error!r}")

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
    logging.getLogger("asyncio").addFilter(Quiet())
    http.server.HTTPServer = PatientServer  # type: ignore[misc]
    del sys.argv[0]
    run(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    begin()
