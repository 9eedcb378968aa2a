"""A client that is gone without a word is noticed in minutes."""

import socket

import pytest

from usmbd.transport.keepalive import PROBES, seconds_to_notice, watch


@pytest.mark.parametrize(("keepalive", "interval"), [(120, 15), (300, 37), (3, 1)])
def test_what_the_kernel_is_told(keepalive: int, interval: int) -> None:
    with socket.socket() as sock:
        watch(sock, keepalive)
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        told = [sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
        assert told == [keepalive, interval, PROBES, (keepalive + PROBES * interval) * 1000]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_it_can_be_switched_off() -> None:
    with socket.socket() as sock:
        watch(sock, 0)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_three_minutes_by_default() -> None:
    assert seconds_to_notice(120) == 180


def test_a_socket_of_this_machine_needs_none() -> None:
    one, two = socket.socketpair()
    watch(one, 120)
    one.close()
    two.close()
