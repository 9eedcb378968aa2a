"""New clients: their first message is read here, for its ClientGuid tells which worker they get.

All channels of one client meet in one worker ([MS-SMB2] 3.3.5.5.2), as in Samba: the socket is
passed on with the bytes that were read. Nothing is parsed but the frame and the one field.
"""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress

from usmbd.mountd.ipc.network import network
from usmbd.protocol.door.places import Places
from usmbd.protocol.state import descriptors
from usmbd.protocol.wire.negotiate import client_guid
from usmbd.protocol.worker.messages import FIRST_MESSAGE_LIMIT, FIRST_MESSAGE_SECONDS
from usmbd.transport.base import host_text
from usmbd.transport.loop import Cancellable, EventLoop

log = logging.getLogger("usmbd.conn")

MAXIMUM_WAITING = 4096
"""Clients that may be here at a time, if there are descriptors for them. One more closes another
(see `places`): who speaks is gone in a moment, so that a flood of silent connections displaces only
itself. At 1,400 new ones a second that is three seconds for each."""

DESCRIPTOR_SHARE = 4
"""No more than one of so many descriptors is a client's who is at the door."""

ACCEPTED_AT_ONCE = 64
"""Clients that are taken before those who are here have their turn."""

_FRAME = 4

_SESSION_REQUEST = 0x81
_POSITIVE_SESSION_RESPONSE = b"\x82\0\0\0"
"""RFC 1002, 4.3: clients of NetBIOS begin with the one and wait for the other, on any port."""

_SESSION_REQUEST_LIMIT = 2 * 255
"""Bytes of the called and the calling name at the longest (RFC 1002, 4.1)."""

PassOn = Callable[[socket.socket, bytes, bytes], None]


class Doorkeeper:
    """Reads the first message of every client and passes the client on."""

    def __init__(self, loop: EventLoop, pass_on: PassOn) -> None:
        """Give clients to `pass_on(socket, guid, bytes)`."""
        self._loop = loop
        self._pass_on = pass_on
        self._listeners: set[socket.socket] = set()
        self._guests: dict[socket.socket, _Guest] = {}
        self.places: Places[socket.socket] = Places(
            min(MAXIMUM_WAITING, descriptors.limit() // DESCRIPTOR_SHARE)
        )

    def serve(self, listener: socket.socket) -> None:
        """Accept from a listening socket."""
        self._listeners.add(listener)
        self._loop.add_reader(listener.fileno(), self._accept, listener)

    def leave(self, listener: socket.socket) -> None:
        """Accept from it no more; who waits for its first message there goes on."""
        self._listeners.discard(listener)
        self._loop.remove_reader(listener.fileno())

    def _again(self, listener: socket.socket) -> None:
        """Accept again after a pause, unless that has ended meanwhile."""
        if listener in self._listeners:
            self.serve(listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take new connections."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("accept: %s", error.strerror)
                self._loop.remove_reader(listener.fileno())
                self._loop.call_later(0.5, self._again, listener)
                return
            displaced = self.places.take(sock, network(host_text(str(address[0]))))
            if displaced is not None:
                self._dismiss(displaced)
            sock.setblocking(False)
            guest = _Guest(self._loop.call_later(FIRST_MESSAGE_SECONDS, self._dismiss, sock))
            self._guests[sock] = guest
            self._loop.add_reader(sock.fileno(), self._readable, sock, guest)

    def _readable(self, sock: socket.socket, guest: "_Guest") -> None:
        """Read up to the end of the first message."""
        try:
            data = sock.recv(FIRST_MESSAGE_LIMIT + _FRAME - len(guest.data))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        guest.data += data
        if not data:
            self._dismiss(sock)
            return
        if not _takes_session_request(sock, guest) or len(guest.data) < _FRAME:
            return
        length = int.from_bytes(guest.data[:_FRAME], "big")
        if not length or length > FIRST_MESSAGE_LIMIT:
            self._dismiss(sock)
        elif len(guest.data) >= _FRAME + length:
            self._forget(sock)
            self._pass_on(sock, client_guid(guest.data[_FRAME:]), guest.data)

    def _forget(self, sock: socket.socket) -> None:
        """Stop to look after a client."""
        guest = self._guests.pop(sock)
        self.places.leave(sock)
        guest.timer.cancel()
        self._loop.remove_reader(sock.fileno())

    def _dismiss(self, sock: socket.socket) -> None:
        """Close a client that did not say what it wants."""
        if sock in self._guests:
            self._forget(sock)
            sock.close()


def _takes_session_request(sock: socket.socket, guest: "_Guest") -> bool:
    """Answer a NetBIOS session request before the first message; False while it is not complete.

    Any names are accepted, as Samba accepts them: all lead to the same shares.
    """
    data = guest.data
    if guest.greeted or not data or data[0] != _SESSION_REQUEST:
        return True
    length = int.from_bytes(data[1:_FRAME], "big")
    if len(data) >= _FRAME and length > _SESSION_REQUEST_LIMIT:
        return True  # a frame like any other, and too long for one
    if len(data) < _FRAME + length:
        return False
    guest.greeted = True
    guest.data = data[_FRAME + length :]
    with suppress(OSError):  # the next read tells of a client that is gone
        sock.send(_POSITIVE_SESSION_RESPONSE)
    return True


class _Guest:
    """A client whose first message is not complete."""

    __slots__ = ("data", "greeted", "timer")

    def __init__(self, timer: Cancellable) -> None:
        """Begin without data."""
        self.timer = timer
        self.data = b""
        self.greeted = False  # a NetBIOS session request was answered
