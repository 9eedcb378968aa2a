"""Listening sockets: on every address, or on those of the configured interfaces."""

import socket

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.commands.interfaces import served_addresses

BACKLOG = 256
"""Connections that wait to be accepted."""


def listen(config: ServerConfig) -> list[socket.socket]:
    """Return listening sockets for the configuration; OSError when a port cannot be had."""
    addresses = served_addresses(config)
    if addresses is None:
        return [_any(config.tcp_port)]
    sockets = []
    try:
        for address in addresses:
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            sockets.append(_bind(family, str(address), config.tcp_port))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _any(port: int) -> socket.socket:
    """Listen on all addresses, IPv4 and IPv6 in one; on IPv4 alone where there is no IPv6."""
    try:
        return _bind(socket.AF_INET6, "::", port)
    except OSError as error:
        if socket.has_ipv6 and error.errno not in _NO_IPV6:
            raise
    return _bind(socket.AF_INET, "0.0.0.0", port)


def _bind(family: int, address: str, port: int) -> socket.socket:
    """Return one listening socket."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


_NO_IPV6 = (97, 99)  # EAFNOSUPPORT, EADDRNOTAVAIL
