"""Which worker has which client: all channels of one client meet in one ([MS-SMB2] 3.3.5.5.2).

A TCP client's ClientGuid is known before it is given to a worker. An RDMA client's first message
comes to the worker: it is given by its address, and where its ClientGuid then turns out to be at
home in another worker, it has to come again, and is expected there.
"""

import itertools
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from usmbd.mountd.ipc.network import network
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.door.places import Places
from usmbd.protocol.state import descriptors
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.wire.negotiate import NO_GUID
from usmbd.protocol.worker import messages

if TYPE_CHECKING:
    from usmbd.protocol.supervisor.children import WorkerChild

EXPECTED_SECONDS = 60.0
"""How long an address is expected in the worker that has its ClientGuid: clients try again within
a few seconds."""

AWAITED_SECONDS = 5.0
"""How long the same client is awaited at an address that nobody knows: Linux goes on at once with
its next interface, and gives up after three."""

MAXIMUM_STRANGERS = 1024
"""Connections of all workers on which nobody has logged in, if there are descriptors for them. One
more closes another (see `places`). A login takes milliseconds, unless wrong passwords before it
have it delayed."""

DESCRIPTOR_SHARE = 8
"""No more than one of so many descriptors is a stranger's."""

MAXIMUM_RDMA_STRANGERS = 64
"""The same by RDMA, those that are not connected yet included: each has receives posted, some
400 KiB of the memory that is registered for all."""

GUESTS = 4
"""Guests of shares with files have places of their own, one of so many that `max connections` gives
to users; one guest more closes another (see `places`)."""

MAXIMUM_EXPECTED = 1024
"""Addresses that are expected at a time; one more lets the oldest go."""


