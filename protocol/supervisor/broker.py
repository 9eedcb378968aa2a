"""RDMA clients: the ids of the connection manager are here, the queue pairs in the workers.

    request -> admitted? -> worker by address -> RdmaOffer (address, attributes of three states)
    RdmaAccept (number of the queue pair) -> accept -> ESTABLISHED
    DISCONNECTED -> RdmaDisconnected;  Ended by the worker -> disconnect
    RdmaClaim (ClientGuid) -> RdmaClaimed: its own, or expected elsewhere

An id cannot be given to another process, and the ids of a worker that dies have to be ended.
"""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from usmbd.mountd.ipc.network import network
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.fair_share import FairShare, Place
from usmbd.protocol.supervisor.clients import Clients
from usmbd.protocol.wire.negotiate import NO_GUID
from usmbd.protocol.wire.status import SmbError
from usmbd.protocol.worker import messages
from usmbd.transport.smbdirect.cm import DEPTHS_SIZE, STATES, ConnectionManager, Request
from usmbd.transport.smbdirect.cm_library import Library
from usmbd.transport.smbdirect.provider import DeviceError

if TYPE_CHECKING:
    from usmbd.protocol.supervisor.children import WorkerChild

log = logging.getLogger("usmbd.rdma")

OFFER_SECONDS = messages.FIRST_MESSAGE_SECONDS
"""A client that is not connected by then is refused."""

MAXIMUM_OFFERS = 128
"""Clients that are neither connected nor refused: each holds a queue pair with its receives, some
400 KiB, and a flood of requests needs no more than one packet for each."""

MAXIMUM_OFFERS_OF_ADDRESS = 32
"""Of those, the most of one address: a flood of one leaves room for others. Linux opens a
connection at a time, and a host with several mounts is served within a second."""


CONNECTION_BYTES = 540 << 10
"""Of registered memory, which is never paged out: 255 receives and 128 sends of 1,408 bytes."""

MEMORY_SHARE = 32
LEAST_CONNECTIONS = 256
"""All RDMA connections together have this part of the machine's memory, or so many of them room."""


@dataclass(slots=True)
class _Connection:
    """One client."""

    id: int
    worker: "WorkerChild"
    request: Request
    iwarp: bool
    place: Place
    accepted: bool = False
    told: bool = False
    """Whether the log has it why this client is not served."""
    timer: asyncio.TimerHandle | None = None
    """Runs until the connection is established."""


