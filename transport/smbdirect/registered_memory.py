"""Registered memory, handed out without being asked back.

Registering costs milliseconds, so memory is registered in large regions and lent in slices
whose sizes are powers of two. Each slice is a ctypes array over its part of the region: every
view taken of it holds a reference to the array, so, as in `usmbd.transport.buffer_pool`, a slice
that only the pool refers to is free. Whoever posts work keeps the view until the completion:
that alone pins the memory.

Slices are cut from larger slices, which counts as a use of those, so what was cut small can
be joined again. Not for several threads.
"""

import sys
from ctypes import addressof, c_char
from itertools import chain
from typing import Any

from usmbd.transport.smbdirect.provider import (
    Access,
    Device,
    Memory,
    RegistrationError,
    Segment,
    make_segment,
)

SMALLEST_BITS = 12
"""Size classes begin at 4 KiB, below which a client sends its data inside the message."""

MIDDLE_BITS = 20
"""Classes below 1 MiB are cut from slices of 1 MiB: many small ones never break a large one."""

LARGEST_BITS = 23
"""The largest slice is one RDMA transfer of 8 MiB, and regions are multiples of it."""

LARGEST = 1 << LARGEST_BITS

INITIAL = LARGEST
"""Registered at the start: 8 MiB, eight transfers of the usual size. It is never paged out, in each
worker, and most have no client by RDMA."""

STEP = LARGEST
"""Added when all is in use: registering 8 MiB takes 1 to 2 ms, in which the loop stands still."""

LIMIT = 32 * LARGEST
"""The most that a pool registers: 256 MiB, with which 32 transfers of the largest size go on."""

RESERVE_BITS = MIDDLE_BITS
"""A pool keeps 1 MiB for what has to go through its memory when all of it is in use: else what has
memory waits behind what has none, and none is ever given back."""

# One reference by the list, one by the loop's variable, one by getrefcount's own argument.
_UNUSED = 3

_Slice = Any
"""A ctypes array of characters; its type is made for each size."""

_ARRAYS = {bits: c_char * (1 << bits) for bits in range(SMALLEST_BITS, LARGEST_BITS + 1)}


class _SizeClass:
    """The slices of one size, in runs that were cut from the same larger slice."""

    __slots__ = ("cursor", "run", "slices")

    def __init__(self, run: int) -> None:
        """Begin empty; larger slices are cut into `run` of these."""
        self.run = run
        self.slices: list[_Slice] = []
        self.cursor = 0

    def unused(self) -> _Slice | None:
        """Return a slice of which there is no view, None when all are in use.

        The search goes on where the last one ended: the slice used longest ago comes first.
        """
        slices = self.slices
        start = self.cursor
        for index in chain(range(start, len(slices)), range(start)):
            found = slices[index]
            if sys.getrefcount(found) == _UNUSED:
                self.cursor = index + 1
                return found
        return None

    def join(self) -> list[int]:
        """Give up every run that is unused as a whole: the larger slices are free then.

        What is returned are the `id`s of the slices, as a reference would keep them in use.
        """
        given_up: list[int] = []
        for start in reversed(range(0, len(self.slices), self.run)):
            run = self.slices[start : start + self.run]
            # `run` adds one reference to each.
            if all(sys.getrefcount(found) == _UNUSED + 1 for found in run):
                del self.slices[start : start + self.run]
                given_up += map(id, run)
        self.cursor = 0
        return given_up


