"""Reads and writes of the peer's memory, cut into the pieces that a device takes.

A piece is what one work request carries: one stretch of the peer's memory and the registered
memory of ours that belongs to it. It holds the views of that memory, which pins it. Memory that
is not registered goes through the pool's, as much at a time as is worth it.
"""

from collections import deque
from collections.abc import Callable, Sequence

from usmbd.transport.base import RemoteBuffer
from usmbd.transport.smbdirect.provider import Segment
from usmbd.transport.smbdirect.registered_memory import Pool

BOUNCE = 1 << 20
"""Bytes of registered memory that are borrowed at once for data in other memory."""

_ADDRESSES = 1 << 64
_KEYS = 1 << 32

Done = Callable[[OSError | None], None]


class Piece:
    """The work of one work request; `views` are the registered memory that it uses."""

    __slots__ = (
        "address",
        "key",
        "length",
        "pinned",
        "read",
        "segments",
        "spare",
        "target",
        "views",
    )

    def __init__(
        self,
        read: "Read | None",
        address: int,
        key: int,
        length: int,
        segments: list[Segment],
        views: list[memoryview],
        target: memoryview | None = None,
        pinned: int = 0,
        spare: int = 0,
    ) -> None:
        """Describe it; `read` is what it is a part of, and for a write None.

        `target` is where data belongs that is read into borrowed memory. Views keep all of the
        memory that they are cut from. `pinned` is how many bytes of the pool a piece of a write
        keeps when its transfer needs them no more, and `spare` how many of these hold no data of
        the transfer.
        """
        self.read = read
        self.address = address
        self.key = key
        self.segments = segments
        self.views = views
        self.target = target
        self.length = length
        self.pinned = pinned
        self.spare = spare


class _RemoteBuffers:
    """Where in the peer's memory a transfer is."""

    __slots__ = ("_buffers", "_index", "_offset")

    def __init__(self, buffers: Sequence[RemoteBuffer], size: int) -> None:
        """Begin at the first byte; ValueError for what cannot be, or is less than `size`."""
        total = 0
        for offset, token, length in buffers:
            if not 0 <= offset <= offset + length <= _ADDRESSES or not 0 <= token < _KEYS:
                raise ValueError(f"{length} bytes at {offset:#x} with key {token:#x}")
            total += length
        if size > total:
            raise ValueError(f"{size} bytes for buffers of {total}")
        self._buffers = buffers
        self._index = self._offset = 0

    def stretch(self) -> int:
        """Return how many bytes follow each other from here; there must be some."""
        while not (left := self._buffers[self._index].length - self._offset):
            self._index += 1
            self._offset = 0
        return left

    def take(self, count: int) -> tuple[int, int]:
        """Return address and key of the next `count` bytes of a stretch, and go on behind them."""
        address, key, _ = self._buffers[self._index]
        start = self._offset
        self._offset = start + count
        return address + start, key


def whole(data: Sequence[memoryview], remote: Sequence[RemoteBuffer], pool: Pool) -> Piece | None:
    """Return a write as one piece, as which most can go; None: `Write` cuts or refuses it."""
    if len(data) != 1 or len(remote) != 1:
        return None
    view, (address, key, room) = data[0], remote[0]
    length = view.nbytes
    if length > room or not 0 <= address <= _ADDRESSES - room or not 0 <= key < _KEYS:
        return None
    try:
        segment = pool.segment(view)
    except ValueError:
        return None
    pinned = memoryview(view.obj).nbytes
    return Piece(None, address, key, length, [segment], [view], None, pinned, pinned - length)


class Write:
    """Data on its way into the peer's memory."""

    __slots__ = ("_data", "_remote", "_taken", "left", "length", "spare")

    def __init__(self, data: Sequence[memoryview], remote: Sequence[RemoteBuffer]) -> None:
        """Begin; ValueError when the buffers are wrong or too small."""
        self.left = 0
        """Bytes that are in no piece yet."""
        self.spare = 0
        """Bytes that it keeps from others beside those: memory that a short READ did not fill."""
        self._taken = 0  # bytes of the first view that are in pieces
        self._data: deque[memoryview] = deque()
        for view in data:
            if size := view.nbytes:
                self.left += size
                self.spare += memoryview(view.obj).nbytes - size
                self._data.append(view.cast("B"))
        self.length = self.left
        """Bytes of all of it."""
        self._remote = _RemoteBuffers(remote, self.left)

    def piece(self, pool: Pool, most: int) -> Piece:
        """Return the next piece, of up to `most` segments; `left` is not 0.

        RegistrationError when the pool has no memory for data that is elsewhere.
        """
        data, remote = self._data, self._remote
        room = remote.stretch()
        segments: list[Segment] = []
        views: list[memoryview] = []
        total = pinned = spare = 0
        while data and room and len(segments) < most:
            view = data[0]
            part = view if len(view) <= room else view[:room]
            borrows = False
            try:
                segment = pool.segment(part)
            except ValueError:
                if segments:
                    break  # what may fail comes first in a piece
                part = part[:BOUNCE]
                borrowed = pool.borrow(len(part))
                borrowed[:] = part
                part, borrows = borrowed, True
                segment = pool.segment(part)
            segments.append(segment)
            views.append(part)
            count = len(part)
            total += count
            room -= count
            self._taken += count
            if count == len(view):
                size = memoryview(view.obj).nbytes
                unfilled = size - self._taken
                self.spare -= unfilled
                if borrows:
                    size = memoryview(part.obj).nbytes
                else:
                    spare += unfilled
                pinned += size
                self._taken = 0
                data.popleft()
            else:
                # Memory is pinned as a whole, but until its last piece by the transfer itself.
                pinned += memoryview(part.obj).nbytes if borrows else count
                data[0] = view[count:]
        address, key = remote.take(total)
        self.left -= total
        return Piece(None, address, key, total, segments, views, pinned=pinned, spare=spare)


class Read:
    """Data on its way from the peer's memory; `done` is told when all of it is there."""

    __slots__ = ("_data", "_remote", "done", "left", "under_way")

    def __init__(self, data: memoryview, remote: Sequence[RemoteBuffer], done: Done) -> None:
        """Begin; ValueError when the buffers are wrong or too small, or `data` is read-only."""
        if data.readonly:
            raise ValueError("read-only memory")
        self.left = data.nbytes
        self.under_way = 0
        """Pieces that have not ended."""
        self.done = done
        self._remote = _RemoteBuffers(remote, self.left)
        self._data = data.cast("B")

    def piece(self, pool: Pool) -> Piece:
        """Return the next piece; `left` is not 0. RegistrationError as `Write.piece`."""
        data = self._data
        part = data[: self._remote.stretch()]
        target = None
        if not pool.owns(data):
            target = part = part[:BOUNCE]
            part = pool.borrow(len(target))
        count = len(part)
        address, key = self._remote.take(count)
        self._data = data[count:]
        self.left -= count
        return Piece(self, address, key, count, [pool.segment(part)], [part], target)
