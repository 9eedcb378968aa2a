"""How soon a TCP client is noticed that is gone without a word: cut off, or switched off."""

import socket

PROBES = 4
"""Probes without an answer after which the client is gone."""

PROBE_SHARE = 8
"""One probe follows the other after this part of the silence that brought the first."""


def seconds_to_notice(keepalive: int) -> int:
    """Return after how many seconds a dead client is noticed."""
    return keepalive + PROBES * max(keepalive // PROBE_SHARE, 1)


def watch(sock: socket.socket, keepalive: int) -> None:
    """Ask a client that is silent for `keepalive` seconds whether it lives; 0: never.

    What was sent and is not acknowledged, or a client that takes nothing more, counts in the same
    way (TCP_USER_TIMEOUT): without it the kernel sends again for 15 minutes.
    """
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1 if keepalive else 0)
    if not keepalive:
        return
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(tcp, socket.TCP_KEEPIDLE, keepalive)
    sock.setsockopt(tcp, socket.TCP_KEEPINTVL, max(keepalive // PROBE_SHARE, 1))
    sock.setsockopt(tcp, socket.TCP_KEEPCNT, PROBES)
    sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, seconds_to_notice(keepalive) * 1000)
