"""Connections of RDMA: listening, requests, accepting, ends; the queue pairs are elsewhere.

    CONNECT_REQUEST -> on_request(Request)      then accept or reject
    ESTABLISHED     -> on_established(id)
    DISCONNECTED .. -> on_disconnected(id, why) then destroy

A queue pair may belong to another process: what crosses is its number and, for each of its
states, the structure that `qp_attributes` gives. The thread that uses this must never change
its credentials: the kernel then refuses every call for good (EACCES).
"""

import asyncio
import ctypes
import errno
import itertools
import os
from collections.abc import Callable, Iterable
from ctypes import POINTER, byref, c_int, c_uint8, c_void_p, cast, create_string_buffer
from dataclasses import dataclass
from typing import Any

from usmbd.transport.smbdirect.attributes import Attributes, State
from usmbd.transport.smbdirect.cm_library import (
    RDMA_OPTION_ID,
    RDMA_OPTION_ID_AFONLY,
    RDMA_PS_TCP,
    ConnectionParameters,
    Event,
    Id,
    Kind,
    Library,
    address_text,
    load,
    socket_address,
)
from usmbd.transport.smbdirect.provider import DeviceError, Unavailable

BACKLOG = 128
"""Requests that wait in the kernel; further ones are refused there."""

EVENTS = 64
"""Events taken before others of the loop get their turn."""

STATES = (State.INIT, State.RTR, State.RTS)
"""The states through which a queue pair is brought to a connection."""

_FOR_EVER = 7
"""Retry counts have three bits, and 7 of them means no limit for `rnr_retry_count`."""

_ENDS = frozenset(
    (
        Kind.CONNECT_ERROR,
        Kind.UNREACHABLE,
        Kind.REJECTED,
        Kind.DISCONNECTED,
        Kind.DEVICE_REMOVAL,
    )
)

DEPTHS_SIZE = 8
"""Bytes of the depths that iWARP's clients of SMB Direct send, and are sent: how many READs they
answer, and how many they have under way, at a time."""


class Refused(DeviceError):
    """librdmacm refused; `code` is its errno."""

    def __init__(self, doing: str, code: int) -> None:
        """Say what was refused and, where it is known, what helps."""
        self.code = code
        text = os.strerror(code)
        if code in (errno.EACCES, errno.EPERM):
            text += (
                "; the port needs root, or this thread's credentials have changed since the"
                " event channel was opened"
            )
        super().__init__(f"{doing}: {text}")


@dataclass(frozen=True, slots=True)
class Request:
    """A client that wants to connect.

    `initiator_depth` is how many RDMA READs we may have under way, `responder_resources` how
    many the client will have; `private_data` is padded with zeros by InfiniBand and RoCE.
    """

    id: int
    device: str
    peer: str
    local: str
    port: int
    initiator_depth: int
    responder_resources: int
    private_data: bytes

    def read_depth(self, iwarp: bool) -> int:
        """Return how many RDMA READs the client answers at a time.

        iWARP's clients say it in the private data, some in their own byte order; data of any
        other length is none of SMB Direct's. iWARP's drivers do not agree whose view of the
        depths they tell, so that without the data the lesser one counts.
        """
        if not iwarp:
            return self.initiator_depth
        if len(self.private_data) == DEPTHS_SIZE:
            word = self.private_data[:4]
            return max(min(int.from_bytes(word, "big"), int.from_bytes(word, "little"), 255), 1)
        return min(filter(None, (self.initiator_depth, self.responder_resources)), default=1)


