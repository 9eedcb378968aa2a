"""The send queue of one connection: what is posted, and what its end gives back.

Messages and WRITEs complete in the order of posting, and one completion stands for all before it
that asked for none. So only some are asked for: every so many messages, where WRITEs have pinned
much memory, and for each READ, which ends by its own alone: Linux' siw completes what was posted
behind a READ while its data is still on the way (siw_qp_sq_process), where InfiniBand has one order
for all (volume 1, 10.8.3.3). What is not yet known to have ended stays in `posted` and `_reading`.
"""

from collections import deque

from usmbd.transport.smbdirect.depths import Depths
from usmbd.transport.smbdirect.provider import DeviceError, QueuePair
from usmbd.transport.smbdirect.registered_memory import Pool, Sinks, Slots
from usmbd.transport.smbdirect.transfers import Piece, Read, Write

PINNED = 1 << 20
"""Bytes of the pool that ended WRITEs keep pinned less than, until something else completes: each
completion wakes a sleeping worker, which has nothing to do for it. What counts is the memory that
was taken for the data, however few bytes of it a short READ has sent."""

KEPT = 1 << 16
"""Bytes that an idle connection keeps less than, after `tidy`."""

CHAINED = 1 << 16
"""Bytes of a READ or WRITE up to which it waits for what follows, to be posted with it. More take
so long to travel that they had better begin."""

_SHARE = 4
"""A quarter of the slots may wait for a completion that somebody else asks for."""

_lost: list[object] = []
"""Work whose queue pair the device did not give up, with its memory."""


