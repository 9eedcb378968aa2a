"""What a client is expected to send, by what it sent before: how much to receive, and when again.

A client that writes sends one frame like the other: 64 KiB, 1 MiB, 4 or 8 MiB of data with 116
bytes before it, 168 if it is encrypted. Memory for whole frames of that size lets each arrive where
it stays: in one call, and nothing is moved.
"""

from typing import Final

READ_SIZE: Final = 64 * 1024
"""Bytes asked for in one read while the frames are small."""

GATHER_SIZE: Final = 4 * (READ_SIZE + 256)
"""Large frames that come together are taken up together up to here: four writes of 64 KiB. They are
answered together as well, so more would only let the client wait."""

FORGET_AFTER: Final = 16
"""Small frames in a row after which large ones are no longer expected. Between two writes clients
send a few others; what is not expected costs one more call and the moving of 64 KiB."""


class Expected:
    """What one client is expected to send; `room` bytes are to be received at most at once."""

    __slots__ = ("_frame", "_small", "room")

    def __init__(self) -> None:
        """Expect small frames."""
        self.room = READ_SIZE
        self._frame = 0  # the size of the large frames; 0: small ones
        self._small = 0  # frames since the last large one

    def learn(self, size: int) -> None:
        """Learn that a frame of `size` bytes came, its length field included."""
        if size > READ_SIZE:
            self._small = 0
            if size != self._frame:
                self._frame = size
                self.room = max(GATHER_SIZE // size * size, size)
        elif self._frame:
            self._small += 1
            if self._small >= FORGET_AFTER:
                self._frame = self._small = 0
                self.room = READ_SIZE


class Retry:
    """Whether to read again at once after a read that took all there was.

    While requests were served more may have come, and taking that saves the loop's turn. Where it
    has not, the try is one call for nothing: after each such try the next is left out, then three,
    seven ... up to MAXIMUM_SKIP; one that finds something begins anew.
    """

    __slots__ = ("_backoff", "_skip")

    MAXIMUM_SKIP: Final = 63

    def __init__(self) -> None:
        """Begin with a try."""
        self._skip = 0
        self._backoff = 0

    def wanted(self) -> bool:
        """Tell whether to try now."""
        if self._skip:
            self._skip -= 1
            return False
        return True

    def found(self) -> None:
        """Learn that a try has found something."""
        self._backoff = 0

    def failed(self) -> None:
        """Learn that there was nothing."""
        self._skip = self._backoff = min(2 * self._backoff + 1, self.MAXIMUM_SKIP)
