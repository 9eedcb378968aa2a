"""Work requests of pyverbs that are made once and posted again and again.

pyverbs 44.0 copies the segments into memory of its own when a request is made, and frees them
only in `close` (its `__dealloc` is never called). So a request is made once with room for the
most segments, and they are changed in place: later versions tell where they are (`sg_list`),
44.0 does not, but they are found in the C structure inside the object. Both is proved with
values that were put there; when that fails, a request is made for each post.
"""

from collections.abc import Callable, Sequence
from ctypes import c_char, string_at
from struct import Struct
from typing import Any

from usmbd.transport.smbdirect.provider import Segment
from usmbd.transport.smbdirect.verbs_library import Library

_HEAD = Struct("=QQQi")
"""The beginning of `ibv_send_wr` and of `ibv_recv_wr`: id, next, segments, their number."""

_SEGMENT = Struct("=QII")
"""`ibv_sge`: address, length, local key."""

_PROBE = 0x5EC0_11D5_1A75_F00D


class Request:
    """One request for up to `most` segments; `make` is pyverbs' SendWR or RecvWR."""

    def __init__(self, library: Library, make: Callable[..., Any], most: int) -> None:
        """Make it, and find its segments."""
        self._make = make
        self._make_segment = library.segment
        self._most = most
        probe = [Segment(_PROBE + index, index + 1, ~index & 0xFFFFFFFF) for index in range(most)]
        self._request = self._build(probe)
        self._array = self._find(probe, library.header_size)

    @property
    def in_place(self) -> bool:
        """Return whether the segments are changed in place."""
        return self._array is not None

    def with_segments(self, segments: Sequence[Segment]) -> Any:
        """Return the request with these segments, its other fields as they were or fresh.

        ValueError when there are more than it has room for.
        """
        count = len(segments)
        if count > self._most:
            raise ValueError(f"{count} segments, at most {self._most}")
        array = self._array
        if array is None:
            self._request.close()
            self._request = self._build(segments)
        else:
            offset = 0
            for segment in segments:
                _SEGMENT.pack_into(array, offset, *segment)
                offset += 16
            self._request.num_sge = count
        return self._request

    def close(self) -> None:
        """Free the request's memory."""
        self._array = None
        self._request.close()

    def _build(self, segments: Sequence[Segment]) -> Any:
        parts = [self._make_segment(*segment) for segment in segments]
        try:
            return self._make(wr_id=_PROBE, num_sge=len(parts), sg=parts)
        finally:
            for part in parts:
                part.close()

    def _find(self, probe: list[Segment], header_size: int) -> memoryview | None:
        """Return the memory of the segments, None when it is not where it is expected."""
        address = getattr(self._request, "sg_list", None)
        if not isinstance(address, int):
            address = self._embedded(header_size)
        expected = b"".join(_SEGMENT.pack(*segment) for segment in probe)
        if not address or string_at(address, len(expected)) != expected:
            return None
        return memoryview((c_char * len(expected)).from_address(address)).cast("B")

    def _embedded(self, header_size: int) -> int:
        """Return the address of the segments from the structure inside the object, or 0."""
        if type(self._request).__basicsize__ < header_size + _HEAD.size:
            return 0
        head = string_at(id(self._request) + header_size, _HEAD.size)
        identity, following, address, count = _HEAD.unpack(head)
        known = (identity, following, count) == (_PROBE, 0, self._most)
        return int(address) if known else 0