class ConnectionManager:
    """All listeners and connections of a process, on one event channel."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_request: Callable[[Request], None],
        on_established: Callable[[int], None],
        on_disconnected: Callable[[int, str], None],
        on_trouble: Callable[[str], None],
        on_refused: Callable[[str, str], None],
        library: Library | None = None,
    ) -> None:
        """Open the event channel; Unavailable where there is no RDMA, with the reason.

        `on_trouble` is told what stops it to listen, `on_refused` whom it refused by itself and
        why.
        """
        self._library = library or load()
        self._loop = loop
        self._on_request = on_request
        self._on_established = on_established
        self._on_disconnected = on_disconnected
        self._on_trouble = on_trouble
        self._on_refused = on_refused
        self._numbers = itertools.count(1)
        self._pointers: dict[int, int] = {}  # our number -> rdma_cm_id
        self._known: dict[int, int] = {}  # rdma_cm_id -> our number
        self._listeners: dict[int, str] = {}  # rdma_cm_id -> where
        self._channel = self._library.create_event_channel()
        if not self._channel:
            raise Unavailable(_no_channel(ctypes.get_errno()))
        self._fd: int = self._channel.contents.fd
        os.set_blocking(self._fd, False)
        loop.add_reader(self._fd, self._readable)

    # -- listening -----------------------------------------------------------------------

    def listen(self, address: str, port: int) -> None:
        """Take requests to an address; DeviceError with the reason.

        `::` is all of IPv6 and `0.0.0.0` all of IPv4. One listener for both is no use on iWARP:
        the kernel gets an IPv4 client's addresses in IPv6's form there, finds no interface with
        them and refuses the client itself, without a word.
        """
        where = _where(address, port)
        pointer = c_void_p()
        self._check(
            self._library.create_id(self._channel, byref(pointer), None, RDMA_PS_TCP),
            f"listening on {where}",
        )
        assert pointer.value
        try:
            only = c_int(1)
            self._check(
                self._library.set_option(
                    pointer,
                    RDMA_OPTION_ID,
                    RDMA_OPTION_ID_AFONLY,
                    byref(only),
                    ctypes.sizeof(only),
                ),
                f"listening on {where}",
            )
            name = socket_address(address, port)
            self._check(self._library.bind_addr(pointer, byref(name)), f"RDMA cannot have {where}")
            self._check(self._library.listen(pointer, BACKLOG), f"RDMA cannot listen on {where}")
        except BaseException:
            self._library.destroy_id(pointer)
            raise
        self._listeners[pointer.value] = where

    def listens(self, address: str, port: int) -> bool:
        """Return whether requests to this address are taken."""
        return _where(address, port) in self._listeners.values()

    def listen_only(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Take requests no more but to these addresses and ports."""
        kept = {_where(*each) for each in wanted}
        for pointer, where in list(self._listeners.items()):
            if where not in kept:
                del self._listeners[pointer]
                self._library.destroy_id(c_void_p(pointer))

    @property
    def listening(self) -> list[str]:
        """Return where requests are taken, as text."""
        return list(self._listeners.values())

    # -- connections ---------------------------------------------------------------------

    def qp_attributes(self, id: int, state: State) -> tuple[bytes, int]:
        """Return what brings a queue pair of the connection to `state`: `ibv_qp_attr`, mask."""
        attributes, mask = Attributes(qp_state=state), c_int()
        self._check(
            self._library.init_qp_attr(self._pointer(id), byref(attributes), byref(mask)),
            f"attributes for state {state.name}",
        )
        return bytes(attributes), mask.value

    def accept(
        self,
        id: int,
        qp_number: int,
        *,
        initiator_depth: int,
        responder_resources: int = 0,
        private_data: bytes = b"",
    ) -> None:
        """Accept for a queue pair that is ready to send and has receives posted."""
        data = create_string_buffer(private_data, max(len(private_data), 1))
        parameters = ConnectionParameters(
            private_data=cast(data, c_void_p) if private_data else None,
            private_data_len=len(private_data),
            responder_resources=responder_resources,
            initiator_depth=initiator_depth,
            retry_count=_FOR_EVER,
            qp_num=qp_number,
        )
        self._check(self._library.accept(self._pointer(id), byref(parameters)), "accepting")

    def reject(self, id: int) -> None:
        """Refuse a request and forget it."""
        pointer = self._pointers.get(id)
        if pointer is not None:
            self._library.reject(c_void_p(pointer), None, c_uint8(0))
            self.destroy(id)

    def disconnect(self, id: int) -> None:
        """Tell the peer that the connection ends, if it does not know; the id stays."""
        pointer = self._pointers.get(id)
        if pointer is not None:
            self._library.disconnect(c_void_p(pointer))  # refused when it is over already

    def destroy(self, id: int) -> None:
        """Forget a connection; its id is unknown from now on. Twice does nothing."""
        pointer = self._pointers.pop(id, None)
        if pointer is not None:
            del self._known[pointer]
            self._library.destroy_id(c_void_p(pointer))

    def stop_listening(self) -> None:
        """Take no requests any more; the connections stay."""
        for pointer in self._listeners:
            self._library.destroy_id(c_void_p(pointer))
        self._listeners.clear()

    def close(self) -> None:
        """End all connections, stop to listen. Twice does nothing."""
        if self._channel is None:
            return
        for id in list(self._pointers):
            self.disconnect(id)
            self.destroy(id)
        self.stop_listening()
        self._loop.remove_reader(self._fd)
        self._library.destroy_event_channel(self._channel)
        self._channel = None

    # -- events --------------------------------------------------------------------------

    def _readable(self) -> None:
        """Take what has happened; each event is given back before anybody acts on it."""
        for _ in range(EVENTS):
            if self._channel is None:
                return  # closed by a callback
            taken = POINTER(Event)()
            if self._library.get_cm_event(self._channel, byref(taken)):
                code = ctypes.get_errno()
                if code not in (errno.EAGAIN, errno.EINTR):
                    self._loop.remove_reader(self._fd)
                    self._on_trouble(f"no RDMA requests any more: {os.strerror(code)}")
                return
            act = self._prepare(taken.contents)
            self._library.ack_cm_event(taken)
            act()

    def _prepare(self, event: Event) -> Callable[[], None]:
        """Return what is to be done when the event has been given back and its memory is gone."""
        pointer, kind, status = int(event.id or 0), int(event.event), int(event.status)
        if kind == Kind.CONNECT_REQUEST:
            parameters = event.connection
            data = b""
            if parameters.private_data:
                data = ctypes.string_at(parameters.private_data, parameters.private_data_len)
            depths = (int(parameters.initiator_depth), int(parameters.responder_resources))
            return lambda: self._requested(pointer, depths, data)
        if pointer in self._listeners:
            return lambda: self._listener_gone(pointer, kind)
        id = self._known.get(pointer)
        if id is None:
            return lambda: None
        if kind == Kind.ESTABLISHED:
            return lambda: self._on_established(id)
        if kind in _ENDS:
            why = self._library.event_str(kind).decode(errors="replace")
            reason = f"{why} ({os.strerror(abs(status))})" if status else why
            return lambda: self._on_disconnected(id, reason)
        return lambda: None

    def _requested(self, pointer: int, depths: tuple[int, int], data: bytes) -> None:
        """Hand a request over, or refuse what is none of ours."""
        id = next(self._numbers)
        self._pointers[id] = pointer
        self._known[pointer] = id
        connection = Id.from_address(pointer)
        # Not `.local` and `.peer` themselves: ctypes ends arrays of characters at a zero.
        peer, _ = address_text(_bytes(pointer, Id.peer))
        local, port = address_text(_bytes(pointer, Id.local))
        if not connection.verbs or not peer:
            why = "its address is of no known family" if connection.verbs else "it has no device"
            self.reject(id)
            self._on_refused(peer or "?", why)
            return
        name = self._library.get_device_name(c_void_p(connection.verbs.contents.device))
        self._on_request(Request(id, name.decode(), peer, local, port, *depths, data))

    def _listener_gone(self, pointer: int, kind: int) -> None:
        """Stop to listen where a device was taken away."""
        if kind == Kind.DEVICE_REMOVAL:
            where = self._listeners.pop(pointer)
            self._library.destroy_id(c_void_p(pointer))
            self._on_trouble(f"no RDMA requests to {where} any more: the device is gone")

    def _pointer(self, id: int) -> c_void_p:
        """Return the C object of a connection; DeviceError when there is none (any more)."""
        pointer = self._pointers.get(id)
        if pointer is None:
            raise DeviceError("the connection is gone")
        return c_void_p(pointer)

    def _check(self, result: int, doing: str) -> None:
        """Raise the error of a call that failed."""
        if result:
            raise Refused(doing, ctypes.get_errno())


def _where(address: str, port: int) -> str:
    """Return an address and port as text."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _bytes(pointer: int, field: Any) -> bytes:
    """Return the bytes of a field of the C object at `pointer`."""
    return ctypes.string_at(pointer + field.offset, field.size)


def _no_channel(code: int) -> str:
    """Say why there is no connection manager."""
    if code == errno.ENOENT:
        return "no connection manager: /dev/infiniband/rdma_cm is missing (modprobe rdma_ucm)"
    if code == errno.ENODEV:
        return "no RDMA device, or no connection manager (modprobe rdma_ucm)"
    return f"no connection manager: {os.strerror(code)} (/dev/infiniband/rdma_cm)"
