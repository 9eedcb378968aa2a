"""The reads and writes of the peer's memory that one connection has under way.

READs wait until the peer may answer one more and WRITEs until the send queue has room; both wait
for registered memory when they need some. What is told at a loss is told from the loop, never
from inside of whatever found out.
"""

import errno
from collections import deque
from collections.abc import Callable

from usmbd.transport.loop import EventLoop
from usmbd.transport.smbdirect.posted_work import PostedWork
from usmbd.transport.smbdirect.provider import DeviceError, RegistrationError
from usmbd.transport.smbdirect.send_order import SendOrder
from usmbd.transport.smbdirect.transfers import Piece, Read, Write

RETRY_SECONDS = 0.005
"""After which a transfer asks the pool again that had no memory for it."""


class TransferQueue:
    """Transfers that wait, and reads that have not ended."""

    __slots__ = (
        "_loop",
        "_lose",
        "_most",
        "_reading",
        "_reading_bytes",
        "_reads",
        "_retry",
        "_send_order",
        "_work",
    )

    def __init__(
        self,
        work: PostedWork,
        send_order: SendOrder,
        loop: EventLoop,
        most: int,
        lose: Callable[[str], None],
        retry: Callable[[], None],
    ) -> None:
        """Begin with none; the peer answers `most` READs at once.

        `lose(reason)` ends the connection, `retry` calls `advance` and sends what it let go.
        """
        self._work = work
        self._send_order = send_order
        self._loop = loop
        self._most = most
        self._lose = lose
        self._retry: Callable[[], None] | None = retry
        self._reading: deque[Read] = deque()
        self._reading_bytes = 0
        self._reads: set[Read] = set()

    @property
    def waiting(self) -> bool:
        """Whether `advance` may have something to do."""
        return bool(self._reading or self._send_order.waiting)

    @property
    def under_way(self) -> int:
        """Return how many bytes have not arrived, with those that they keep from others."""
        return self._work.transferring + self._send_order.writing_bytes + self._reading_bytes

    def write(self, entry: Piece | Write) -> None:
        """Begin a write."""
        self._send_order.write(entry)
        self._try(self._post_writes)

    def read(self, transfer: Read) -> None:
        """Begin a read."""
        if not self._most:
            error = OSError(errno.EOPNOTSUPP, "the peer answers no RDMA READ")
            self._loop.call_soon(transfer.done, error)
            return
        self._reads.add(transfer)
        self._reading.append(transfer)
        self._reading_bytes += transfer.left
        self._try(self._post_reads)

    def ended(self, transfer: Read) -> None:
        """Tell whom it concerns that a read is complete."""
        if transfer in self._reads:
            self._reads.remove(transfer)
            transfer.done(None)

    def advance(self) -> None:
        """Post reads and writes as far as there is room, and let messages after them go."""
        if self._try(self._post_reads):
            self._try(self._post_writes)

    def cancel(self, reason: str) -> None:
        """Forget what waits; every read that has not ended fails."""
        reads, self._reads = self._reads, set()
        for read in reads:
            self._loop.call_soon(read.done, ConnectionError(reason))
        self._reading.clear()
        self._reading_bytes = 0
        self._send_order.clear()

    def _try(self, post: Callable[[], None]) -> bool:
        """Post, again after a while where memory is missing; False at the connection's end."""
        try:
            post()
        except RegistrationError:
            self._retry_later()
        except DeviceError as error:
            self._lose(str(error))
            return False
        return True

    def _post_reads(self) -> None:
        """Post reads: the peer breaks the connection for one more than it answers at once."""
        work, reading = self._work, self._reading
        while reading and work.reads < self._most:
            first = reading[0]
            left = first.left
            work.read(first)
            self._reading_bytes -= left - first.left
            if not first.left:
                reading.popleft()

    def _post_writes(self) -> None:
        """Post writes, and hand what waited behind them to the engine."""
        self._send_order.advance(self._work)

    def _retry_later(self) -> None:
        """Ask the pool again after a while: others use all of it, and nobody tells of their end."""
        retry, self._retry = self._retry, None
        if retry is not None:

            def again() -> None:
                self._retry = retry
                retry()

            self._loop.call_later(RETRY_SECONDS, again)
