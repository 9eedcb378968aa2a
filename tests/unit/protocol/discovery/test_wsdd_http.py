"""wsdd's HTTP: many clients at once, each with a whole request or for a short while."""

import asyncio
import http.server
import logging
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


class Halfway(Echo):
    """Fails when it has begun to answer."""

    def do_POST(self) -> None:
        """Say a part, and fail."""
        self.wfile.write(b"begun")
        raise ValueError


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


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    """Begin as wsdd does."""
    wsdd_http._told.clear()


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
    """He learns that it was no request; the log has some lines, however many come."""
    for _ in range(2 * wsdd_http.LINES):
        bad = served.client(b"POST /x HTTP/1.1\r\n\r\n")  # Echo asks for a length
        assert served.heard(bad) == b"HTTP/1.0 400 Bad Request\r\n\r\n"
        assert served.heard(bad) == b""
    assert b"HELLO" in (served.heard(served.client(HEAD + b"hello")) or b"")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == wsdd_http.LINES
    assert all("wsdd: a request is not understood: TypeError" in line for line in lines)
    assert lines[-1].endswith("(and no more like this)")


def test_faults_of_the_loop_are_a_line_each(capsys: Any) -> None:
    """Wsdd's own: an encoding that XML says and nobody knows, in a datagram of anybody."""
    heard = logging.getLogger("asyncio")
    quiet = wsdd_http.Quiet()
    heard.addFilter(quiet)
    try:
        for number in range(2 * wsdd_http.LINES):
            heard.error("Exception in callback\nhandle", exc_info=LookupError(f"no {number}"))
    finally:
        heard.removeFilter(quiet)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == wsdd_http.LINES
    assert lines[0] == "wsdd: LookupError('no 0')"


def test_an_answer_that_fails_midway_stays_what_it_is(served: Served) -> None:
    client = served.client(HEAD.replace(b": 5", b": 5x"))  # no length of a request, for Echo none
    assert served.heard(client) == b"HTTP/1.0 400 Bad Request\r\n\r\n"
    served.server.RequestHandlerClass = Halfway
    assert served.heard(served.client(HEAD + b"hello")) == b"begun"


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
