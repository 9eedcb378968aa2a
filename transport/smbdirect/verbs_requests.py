"""Work requests of pyverbs that are made once and posted again and again.

pyverbs 44.0 copies the segments into memory of its own when a request is made, and frees them
only in `close` (its `__dealloc__` is never called). So a request is made once with room for the
most segments, and is changed in place: the C structure is inside the object and tells where the
segments are. Both is proved with values that were put there; when that fails, a request is made
for each post.
"""

from collections.abc import Callable, Sequence
from ctypes import c_char, string_at
from struct import Struct
from typing import Any

from usmbd.transport.smbdirect.provider import Segment
from usmbd.transport.smbdirect.verbs_library import Library

CHAIN = 8
"""Work that is posted as one list at most: one call and one doorbell, which for software devices is
a system call. A READ of 4 KiB without RDMA is answered by four messages."""

_HEAD = Struct("=QQQi")
"""`ibv_recv_wr`, and the beginning of `ibv_send_wr`: id, next, segments, their number."""

_SEND = Struct("=QQQiIIIQI")
"""`ibv_send_wr`, so far as it is used: id, next, segments, their number, opcode, flags, the key to
invalidate (in host order), the peer's address and key."""

_NEXT = Struct("=Q")
_NEXT_OFFSET = 8

_SEGMENT = Struct("=QII")
"""`ibv_sge`: address, length, local key."""

_pack_head, _pack_send, _pack_segment = _HEAD.pack_into, _SEND.pack_into, _SEGMENT.pack_into

_PROBE = 0x5EC0_11D5_1A75_F00D


class Request:
    """One request for up to `most` segments; `make` is pyverbs' SendWR or RecvWR."""

    def __init__(
        self, library: Library, make: Callable[..., Any], most: int, layout: Struct
    ) -> None:
        """Make it, and find its fields and segments."""
        self._make = make
        self._make_segment = library.segment
        probe = [Segment(_PROBE + index, index + 1, ~index & 0xFFFFFFFF) for index in range(most)]
        self.object = self._build(probe)
        """What pyverbs posts."""
        self.address = id(self.object) + library.header_size
        """Where the C structure is, if `in_place`."""
        self._head: memoryview | None = None
        self._segments = 0
        self._find(probe, library.header_size + layout.size)

    @property
    def in_place(self) -> bool:
        """Return whether the request is changed in place."""
        return self._head is not None

    def close(self) -> None:
        """Free the request's memory."""
        self._head = None
        self.object.close()

    def _build(self, segments: Sequence[Segment]) -> Any:
        parts = [self._make_segment(*segment) for segment in segments]
        try:
            return self._make(wr_id=_PROBE, num_sge=len(parts), sg=parts)
        finally:
            for part in parts:
                part.close()

    def _rebuild(self, id: int, segments: Sequence[Segment]) -> Any:
        """Make another request, and return it."""
        # pyverbs makes none without a segment, and frees twice what is closed twice.
        request = self._build(segments or (Segment(0, 0, 0),))
        self.object.close()
        self.object = request
        request.wr_id = id
        request.num_sge = len(segments)
        return request

    def _find(self, probe: list[Segment], size: int) -> None:
        """Find the fields in an object of at least `size` bytes, and the segments they tell of."""
        if type(self.object).__basicsize__ < size:
            return
        head = string_at(self.address, _HEAD.size)
        identity, following, address, count = _HEAD.unpack(head)
        if (identity, following, count) != (_PROBE, 0, len(probe)) or not address:
            return
        expected = b"".join(_SEGMENT.pack(*segment) for segment in probe)
        if string_at(address, len(expected)) != expected:
            return
        self._head = _memory(self.address, size - (self.address - id(self.object)))
        self._array = _memory(address, len(expected))
        self._segments = address


class ReceiveRequest(Request):
    """A request of the receive queue."""

    def __init__(self, library: Library) -> None:
        """Make it, with room for one segment."""
        super().__init__(library, library.receive_request, 1, _HEAD)

    def fill(self, id: int, segment: Segment) -> None:
        """Let it be about other memory."""
        if self._head is None:
            self._rebuild(id, (segment,))
        else:
            _pack_segment(self._array, 0, *segment)
            _pack_head(self._head, 0, id, 0, self._segments, 1)


class SendRequest(Request):
    """A request of the send queue."""

    def __init__(self, library: Library, most: int) -> None:
        """Make it, with room for `most` segments."""
        super().__init__(library, library.send_request, most, _SEND)

    def fill(
        self,
        id: int,
        segments: Sequence[Segment],
        opcode: int,
        flags: int,
        invalidate: int,
        address: int,
        key: int,
    ) -> None:
        """Let it be about something else, and the last of its list."""
        head, count = self._head, len(segments)
        if head is None:
            request = self._rebuild(id, segments)
            request.opcode = opcode
            request.send_flags = flags
            # A union with the key to invalidate, in host order.
            request.imm_data = invalidate
            request.set_wr_rdma(key, address)
            return
        if count == 1:
            _pack_segment(self._array, 0, *segments[0])
        else:
            for index, segment in enumerate(segments):
                _pack_segment(self._array, index * _SEGMENT.size, *segment)
        _pack_send(head, 0, id, 0, self._segments, count, opcode, flags, invalidate, address, key)

    def link(self, following: "SendRequest") -> None:
        """Let another request follow this one in its list."""
        if self._head is None or not following.in_place:
            self.object.next_wr = following.object
        else:
            _NEXT.pack_into(self._head, _NEXT_OFFSET, following.address)


class SendList:
    """Work for the send queue that is posted together."""

    def __init__(self, library: Library, most: int) -> None:
        """Make the requests, each for up to `most` segments."""
        self._most = most
        self._requests: list[SendRequest] = []
        for _ in range(CHAIN):
            self._requests.append(SendRequest(library, most))
        self.count = 0
        """How many requests are in the list."""

    def add(
        self,
        id: int,
        segments: Sequence[Segment],
        opcode: int,
        flags: int,
        invalidate: int = 0,
        address: int = 0,
        key: int = 0,
    ) -> bool:
        """Add work; return whether there is room for more. ValueError for too many segments."""
        if len(segments) > self._most:
            raise ValueError(f"{len(segments)} segments, at most {self._most}")
        count = self.count
        request = self._requests[count]
        request.fill(id, segments, opcode, flags, invalidate, address, key)
        if count:
            self._requests[count - 1].link(request)
        self.count = count = count + 1
        return count < CHAIN

    def take(self) -> Any:
        """Return the first request of the list, for pyverbs; begin anew."""
        self.count = 0
        return self._requests[0].object

    def close(self) -> None:
        """Free the requests' memory."""
        for request in self._requests:
            request.close()
        self._requests.clear()


def _memory(address: int, length: int) -> memoryview:
    """Return the memory at an address."""
    return memoryview((c_char * length).from_address(address)).cast("B")
