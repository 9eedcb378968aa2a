"""Listening sockets: on every address, or on those that the configured interfaces have now."""

import errno
import logging
import socket
from collections.abc import Callable

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.interfaces import served_addresses

log = logging.getLogger("usmbd.conn")

BACKLOG = 4096
"""Connections that wait to be accepted (net.core.somaxconn bounds it): while the supervisor does
something else, those of a flood must not keep out the others."""

_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class Listeners:
    """The sockets of one configuration, by the addresses they listen on."""

    def __init__(self, config: ServerConfig) -> None:
        """Listen; OSError when the port cannot be had.

        An address that is not there (yet) is no error: `follow` listens on it when it comes.
        """
        self._config = config
        self._sockets: dict[str, socket.socket] = {}
        self._complaints: dict[str, str] = {}
        addresses = served_addresses(config)
        self.everywhere = addresses is None
        """Whether all addresses are listened on, the ones to come too."""
        try:
            if addresses is None:
                self._sockets[""] = _any(config.tcp_port)
            for address in map(str, addresses or ()):
                try:
                    self._sockets[address] = _bind(address, config.tcp_port)
                except OSError as error:
                    if error.errno != errno.EADDRNOTAVAIL:
                        raise
        except BaseException:
            self.close()
            raise

    @property
    def sockets(self) -> list[socket.socket]:
        """Return the sockets, as they are now."""
        return list(self._sockets.values())

    @property
    def addresses(self) -> list[str] | None:
        """Return what is listened on; None: all addresses."""
        return None if self.everywhere else list(self._sockets)

    def follow(
        self, came: Callable[[socket.socket], None], went: Callable[[socket.socket], None]
    ) -> bool:
        """Listen on addresses that came, and no more on those that went; False: try again later.

        `came` is given each new socket, `went` each old one before it is closed.
        """
        if self.everywhere:
            return True
        wanted = [str(address) for address in served_addresses(self._config) or ()]
        port = self._config.tcp_port
        for address in self._sockets.keys() - set(wanted):
            sock = self._sockets.pop(address)
            went(sock)
            sock.close()
            log.info("%s port %d: not listened on any more", address, port)
        complaints = {}
        for address in wanted:
            if address in self._sockets:
                continue
            try:
                sock = self._sockets[address] = _bind(address, port)
            except OSError as error:  # an IPv6 address that is still tentative, say
                complaints[address] = error.strerror or str(error)
                if self._complaints.get(address) != complaints[address]:
                    log.info("%s port %d: %s; trying again", address, port, complaints[address])
                continue
            log.info("%s port %d: listening", address, port)
            came(sock)
        self._complaints = complaints
        return not complaints

    def close(self) -> None:
        """Close all sockets."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()


def _any(port: int) -> socket.socket:
    """Listen on all addresses, IPv4 and IPv6 in one; on IPv4 alone where there is no IPv6."""
    try:
        return _bind("::", port)
    except OSError as error:
        if socket.has_ipv6 and error.errno not in _NO_IPV6:
            raise
    return _bind("0.0.0.0", port)


def _bind(address: str, port: int) -> socket.socket:
    """Return one listening socket."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
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
