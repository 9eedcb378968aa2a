"""The peer's fragments become messages again, each payload copied once ([MS-SMBD] 3.1.5.8)."""

from collections.abc import Callable

from usmbd.transport.smbdirect.limits import ProtocolError

_NOTHING = memoryview(b"")


class Reassembly:
    """`Connection.FragmentReassemblyBuffer`: at most one message is under way.

    Its memory is taken with the first fragment, which tells the whole size, and never grows.
    """

    __slots__ = ("_allocate", "_buffer", "remaining")

    def __init__(self, allocate: Callable[[int], memoryview]) -> None:
        """Begin empty; `allocate` gives writable memory of exactly the size it is asked for."""
        self._allocate = allocate
        self._buffer = _NOTHING
        self.remaining = 0
        """`Connection.FragmentReassemblyRemaining`: bytes of the message that are still to come."""

    @property
    def held(self) -> int:
        """How many bytes of memory the message under way has; 0: none is."""
        return len(self._buffer)

    def add(
        self, data: memoryview, offset: int, length: int, remaining: int, limit: int
    ) -> memoryview | None:
        """Take `length` bytes of `data` at `offset`, inside it; return the message they complete.

        A fragment may be empty, the first one too, as long as it tells the size rightly.
        """
        left = self.remaining
        if not left:
            size = length + remaining
            if size > limit:
                raise ProtocolError(f"a message of {size} bytes, where {limit} are allowed")
            if not size:
                return None
            buffer = self._allocate(size)
            if not remaining:
                buffer[:] = data[offset : offset + length]
                return buffer
            buffer[:length] = data[offset : offset + length]
            self._buffer = buffer
            self.remaining = remaining
            return None
        if length + remaining != left:
            # Linux clients up to those of January 2026 may grant credits by an empty message
            # between two fragments. The document would end the connection; no harm is done.
            if not length and not remaining:
                return None
            raise ProtocolError(
                f"a fragment of {length} bytes with {remaining} to follow, where {left} were left"
            )
        buffer = self._buffer
        start = len(buffer) - left
        buffer[start : start + length] = data[offset : offset + length]
        self.remaining = remaining
        if remaining:
            return None
        self._buffer = _NOTHING
        return buffer