class Pool:
    """Registered memory of one device, up to `limit` bytes."""

    def __init__(
        self,
        device: Device,
        *,
        initial: int = INITIAL,
        limit: int = LIMIT,
        step: int = STEP,
        access: Access = Access.LOCAL_WRITE,
        reserve: bool = True,
    ) -> None:
        """Register `initial` bytes and a reserve; RegistrationError when they cannot be had.

        Sizes are rounded up to whole slices of the largest size. No peer ever gets a key of a
        pool of several connections: its memory is reached by our own READs and WRITEs alone.
        """
        self._device = device
        self._access = access
        self._step = _rounded(step)
        self.limit = max(_rounded(limit), _rounded(initial))
        self.registered = 0
        """Bytes that are registered beside the reserve."""
        self.refusal = ""
        """Why the pool did not grow to its limit, if it tried and could not."""
        self._regions: list[Memory] = []
        self._owners: dict[int, tuple[int, int]] = {}
        self._classes = {
            bits: _SizeClass(1 << ((MIDDLE_BITS if bits < MIDDLE_BITS else LARGEST_BITS) - bits))
            for bits in _ARRAYS
        }
        self._reserve: _Slice | None = None
        try:
            self._grow(_rounded(initial))
            if reserve:
                region = self._register(1 << RESERVE_BITS)
                self._reserve = _ARRAYS[RESERVE_BITS].from_buffer(region.view)
                self._owners[id(self._reserve)] = _owner(region)
        except RegistrationError:
            self.close()
            raise

    def borrow(self, size: int) -> memoryview:
        """Return memory for data on its way to or from elsewhere, by work that is posted at once.

        It is the reserve when all else is in use: that comes back by itself. Errors as `take`,
        and RegistrationError when the reserve is in use or too small.
        """
        try:
            return self.take(size)
        except RegistrationError:
            if size > 1 << RESERVE_BITS or not self._reserve_is_free():
                raise
            return memoryview(self._reserve).cast("B")[:size]  # type: ignore[arg-type]

    def _reserve_is_free(self) -> bool:
        """Return whether there is a reserve, of which there is no view."""
        # One reference is ours, one getrefcount's argument.
        return self._reserve is not None and sys.getrefcount(self._reserve) == _UNUSED - 1

    def take(self, size: int) -> memoryview:
        """Return `size` bytes of registered memory with arbitrary content, free without views.

        RegistrationError when all of it is in use; ValueError beyond the largest slice.
        """
        if not 0 <= size <= LARGEST:
            raise ValueError(f"{size} bytes, at most {LARGEST}")
        found = self._slice(max(SMALLEST_BITS, (size - 1).bit_length()))
        if found is None:
            reason = self.refusal or f"the limit of {self.limit} bytes is reached"
            raise RegistrationError(f"no registered memory for {size} bytes is free: {reason}")
        return memoryview(found).cast("B")[:size]

    def owns(self, view: memoryview) -> bool:
        """Return whether the view is of this pool's memory."""
        return id(view.obj) in self._owners

    def segment(self, view: memoryview) -> Segment:
        """Return where the device finds the bytes of a view that `take` gave, or a part of one.

        ValueError for anything else: memory of others, read-only, empty or with gaps.
        """
        owner = self._owners.get(id(view.obj))
        if owner is None or view.readonly or not view.nbytes or not view.c_contiguous:
            raise ValueError("not a view of the pool's memory")
        shift, key = owner
        return make_segment((addressof(c_char.from_buffer(view)) + shift, view.nbytes, key))

    def in_use(self) -> int:
        """Return how many bytes are in slices of which there are views; for status and tests."""
        used = 0
        if self._reserve is not None and not self._reserve_is_free():
            used = 1 << RESERVE_BITS
        for bits, size_class in self._classes.items():
            for found in size_class.slices:
                used += (sys.getrefcount(found) != _UNUSED) << bits
            if bits in (MIDDLE_BITS, LARGEST_BITS):
                # What is cut counts as in use, and by its parts again.
                lower = range(SMALLEST_BITS if bits == MIDDLE_BITS else MIDDLE_BITS, bits)
                used -= sum(len(self._classes[part].slices) << part for part in lower)
        return used

    def close(self) -> None:
        """Take all memory back from the device; views that are left stay plain memory."""
        for region in self._regions:
            region.deregister()
        self._regions.clear()
        self._owners.clear()
        self._reserve = None
        for size_class in self._classes.values():
            size_class.slices.clear()
        self.registered = 0
        self.limit = 0

    def _slice(self, bits: int) -> _Slice | None:
        """Return an unused slice of 2^bits bytes: kept, cut, registered or joined."""
        size_class = self._classes[bits]
        found = size_class.unused()
        if found is not None:
            return found
        if bits == LARGEST_BITS:
            if not self._grow(self._step):
                self._join()
            return size_class.unused()
        larger = self._slice(MIDDLE_BITS if bits < MIDDLE_BITS else LARGEST_BITS)
        if larger is None:
            # Joining may have freed slices of this class too, by giving up others.
            return size_class.unused()
        self._cut(larger, bits, self._owners[id(larger)])
        return size_class.unused()

    def _cut(self, whole: Any, bits: int, owner: tuple[int, int]) -> None:
        """Cut slices of 2^bits bytes, which keep `whole` in use while they exist."""
        size_class = self._classes[bits]
        size_class.cursor = len(size_class.slices)
        array = _ARRAYS[bits]
        for offset in range(0, memoryview(whole).nbytes, 1 << bits):
            piece = array.from_buffer(whole, offset)
            size_class.slices.append(piece)
            self._owners[id(piece)] = owner

    def _join(self) -> None:
        """Free larger slices whose parts are all unused, smallest first."""
        for bits in _ARRAYS:
            if bits != LARGEST_BITS:
                for identity in self._classes[bits].join():
                    del self._owners[identity]

    def _grow(self, length: int) -> bool:
        """Register `length` bytes more; False at the limit or when the device refuses.

        The first registration must succeed; after a refusal the pool stays as large as it is.
        """
        if self.registered + length > self.limit:
            return False
        try:
            region = self._register(length)
        except RegistrationError as error:
            if not self._regions:
                raise
            self.refusal = str(error)
            self.limit = self.registered
            return False
        self.registered += length
        self._cut(region.view, LARGEST_BITS, _owner(region))
        return True

    def _register(self, length: int) -> Memory:
        """Register memory that `close` gives back."""
        region = self._device.register(length, self._access)
        self._regions.append(region)
        return region


