"""Oplocks: when one is granted, when it is broken, and the wait for the client's answer.

Rules ([MS-FSA] 2.1.4.12, 2.1.5.18; where they leave room, as Samba does):

* an exclusive or batch oplock is for a file's only open; later opens get at most level II;
* a second open breaks it to level II, an overwriting one to none, and waits for the answer;
* an open that would violate a share mode breaks a batch oplock first: its holder may close;
* an open that only looks at attributes neither breaks anything nor gets an oplock;
* a write, a lock or a new size breaks all level II oplocks of the file, and nobody waits.

What all workers must know (level, breaking or not) is in the store; the holder's worker talks to
its client, and wakes who waits by `Store.set_oplock`. Leases will be granted and broken here too.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from usmbd.protocol.state.open import Open
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.store.base import Store
from usmbd.protocol.state.store.records import OPLOCK_BREAKING, OPLOCK_HELD, OpenRecord
from usmbd.protocol.state.store.sharing import violates
from usmbd.protocol.wire.access import (
    FILE_READ_ATTRIBUTES,
    FILE_WRITE_ATTRIBUTES,
    SYNCHRONIZE,
)
from usmbd.protocol.wire.create import (
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_EXCLUSIVE,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_NONE,
)
from usmbd.protocol.wire.header import (
    SMB2_FLAGS_SERVER_TO_REDIR,
    UNSOLICITED_MESSAGE_ID,
    Command,
    Header,
)
from usmbd.protocol.wire.oplock_break import OplockBreak
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.oplock")

BREAK_SECONDS = 35.0
"""A client that has not answered a break by then has lost its oplock ([MS-SMB2] 3.3.2.1)."""

EXCLUSIVE = (SMB2_OPLOCK_LEVEL_EXCLUSIVE, SMB2_OPLOCK_LEVEL_BATCH)
_GRANTABLE = (SMB2_OPLOCK_LEVEL_II, *EXCLUSIVE)
_STAT_ONLY = FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | SYNCHRONIZE


class BreakNeededError(Exception):
    """An open has to wait until the oplocks of `holders` are broken to `level`."""

    def __init__(self, holders: list[OpenRecord], level: int) -> None:
        """Keep who is to be asked for what."""
        super().__init__(f"{len(holders)} oplocks are in the way")
        self.holders = holders
        self.level = level


def is_stat_open(access: int) -> bool:
    """Tell whether an open looks at attributes alone."""
    return not access & ~_STAT_ONLY


def grantable(requested: int, others: Iterable[OpenRecord]) -> int:
    """Return the oplock level that an admitted open gets beside `others`."""
    if requested not in _GRANTABLE:
        return SMB2_OPLOCK_LEVEL_NONE
    if all(is_stat_open(o.granted_access) and not o.oplock_level for o in others):
        return requested
    return SMB2_OPLOCK_LEVEL_II


class Peers(Protocol):
    """The ways to other workers that oplocks need."""

    def break_oplock(self, worker: int, key: bytes, open_id: int, level: int) -> None:
        """Have `worker` break the oplock of its open."""


class Oplocks:
    """The oplocks of one worker's opens, and its part in the breaking of others'."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        peers: Peers,
        worker: int,
        wake: Callable[[bytes, Iterable[int]], None],
    ) -> None:
        """`wake(key, workers)` lets all go on that wait for a file."""
        self._store = store
        self._clock = clock
        self._peers = peers
        self._worker = worker
        self._wake = wake
        self._holders: dict[int, Open] = {}

    # -- opens ---------------------------------------------------------------------------

    def check_open(self, key: bytes, access: int, share: int, overwrite: bool) -> None:
        """Raise BreakNeededError if an open must wait; level II is broken at once.

        An open that breaks a share mode is not waited with: `check_sharing` comes after it.
        """
        if not self._store.may_have_oplocks(key) or (is_stat_open(access) and not overwrite):
            return
        level = SMB2_OPLOCK_LEVEL_NONE if overwrite else SMB2_OPLOCK_LEVEL_II
        opens = self._store.opens(key)
        if any(violates(access, share, r.granted_access, r.share_access) for r in opens):
            return
        holders = [record for record in opens if record.oplock_level in EXCLUSIVE]
        if holders and not self._store.is_delete_pending(key):
            raise BreakNeededError(holders, level)
        if overwrite:
            self._break_all(key, opens)

    @staticmethod
    def check_sharing(others: list[OpenRecord]) -> None:
        """After a sharing violation: raise BreakNeededError if a batch oplock may be the cause."""
        holders = [r for r in others if r.oplock_level == SMB2_OPLOCK_LEVEL_BATCH]
        if holders:
            raise BreakNeededError(holders, SMB2_OPLOCK_LEVEL_II)

    def still_held(self, key: bytes, holders: list[OpenRecord]) -> bool:
        """Tell whether any of the holders still has its exclusive or batch oplock."""
        ids = {holder.open_id for holder in holders}
        return any(
            record.open_id in ids and record.oplock_level in EXCLUSIVE
            for record in self._store.opens(key)
        )

    def granted(self, open_: Open, level: int) -> None:
        """Remember an oplock that an open was given."""
        open_.oplock_level = level
        if level:
            self._holders[open_.persistent_id] = open_

    def closed(self, open_: Open) -> None:
        """Forget an open."""
        self._holders.pop(open_.persistent_id, None)

    # -- breaking ------------------------------------------------------------------------

    def request_break(self, key: bytes, holders: list[OpenRecord], level: int) -> None:
        """Have the holders' oplocks broken, wherever their clients are."""
        for record in holders:
            if record.worker == self._worker:
                self.break_own(record.open_id, level)
            else:
                self._peers.break_oplock(record.worker, key, record.open_id, level)

    def break_level_two(self, open_: Open) -> None:
        """Break the level II oplocks of a file that is changed; nobody waits for it."""
        if self._store.may_have_oplocks(open_.key):
            self._break_all(open_.key, self._store.opens(open_.key))

    def _break_all(self, key: bytes, opens: list[OpenRecord]) -> None:
        """Break every level II oplock among `opens` to none."""
        holders = [record for record in opens if record.oplock_level == SMB2_OPLOCK_LEVEL_II]
        self.request_break(key, holders, SMB2_OPLOCK_LEVEL_NONE)

    def break_own(self, open_id: int, level: int) -> None:
        """Break the oplock of an open of this worker; tell its client."""
        open_ = self._holders.get(open_id)
        if open_ is None or open_.closed or open_.oplock_level <= level:
            return
        if open_.oplock_level == SMB2_OPLOCK_LEVEL_II:
            self._set(open_, SMB2_OPLOCK_LEVEL_NONE)
            self._notify(open_, SMB2_OPLOCK_LEVEL_NONE)
        elif open_.oplock_break_to is None:
            open_.oplock_break_to = level
            self._store.set_oplock(
                open_.key, open_.persistent_id, open_.oplock_level, OPLOCK_BREAKING
            )
            self._clock.call_later(BREAK_SECONDS, self._expired, open_)
            if not self._notify(open_, level):
                self._expired(open_)

    def acknowledge(self, open_: Open, level: int) -> int:
        """Take a client's answer to a break; return the level it has now ([MS-SMB2] 3.3.5.22.1).

        SmbError(INVALID_OPLOCK_PROTOCOL) for a level it cannot choose (it then has none),
        SmbError(INVALID_DEVICE_STATE) when no break is going on.
        """
        break_to = open_.oplock_break_to
        if level not in (SMB2_OPLOCK_LEVEL_NONE, SMB2_OPLOCK_LEVEL_II) or break_to is None:
            if break_to is not None:
                self._set(open_, SMB2_OPLOCK_LEVEL_NONE)
            elif level in (SMB2_OPLOCK_LEVEL_NONE, SMB2_OPLOCK_LEVEL_II) and open_.oplock_level:
                raise SmbError(NtStatus.INVALID_DEVICE_STATE)
            raise SmbError(NtStatus.INVALID_OPLOCK_PROTOCOL)
        level = min(level, break_to)
        self._set(open_, level)
        return level

    def _expired(self, open_: Open) -> None:
        """End a break that the client has not answered."""
        if not open_.closed and open_.oplock_break_to is not None:
            log.info(
                "an oplock break is not answered",
                extra={"client": open_.connection.transport.peer, "path": open_.path},
            )
            self._set(open_, SMB2_OPLOCK_LEVEL_NONE)

    def _set(self, open_: Open, level: int) -> None:
        """Give an open its new level and let go on who waited for it."""
        open_.oplock_level = level
        open_.oplock_break_to = None
        if not level:
            self._holders.pop(open_.persistent_id, None)
        waiters = self._store.set_oplock(open_.key, open_.persistent_id, level, OPLOCK_HELD)
        if waiters:
            self._wake(open_.key, waiters)

    @staticmethod
    def _notify(open_: Open, level: int) -> bool:
        """Send an Oplock Break Notification; False when there is no channel to send it on."""
        session = open_.session
        connection = open_.connection
        if connection not in session.channel_list:
            connection = next(iter(session.channel_list), connection)
        if connection.closed:
            return False
        header = Header(
            command=Command.OPLOCK_BREAK,
            flags=SMB2_FLAGS_SERVER_TO_REDIR,
            message_id=UNSOLICITED_MESSAGE_ID,
            process_id=0,
        )
        body = OplockBreak(
            oplock_level=level, persistent=open_.persistent_id, volatile=open_.volatile_id
        )
        parts = [header.pack(), body.pack()]
        log.debug("%s: oplock %d is broken to %d", open_.path, open_.oplock_level, level)
        if session.encrypt_data and session.sealer is not None:
            connection.transport.send(session.sealer.seal(parts, session.session_id))
        else:
            connection.transport.send(parts)
        return True
