"""Who asks for what: opens that come, files that change; and the breaks that follow from it.

    CREATE    Asked -> add_open(admit=asked.admit) in the store's transaction
                -> BreakNeededError: the breaks are requested, the open waits and tries again
                -> admitted: what nobody waits for is broken, the oplock or lease is granted
    WRITE...  changed(open)
    rename... holders(...) -> BreakNeededError

A break goes to the worker that has the holder (`Peers.break_caching`), which is often this one.
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

from usmbd.protocol.state.caching import lease as life
from usmbd.protocol.state.caching.changes import Changes
from usmbd.protocol.state.caching.deliveries import Deliveries
from usmbd.protocol.state.caching.kernel_oplocks import KernelOplocks
from usmbd.protocol.state.caching.leases import LeaseName, Leases
from usmbd.protocol.state.caching.needed import NOBODY, Break, BreakNeededError, check
from usmbd.protocol.state.caching.oplocks import Oplocks
from usmbd.protocol.state.caching.rules import (
    BREAKS,
    LEVEL_OF_STATE,
    MORE_THAN_STAT,
    NONE,
    STATE_OF_LEVEL,
    STATES,
    H,
    Operation,
    R,
    W,
    grantable,
    held,
    holder_of,
    is_breaking,
    is_lease,
    is_stat_open,
    is_stat_open_beside_leases,
    is_waited_for,
    lease_of,
    same_lease,
)
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.store.base import SharingViolation, Store
from usmbd.protocol.state.store.others import Others
from usmbd.protocol.state.store.records import (
    DIRECTORIES,
    OPEN_DISCONNECTED,
    OPEN_LASTING,
    OPEN_PERSISTENT,
    OPLOCK_HELD,
    LeaseState,
    OpenRecord,
    caches_handle,
)
from usmbd.protocol.state.turns import Loop, in_turns
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.create_contexts import LeaseContext
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.connection import Connection

log = logging.getLogger("usmbd.conn")


class Peers(Protocol):
    """The ways to other workers that caching needs."""

    def break_caching(
        self, worker: int, key: bytes, open_id: int, left: int, lease: LeaseName | None
    ) -> None:
        """Have `worker` break what the client of its open caches, so that at most `left` stays."""


class Asked:
    """What an open asks for: its record, and how it is decided beside the others.

    `state` is what its client wants to cache, `allocation` the file's AllocationSize. With `waited`
    it has waited for a break before.
    """

    __slots__ = (
        "allocation",
        "beside",
        "breaks",
        "epoch",
        "key",
        "overwrite",
        "record",
        "state",
        "version",
        "waited",
    )

    def __init__(
        self,
        key: bytes,
        record: OpenRecord,
        level: int,
        lease: LeaseContext | None,
        *,
        allocation: int,
        overwrite: bool,
        waited: bool,
        directory: bool = False,
    ) -> None:
        """Begin as if the open were the file's only one."""
        self.key = key
        self.record = record
        self.allocation = allocation
        self.overwrite = overwrite
        self.waited = waited
        self.breaks: list[Break] = []
        self.beside = False
        """Whether there are others, who may change the file until it is admitted."""
        self.version = self.epoch = 0
        if lease is not None:
            # A directory has no data to write; who asks for W gets the rest, as from Windows.
            state = self.state = lease.lease_state & ~W if directory else lease.lease_state
            self.version = record.lease_version = lease.version
            epoch = self.epoch = lease.epoch
            record.oplock_level = SMB2_OPLOCK_LEVEL_LEASE
            record.lease_key = lease.lease_key
            if state and state in STATES:  # as `admit` decides where nobody else is
                record.lease_state = state
                epoch = epoch + 1 & life.EPOCH_MASK
            record.lease_epoch = epoch
        else:
            self.state = STATE_OF_LEVEL.get(level, NONE)
            record.oplock_level = LEVEL_OF_STATE[self.state]

    def admit(self, record: OpenRecord, others: Others, locked: int | None) -> None:
        """Decide beside the other opens (see `store.base.Admit`); BreakNeededError."""
        self.beside = True
        kinds = others.kinds(record, MORE_THAN_STAT)
        waits, self.breaks = self._breaks(kinds)
        if self.breaks and kinds is not others.all:
            waits, self.breaks = self._breaks(others.all)
        if waits:
            raise BreakNeededError(self.key, self.breaks)
        # Of those that lose something now, a lower state stays, which changes nothing here: W is
        # not among it.
        in_data = locked is not None and locked < self.allocation and not self.overwrite
        state = grantable(self.state, record, kinds, in_data)
        if not is_lease(record):
            record.oplock_level = LEVEL_OF_STATE[state]
            return
        mine = others.with_lease(record)
        if mine is None:
            life.granted(state, self.version, self.epoch).put(record)
        else:
            life.raised(LeaseState.of(mine), self.state, state).put(record)

    def _breaks(self, others: Iterable[OpenRecord]) -> tuple[bool, list[Break]]:
        """Return whether to wait, and what is to be broken or waited for."""
        access = self.record.granted_access
        if is_stat_open(access):
            return False, []
        passes_leases = is_stat_open_beside_leases(access)
        verdicts = BREAKS[Operation.OVERWRITE if self.overwrite else Operation.OPEN]
        waits = False
        breaks = []
        for other in others:
            if same_lease(self.record, other):
                continue
            if is_waited_for(other) and not caches_handle(other):
                raise SmbError(NtStatus.FILE_NOT_AVAILABLE)
            if not other.oplock_level or (passes_leases and is_lease(other)):
                continue
            state = held(other)
            verdict = verdicts.get(state)
            if verdict is not None:
                if is_waited_for(other):
                    raise SmbError(NtStatus.FILE_NOT_AVAILABLE)
                breaks.append(Break(other, verdict.left))
                waits |= verdict.waits or (self.waited and is_breaking(other))
            elif is_breaking(other):
                breaks.append(Break(other, state))
                waits = True
        return waits, breaks