class Sinks:
    """Where the data of one connection's READs is put.

    In the pool of all, but where that would give the peer a key to write it with: there each
    connection has a region of its own, from its first READ on, and what has come is copied.
    """

    def __init__(self, device: Device, shared: Pool) -> None:
        """Register nothing yet."""
        self._device = device
        self._shared = shared
        self._own: Pool | None = None

    def pool(self) -> Pool:
        """Return the pool to read into; RegistrationError when there is no memory for it."""
        if not self._device.limits.exposes_read_sinks:
            return self._shared
        if self._own is None:
            access = Access.LOCAL_WRITE | Access.READ_SINK
            self._own = Pool(
                self._device, initial=LARGEST, limit=LARGEST, access=access, reserve=False
            )
        return self._own

    def close(self) -> None:
        """Take the connection's own memory back; no posted work may refer to it."""
        if self._own is not None:
            self._own.close()


class Slots:
    """Small registered buffers of one size, in one region: a connection's receives or sends."""

    def __init__(
        self, device: Device, count: int, size: int, access: Access = Access.LOCAL_WRITE
    ) -> None:
        """Register `count` slots of `size` bytes; RegistrationError when they cannot be had."""
        # Slots begin on cache lines of their own: the device writes one while we read another.
        pitch = -(-size // 64) * 64
        self._memory = device.register(count * pitch, access)
        whole, base, key = self._memory.view, self._memory.address, self._memory.local_key
        starts = range(0, count * pitch, pitch)
        self.views = [whole[start : start + size] for start in starts]
        """The slots' memory, by index."""
        self.segments = [Segment(base + start, size, key) for start in starts]
        """The whole slots as the device knows them, by index."""
        self._free = list(reversed(range(count)))

    def __len__(self) -> int:
        """Return how many slots there are."""
        return len(self.segments)

    @property
    def free(self) -> int:
        """Return how many slots are not taken."""
        return len(self._free)

    def take(self) -> int | None:
        """Return the index of a free slot, the one given back last; None when all are taken."""
        return self._free.pop() if self._free else None

    def give(self, index: int) -> None:
        """Give a slot back whose work request has ended."""
        self._free.append(index)

    def part(self, index: int, length: int) -> Segment:
        """Return the first `length` bytes of a slot as the device knows them."""
        address, _, key = self.segments[index]
        return make_segment((address, length, key))

    def close(self) -> None:
        """Take the memory back from the device; no posted work may refer to it."""
        self._memory.deregister()


def _owner(region: Memory) -> tuple[int, int]:
    """Return by how much the device's addresses of a region differ from ours, and its key."""
    return region.address - addressof(c_char.from_buffer(region.view)), region.local_key


def _rounded(size: int) -> int:
    """Return `size` rounded up to whole slices of the largest size, at least one."""
    return max(1, -(-size // LARGEST)) * LARGEST
