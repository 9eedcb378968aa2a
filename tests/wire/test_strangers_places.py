"""Those who have proved nothing take no places of those who have, nor of the next."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from smbtest import smb2
from smbtest.bystander import Bystander
from smbtest.peer import only_usmbd
from smbtest.processes import own_memory, wait_for
from smbtest.raw import Raw
from smbtest.server import BOB, Options
from smbtest.usmbd import Usmbd

HONEST = 10
GENEROUS_SECONDS = 30
MIB = 1 << 20


class Defaults(Usmbd):
    """A server with the limits that hold where nothing is said, and with anonymous sessions."""

    def prepare(self) -> list[str]:
        """Leave out what tests need that come from one address."""
        command = super().prepare()
        text = self.configuration_path.read_text()
        self.configuration_path.write_text(text.replace("\tmax ip connections = 0\n", ""))
        return command

    def honest(self, source: str = "127.30.0.1") -> int:
        """Return how many of HONEST clients get in, one after the other, and read a file."""
        got = 0
        for _ in range(HONEST):
            client = Raw(self, timeout=GENEROUS_SECONDS, source=source).ready(account=BOB)
            client.open("honest")
            client.close()
            got += 1
        return got


@pytest.fixture(scope="module")
def server() -> Iterator[Defaults]:
    only_usmbd("the places are usmbd's")
    made = Defaults(Options({"workers": "2"}))
    with made.running():
        yield made


def test_connections_that_only_negotiate(server: Defaults) -> None:
    """256 of 8 addresses were all there were, for 90 s."""
    strangers = []
    with Bystander(server):
        for number in range(256):
            client = Raw(server, source=f"127.7.0.{number % 8 + 1}")
            client.negotiate()
            strangers.append(client)
        assert server.honest() == HONEST
        assert server.honest("127.7.0.1") == HONEST, "an address of the strangers'"
    for client in strangers:
        client.close()


def test_more_strangers_than_places(server: Defaults) -> None:
    """1,300 for 1,024 places: they displace each other, and the bystander does not notice."""
    strangers = []
    with Bystander(server):
        for number in range(1300):
            client = Raw(server, timeout=GENEROUS_SECONDS, source=f"127.9.0.{number % 8 + 1}")
            client.negotiate()
            strangers.append(client)
        assert server.honest() == HONEST
    closed = sum(_is_closed(client) for client in strangers)
    assert 200 < closed < 400
    for client in strangers:
        client.close()


def _is_closed(client: Raw) -> bool:
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_anonymous_sessions(server: Defaults) -> None:
    """1,024 of one address used up all sessions of a worker."""
    strangers, sessions = [], 0
    for _ in range(256):
        client = Raw(server, source="127.55.0.1")
        client.negotiate()
        strangers.append(client)
        while client.anonymous() == smb2.SUCCESS:
            sessions += 1
    assert sessions == 4 * 256
    with Bystander(server):
        assert server.honest() == HONEST
    for client in strangers:
        client.close()


def test_guests_who_stay() -> None:
    """They filled `max connections`, and so the server, for as long as they liked."""
    only_usmbd("the places are usmbd's")
    server = Defaults(Options({"workers": "2", "max connections": "32"}))
    server.shares["public"] = {"path": str(server.data), "guest ok": "yes"}
    with server.running():
        guests = []
        for number in range(40):
            client = Raw(server, timeout=GENEROUS_SECONDS, source=f"127.8.0.{number % 4 + 1}")
            client.negotiate()
            assert client.anonymous() == smb2.SUCCESS
            assert client.connect("public").status == smb2.SUCCESS
            guests.append(client)
        gone = 40 - 32 // 4
        wait_for(lambda: sum(map(_is_closed, guests)) >= gone, GENEROUS_SECONDS, "guests go")
        assert sum(map(_is_closed, guests)) == gone
        users = [Raw(server, source="127.8.0.1").ready(account=BOB) for _ in range(15)]
        for user in users:
            assert user.connect("public").status == smb2.SUCCESS
        for client in guests + users:
            client.close()


def test_logins_that_go_no_further_keep_little(server: Defaults) -> None:
    """64 of each connection kept 4 MiB: 8 connections, as one stranger may have them by far."""

    def memory() -> int:
        return sum(map(own_memory, server.workers()))

    before, clients = memory(), []
    for number in range(64):
        client = Raw(server, source=f"127.56.0.{number % 8 + 1}")
        client.negotiate()
        clients.append(client)
        for _ in range(64):
            client.begin_login()
        assert client.begin_login(60_000) == smb2.INVALID_PARAMETER
    assert memory() - before < 16 * MIB
    assert server.honest() == HONEST
    for client in clients:
        client.close()


def test_one_session_takes_one_place_of_a_share(server: Defaults) -> None:
    """128 tree connects of one session were all that `max connections` allows."""
    greedy = Raw(server).ready()
    for _ in range(300):
        assert greedy.connect().status == smb2.SUCCESS
    assert server.honest() == HONEST
    greedy.close()


def test_a_crowd_at_the_door(server: Defaults) -> None:
    """A flood of silent connections, some hundred open: who takes 0.3 s to speak gets in."""
    stop = threading.Event()
    made = [0]

    def flood(number: int) -> None:
        mine: list[socket.socket] = []
        while not stop.is_set():
            sock = socket.socket()
            try:
                sock.bind((f"127.20.{number}.{made[0] % 250 + 1}", 0))
                sock.settimeout(1)
                sock.connect((server.host, server.port))
            except OSError:
                sock.close()
                time.sleep(0.01)
                continue
            mine.append(sock)
            made[0] += 1
            if len(mine) > 200:
                mine.pop(0).close()
        for sock in mine:
            sock.close()

    threads = [threading.Thread(target=flood, args=(n,), daemon=True) for n in range(3)]
    with Bystander(server):
        for thread in threads:
            thread.start()
        try:
            with ThreadPoolExecutor(HONEST) as honest:  # at once: each second floods two cores
                pauses = [0.02, 0.1, 0.3] * HONEST
                answers = list(honest.map(lambda pause: _slowly(server, pause), pauses))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    print(f"{made[0]} connections of the flood")
    assert all(answers)


def _slowly(server: Defaults, pause: float) -> bool:
    """Return whether a client is answered that needs so long for its first message."""
    source = ("127.30.0.1", 0)
    address = (server.host, server.port)
    with socket.create_connection(address, GENEROUS_SECONDS, source) as sock:
        time.sleep(pause)
        body = smb2.negotiate_body((0x0302,), os.urandom(16))
        header = struct.pack("<4sHHIHHIIQIIQ16s", b"\xfeSMB", 64, *[0] * 3, 1, *[0] * 6, bytes(16))
        sock.sendall(struct.pack(">I", len(header + body)) + header + body)
        return bool(sock.recv(100))