class Broker:
    """Hands RDMA clients to the workers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clients: Clients,
        config: Callable[[], ServerConfig],
        iwarp: frozenset[str],
        library: Library | None = None,
    ) -> None:
        """Open the connection manager; Unavailable with the reason. `iwarp` names such devices."""
        self._loop = loop
        self._clients = clients
        self._config = config
        self._iwarp = iwarp
        self._connections: dict[int, _Connection] = {}
        """By the number that supervisor and worker know it by."""
        self._numbers: dict[int, int] = {}
        """That number by the connection manager's id."""
        self._offers: Counter[str] = Counter()
        """How many clients of each address are neither connected nor refused."""
        self.places = FairShare(partial(most_connections, machine_memory()))
        """Of all connections: an address (or /64) gets no more than are left to the others."""
        self.devices: frozenset[str] = frozenset()
        """Those on which clients are served."""
        self.manager = ConnectionManager(
            loop,
            on_request=self._requested,
            on_established=self._established,
            on_disconnected=self._disconnected,
            on_trouble=log.error,
            on_refused=_say_refused,
            library=library,
        )

    @property
    def offers(self) -> dict[str, int]:
        """How many clients of each address are neither connected nor refused."""
        return dict(self._offers)

    # -- the connection manager ----------------------------------------------------------

    def _requested(self, request: Request) -> None:
        """Offer a client to a worker, or refuse it."""
        peer = request.peer
        why = ""
        if not self._clients.admit(self._config(), peer):
            why = "`max connections` or `max ip connections` is reached"
        elif self._offers.total() >= MAXIMUM_OFFERS:
            why = f"{MAXIMUM_OFFERS} RDMA connections are being made"
        elif self._offers[peer] >= MAXIMUM_OFFERS_OF_ADDRESS:
            why = f"{MAXIMUM_OFFERS_OF_ADDRESS} RDMA connections of this address are being made"
        if why:
            self._refuse(request, why)
            return
        worker = None
        if request.device in self.devices:
            worker = self._clients.by_address(
                peer, self._loop.time(), lambda worker: worker.rdma.get(request.device) == ""
            )
        if worker is None:
            self._refuse(request, f"no worker serves {request.device}")
            return
        try:
            states = [self.manager.qp_attributes(request.id, state) for state in STATES]
        except DeviceError as error:
            self._refuse(request, str(error))
            return
        try:
            place = self.places.take(network(peer), network(peer))
        except SmbError:
            self._refuse(request, "there is no memory for more RDMA connections of this address")
            return
        number = self._clients.came(worker, peer, NO_GUID)
        iwarp = request.device in self._iwarp
        connection = _Connection(request.id, worker, request, iwarp, place)
        connection.timer = self._loop.call_later(OFFER_SECONDS, self._late, number)
        self._connections[number] = connection
        self._numbers[request.id] = number
        self._offers[peer] += 1
        log.debug(
            "connects to %s, worker %d", request.device, worker.number, extra={"client": peer}
        )
        worker.send(
            messages.RdmaOffer(
                connection=number,
                device=request.device,
                peer=peer,
                local=request.local,
                read_depth=request.read_depth(iwarp),
                states=[messages.QueuePairState(*state) for state in states],
            )
        )
        self._clients.take_place(worker, number, rdma=True)

    def _refuse(self, request: Request, why: str) -> None:
        """Refuse a client that no worker has been told of."""
        _say_refused(request.peer, why)
        self.manager.reject(request.id)

    def _established(self, id: int) -> None:
        """Note that a client is there; its worker knows by its first message."""
        number = self._numbers.get(id)
        if number is not None:
            self._settle(self._connections[number])

    def _disconnected(self, id: int, reason: str) -> None:
        """Tell the worker that its client is gone; the worker then says that it ended."""
        number = self._numbers.get(id)
        if number is not None:
            self._lose(number, reason)

    def _late(self, number: int) -> None:
        """End a connection that does not come about."""
        self._lose(number, "the connection takes too long")

    # -- the workers ---------------------------------------------------------------------

    def says(self, worker: "WorkerChild", message: messages.RdmaFromWorker) -> None:
        """Take what a worker says of a client."""
        number = message.connection
        connection = self._connections.get(number)
        if connection is None or connection.worker is not worker:
            return  # the client is gone, as the worker has been told
        if isinstance(message, messages.RdmaRefused):
            self._tell(connection, message.reason)
            return
        if isinstance(message, messages.RdmaClaim):
            granted = self._clients.claim(worker, number, message.guid, self._loop.time())
            if not granted:
                connection.told = True
                log.info(
                    "it belongs to another worker and has to come again",
                    extra={"client": connection.request.peer},
                )
            worker.send(messages.RdmaClaimed(connection=number, granted=granted))
            return
        if connection.id not in self._numbers:
            return  # lost meanwhile, as the worker will hear
        connection.accepted = True
        resources = 0  # no memory of ours is ever read by a client
        data = b""
        if connection.iwarp and len(connection.request.private_data) == DEPTHS_SIZE:
            # Clients without MPA's own negotiation of depths read ours here, as they said theirs.
            data = resources.to_bytes(4, "big") + message.read_depth.to_bytes(4, "big")
        try:
            self.manager.accept(
                connection.id,
                message.qp_number,
                initiator_depth=message.read_depth,
                responder_resources=resources,
                private_data=data,
            )
        except DeviceError as error:
            self._lose(number, str(error))

    def ended(self, number: int) -> None:
        """End a client that its worker has ended; the supervisor counts it no longer."""
        connection = self._connections.pop(number, None)
        if connection is not None:
            if connection.timer is not None:
                self._tell(connection, "its worker has ended it")
            self._settle(connection)
            self._drop(connection)
            connection.place.give_back()

    def stop(self) -> None:
        """Take no more clients; a worker that ends its clients now says so of each."""
        self.manager.stop_listening()

    def close(self) -> None:
        """End all clients, and stop to listen."""
        for number in list(self._connections):
            self.ended(number)
        self.manager.close()

    # -- one connection ------------------------------------------------------------------

    def _lose(self, number: int, reason: str) -> None:
        """End a connection and have its worker end its part."""
        connection = self._connections[number]
        if connection.timer is not None:
            self._tell(connection, reason)
        self._settle(connection)
        self._drop(connection)
        connection.worker.send(messages.RdmaDisconnected(connection=number, reason=reason))

    def _tell(self, connection: _Connection, why: str) -> None:
        """Say once why a client is not served."""
        if not connection.told:
            connection.told = True
            _say_refused(connection.request.peer, why)

    def _settle(self, connection: _Connection) -> None:
        """Count a client no longer as one that is yet to come."""
        if connection.timer is not None:
            connection.timer.cancel()
            connection.timer = None
            peer = connection.request.peer
            self._offers[peer] -= 1
            if not self._offers[peer]:
                del self._offers[peer]

    def _drop(self, connection: _Connection) -> None:
        """Let go of a connection's id, politely."""
        if self._numbers.pop(connection.id, None) is None:
            return
        if connection.accepted:
            self.manager.disconnect(connection.id)
            self.manager.destroy(connection.id)
        else:
            self.manager.reject(connection.id)


def machine_memory() -> int:
    """Return how many bytes of memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def most_connections(memory: int) -> int:
    """Return how many RDMA connections have room in a machine with so many bytes."""
    return max(LEAST_CONNECTIONS, memory // MEMORY_SHARE // CONNECTION_BYTES)


def _say_refused(peer: str, why: str) -> None:
    """Say why a client was refused, at the level that is always on."""
    log.error("refused: %s", why, extra={"client": peer})
