"""What goes to the peer, in order: messages of the engine, and WRITEs that must not be overtaken.

A message is the engine's at once unless a WRITE before it waits for room at the device or for
registered memory: then it waits behind it.
"""

import os
from collections import deque
from collections.abc import Sequence

from usmbd.transport.base import Buffer, FileSpan, Part
from usmbd.transport.buffer_pool import POOL
from usmbd.transport.smbdirect.engine import Engine
from usmbd.transport.smbdirect.posted_work import PostedWork
from usmbd.transport.smbdirect.transfers import Piece, Write


class SendOrder:
    """The order of messages and WRITEs of one connection."""

    __slots__ = ("_behind", "_engine", "waiting", "writing_bytes")

    def __init__(self, engine: Engine) -> None:
        """Begin empty."""
        self._engine = engine
        self._behind = 0
        self.waiting: deque[Piece | Write | tuple[list[Buffer], int, int]] = deque()
        """WRITEs that are not all posted, the first one first, and messages behind them."""
        self.writing_bytes = 0
        """Bytes that WRITEs keep for what is not posted yet."""

    @property
    def queued_bytes(self) -> int:
        """Return how many bytes of messages are in no slot yet."""
        return self._engine.queued_bytes + self._behind

    def message(self, parts: Sequence[Part], invalidate: int) -> None:
        """Take a message; ValueError when the peer does not take it."""
        buffers = [_read(part) if isinstance(part, FileSpan) else part for part in parts]
        if not self.waiting:
            self._engine.queue(buffers, invalidate)
            return
        size = sum(memoryview(part).nbytes for part in buffers)
        self._engine.check_size(size)
        self._behind += size
        self.waiting.append((buffers, size, invalidate))

    def write(self, entry: Piece | Write) -> None:
        """Take a WRITE; `advance` posts it."""
        self.writing_bytes += entry.length + entry.spare
        self.waiting.append(entry)

    def advance(self, work: PostedWork) -> None:
        """Post WRITEs while there is room; the messages behind them become the engine's.

        RegistrationError when the pool has no memory; it is in order to try again.
        """
        waiting = self.waiting
        while waiting:
            entry = waiting[0]
            if isinstance(entry, Piece):
                if not work.room:
                    return
                work.post_write(entry)
                self.writing_bytes -= entry.length + entry.spare
            elif isinstance(entry, Write):
                while entry.left:
                    kept = entry.left + entry.spare
                    if not work.write(entry):
                        return
                    self.writing_bytes -= kept - entry.left - entry.spare
            else:
                buffers, size, invalidate = entry
                self._engine.queue(buffers, invalidate)
                self._behind -= size
            waiting.popleft()

    def clear(self) -> None:
        """Forget what waits."""
        self.waiting.clear()
        self._behind = self.writing_bytes = 0


def _read(span: FileSpan) -> memoryview:
    """Read a file's part now, as its descriptor may be another file's later.

    Every transport takes spans, though the engine sends none by RDMA: it reads into registered
    memory. What was cut off meanwhile reads as zeros: the length is promised already.
    """
    view = POOL.view(span.length)
    done = 0
    while done < span.length:
        count = os.preadv(span.fd, [view[done:]], span.offset + done)
        if not count:
            view[done:] = bytes(span.length - done)
            break
        done += count
    return view
