"""Listening sockets: on every address, or on those of the configured interfaces."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.commands.interfaces import addresses

BACKLOG = 256
"""Connections that wait to be accepted."""


def listen(config: ServerConfig) -> list[socket.socket]:
    """Return listening sockets for the configuration; OSError when a port cannot be had."""
    if not (config.bind_interfaces_only and config.interfaces):
        return [_any(config.tcp_port)]
    sockets = []
    try:
        for address in chosen(config.interfaces):
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


def chosen(interfaces: list[str]) -> list[IPv4Address | IPv6Address]:
    """Return the addresses that names, addresses and networks stand for."""
    chosen: dict[IPv4Address | IPv6Address, None] = {}
    known = addresses()
    for text in interfaces:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            found = [a for name, a in known if name == text and not a.is_link_local]
        else:
            found = [a for _, a in known if a in network]
            if not found and network.num_addresses == 1:
                found = [ip_address(text)]
        chosen.update(dict.fromkeys(found))
    return list(chosen)


_NO_IPV6 = (97, 99)  # EAFNOSUPPORT, EADDRNOTAVAIL
