"""Durable opens of one worker: how they outlive their connections, and when they end.

    CREATE       add_open    the store keeps what the open can be made anew from
    connection   may_stay    the open goes from here, its descriptor too; its record stays in the
    lost         leave       store with its share mode, oplock and locks, marked as disconnected
                 left        and the scavenger's timer runs ([MS-SMB2] 3.3.2.2)
    CREATE       claimed     any worker makes it anew, by name, as smbd does (commands/durable.py)
    or: the time is over, or another open wants what it caches or shares: `end`

So a disconnected open is a record and nothing else, the same after a lost connection and after a
lost worker, and whoever meets it may end it, and deletes its file then if the client wanted that.
This worker keeps the time of those it had, and of those that its predecessor left.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from usmbd.protocol.effects import Resume
from usmbd.protocol.state.fair_share import FairShare, Place
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.store.base import Doomed, DurableOpen, EndResult, Store
from usmbd.protocol.state.store.records import (
    OPEN_DISCONNECTED,
    Absent,
    DurableRecord,
    OpenRecord,
)
from usmbd.protocol.state.turns import Loop, in_turns
from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.status import SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.connection import Connection
    from usmbd.protocol.state.tree import TreeConnect

log = logging.getLogger("usmbd.conn")

SCAVENGE_SECONDS: Final = 0.25
"""Between two looks at which opens have had their time."""

AGAIN_SECONDS: Final = 5.0
"""Until an open is looked at again that could not be ended, or of which mountd is asked first."""

STALE: Final = 2
"""Times are sorted anew when there are so often as many as opens that wait: the rest are over."""

PLACE_BYTES: Final = 1000
"""Of the store, that an open which waits takes by a place."""

RECORD_BYTES: Final = 830
"""Of the store, that it takes beside its user's ticket and twice its path: pages are never full."""

SETTLE_SECONDS: Final = 0.05
"""Between two looks whether an open that its client wants back is disconnected yet."""

FILETIMES: Final = 10_000_000
"""Units of a FILETIME in a second."""

MS: Final = 10_000
"""Units of a FILETIME in a millisecond."""


class Peers(Protocol):
    """The ways to other workers that durable opens need."""

    def forget_open(self, worker: int, open_id: int) -> None:
        """Tell `worker` that an open whose time it keeps has been claimed or has ended."""

    def is_there(self, worker: int) -> bool:
        """Tell whether a worker runs; False also until its successor does."""


class Deferred(Protocol):
    """What is done for a client that has gone: see `state/deferred`."""

    def ask(self, found: DurableOpen, told: Callable[[Identity | None], None]) -> None:
        """Ask who may delete an open's file now; None: nobody may."""

    def delete(self, doomed: Doomed, ended: Callable[[tuple[int, ...]], None]) -> None:
        """Delete a file on a thread and tell the store, then call `ended(workers to wake)`."""


class Durable(msgspec.Struct):
    """What an Open has because it is durable."""

    record: DurableRecord
    timeout: int
    """Open.DurableOpenTimeout, in ms."""
    place: Place | None = None
    """Among the disconnected opens; taken when it is to become one."""
    deadline: int = 0
    """FILETIME until which it waits for its client; 0: it does not."""
    lasting: bool = False
    """OPEN_LASTING."""
    persistent: bool = False
    """Open.IsPersistent."""

    @property
    def writes_through(self) -> bool:
        """Whether what is written has to be on the disk before it is answered."""
        return self.persistent and self.record.write_through


@dataclass(slots=True)
class _Waiting:
    """A disconnected open whose time this worker keeps."""

    key: bytes
    when: float
    """By the loop's clock."""
    deadline: int
    place: Place | None = None
    locks: Place | None = None


