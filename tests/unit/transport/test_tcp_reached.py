"""Whether what was sent has reached the peer: a client on the other side that hears nothing."""

import socket
import struct
from collections.abc import Iterator

import pytest
from smbtest.deaf import make_deaf
from smbtest.processes import wait_for

from usmbd.transport.loop import EpollLoop
from usmbd.transport.tcp import TcpTransport


@pytest.fixture
def ends() -> Iterator[tuple[TcpTransport, socket.socket]]:
    """Connect a transport and its client."""
    loop = EpollLoop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
    transport = TcpTransport(sock, loop)
    with client:
        yield transport, client
    transport.close("the test is over")
    loop.close()


def test_who_listens_is_reached(ends: tuple[TcpTransport, socket.socket]) -> None:
    transport, _ = ends
    assert transport.reached(1) is True
    transport.send([b"notice"])
    wait_for(lambda: transport.reached(1), 30, "an acknowledgement")


def test_who_hears_nothing_is_not(ends: tuple[TcpTransport, socket.socket]) -> None:
    """First that is not known, then it is; and then all arrives, if it still can."""
    transport, client = ends
    make_deaf(client)
    transport.send([b"notice"])
    assert transport.reached(1) is None
    wait_for(lambda: transport.reached(1) is False, 30, "the first time that it is sent again")
    assert transport.reached(20) is None
    make_deaf(client, deaf=False)
    wait_for(lambda: transport.reached(1), 30, "an acknowledgement")
    assert client.recv(100) == struct.pack(">I", 6) + b"notice"


def test_what_waits_here_has_not_arrived(ends: tuple[TcpTransport, socket.socket]) -> None:
    """A client that does not read is there: it acknowledges, and then takes no more."""
    transport, _ = ends
    transport.send([bytes(32 << 20)])
    assert transport.reached(1) is None


def test_a_socket_of_another_kind_tells_its_end_itself() -> None:
    loop = EpollLoop()
    ours, theirs = socket.socketpair()
    transport = TcpTransport(ours, loop)
    transport.send([b"notice"])
    assert transport.reached(1) is True
    transport.close("the test is over")
    assert transport.reached(1) is True
    theirs.close()
    loop.close()
