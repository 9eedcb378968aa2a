"""What clients may keep of a worker's memory, counted where it is kept and given back.

    worker (or its strangers, or its guests) -> client (an address, a /64) -> connection

Two things are counted apart. *Under way* is what the server has yet to deal with: messages whose
calls are on threads or with mountd, frames that have only begun, replies that nobody has taken. At
a limit the connections concerned are not read on, and go on when something is given back. *Waiting*
is what waits for other clients, a LOCK or a pipe's READ: it is refused at a limit, with
INSUFFICIENT_RESOURCES, for a client that is not read could not CANCEL it.

Connections on which nobody has proved to be anybody have pools of their own: a small one for who
has not logged in ("strangers"), one for guests of shares with files.
"""

import os
from collections.abc import Callable
from typing import Final

from usmbd.protocol.state.standing import Standing

MIB: Final = 1 << 20

CONNECTION_LIMIT: Final = 32 * MIB
"""Bytes under way of one connection: four requests of 8 MiB, as many as by RDMA."""

STRANGER_LIMIT: Final = MIB
"""The same before a login: one message of 128 KiB at a time is what a login needs."""

CLIENT_SHARE: Final = 4
"""One client has at most this part of a worker's pool: four of them have it all."""

LEAST_POOL: Final = 128 * MIB
MOST_POOL: Final = 512 * MIB
POOL_SHARE: Final = 32
"""All workers together keep this part of the machine's memory, each within the two bounds."""

GUESTS_SHARE: Final = 2
"""All guests of a worker have one of so many bytes of its pool, beside it: of 64 MiB a client may
keep 16, and a WRITE of 8 MiB gets through."""

STRANGERS_POOL: Final = 32 * MIB
"""Of all strangers of a worker: 250 messages of 128 KiB."""

WAITING_SIZE: Final = 4096
"""Bytes that a waiting request counts for: 2.4 KiB were measured for a LOCK, most of it Python's
objects; what a handler has to keep beside is added."""

CONNECTION_WAITING: Final = 4 * MIB
CLIENT_WAITING: Final = 32 * MIB
"""8,192 requests: thousands of programs behind one address may each wait for a lock."""

STALLED_SECONDS: Final = 10.0
"""Where the pool is used up, a connection that has kept some of it for so long without a byte's
progress is closed: it takes no replies, or has begun a frame and does not go on."""


class Pool:
    """A part of a worker's memory."""

    __slots__ = ("limit", "used", "waiting", "waiting_limit")

    def __init__(self, limit: int, waiting_limit: int) -> None:
        """Begin empty; sizes are bytes."""
        self.limit = limit
        self.waiting_limit = waiting_limit
        self.used = 0
        self.waiting = 0


