"""Tells when an address of this machine came or went (rtnetlink(7))."""

import asyncio
import logging
import socket
from collections.abc import Callable

log = logging.getLogger("usmbd.conn")

RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x10, 0x100

RECHECK_SECONDS = 5.0
"""Between two looks: always where the kernel tells nothing (a container without netlink), and until
an address that could not be listened on can be."""

_SIZE = 65536


class AddressWatch:
    """Calls back when addresses changed; what changed has to be looked up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], bool]) -> None:
        """Call `changed()`, which says whether all is well; where it is not, it is called again."""
        self._loop = loop
        self._changed = changed
        self._timer: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        except OSError as error:
            log.info("addresses are looked for every %d s: %s", RECHECK_SECONDS, error.strerror)
        else:
            try:
                sock.setblocking(False)
                sock.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
            except OSError:
                sock.close()
            else:
                self._socket = sock
                loop.add_reader(sock.fileno(), self._readable)
        self.look()

    def look(self) -> None:
        """Have it looked at the addresses now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._changed() or self._socket is None:
            self._timer = self._loop.call_later(RECHECK_SECONDS, self.look)

    def _readable(self) -> None:
        """Take all that the kernel says: something changed."""
        assert self._socket is not None
        try:
            while self._socket.recv(_SIZE):
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            # ENOBUFS: more changed than the kernel could keep; the look below sees it all.
            log.debug("netlink: %s", error.strerror)
        self.look()

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