class DurableOpens:
    """The durable opens of one worker."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        peers: Peers,
        worker: int,
        wake: Callable[[bytes, Iterable[int]], None],
        room: Callable[[], int],
        persist: Callable[[bytes], None],
        deferred: Deferred,
        loop: Loop,
    ) -> None:
        """`wake(key, workers)` lets all go on that wait for a file; `room()` opens may wait.

        `persist(key)` has the end of a persistent open written down.
        """
        self._loop = loop
        self._ending: set[int] = set()
        """Opens that are about to end, in slices."""
        self._persist = persist
        self._deferred = deferred
        self._asked: set[int] = set()
        """Opens that end as soon as it is known whether they may delete their files."""
        self._store = store
        self._clock = clock
        self._peers = peers
        self._worker = worker
        self._wake = wake
        self.places = FairShare(room)
        """Of opens that wait for their clients."""
        self._waiting: dict[int, _Waiting] = {}
        self._times: list[tuple[float, int]] = []
        """When the time of each is over, as a heap; and of some that wait no more."""
        self._due = 0.0  # when the next look at them is due; 0: none is
        self._scavenging = False

    def take_over(self) -> None:
        """Keep the time of the opens that this worker's predecessor left.

        And delete what it was to, as who asked for that: he could when the predecessor died.
        """
        now = from_ns(time.time_ns())
        for key, record in self._store.disconnected():
            deadline = record.durable_open_scavenger_timeout
            when = self._clock.time() + max(deadline - now, 0) / FILETIMES
            self._wait(record.open_id, _Waiting(key, when, deadline))
        for doomed in self._store.left_to_delete():
            self._delete(doomed)

    # -- from CREATE to the loss of the connection ----------------------------------------

    def may_stay(self, open_: Open) -> bool:
        """Take a place for an open whose connection is lost; False when it has to be closed."""
        durable = open_.durable
        if durable is None or not open_.keeps_name():
            return False
        try:
            user, network = open_.session.proven_user, open_.connection.network
            size = RECORD_BYTES + 2 * len(open_.node.path.encode("utf-8", "surrogateescape"))
            size += len(open_.session.ticket)
            durable.place = self.places.take(user, network, -(-size // PLACE_BYTES))
        except SmbError:
            log.info("too many opens wait for their clients", extra={"path": open_.path})
            return False
        return True

    def leave(self, open_: Open) -> tuple[int, ...] | None:
        """Leave an open to its record; any thread may call this.

        Returns the workers to wake, or None when it has to be closed after all.
        """
        durable = open_.durable
        assert durable is not None
        node = open_.node
        try:
            statx = kernel.statx_fd(node.fd)
        except OSError as error:
            log.info("not kept: %s", error.strerror, extra={"path": open_.path})
            return None
        record = msgspec.structs.replace(
            durable.record,
            path=node.path.encode("utf-8", "surrogateescape"),
            seen=seen(statx),
            position=open_.position,
            mode=open_.mode,
            locks=open_.lock_count,
            reserved=node.reserved,
            keeps_write_time=open_.kept_write_time is not None,
            kept_change_time=open_.kept_change_time,
            who=absent(open_.tree, open_.connection),
        )
        deadline = from_ns(time.time_ns()) + durable.timeout * MS
        waiters = self._store.disconnect_open(open_.persistent_id, record, deadline)
        if waiters is not None:
            durable.deadline = deadline
        return waiters

    def left(self, open_: Open) -> None:
        """Keep the time of an open that has left, and the place of its locks."""
        durable = open_.durable
        if durable is None or durable.place is None:
            return
        if not durable.deadline:
            durable.place.give_back()
            return
        log.debug("open %#x: waits for its client", open_.persistent_id)
        when = self._clock.time() + durable.timeout / 1000
        places = durable.place, open_.lock_place
        waiting = _Waiting(open_.key, when, durable.deadline, *places)
        self._wait(open_.persistent_id, waiting)

    # -- the end ---------------------------------------------------------------------------

    def claimed(self, open_id: int, worker: int) -> Place | None:
        """Keep an open's time no more, as its client is back; `worker` did.

        Returns the place of its locks, if it has some here.
        """
        waiting = self._forget(open_id, worker)
        return None if waiting is None else waiting.locks

    def forget(self, open_id: int) -> None:
        """Keep the time of an open no more: another worker has claimed or ended it."""
        self._forget(open_id, self._worker, ended=True)

    def end(self, key: bytes, records: Iterable[OpenRecord]) -> None:
        """End disconnected opens that are in somebody's way ([MS-SMB2] 3.3.4.6, 3.3.4.17).

        In slices, as a client may have left many. Who waits is let go on behind the last of them:
        each time he would have the rest ended.
        """
        opens = [record for record in records if record.open_id not in self._ending]
        self._ending.update(record.open_id for record in opens)
        woken: set[int] = set()
        ended = partial(self._wake, key, woken)
        in_turns(self._loop.turns, key, self._end_each(key, opens, woken), ended)

    def _end_each(
        self, key: bytes, records: Iterable[OpenRecord], woken: set[int]
    ) -> Iterator[None]:
        """End one a step, and note whom to wake."""
        for record in records:
            log.debug("open %#x: ends without its client", record.open_id)
            try:
                woken.update(self._end(key, record.open_id, record.worker))
            except Exception:
                log.exception("an open cannot be ended")
            self._ending.discard(record.open_id)
            yield

    def _end(self, key: bytes, open_id: int, worker: int, deadline: int = 0) -> tuple[int, ...]:
        """End a disconnected open: at once, unless it may delete its file, which is asked first.

        Returns the workers to wake.
        """
        if open_id in self._asked:
            return ()
        result = self._store.end_disconnected(key, open_id, deadline, None)
        asks = result.asks
        if asks is None:
            self._forget(open_id, worker, ended=True)
            return self._ended(key, result)

        def told(user: Identity | None) -> None:
            self._asked.discard(open_id)
            self.end_told(asks, user)

        self._asked.add(open_id)
        self._deferred.ask(asks, told)
        return ()

    def end_told(self, found: DurableOpen, user: Identity | None) -> None:
        """End an open as it was found, unless its client has come back; `user` deletes its file.

        None: nobody may, so the file stays.
        """
        record, key = found.record, found.durable.key
        until = record.durable_open_scavenger_timeout
        result = self._store.end_disconnected(key, record.open_id, until, user is not None)
        if self._store.find_durable(record.open_id) is None:  # else its time begins anew, if any
            self._forget(record.open_id, record.worker, ended=True)
        self._wake(key, self._ended(key, result, user))

    def _ended(
        self, key: bytes, result: EndResult, user: Identity | None = None
    ) -> tuple[int, ...]:
        """Do what the end of a disconnected open leaves to do; `user` deletes its file.

        Returns the workers to wake.
        """
        self._persist(key)
        doomed = result.doomed
        if doomed is not None:
            if user is not None and not doomed.user:
                doomed = doomed._replace(user=user.ids)
            self._delete(doomed)
        return result.waiters

    def _delete(self, doomed: Doomed) -> None:
        """Have a file deleted, and wake who waited for that, in whatever worker."""
        self._deferred.delete(doomed, lambda waiters: self._wake(doomed.key, waiters))

    def end_all(self, key: bytes) -> None:
        """End the disconnected opens of a file: it cannot be theirs, as it has just been made.

        They hold no descriptor, so when a local program removes their file its inode is free.
        """
        for record in self._store.opens(key):
            if record.flags & OPEN_DISCONNECTED:
                result = self._store.end_disconnected(key, record.open_id)
                self._forget(record.open_id, record.worker, ended=True)
                waiters = result.waiters
                if result.doomed is not None:  # and has gone
                    waiters += self._store.deleted(key)
                self._wake(key, self._ended(key, EndResult(waiters)))

    def waiting(self) -> list[int]:
        """Return the opens whose time this worker keeps."""
        return list(self._waiting)

    def _forget(self, open_id: int, worker: int, ended: bool = False) -> _Waiting | None:
        """Take an open out of those that wait."""
        if worker != self._worker:
            self._peers.forget_open(worker, open_id)
            return None
        waiting = self._waiting.pop(open_id, None)
        if waiting is None:
            return None
        if waiting.place is not None:
            waiting.place.give_back()
        if ended and waiting.locks is not None:
            waiting.locks.give_back()
        return waiting

    def settles(self, record: OpenRecord) -> bool:
        """Tell whether an open is about to be disconnected: its session or its worker is gone."""
        session = self._store.get_session(record.session_id)
        there = record.worker == self._worker or self._peers.is_there(record.worker)
        return session is None or session.ends or not there

    def settle(self, resume: Resume[None]) -> None:
        """Let a claimant look again a little later."""
        self._clock.call_later(SETTLE_SECONDS, resume)

    # -- the timer -------------------------------------------------------------------------

    def _wait(self, open_id: int, waiting: _Waiting) -> None:
        """Have an open end when its time is over."""
        self._waiting[open_id] = waiting
        heappush(self._times, (waiting.when, open_id))
        if len(self._times) > STALE * (len(self._waiting) + STALE):
            self._times = [(one.when, open_id) for open_id, one in self._waiting.items()]
            heapify(self._times)
        self._look_at(waiting.when)

    def _look_at(self, when: float) -> None:
        """Have `_scavenge` called then, unless that is sooner."""
        if not self._due or when < self._due:
            self._due = when
            self._clock.call_later(max(when - self._clock.time(), 0), self._scavenge)

    def _scavenge(self) -> None:
        """End the opens that nobody has come back for in time ([MS-SMB2] 3.3.6.2)."""
        now = self._clock.time()
        if not self._due or now < self._due or self._scavenging:
            return  # a timer of an earlier due time, or its turn comes
        self._scavenging = True
        in_turns(self._loop.turns, self, self._end_late(now), self._scavenged)

    def _end_late(self, now: float) -> Iterator[None]:
        """End one in each step."""
        while self._times and self._times[0][0] <= now:
            _, open_id = heappop(self._times)
            waiting = self._waiting.get(open_id)
            if waiting is None or waiting.when > now:
                continue
            log.debug("open %#x: its client has not come back", open_id)
            try:
                waiters = self._end(waiting.key, open_id, self._worker, waiting.deadline)
                self._wake(waiting.key, waiters)
            except Exception:
                log.exception("an open cannot be ended")
            if open_id in self._waiting:
                heappush(self._times, (now + AGAIN_SECONDS, open_id))
            yield

    def _scavenged(self) -> None:
        """Look again when the next one's time is over."""
        self._scavenging, self._due = False, 0.0
        if self._times:
            self._look_at(max(self._times[0][0], self._clock.time() + SCAVENGE_SECONDS))


def absent(tree: "TreeConnect", connection: "Connection") -> Absent:
    """Return whose an open is, for when nobody is connected: of who has proved an account."""
    session, transport = tree.session, connection.transport
    here = transport.peer, transport.local
    return Absent(tree.asked_name, session.account, session.ticket, *here)


def seen(statx: kernel.StatxTuple) -> tuple[int, ...]:
    """Return what of a file tells that somebody else has changed it: see DurableRecord."""
    return statx[7], statx[15], statx[16], statx[13], statx[14]
