"""The oplocks of one worker's opens: told of a break, acknowledged, or lost to silence.

What breaks when is in `rules`. While a client is asked, its open has the old level in the store,
marked as breaking; the new one wakes who waits.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from usmbd.protocol.state.caching.deliveries import Deliveries
from usmbd.protocol.state.caching.kernel_oplocks import KernelOplocks
from usmbd.protocol.state.caching.notices import BREAK_SECONDS, channels_of, send_notice
from usmbd.protocol.state.caching.rules import R
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.speed import Alarm, Clock
from usmbd.protocol.state.store.base import Store
from usmbd.protocol.state.store.records import OPLOCK_BREAKING, OPLOCK_HELD
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_II, SMB2_OPLOCK_LEVEL_NONE
from usmbd.protocol.wire.oplock_break import OplockBreak
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.connection import Connection

log = logging.getLogger("usmbd.oplock")

_ANSWERS = (SMB2_OPLOCK_LEVEL_NONE, SMB2_OPLOCK_LEVEL_II)


class Oplocks:
    """The oplocks of one worker's opens, which `Caching` grants and has broken."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        wake: Callable[[bytes, Iterable[int]], None],
        kernel: KernelOplocks,
        deliveries: Deliveries,
    ) -> None:
        """`wake(key, workers)` lets all go on that wait for a file."""
        self._kernel = kernel
        self._store = store
        self._clock = clock
        self._wake = wake
        self._deliveries = deliveries
        self._told: dict[Open, Connection] = {}
        """On which connection those were told that have to answer."""
        self._alarms: dict[Open, Alarm] = {}
        """When those have answered too late."""

    def break_to(self, open_: Open, left: int) -> None:
        """Break the oplock of an open so that at most the state `left` stays; tell its client."""
        stays = left & R and open_ not in self._kernel
        level = SMB2_OPLOCK_LEVEL_II if stays else SMB2_OPLOCK_LEVEL_NONE
        if open_.oplock_level <= level:
            return
        if open_.oplock_level == SMB2_OPLOCK_LEVEL_II:
            self._set(open_, SMB2_OPLOCK_LEVEL_NONE)
            self._tell(open_)
        elif open_.oplock_break_to is None:
            open_.oplock_break_to = level
            self._store.set_oplock(
                open_.key, open_.persistent_id, open_.oplock_level, OPLOCK_BREAKING
            )
            self._alarms[open_] = self._clock.call_later(BREAK_SECONDS, self._expired, open_)
            self._ask(open_)

    def stand_with_kernel(self, open_: Open) -> None:
        """Have a new oplock stand with a lease of the kernel's; without one it is none.

        Of streams local programs know nothing. Its client does not know of the oplock yet, and is
        told by the answer to its CREATE.
        """
        if open_.oplock_level == SMB2_OPLOCK_LEVEL_II or not (
            open_.stream is not None or self._kernel.place(open_)
        ):
            self._set(open_, SMB2_OPLOCK_LEVEL_NONE)

    def acknowledge(self, open_: Open, level: int) -> int:
        """Take a client's answer to a break; return the level it has now ([MS-SMB2] 3.3.5.22.1).

        SmbError(INVALID_OPLOCK_PROTOCOL) for a level it cannot choose (it then has none),
        SmbError(INVALID_DEVICE_STATE) when no break is going on.
        """
        break_to = open_.oplock_break_to
        if level not in _ANSWERS or break_to is None or open_.lease is not None:
            if break_to is not None:
                self._set(open_, SMB2_OPLOCK_LEVEL_NONE)
            elif level in _ANSWERS and open_.oplock_level and open_.lease is None:
                raise SmbError(NtStatus.INVALID_DEVICE_STATE)
            raise SmbError(NtStatus.INVALID_OPLOCK_PROTOCOL)
        level = min(level, break_to)
        self._set(open_, level)
        return level

    def closed(self, open_: Open) -> None:
        """Forget an open."""
        self._answered(open_)

    def _answered(self, open_: Open) -> None:
        """Wait for its client no longer."""
        self._told.pop(open_, None)
        alarm = self._alarms.pop(open_, None)
        if alarm is not None:
            alarm.cancel()

    def connection_lost(self, connection: "Connection") -> Iterator[None]:
        """Tell clients again, on another channel, what they were told on this one, in steps."""
        for open_ in [open_ for open_, told in self._told.items() if told is connection]:
            if self._told.pop(open_, None) is not None and not open_.closed:
                self._ask(open_)
                yield

    def _ask(self, open_: Open) -> None:
        """Tell a client what it has to answer; without a channel it cannot."""
        assert open_.oplock_break_to is not None
        connection = self._notify(open_, open_.oplock_break_to)
        if connection is not None:
            self._told[open_] = connection
        elif not open_.session.closed:  # else the open ends in a moment, and the oplock with it
            self._expired(open_)

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
        if open_ in self._kernel:
            self._kernel.lift(open_)
        self._answered(open_)
        waiters = self._store.set_oplock(open_.key, open_.persistent_id, level, OPLOCK_HELD)
        if waiters:
            self._wake(open_.key, waiters)

    def _tell(self, open_: Open) -> None:
        """Tell a client that it caches nothing any more: there is nothing to answer."""
        if not open_.closed:
            self._notify(open_, SMB2_OPLOCK_LEVEL_NONE, partial(self._tell, open_))

    def _notify(
        self, open_: Open, level: int, again: Callable[[], None] | None = None
    ) -> "Connection | None":
        """Send an Oplock Break Notification; return by which connection, None if there is none."""
        channel = next(channels_of(open_), None)
        if channel is None:
            return None
        log.debug("%s: oplock %d is broken to %d", open_.path, open_.oplock_level, level)
        body = OplockBreak(
            oplock_level=level, persistent=open_.persistent_id, volatile=open_.volatile_id
        )
        send_notice(channel, body.pack())
        alone = len(open_.session.channel_list) == 1
        self._deliveries.sent(channel.connection, again, alone=alone)
        return channel.connection
