"""wsdd's HTTP: many clients at once, each with a whole request or for a short while."""

import asyncio
import http.server
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from usmbd.protocol.discovery import wsdd_http
from usmbd.protocol.discovery.wsdd_http import PatientServer, is_whole

HEAD = b"POST /x HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n"


class Echo(http.server.BaseHTTPRequestHandler):
    """Sends back what came, as wsdd's own handler reads and writes."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Read as much as is said, and send it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.upper())


class Served:
    """A server on no port, and its clients."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.server = PatientServer(("", 0), Echo, bind_and_activate=False)
        self.server.aio_loop = loop

    def client(self, first: bytes = b"") -> socket.socket:
        """Return a client that has connected, and perhaps said something."""
        own, theirs = socket.socketpair()
        self.server.process_request(theirs, ("192.0.2.1", 1))
        self.say(own, first)
        return own

    def say(self, client: socket.socket, data: bytes) -> None:
        """Have a client say something, and the loop hear it."""
        if data:
            client.sendall(data)
        self.turn()

    def turn(self) -> None:
        """Let the loop do what there is to do."""
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))

    def heard(self, client: socket.socket) -> bytes | None:
        """Return what a client got, b"" at the end; None: nothing yet."""
        client.setblocking(False)
        try:
            return client.recv(65536)
        except BlockingIOError:
            return None


@pytest.fixture
def served() -> Iterator[Served]:
    loop = asyncio.new_event_loop()
    made = Served(loop)
    yield made
    made.server.server_close()
    loop.close()


def test_who_says_nothing_holds_up_nobody(served: Served) -> None:
    silent, slow = served.client(), served.client(b"POST /x HT")
    good = served.client(HEAD + b"hello")
    answer = served.heard(good)
    assert answer is not None
    assert answer.startswith(b"HTTP/1.0 200")
    assert answer.endswith(b"HELLO")
    assert served.heard(good) == b""
    assert served.heard(silent) is None
    served.say(slow, HEAD[len(b"POST /x HT") :])
    assert served.heard(slow) is None
    served.say(slow, b"later")
    answer = served.heard(slow)
    assert answer is not None
    assert answer.endswith(b"LATER")


def test_the_oldest_gives_way(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsdd_http, "CLIENTS", 2)
    first, second, third = (served.client(b"x") for _ in range(3))
    assert served.heard(first) == b""
    assert [served.heard(each) for each in (second, third)] == [None, None]


def test_whose_time_is_over(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsdd_http, "REQUEST_SECONDS", 0)
    late = served.client(b"x")
    assert served.heard(late) == b""


@pytest.mark.parametrize("sent", [b"x" * 65537, HEAD.replace(b"5", b"999999") + b"x" * 65500])
def test_what_is_too_long(served: Served, sent: bytes) -> None:
    client = served.client()
    client.setblocking(False)
    while sent:
        sent = sent[client.send(sent) :]
        served.turn()
    assert served.heard(client) == b""


def test_a_handler_that_fails_ends_its_client_alone(served: Served, capsys: Any) -> None:
    bad = served.client(b"POST /x HTTP/1.1\r\n\r\n")  # Echo asks for a length
    assert served.heard(bad) == b""
    assert b"HELLO" in (served.heard(served.client(HEAD + b"hello")) or b"")
    assert "TypeError" in capsys.readouterr().err


def test_who_leaves(served: Served) -> None:
    client = served.client(b"x")
    client.close()
    served.turn()
    assert served.server.__dict__["_all"] == {}


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (HEAD, False),
        (HEAD + b"1234", False),
        (HEAD + b"12345", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n", False),
        (b"P\r\nCONTENT-length:\t 1 \r\n\r\n", False),
    ],
)
def test_when_a_request_is_whole(data: bytes, whole: bool) -> None:
    assert is_whole(data) is whole
