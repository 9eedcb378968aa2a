"""The leases of one worker's clients: told of a break, acknowledged, or lost to silence.

What a lease is stands in the store, in the records of its opens, and changes there; a worker knows
which of its opens belong together, and whom it has told of what.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from usmbd.protocol.state.caching import lease as life
from usmbd.protocol.state.caching.deliveries import Deliveries
from usmbd.protocol.state.caching.notices import (
    BREAK_SECONDS,
    Channel,
    channels_of_client,
    send_notice,
)
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.speed import Alarm, Clock
from usmbd.protocol.state.store.base import LeaseChange, Store
from usmbd.protocol.state.store.records import OPLOCK_BREAKING, LeaseState, OpenRecord
from usmbd.protocol.wire.oplock_break import (
    SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED,
    LeaseBreakNotification,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.connection import Connection

log = logging.getLogger("usmbd.oplock")


LeaseName = tuple[bytes, bytes]
"""ClientGuid and LeaseKey."""


class Lease(msgspec.Struct, eq=False):
    """What this worker knows of a lease beside its state ([MS-SMB2] 3.3.1.12)."""

    name: LeaseName
    opens: dict[int, Open]
    """LeaseOpens, as far as they are this worker's."""
    notice: bytes = b""
    """What its client was told last and has to answer; empty: nothing."""
    told: "Connection | None" = None
    """On which connection."""
    alarm: Alarm | None = None
    """When it has answered too late; there is one as long as there is a notice."""
    on_asked: dict[Callable[[], None], None] = {}
    """Called when its client is asked: who waits for others' answers does so no longer."""

    @property
    def client_guid(self) -> bytes:
        """Whose it is."""
        return self.name[0]

    @property
    def lease_key(self) -> bytes:
        """By what its client knows it."""
        return self.name[1]