class Caching:
    """What may be cached of the files that this worker's clients have open."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        peers: Peers,
        worker: int,
        wake: Callable[[bytes, Iterable[int]], None],
        end: Callable[[bytes, list[OpenRecord]], None],
        persist: Callable[[bytes], None],
        loop: Loop,
    ) -> None:
        """`wake(key, workers)` lets all go on that wait for a file; `end` ends those left.

        `persist(key)` has what a persistent open has lost written down.
        """
        self._persist = persist
        self._store = store
        self._clock = clock
        self._peers = peers
        self._end = end
        self._wake = wake
        self._worker = worker
        self._loop = loop
        self._holders: dict[int, Open] = {}
        self.kernel = KernelOplocks(lambda open_id: self.break_own(open_id, NONE))
        self._deliveries = Deliveries(clock)
        self.oplocks = Oplocks(store, clock, wake, self.kernel, self._deliveries)
        self.leases = Leases(store, clock, wake, self._deliveries)
        self.changes = Changes(store, self.request_breaks)

    # -- opens ---------------------------------------------------------------------------

    def admitted(self, open_: Open, asked: Asked) -> None:
        """Give an open what it was granted, and break what it did not have to wait for."""
        self.has(open_, asked.record)
        if asked.breaks:
            self.request_breaks(asked.key, asked.breaks)

    def has(self, open_: Open, record: OpenRecord) -> None:
        """Give an open the oplock or lease that its record says."""
        level = open_.oplock_level = record.oplock_level
        open_.parent_lease_key = record.parent_lease_key
        if level:
            self._holders[record.open_id] = open_
            if level == SMB2_OPLOCK_LEVEL_LEASE:
                self.leases.granted(open_, record)

    def closed(self, open_: Open) -> None:
        """Forget an open."""
        if self._holders.pop(open_.persistent_id, None) is None:
            return
        lease = open_.lease
        if lease is not None:
            self.leases.closed(lease, open_.persistent_id)
        else:
            self.oplocks.closed(open_)
            self.kernel.closed(open_)

    @staticmethod
    def check_sharing(violation: SharingViolation, record: OpenRecord) -> None:
        """After a sharing violation: BreakNeededError if opens that are only cached may be why.

        SmbError(FILE_NOT_AVAILABLE) where a persistent one may be that waits for its client.
        """
        if any(map(is_waited_for, violation.others.kinds(NOBODY, 0))):
            raise SmbError(NtStatus.FILE_NOT_AVAILABLE)
        check(violation.key, Operation.SHARE, violation.others, record)

    def connection_lost(self, connection: "Connection") -> Iterator[None]:
        """Tell clients by other channels what they were told on one that is lost, in steps."""
        yield from self.oplocks.connection_lost(connection)
        yield from self.leases.connection_lost(connection)
        yield from self._deliveries.connection_lost(connection)

    # -- changes -------------------------------------------------------------------------

    @property
    def directories_cached(self) -> bool:
        """Whether anybody may have a lease on a directory; else none has to be told of anything."""
        return bool(self._store.oplock_count(DIRECTORIES))

    def directory_changed(self, key: bytes, by: bytes) -> None:
        """Break what clients cache of a directory in which something changed; nobody waits for it.

        But the lease `by`: its client named it when it opened the file, and so knows what it does
        itself (ParentLeaseKey, [MS-FSA] 2.1.4.12). It is told in the loop's next turn, behind the
        answer to what changed it, as by Windows and Samba (Samba's smb2.dirlease).
        """
        if self._store.oplock_count(key):
            self._clock.call_later(0, partial(self._break_directory, key, by))

    def _break_directory(self, key: bytes, by: bytes) -> None:
        """Break all leases on a directory but `by`."""
        verdicts = BREAKS[Operation.CHANGE]
        self.request_breaks(
            key,
            [
                Break(record, verdict.left)
                for record in self._store.holders(key)
                if is_lease(record)
                and (verdict := verdicts.get(held(record))) is not None
                and record.lease_key != by
            ],
        )

    def check_others(self, key: bytes, open_: Open | None) -> None:
        """BreakNeededError if others have the file open whose clients may only cache that.

        For what such opens would be in the way of: renaming the file, deleting it, replacing it.
        `open_` is by which it is done, if it is one of the file's.
        """
        if self._store.oplock_count(key):
            others = self._store.look(key)
            mine = None if open_ is None else others.with_id(open_.persistent_id)
            check(key, Operation.SHARE, others, mine)

    def handles_given_up(self, open_: Open) -> None:
        """Ask others to give a file up that is to be deleted when `open_` ends; nobody waits.

        For who ends in another way than by a CLOSE, which waits for them.
        """
        try:
            self.check_others(open_.key, open_)
        except BreakNeededError as needed:
            self.request_breaks(needed.key, needed.breaks)
        except SmbError:
            pass  # a persistent open's client is away: the file goes when it has come back

    # -- breaking ------------------------------------------------------------------------

    def request_breaks(
        self, key: bytes, breaks: Iterable[Break], done: Callable[[], None] | None = None
    ) -> None:
        """Have the holders asked for what they hold, wherever they are; a lease once.

        A holder whose client is gone loses its open instead ([MS-SMB2] 3.3.4.6, 3.3.4.7); one that
        lasts loses what it caches alone, which its client learns when it comes back. In slices, as
        a file may have thousands; `done()` comes behind the last.
        """
        in_turns(self._loop.turns, key, self._request(key, breaks), done)

    def _request(self, key: bytes, breaks: Iterable[Break]) -> Iterator[None]:
        """Ask one holder a step."""
        asked, ends = set[Hashable](), list[OpenRecord]()
        breaks = list(breaks)
        # Clients that have lost one open of a lease are told by another of them.
        told = {holder_of(record) for record, _ in breaks if not record.flags & OPEN_DISCONNECTED}
        for record, left in breaks:
            holder, lost = holder_of(record), record.flags & OPEN_DISCONNECTED
            if lost and not record.flags & OPEN_LASTING:
                if not (left & H and holder in told):
                    ends.append(record)
                continue
            if holder in asked or (lost and holder in told):
                continue
            asked.add(holder)
            try:
                self._ask(key, record, left)
            except Exception:
                log.exception("a break failed")
            yield
        try:
            if ends:
                self._end(key, ends)
        except Exception:
            log.exception("opens that were in the way have not ended")

    def _ask(self, key: bytes, record: OpenRecord, left: int) -> None:
        """Ask one holder, or take it from one whose client is gone, and has not come back since."""
        if record.flags & OPEN_DISCONNECTED:
            found = self._store.find_durable(record.open_id)
            if found is None:
                return
            record = found.record
        lease = lease_of(record)
        if record.flags & OPEN_DISCONNECTED:
            self._lower(key, record, left)
        elif record.worker == self._worker:
            self.break_own(record.open_id, left, lease)
        else:
            self._peers.break_caching(record.worker, key, record.open_id, left, lease)

    def _lower(self, key: bytes, record: OpenRecord, left: int) -> None:
        """Take from an open whose client is gone what it caches, so that at most `left` stays."""
        if is_lease(record):

            def lower(lease: LeaseState) -> LeaseState:
                lease = life.broken(lease, left)
                return life.ended(lease, lease.required) if lease.breaking else lease

            changed = self._store.change_lease(record.client_guid, record.lease_key, lower)
            waiters = () if changed is None else changed.waiters
        else:
            level = LEVEL_OF_STATE[R] if left & R else LEVEL_OF_STATE[NONE]
            waiters = self._store.set_oplock(key, record.open_id, level, OPLOCK_HELD)
        if record.flags & OPEN_PERSISTENT:
            self._persist(key)
        if waiters:
            self._wake(key, waiters)

    def break_own(self, open_id: int, left: int, lease: LeaseName | None = None) -> None:
        """Break what the client of an open of this worker holds, so that at most `left` stays.

        Of one that is just being closed the other opens of its `lease` have it.
        """
        open_ = self._holders.get(open_id)
        if open_ is None or open_.closed:
            if lease is None or not self.leases.break_named(lease, left):
                self._break_lost(open_id, left)
        elif open_.lease is not None:
            self.leases.break_to(open_.lease, left)
        else:
            self.oplocks.break_to(open_, left)

    def _break_lost(self, open_id: int, left: int) -> None:
        """Break what an open holds whose connection has just been lost, if it is durable.

        Its client would come back to what it has cached of what was there before.
        """
        found = self._store.find_durable(open_id)
        if found is None:
            return
        key, record = found.durable.key, found.record
        if record.flags & OPEN_DISCONNECTED or record.worker != self._worker:
            self.request_breaks(key, [Break(record, left)])
        else:  # it is about to wait for its client, or to be closed
            self._lower(key, record, left)

    def still_held(self, key: bytes, breaks: list[Break]) -> bool:
        """Tell whether any of the holders still has more than may stay, or has not answered."""
        left = {record.open_id: left for record, left in breaks}
        return any(
            is_breaking(record) or held(record) & ~left[record.open_id]
            for record in self._store.holders(key)
            if record.open_id in left
        )
