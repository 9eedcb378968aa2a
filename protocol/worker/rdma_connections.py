"""RDMA in a worker: devices and queue pairs; connections are made and ended by the supervisor.

    RdmaOffer -> queue pair, receives posted -> RdmaAccept -> the first message
    -> RdmaClaim with its ClientGuid -> RdmaClaimed: served here, or ended to come again

All of it runs on the loop's thread, whose identity is pinned before a device is opened: the
kernel refuses a device for good to a thread whose credentials have changed since.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from usmbd.mountd.ipc.messages import LimitRow
from usmbd.protocol.dispatch.dispatcher import Dispatcher
from usmbd.protocol.state.connection import MESSAGE_SLACK, Connection
from usmbd.protocol.state.interfaces import parse_addresses
from usmbd.protocol.state.server import Server
from usmbd.protocol.wire.negotiate import client_guid
from usmbd.protocol.worker import messages
from usmbd.transport.base import RdmaTransport, Receiver
from usmbd.transport.loop import EventLoop
from usmbd.transport.smbdirect import discovery, verbs
from usmbd.transport.smbdirect.attributes import Mask, decode
from usmbd.transport.smbdirect.connection import SmbDirectTransport
from usmbd.transport.smbdirect.depths import READS, open_queue_pair
from usmbd.transport.smbdirect.limits import Limits
from usmbd.transport.smbdirect.provider import Device, DeviceError
from usmbd.transport.smbdirect.registered_memory import Pool
from usmbd.transport.turns import Turns

log = logging.getLogger("usmbd.rdma")


def load() -> None:
    """Import what drives devices, while the process may still read any directory."""
    try:
        verbs.load()
    except DeviceError as error:
        log.debug("%s", error)  # `open` says it of each device


@dataclass(frozen=True, slots=True)
class _Opened:
    """One device."""

    device: Device
    pool: Pool


class Gate(Receiver):
    """Keeps a client's first message until the supervisor says that the client is ours.

    All connections of a client have to be in one worker, and only this message tells whose it is.
    """

    def __init__(
        self,
        transport: RdmaTransport,
        claim: Callable[[bytes], None],
        refused: Callable[[str], None],
    ) -> None:
        """Ask by `claim(ClientGuid)`; `refused(why)` tells of a client that ends before that."""
        self._transport = transport
        self._claim = claim
        self._refused = refused
        self._first: memoryview | None = None
        self._receiver: Receiver | None = None
        self.lost = False
        """Whether the client is gone."""

    @property
    def message_limit(self) -> int:
        """Return how long a message may be now."""
        receiver = self._receiver
        return receiver.message_limit if receiver else messages.FIRST_MESSAGE_LIMIT

    def message_received(self, message: memoryview) -> None:
        """Keep the first message; no client sends another one before the answer."""
        receiver = self._receiver
        if receiver is not None:
            receiver.message_received(message)
        elif self._first is not None:
            self._transport.close("a message before the answer to NEGOTIATE")
        else:
            self._first = message
            self._claim(client_guid(message))

    def connection_lost(self, reason: str) -> None:
        """Pass it on."""
        self._first = None
        self.lost = True
        if self._receiver is not None:
            self._receiver.connection_lost(reason)
        else:
            self._refused(reason)

    @property
    def silent(self) -> bool:
        """Return whether nothing has come yet."""
        return self._first is None and self._receiver is None

    def open(self, receiver: Receiver) -> None:
        """Deliver to `receiver` from the first message on."""
        first, self._first = self._first, None
        self._receiver = receiver
        if first is not None:
            receiver.message_received(first)


@dataclass(slots=True)
class _Client:
    """One RDMA client."""

    transport: SmbDirectTransport
    gate: Gate
    connection: Connection | None = None
    """The engine's, once it is known whose client it is."""