class Leases:
    """The leases of one worker's clients, which `Caching` grants and has broken."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        wake: Callable[[bytes, Iterable[int]], None],
        deliveries: Deliveries,
    ) -> None:
        """`wake(key, workers)` lets all go on that wait for a file."""
        self._store = store
        self._clock = clock
        self._wake = wake
        self._deliveries = deliveries
        self._connections: dict[bytes, dict[Connection, None]] = {}
        """Each client's, the oldest first, by ClientGuid."""
        self._table: dict[LeaseName, Lease] = {}

    def granted(self, open_: Open, record: OpenRecord) -> None:
        """Enter an open into its lease."""
        name = record.client_guid, record.lease_key
        lease = open_.lease = self._table.get(name)
        if lease is None:
            lease = open_.lease = self._table[name] = Lease(name, {record.open_id: open_})
            if record.oplock_state == OPLOCK_BREAKING:
                self._limit(lease)  # its last open is just being closed, or is another worker's
            return
        if not lease.opens:
            lease.told = None  # what it was told is none of this open's, and is not told again
        lease.opens[record.open_id] = open_

    def closed(self, lease: Lease, open_id: int) -> None:
        """Take an open out of its lease."""
        opens = lease.opens
        opens.pop(open_id, None)
        if opens:
            return
        # Its break ends with it: one with the same key has its own, with its whole time.
        if lease.alarm is not None:
            self._answered(lease)
        else:
            self._table.pop(lease.name, None)

    def break_to(self, lease: Lease, left: int) -> None:
        """Break a lease so that at most `left` stays ([MS-SMB2] 3.3.4.7)."""
        change = self._change(lease, partial(life.broken, left=left))
        if change is None:
            return
        before, after = change.before, change.after
        if after.breaking and not before.breaking:
            self._ask(lease, before.state, after)
            for go_on in list(lease.on_asked):
                go_on()
        elif after.state != before.state:
            self._tell(lease, before.state, after)

    def break_named(self, name: LeaseName, left: int) -> bool:
        """Break the lease of that name; False where this worker has no open of it."""
        lease = self._table.get(name)
        if lease is None or not lease.opens:
            return False
        self.break_to(lease, left)
        return True

    def acknowledge(self, client_guid: bytes, lease_key: bytes, state: int) -> None:
        """Take a client's answer to a break ([MS-SMB2] 3.3.5.22.2).

        SmbError OBJECT_NAME_NOT_FOUND without such a lease; others as of `lease.acknowledged`.
        """
        name = client_guid, lease_key
        # Nobody's, or this worker has no open of it: its client would be told in vain.
        lease = self._table.get(name) or Lease(name, {})
        change = self._change(lease, partial(life.acknowledged, state=state))
        if change is None:
            raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
        after = change.after
        self._answered(lease)
        # What follows comes behind the answer to this request.
        if after.breaking:
            self._clock.call_later(0.0, self._ask, lease, state, after)
        elif after.state != state:
            self._clock.call_later(0.0, self._tell, lease, state, after)

    def connected(self, connection: "Connection") -> None:
        """Note a client's connection that may be told of breaks."""
        self._connections.setdefault(connection.client_guid, {})[connection] = None

    def connection_lost(self, connection: "Connection") -> Iterator[None]:
        """Tell a client again, on another channel, what it was told on this one, in steps."""
        known = self._connections.get(connection.client_guid)
        if known is None or connection not in known:
            return
        del known[connection]
        if not known:
            del self._connections[connection.client_guid]
        for lease in list(self._table.values()):
            if lease.told is connection and lease.notice:
                self._send(lease)
                yield

    def _change(
        self, lease: Lease, change: Callable[[LeaseState], LeaseState]
    ) -> LeaseChange | None:
        """Change what the store says of a lease, and wake who waited for that."""
        result = self._store.change_lease(*lease.name, change)
        if result is not None and result.waiters:
            self._wake(result.key, result.waiters)
        return result

    def _ask(self, lease: Lease, before: int, after: LeaseState) -> None:
        """Tell a client that it has to give up what it holds, and wait for its answer."""
        lease = self._table.setdefault(lease.name, lease)
        lease.notice = _notification(
            lease, before, after.break_to, after, SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED
        )
        self._limit(lease)
        self._send(lease)

    def _limit(self, lease: Lease) -> None:
        """Have a break end in time, whatever its client does."""
        if lease.alarm is not None:
            lease.alarm.cancel()
        lease.alarm = self._clock.call_later(BREAK_SECONDS, self._expired, lease)

    def _tell(self, lease: Lease, before: int, after: LeaseState) -> None:
        """Tell a client what it has lost; there is nothing to answer."""
        self._send_once(lease, _notification(lease, before, after.state, after, 0))

    def _send_once(self, lease: Lease, notice: bytes) -> None:
        """Send what the client has not to answer, but has to know."""
        channel = next(self._channels(lease), None)
        if channel is None:
            return
        send_notice(channel, notice)
        again = partial(self._send_once, lease, notice)
        self._deliveries.sent(channel.connection, again, alone=self._is_alone(lease))

    def _send(self, lease: Lease) -> None:
        """Send what the client has to answer; without a channel it cannot, and loses the lease."""
        channel = next(self._channels(lease), None)
        if channel is None:
            # Where its opens end in a moment, the lease ends with them.
            if not all(open_.session.closed for open_ in lease.opens.values()):
                self._expired(lease)
            return
        lease.told = channel.connection
        send_notice(channel, lease.notice)
        self._deliveries.sent(channel.connection, alone=self._is_alone(lease))

    def _is_alone(self, lease: Lease) -> bool:
        """Tell whether the client has but one connection."""
        return len(self._connections.get(lease.client_guid, ())) == 1

    def _channels(self, lease: Lease) -> Iterator[Channel]:
        """Yield the living channels of a lease's client.

        The oldest connection comes first, as on Windows and Samba (smb2.lease.v2_complex1).
        """
        connections = self._connections.get(lease.client_guid, {})
        return channels_of_client(connections, lease.opens.values())

    def _answered(self, lease: Lease) -> None:
        """Wait for its client no longer."""
        lease.notice, lease.told = b"", None
        if lease.alarm is not None:
            lease.alarm.cancel()
            lease.alarm = None
        if not lease.opens:
            self._table.pop(lease.name, None)

    def _expired(self, lease: Lease) -> None:
        """End a break that the client has not answered."""
        self._answered(lease)
        change = self._change(lease, life.expired)
        if change is not None and change.after != change.before:
            log.info("a lease break is not answered", extra=_facts(lease))


def _notification(lease: Lease, before: int, state: int, after: LeaseState, flags: int) -> bytes:
    """Build a Lease Break Notification ([MS-SMB2] 2.2.23.2)."""
    return LeaseBreakNotification(
        new_epoch=after.epoch if after.version > 1 else 0,
        flags=flags,
        lease_key=lease.lease_key,
        current_lease_state=before,
        new_lease_state=state,
    ).pack()


def _facts(lease: Lease) -> dict[str, str]:
    """Return whose lease it is, for the log."""
    for open_ in lease.opens.values():
        return {"client": open_.connection.transport.peer, "path": open_.path}
    return {}