class Clients:
    """The clients of all workers, by ClientGuid and by address."""

    def __init__(self, workers: Mapping[int, "WorkerChild"]) -> None:
        """Begin without clients; `workers` is the supervisor's own."""
        self._workers = workers
        self._numbers = itertools.count(1)
        self.guids: dict[bytes, tuple[int, int]] = {}
        """ClientGuid -> (worker, connections)."""
        self.addresses: dict[str, Counter[int]] = {}
        """Address -> worker -> connections."""
        self._latest: dict[int, int] = {}
        """Worker -> its latest connection."""
        self._expected: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._awaited = (-1, 0.0)
        """The worker of the client that was last sent away, and until when it may come again."""
        self.strangers: Places[tuple[int, int]] = Places(
            max(1, min(MAXIMUM_STRANGERS, descriptors.limit() // DESCRIPTOR_SHARE))
        )
        """Connections by TCP on which nobody has logged in: (worker, connection)."""
        self.rdma_strangers: Places[tuple[int, int]] = Places(MAXIMUM_RDMA_STRANGERS)
        """The same by RDMA."""
        self.guests: Places[tuple[int, int]] = Places(1)
        """Connections, of both kinds, on which a share has let somebody in who proved nothing."""
        self._leaving: set[tuple[int, int]] = set()
        """Those that had to go for others, until they have."""
        self._unproven: Counter[str] = Counter()
        """Of each address: all of these."""

    @property
    def total(self) -> int:
        """How many connections there are."""
        return sum(len(worker.clients) for worker in self._workers.values())

    @property
    def known_total(self) -> int:
        """How many connections are users', and neither strangers' nor guests'."""
        return self.total - self._unproven.total()

    def admit(self, config: ServerConfig, address: str) -> bool:
        """Tell whether one more is allowed of an address; strangers and guests do not count."""
        return self._fits(config, address, 1)

    def _fits(self, config: ServerConfig, address: str, more: int) -> bool:
        """Tell whether the limits allow those who are known and so many `more` of an address."""
        known = self.known_total + more
        if config.max_connections and known > config.max_connections:
            return False
        most = config.max_ip_connections
        return not most or self.known(address) + more <= most

    def known(self, address: str) -> int:
        """Return how many connections of an address are users'."""
        counts = self.addresses.get(address)
        return counts.total() - self._unproven[address] if counts else 0

    def admitted(self, config: ServerConfig, worker: "WorkerChild", number: int) -> bool:
        """Note that somebody has logged in on a connection; False when that is one too many."""
        if not self._knows(worker, number):
            return True
        return self._fits(config, worker.clients[number][0], 0)

    def _knows(self, worker: "WorkerChild", number: int) -> bool:
        """Count a stranger or a guest no more as such; False when it was neither."""
        key = worker.number, number
        if key in self._leaving:
            self._leaving.discard(key)
        elif not any(p.leave(key) for p in (self.strangers, self.rdma_strangers, self.guests)):
            return False
        address = worker.clients[number][0]
        self._unproven[address] -= 1
        if not self._unproven[address]:
            del self._unproven[address]
        return True

    def guest_places(self, config: ServerConfig) -> int:
        """Return how many connections guests may have."""
        most = config.max_connections or self.strangers.capacity * GUESTS
        return max(1, most // GUESTS)

    def guest(self, config: ServerConfig, worker: "WorkerChild", number: int) -> None:
        """Note a guest on a connection, and have another's closed if that is one too many."""
        if not self._knows(worker, number):
            return  # it has ended, or a user's is one already
        self.guests.capacity = self.guest_places(config)
        self._displace(self.guests, worker, number, Standing.GUEST, "other guests come")

    def by_guid(self, guid: bytes) -> "WorkerChild | None":
        """Return the worker that has the ClientGuid, else the least loaded; None: none is ready."""
        known = self.guids.get(guid)
        worker = self._workers.get(known[0]) if known else None
        if worker is not None and not worker.silent:
            return worker
        return self._least_loaded(lambda worker: True)

    def by_address(
        self, address: str, now: float, able: Callable[["WorkerChild"], bool]
    ) -> "WorkerChild | None":
        """Return the able worker that serves the address, else the least loaded; None: none is.

        Who was just sent away may come again from an address that nobody knows yet.
        """
        number, until = self._expected.get(address, (-1, 0.0))
        candidates = [number] if now < until else []
        candidates += [at for at, _ in self.addresses.get(address, Counter()).most_common()]
        if not candidates and now < self._awaited[1]:
            candidates.append(self._awaited[0])
            self._awaited = (-1, 0.0)  # for one alone: no stranger leads all others to a worker
        for number in candidates:
            worker = self._workers.get(number)
            if worker is not None and worker.serves and able(worker):
                return worker
        return self._least_loaded(able)

    def _least_loaded(self, able: Callable[["WorkerChild"], bool]) -> "WorkerChild | None":
        """Return the able worker with the fewest clients, one that answers if there is one.

        Of several that whose latest client came longest ago: clients that stay for a moment alone
        take turns as well, and a client that comes back may meet any worker.
        """
        found = [w for w in self._workers.values() if w.ready.is_set() and able(w)]
        return min(
            found,
            key=lambda w: (w.silent, len(w.clients), self._latest.get(w.number, 0)),
            default=None,
        )

    def came(self, worker: "WorkerChild", address: str, guid: bytes) -> int:
        """Note a client that is given to `worker`; return the connection's number."""
        number = self._latest[worker.number] = next(self._numbers)
        worker.clients[number] = (address, guid)
        self.addresses.setdefault(address, Counter())[worker.number] += 1
        self._count(worker, guid)
        return number

    def take_place(self, worker: "WorkerChild", number: int, *, rdma: bool = False) -> None:
        """Note a stranger, and have the worker close the one that has to go for it, if any."""
        places = self.rdma_strangers if rdma else self.strangers
        self._displace(places, worker, number, Standing.STRANGER, "others want to log in")

    def _displace(
        self,
        places: Places[tuple[int, int]],
        worker: "WorkerChild",
        number: int,
        standing: Standing,
        reason: str,
    ) -> None:
        """Give a connection a place, and have who has to go for it closed while it is no more."""
        address = worker.clients[number][0]
        self._unproven[address] += 1
        gone = places.take((worker.number, number), network(address))
        if gone is not None:
            other, connection = self._workers[gone[0]], gone[1]
            self._leaving.add(gone)
            other.send(messages.Dismiss(connection=connection, reason=reason, standing=standing))

    def claim(self, worker: "WorkerChild", number: int, guid: bytes, now: float) -> bool:
        """Note the ClientGuid of a client that has none yet; False when another worker has it.

        The client is then expected there.
        """
        client = worker.clients.get(number)
        if client is None:
            return False
        address, before = client
        if before != NO_GUID or guid == NO_GUID:
            return before == guid
        known = self.guids.get(guid)
        if known is not None and known[0] != worker.number and known[0] in self._workers:
            self._awaited = known[0], now + AWAITED_SECONDS
            self._expected[address] = known[0], now + EXPECTED_SECONDS
            self._expected.move_to_end(address)
            if len(self._expected) > MAXIMUM_EXPECTED:
                self._expected.popitem(last=False)
            return False
        worker.clients[number] = (address, guid)
        self._count(worker, guid)
        return True

    def _count(self, worker: "WorkerChild", guid: bytes) -> None:
        """Count one more connection of a ClientGuid."""
        if guid != NO_GUID:
            known = self.guids.get(guid)
            self.guids[guid] = worker.number, known[1] + 1 if known else 1

    def gone(self, worker: "WorkerChild", number: int) -> None:
        """Forget a connection that ended; twice does nothing."""
        client = worker.clients.get(number)
        if client is None:
            return
        self._knows(worker, number)
        del worker.clients[number]
        address, guid = client
        counts = self.addresses[address]
        counts[worker.number] -= 1
        if not counts[worker.number]:
            del counts[worker.number]
        if not counts:
            del self.addresses[address]
        known = self.guids.get(guid)
        if known is not None:
            if known[1] > 1:
                self.guids[guid] = (known[0], known[1] - 1)
            else:
                del self.guids[guid]