class RdmaConnections:
    """Opens devices, makes connections of offers."""

    def __init__(
        self,
        server: Server,
        loop: EventLoop,
        send: Callable[[messages.FromWorker], None],
        open_device: Callable[[str], Device] = verbs.open_device,
        turns: Turns | None = None,
    ) -> None:
        """Begin without devices; `send` reaches the supervisor, `turns` divide the loop's time."""
        self._server = server
        self._loop = loop
        self._send = send
        self._open_device = open_device
        self._turns = turns
        self._opened: dict[str, _Opened] = {}
        self._clients: dict[int, _Client] = {}
        self._served: list[str] = []
        self.reason = "the server is starting"
        """Why no client is served by RDMA; empty when they are."""

    # -- devices -------------------------------------------------------------------------

    def open(self, names: list[str]) -> dict[str, str]:
        """Open devices and register their memory; return of each why it cannot be used, or ""."""
        return {name: self._try(name) for name in names}

    def _try(self, name: str) -> str:
        """Open one device; return why it cannot be used, or nothing."""
        try:
            device = self._open_device(name)
        except DeviceError as error:
            return str(error)
        try:
            self._opened[name] = _Opened(device, Pool(device))
        except DeviceError as error:
            device.close()
            return str(error)
        return ""

    def serve(self, message: messages.RdmaServed) -> None:
        """Learn which devices are in use; the others are given back."""
        self._served, self.reason = message.devices, message.reason
        self._server.rdma_addresses = parse_addresses(message.addresses)
        for name in self._opened.keys() - set(message.devices):
            self._close_device(self._opened.pop(name))

    def interfaces(self) -> dict[str, int]:
        """Return the speed of each interface on which clients are served by RDMA."""
        if not self._served or self.reason:
            return {}
        return {
            name: port.speed
            for found in discovery.devices()
            if found.name in self._served
            for port in found.ports
            if port.active
            for name in port.interfaces
        }

    # -- clients -------------------------------------------------------------------------

    def offered(self, offer: messages.RdmaOffer) -> None:
        """Make a queue pair for a client and have it accepted."""
        number = offer.connection
        opened = self._opened.get(offer.device)
        try:
            if opened is None:
                raise DeviceError(f"{offer.device} is not open")
            depth = min(offer.read_depth, opened.device.limits.max_initiator_depth, READS)
            transport = self._connection(offer, opened, depth)
        except DeviceError as error:
            self._refused(number, str(error))
            self._send(messages.Ended(connection=number))
            return
        claim = partial(self._claim, number)
        client = self._clients[number] = _Client(
            transport, Gate(transport, claim, partial(self._refused, number))
        )
        try:
            transport.prepare(*(_with_depth(state, depth) for state in offer.states))
            # A client's first message often comes before it is told to be connected.
            transport.start(client.gate)
        except DeviceError as error:
            self._refused(number, str(error))
            transport.disconnected(str(error))
            return
        self._loop.call_later(messages.FIRST_MESSAGE_SECONDS, self._first_due, number)
        self._send(
            messages.RdmaAccept(
                connection=number, qp_number=transport.queue_pair.number, read_depth=depth
            )
        )

    def _connection(
        self, offer: messages.RdmaOffer, opened: _Opened, depth: int
    ) -> SmbDirectTransport:
        """Return a transport on a new queue pair; DeviceError when there is no room for it."""
        config = self._server.config
        # As long as by TCP: a Linux client that seals sends all that it might write by RDMA, 2 MiB,
        # in fragments, and breaks the connection itself where that is too much.
        limits = Limits(
            max_read_write_size=config.max_io_size,
            max_fragmented_size=config.smb2_max_write + MESSAGE_SLACK,
        )
        pair = open_queue_pair(opened.device, limits)
        try:
            return SmbDirectTransport(
                opened.device,
                opened.pool,
                pair,
                limits,
                self._loop,
                peer=offer.peer,
                local=offer.local,
                disconnect=partial(self._ended, offer.connection),
                reads=depth,
                turns=self._turns,
            )
        except BaseException:
            pair.close()
            raise

    def _refused(self, number: int, reason: str) -> None:
        """Say why a client is not served; the supervisor tells the administrator."""
        self._send(messages.RdmaRefused(connection=number, reason=reason))

    def _claim(self, number: int, guid: bytes) -> None:
        """Ask whether a client is ours."""
        self._send(messages.RdmaClaim(connection=number, guid=guid))

    def _first_due(self, number: int) -> None:
        """End a client that does not say what it wants."""
        client = self._clients.get(number)
        if client is not None and client.gate.silent:
            client.transport.close("no NEGOTIATE")

    def claimed(self, message: messages.RdmaClaimed) -> None:
        """Serve a client that is ours; end one that has to go to another worker."""
        client = self._clients.get(message.connection)
        if client is None or client.gate.lost:
            return
        if not message.granted:
            client.transport.close("its other connections are in another worker")
            return
        log.debug("connected by RDMA", extra={"client": client.transport.peer})
        dispatcher = Dispatcher(self._server, client.transport)
        client.connection = dispatcher.connection
        client.gate.open(dispatcher)

    def number(self, connection: Connection) -> int | None:
        """Return the number that the supervisor knows a connection by; None: it is not here."""
        found = (n for n, client in self._clients.items() if client.connection is connection)
        return next(found, None)

    def dismiss(self, message: messages.Dismiss) -> None:
        """Close a client for which there is no place."""
        client = self._clients.get(message.connection)
        if client is None:
            return
        if client.connection is None or client.connection.standing <= message.standing:
            log.info("closed: %s", message.reason, extra={"client": client.transport.peer})
            client.transport.close(message.reason)

    def disconnected(self, message: messages.RdmaDisconnected) -> None:
        """End a client that is gone."""
        client = self._clients.get(message.connection)
        if client is not None:
            client.transport.disconnected(message.reason)

    def _ended(self, number: int) -> None:
        """Tell the supervisor, once, that its part of a connection can go."""
        if self._clients.pop(number, None) is not None:
            # A connection is let go of first, and then says why: that has to come before.
            self._loop.call_soon(self._send, messages.Ended(connection=number))

    def limits(self) -> list[LimitRow]:
        """Return the rows of registered memory for `usmbd.control --limits`."""
        process = f"worker {self._server.worker}"
        return [
            LimitRow(process, f"bytes registered with {name}", o.pool.limit, o.pool.registered)
            for name, o in self._opened.items()
        ]

    @property
    def busy(self) -> bool:
        """Return whether there are clients."""
        return bool(self._clients)

    def end(self, reason: str) -> None:
        """End all clients, each when what it was sent has arrived, or soon."""
        for client in list(self._clients.values()):
            client.transport.close(reason)

    def close(self) -> None:
        """Close the devices with all that is left on them."""
        for opened in self._opened.values():
            self._close_device(opened)
        self._opened.clear()

    def _close_device(self, opened: _Opened) -> None:
        """Give a device back."""
        try:
            opened.device.close()
        except DeviceError as error:
            log.debug("%s", error)


def _with_depth(state: messages.QueuePairState, depth: int) -> tuple[bytes, int]:
    """Return a queue pair's next state with the depths that the client is then told.

    `depth` READs of ours, and none of the client's: no memory of ours is ever read.
    """
    attributes = decode(state.attributes)
    if state.mask & Mask.MAX_QP_RD_ATOMIC:
        attributes.max_rd_atomic = depth
    if state.mask & Mask.MAX_DEST_RD_ATOMIC:
        attributes.max_dest_rd_atomic = 0
    return bytes(attributes), state.mask