class Memory:
    """The pools of one worker and of its clients, and who waits for room in them."""

    def __init__(self, workers: int, later: Callable[[Callable[[], None]], None]) -> None:
        """Share the machine among `workers`; `later` calls when the loop has had its turn."""
        limit = pool_limit(workers)
        self.pools = {
            Standing.USER: Pool(limit, limit // 4),
            Standing.GUEST: Pool(limit // GUESTS_SHARE, limit // GUESTS_SHARE // 4),
            Standing.STRANGER: Pool(STRANGERS_POOL, STRANGERS_POOL // 4),
        }
        self.clients: dict[tuple[Standing, str], Pool] = {}
        """By their standing, and by network."""
        self._counts: dict[tuple[Standing, str], int] = {}  # their connections
        self._starved: dict[ConnectionMemory, Callable[[], None]] = {}
        self._later = later
        self._waking = False

    def client(self, standing: Standing, network: str) -> Pool:
        """Return the pool of a client that has one connection more."""
        key = standing, network
        pool = self.clients.get(key)
        if pool is None:
            whole = self.pools[standing]
            pool = Pool(whole.limit // CLIENT_SHARE, min(CLIENT_WAITING, whole.waiting_limit))
            self.clients[key] = pool
        self._counts[key] = self._counts.get(key, 0) + 1
        return pool

    def left(self, standing: Standing, network: str) -> None:
        """Forget a client's pool with its last connection."""
        key = standing, network
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key], self.clients[key]

    def starve(self, connection: "ConnectionMemory", go_on: Callable[[], None]) -> None:
        """Call `go_on` when there may be room again."""
        self._starved[connection] = go_on

    def forget(self, connection: "ConnectionMemory") -> None:
        """Call nobody for a connection that has ended."""
        self._starved.pop(connection, None)

    @property
    def short(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._starved)

    def given_back(self) -> None:
        """Look who can go on, in a later turn."""
        if self._starved and not self._waking:
            self._waking = True
            self._later(self._wake)

    def _wake(self) -> None:
        """Let those go on for whom there is room, who waits for the longest first."""
        self._waking = False
        for connection in list(self._starved):
            if not connection.full:
                go_on = self._starved.pop(connection, None)
                if go_on is not None:
                    go_on()


class ConnectionMemory:
    """What one connection keeps."""

    __slots__ = (
        "_client",
        "_closed",
        "_limit",
        "_memory",
        "_network",
        "_pool",
        "standing",
        "used",
        "waiting",
    )

    def __init__(self, memory: Memory, network: str) -> None:
        """Begin as a stranger; `network` is what limits count the client by."""
        self._memory = memory
        self._network = network
        self.standing = Standing.STRANGER
        self.used = 0
        self.waiting = 0
        self._closed = False
        self._pool = memory.pools[self.standing]
        self._limit = STRANGER_LIMIT
        self._client = memory.client(self.standing, self._network)

    def rise(self, standing: Standing) -> None:
        """Be a stranger, or a guest, no more: take what is kept along to the larger pool."""
        used, waiting = self.used, self.waiting
        self._count(-used, -waiting)
        self._memory.left(self.standing, self._network)
        self.standing = standing
        self._pool = self._memory.pools[standing]
        self._limit = CONNECTION_LIMIT
        self._client = self._memory.client(standing, self._network)
        self._count(used, waiting)

    @property
    def full(self) -> bool:
        """Whether no more may be kept now."""
        client, pool = self._client, self._pool
        return self.used >= self._limit or client.used >= client.limit or pool.used >= pool.limit

    def room(self, size: int) -> bool:
        """Whether `size` bytes more may be kept for a frame that has begun.

        Frames leave a quarter of the pools to requests: who begins many and ends none does not
        stop those that are small.
        """
        client, pool = self._client, self._pool
        return (
            self.used + size <= self._limit
            and client.used + size <= client.limit - client.limit // 4
            and pool.used + size <= pool.limit - pool.limit // 4
        )

    def keep(self, change: int) -> None:
        """Keep `change` bytes more, or less."""
        self._count(change, 0)
        if change < 0:
            self._memory.given_back()
            self._leave()

    def wait(self, size: int) -> bool:
        """Count a request that waits, with `size` bytes beside its own; False when refused."""
        size += WAITING_SIZE
        client, pool = self._client, self._pool
        if (
            self.waiting + size > CONNECTION_WAITING
            or client.waiting + size > client.waiting_limit
            or pool.waiting + size > pool.waiting_limit
        ):
            return False
        self._count(0, size)
        return True

    def waited(self, size: int) -> None:
        """Count it no longer."""
        self._count(0, -(size + WAITING_SIZE))
        self._leave()

    def starve(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` when there may be room again."""
        self._memory.starve(self, go_on)

    def close(self) -> None:
        """Call nobody any more; what calls still under way keep is counted until they end."""
        self._memory.forget(self)
        self._closed = True
        self._leave()

    def _count(self, used: int, waiting: int) -> None:
        """Count in all three pools."""
        client, pool = self._client, self._pool
        self.used += used
        client.used += used
        pool.used += used
        self.waiting += waiting
        client.waiting += waiting
        pool.waiting += waiting

    def _leave(self) -> None:
        """Leave the client's pool with the last that a closed connection kept."""
        if self._closed and not self.used and not self.waiting:
            self._closed = False
            self._memory.left(self.standing, self._network)


def pool_limit(workers: int) -> int:
    """Return the bytes that one of `workers` may keep under way for clients with an account."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(LEAST_POOL, min(MOST_POOL, machine // POOL_SHARE // workers))
