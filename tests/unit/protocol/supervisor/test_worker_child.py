"""What a worker is sent and says, over the socket that the supervisor has with it."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from usmbd.protocol.supervisor.children import WorkerChild
from usmbd.protocol.worker import messages

SECONDS = 30.0


class Talk:
    """A worker's two ends of the socket, and what was heard of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect."""
        ours, self.worker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.worker_end.setblocking(False)
        self.heard: list[tuple[Any, Any]] = []
        self._loop = loop

        async def make() -> WorkerChild:
            process: Any = SimpleNamespace(pid=1, returncode=None)
            return WorkerChild(4, process, ours, lambda *said: self.heard.append(said))

        self.worker = loop.run_until_complete(make())

    def settle(self) -> None:
        """Let the loop do what there is to do."""
        for _ in range(3):
            self._loop.run_until_complete(asyncio.sleep(0))

    def say(self, message: Any) -> None:
        """Speak as the worker."""
        self.worker_end.send(messages.encode(message))
        self.settle()

    def received(self) -> list[Any]:
        """Return all that the worker was sent."""
        found = []
        try:
            while True:
                data, fds, _, _ = socket.recv_fds(self.worker_end, messages.MESSAGE_LIMIT, 2)
                if not data:
                    return found
                found.append(messages.decode_to_worker(data))
                for fd in fds:
                    os.close(fd)
        except BlockingIOError:
            return found


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def talk(loop: asyncio.AbstractEventLoop) -> Iterator[Talk]:
    made = Talk(loop)
    yield made
    if made.worker._channel._socket.fileno() >= 0:
        made.worker.forget()
    made.worker_end.close()


def test_a_worker_serves_once_it_is_ready_and_while_it_answers(talk: Talk) -> None:
    worker = talk.worker
    assert (worker.name, worker.number) == ("worker 4", 4)
    assert not worker.serves
    talk.say(messages.Ready(rdma={"rxe0": "no memory"}))
    assert worker.serves
    assert worker.rdma == {"rxe0": "no memory"}
    assert talk.heard == []
    worker.hangs_in = "open"
    assert worker.silent
    assert not worker.serves


def test_what_a_worker_says_reaches_the_supervisor(talk: Talk) -> None:
    talk.say(messages.Ended(connection=7))
    talk.say(messages.Pong())
    assert talk.heard == [
        (talk.worker, messages.Ended(connection=7)),
        (talk.worker, messages.Pong()),
    ]


@pytest.mark.parametrize("data", [b"\xc1", b"\x81\xa1x\0", b"\x82\xa1x" + b"\x91" * 30_000])
def test_what_is_no_message_of_a_worker_is_told_and_forgotten(
    talk: Talk, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker parses what clients send: it may say anything, to a process that is root."""
    talk.worker._said(data, [])
    assert talk.heard == []
    assert "worker 4 says what is no message" in caplog.text


def test_a_client_is_closed_here_once_it_is_passed_on(talk: Talk) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        talk.worker.send(messages.Adopt(connection=1, first=b"x"), theirs)
        assert theirs.fileno() == -1
        assert talk.received() == [messages.Adopt(connection=1, first=b"x")]
        assert ours.recv(1) == b""  # the worker, which has the only other end, let it go


def test_what_a_worker_has_no_room_for_waits_and_keeps_its_order(talk: Talk) -> None:
    worker, count = talk.worker, 20_000
    ours, theirs = socket.socketpair()
    with ours:
        for number in range(count):
            worker.send(messages.Dismiss(connection=number, reason="x" * 100))
        worker.send(messages.Adopt(connection=count, first=b""), theirs)
        assert worker._channel._unsent, "the socket's buffer is larger than this test thought"
        assert theirs.fileno() >= 0
        found: list[Any] = []
        end = time.monotonic() + SECONDS
        while len(found) <= count and time.monotonic() < end:
            found += talk.received()
            talk.settle()
        assert [message.connection for message in found] == [*range(count + 1)]
        assert theirs.fileno() == -1
        worker.send(messages.Ping())
        assert talk.received() == [messages.Ping()]


def test_messages_to_a_worker_that_is_gone_are_dropped(
    talk: Talk, caplog: pytest.LogCaptureFixture
) -> None:
    talk.worker_end.close()
    ours, theirs = socket.socketpair()
    with ours:
        talk.worker.send(messages.Adopt(connection=1, first=b""), theirs)
        assert ours.recv(1) == b""
    talk.worker.send(messages.Ping())
    assert not talk.worker._channel._unsent
    talk.settle()
    assert not caplog.records, "who watches over the worker says so"


def test_a_message_that_cannot_be_sent_is_told(
    talk: Talk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    talk.worker.send(messages.Dismiss(connection=1, reason="x" * (1 << 20)))
    assert "worker 4: a message is lost: Message too long" in caplog.text
    talk.worker.send(messages.Ping())
    assert talk.received() == [messages.Ping()]


def test_a_worker_that_is_forgotten_has_its_clients_closed(talk: Talk) -> None:
    worker = talk.worker
    talk.say(messages.Ready())
    while not worker._channel._unsent:
        worker.send(messages.Dismiss(connection=1, reason="x" * 1000))
    ours, theirs = socket.socketpair()
    with ours:
        worker.send(messages.Adopt(connection=2, first=b""), theirs)
        worker.forget()
        assert ours.recv(1) == b""
    assert not worker.serves
    assert worker._channel._socket.fileno() == -1
    assert not worker._channel._unsent


def test_the_end_of_a_worker_s_socket_is_no_message(talk: Talk) -> None:
    talk.worker_end.close()
    talk.settle()
    assert talk.heard == []