class PostedWork:
    """The send side of a queue pair; DeviceError of its posts means the connection is over."""

    __slots__ = (
        "_depths",
        "_following",
        "_interval",
        "_next",
        "_pinned",
        "_pool",
        "_reading",
        "_reaped",
        "_sinks",
        "_slots",
        "_write_interval",
        "_writes_following",
        "posted",
        "queue_pair",
        "reads",
        "transferring",
        "waiting",
        "writes",
    )

    def __init__(
        self, queue_pair: QueuePair, slots: Slots, pool: Pool, sinks: Sinks, depths: Depths
    ) -> None:
        """Begin with nothing posted."""
        self.queue_pair = queue_pair
        self._slots = slots
        self._pool = pool
        self._sinks = sinks
        self._depths = depths
        self._interval = max(1, depths.sends // _SHARE)
        self._write_interval = max(1, depths.writes // _SHARE)
        self._next = 0
        self._reaped = 0
        self._following = 0  # posted since the last that completes
        self._writes_following = 0
        self._pinned = 0  # bytes of the pool in WRITEs since then
        self.posted: deque[int | Piece | None] = deque()
        """Slots and WRITEs that are not known to have ended, oldest first; None: READ or marker."""
        self._reading: dict[int, Piece] = {}  # READs that have not ended, by number
        self.writes = 0
        """WRITEs that have not ended."""
        self.reads = 0
        """READs that have not ended."""
        self.transferring = 0
        """Bytes of these READs and WRITEs, and those that the WRITEs keep beside."""
        self.waiting = 0
        """Bytes of WRITEs since `submit`, which may wait for it."""

    def send(self, slot: int, length: int, invalidate: int, signaled: bool) -> None:
        """Post a message that is in a slot, at the latest with `submit`."""
        signaled = signaled or self._following >= self._interval
        number = self._next
        self.queue_pair.post_send(
            number << 1 | 1,
            (self._slots.part(slot, length),),
            invalidate=invalidate,
            signaled=signaled,
            more=True,
        )
        self._next = number + 1
        self.posted.append(slot)
        if signaled:
            self._completes()
        else:
            self._following += 1

    def write(self, transfer: Write) -> bool:
        """Post the next piece of a write; False when there is no room for it now.

        A small one may wait for the message that follows it, or for `submit`.
        """
        if not self.room:
            return False
        self.post_write(transfer.piece(self._pool, self._depths.segments))
        return True

    @property
    def untidy(self) -> bool:
        """Whether `tidy` has something to do."""
        return self._pinned >= KEPT

    def tidy(self) -> None:
        """Ask for a completion of the WRITEs that keep memory, if that is much.

        A WRITE of no bytes has one, and reaches no memory of the peer (InfiniBand volume 1,
        C9-88; RFC 5040, 5.1).
        """
        if self.untidy and self.room:
            self._post_write(Piece(None, 0, 0, 0, [], []), True)
            self.submit()

    @property
    def room(self) -> bool:
        """Whether a WRITE may be posted now."""
        return self.writes < self._depths.writes

    def post_write(self, piece: Piece) -> None:
        """Post a piece of a write, for which there must be room."""
        self._pinned += piece.pinned
        self._writes_following += 1
        self._post_write(
            piece, self._pinned >= PINNED or self._writes_following >= self._write_interval
        )

    def _post_write(self, piece: Piece, signaled: bool) -> None:
        """Post a piece of a write, and ask for its completion or not."""
        number = self._next
        self.queue_pair.post_write(
            number << 1 | 1,
            piece.segments,
            piece.address,
            piece.key,
            signaled=signaled,
            more=piece.length <= CHAINED,
        )
        self._post(piece)
        self.posted.append(piece)
        self.writes += 1
        self.waiting += piece.length
        if signaled:
            self._completes()
        else:
            self._following += 1

    def read(self, transfer: Read) -> None:
        """Post the next piece of a read; the caller counts how many there may be.

        A small one may wait for `submit`.
        """
        piece = transfer.piece(self._sinks.pool())
        number = self._next
        self.queue_pair.post_read(
            number << 1 | 1,
            piece.segments,
            piece.address,
            piece.key,
            more=piece.length <= CHAINED,
        )
        self._post(piece)
        self.posted.append(None)
        self._reading[number] = piece
        self.reads += 1
        transfer.under_way += 1
        self._completes()

    def submit(self) -> None:
        """Post what waits for more."""
        self.waiting = 0
        self.queue_pair.submit()

    def mark_end(self) -> None:
        """Post, in the error state, what is flushed after everything else.

        The last before it may not complete: it did not ask for that, or its list was refused.
        """
        self.queue_pair.post_send(self._next << 1 | 1, ())
        self._next += 1
        self.posted.append(None)
        self._completes()

    @property
    def pending(self) -> bool:
        """Whether something is not known to have ended."""
        return bool(self.posted or self._reading)

    def reap(self, id: int, ok: bool) -> Read | None:
        """Take the completion of a work request; return the read that it ends, if it does.

        DeviceError for what was never posted.
        """
        posted, slots = self.posted, self._slots
        number = id >> 1
        if number >= self._next:
            raise DeviceError(f"the device completes what was not posted, number {number}")
        for _ in range(number + 1 - self._reaped):
            entry = posted.popleft()
            if isinstance(entry, int):
                slots.give(entry)
            elif entry is not None:
                self._end(entry, ok)
        self._reaped = max(self._reaped, number + 1)
        piece = self._reading.pop(number, None)
        return None if piece is None else self._end(piece, ok)

    def keep(self) -> None:
        """Let nobody ever have the memory of what is posted: the device may still write there."""
        _lost.extend([*self.posted, *self._reading.values()])

    def forget(self) -> None:
        """Let go of what is posted: the device has nothing of it any more."""
        self.posted.clear()
        self._reading.clear()

    def _post(self, piece: Piece) -> None:
        """Count a posted piece."""
        self._next += 1
        self.transferring += piece.length + piece.spare

    def _end(self, piece: Piece, ok: bool) -> Read | None:
        """Let go of a piece's memory; return its read when that is complete."""
        self.transferring -= piece.length + piece.spare
        read = piece.read
        if read is None:
            self.writes -= 1
            return None
        self.reads -= 1
        read.under_way -= 1
        if not ok:
            return None
        if piece.target is not None:
            piece.target[:] = piece.views[0]
        return None if read.left or read.under_way else read

    def _completes(self) -> None:
        """Note that what was posted just now completes."""
        self._following = self._writes_following = self._pinned = 0
