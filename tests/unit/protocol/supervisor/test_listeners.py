"""Addresses that come and go while the server listens on an interface's."""

import asyncio
import errno
import logging
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address

import pytest

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state import interfaces
from usmbd.protocol.supervisor import addresses as watched
from usmbd.protocol.supervisor import listeners
from usmbd.protocol.supervisor.addresses import RECHECK_SECONDS, AddressWatch
from usmbd.protocol.supervisor.listeners import Listeners

Until = Callable[[Callable[[], object]], None]


class Followed:
    """Listeners of the interface `lan`, whose addresses a test chooses."""

    def __init__(self, patch: pytest.MonkeyPatch, *present: str) -> None:
        """Begin with these addresses."""
        self.present = list(present)
        patch.setattr(
            interfaces, "addresses", lambda: [("lan", ip_address(text)) for text in self.present]
        )
        self.config = ServerConfig(interfaces=["lan"], bind_interfaces_only=True, tcp_port=port())
        self.listeners = Listeners(self.config)
        self.came: list[socket.socket] = []
        self.went: list[socket.socket] = []

    def follow(self) -> bool:
        """Look again."""
        return self.listeners.follow(self.came.append, self.went.append)


def port() -> int:
    """Return a port that is free at all addresses.

    It is below those that outgoing connections of other programs have: such a one, at any address,
    would be in the way of a listener at all.
    """
    while True:
        number = random.randrange(10_000, 32_000)
        with socket.socket(socket.AF_INET6) as probe, suppress(OSError):
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind(("::", number))
            return number


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Followed]]:
    made: list[Followed] = []

    def start(*present: str) -> Followed:
        made.append(Followed(monkeypatch, *present))
        return made[-1]

    yield start
    for one in made:
        one.listeners.close()


def reaches(address: str, followed: Followed) -> bool:
    with socket.socket() as client:
        return client.connect_ex((address, followed.config.tcp_port)) == 0


def test_an_address_that_comes_is_listened_on(make: Callable[..., Followed]) -> None:
    followed = make("127.0.0.1")
    assert not reaches("127.0.0.2", followed)
    followed.present.append("127.0.0.2")
    assert followed.follow()
    assert [sock.getsockname()[0] for sock in followed.came] == ["127.0.0.2"]
    assert reaches("127.0.0.2", followed)
    assert followed.listeners.addresses == ["127.0.0.1", "127.0.0.2"]


def test_an_address_that_goes_is_not_listened_on_any_more(make: Callable[..., Followed]) -> None:
    followed = make("127.0.0.1", "127.0.0.2")
    first = followed.listeners.sockets[0]
    followed.present.remove("127.0.0.1")
    assert followed.follow()
    assert followed.went == [first]
    assert first.fileno() == -1
    assert followed.listeners.addresses == ["127.0.0.2"]
    assert not reaches("127.0.0.1", followed)
    last = followed.listeners.sockets[0]
    followed.listeners.close()
    assert last.fileno() == -1
    assert not followed.listeners.sockets


def test_an_address_that_cannot_be_had_yet_is_tried_again(
    make: Callable[..., Followed], caplog: pytest.LogCaptureFixture
) -> None:
    """As an IPv6 address that is still tentative: 192.0.2.1 is none of this machine."""
    caplog.set_level(logging.INFO)
    followed = make("192.0.2.1")
    assert followed.listeners.addresses == []
    assert not followed.follow()
    assert not followed.follow()
    assert caplog.text.count("trying again") == 1
    followed.present[:] = ["127.0.0.1"]
    assert followed.follow()
    assert followed.listeners.addresses == ["127.0.0.1"]


def test_a_taken_port_is_an_error_at_the_start_and_a_complaint_later(
    make: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = make("127.0.0.1")
    with pytest.raises(OSError, match="in use"):
        Listeners(followed.config)
    with socket.create_server(("127.0.0.2", followed.config.tcp_port)):
        followed.present.append("127.0.0.2")
        assert not followed.follow()
    assert followed.follow()


def test_everywhere_is_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Listeners(ServerConfig(tcp_port=port()))
    assert made.addresses is None
    assert made.follow(lambda s: None, lambda s: None)
    assert len(made.sockets) == 1
    made.close()


def test_nobody_s_connection_is_waited_for() -> None:
    """A client that is gone when its turn comes would hold up the supervisor in accept(2)."""
    made = Listeners(ServerConfig(tcp_port=port()))
    with pytest.raises(BlockingIOError):
        made.sockets[0].accept()
    made.close()


def test_everywhere_is_ipv4_too_and_an_address_is_itself_alone() -> None:
    made = listeners._bind("::", 0)
    assert made.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
    with socket.create_connection(("127.0.0.1", made.getsockname()[1])):
        made.close()
    made = listeners._bind("::1", 0)
    assert made.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    made.close()


def test_what_cannot_be_bound_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    real = socket.socket

    def remembered(*args: int) -> socket.socket:
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr(listeners.socket, "socket", remembered)
    with pytest.raises(OSError, match="Cannot assign"):
        listeners._bind("192.0.2.1", 0)
    assert [sock.fileno() for sock in made] == [-1]


def test_without_ipv6_there_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = listeners._bind

    def refuse(address: str, number: int) -> socket.socket:
        if address == "::":
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return bind(address, number)

    monkeypatch.setattr(listeners, "_bind", refuse)
    made = Listeners(ServerConfig(tcp_port=port()))
    assert made.sockets[0].getsockname()[0] == "0.0.0.0"
    made.close()


# -- the watch ------------------------------------------------------------------------------------


def test_the_kernel_says_that_addresses_changed(
    loop: asyncio.AbstractEventLoop, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    monkeypatch.setattr(watched.socket, "socket", lambda *args: _Bound(fileno=theirs.detach()))
    looks: list[int] = []
    watch = AddressWatch(loop, lambda: looks.append(1) is None)
    assert len(looks) == 1  # what came while the server started
    for _ in range(3):
        ours.send(b"a message")
    until(lambda: len(looks) == 2)
    ours.send(b"another")
    until(lambda: len(looks) == 3)
    watch.close()
    ours.close()


class _Bound(socket.socket):
    """A socket that takes any address to be bound to."""

    def bind(self, address: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize("settled", [True, False])
def test_without_netlink_it_looks_from_time_to_time(
    settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object) -> socket.socket:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(watched.socket, "socket", refused)
    timers: list[float] = []

    class Loop:
        def call_later(self, delay: float, call: Callable[[], None]) -> None:
            timers.append(delay)

    AddressWatch(Loop(), lambda: settled)  # type: ignore[arg-type]
    assert timers == [RECHECK_SECONDS]
