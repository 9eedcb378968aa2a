"""A forwarder in front of a server: for clients that cannot choose a port, and to record bytes."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from smbtest.server import Server

ADDRESS = f"127.0.46.{1 + int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])}"
"""Nobody else's, so that its port 445 is free: many tools dial that port and no other. Each process
of a run has its own."""


class Forwarder:
    """Listens on one address and carries every connection to the server.

    `recorded` holds what went by: (connection's number, whether from the client, bytes), in order.
    """

    def __init__(self, server: Server, host: str = "127.0.0.1", port: int = 0) -> None:
        self.server = server
        self.host = host
        self.state = server.state  # a client that is sent here keeps its files there
        self.recorded: list[tuple[int, bool, bytes]] = []
        self._connections = 0
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((host, port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                upstream = socket.create_connection((self.server.host, self.server.port))
                self._sockets += [client, upstream]
                number = self._connections
                self._connections += 1
                for source, sink, mine in ((client, upstream, True), (upstream, client, False)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(
                        target=self._carry, args=(source, sink, number, mine), daemon=True
                    ).start()

    def _carry(self, source: socket.socket, sink: socket.socket, number: int, mine: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 17):
                self.recorded.append((number, mine, data))
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._listener.shutdown(socket.SHUT_RDWR)  # ends an accept, which keeps the port otherwise
        self._listener.close()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # a thread that reads would keep it open otherwise
            end.close()


@contextmanager
def forwarded(server: Server, host: str = "127.0.0.1", port: int = 0) -> Iterator[Forwarder]:
    """Run a forwarder for the length of a block."""
    forwarder = Forwarder(server, host, port)
    try:
        yield forwarder
    finally:
        forwarder.close()


@contextmanager
def at_port_445(server: Server) -> Iterator[str]:
    """Have a server at port 445 of an address as well; the test is skipped where nobody may."""
    try:
        with forwarded(server, ADDRESS, 445):
            yield ADDRESS
    except PermissionError as error:
        pytest.skip(f"{ADDRESS}:445: {error.strerror}")
