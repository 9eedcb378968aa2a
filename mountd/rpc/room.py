"""What pipes keep in memory for clients that do not read or do not end what they have begun.

Whoever has as much as is left gets no more: one user alone may have a half, two a third each. Those
who have proved nothing count by their address, and have a quarter together.
"""

from typing import Final

from usmbd.mountd.ipc.network import network
from usmbd.mountd.rpc.view import Caller

SIZE: Final = 64 << 20
"""Bytes of all pipes of all workers. A list of 10,000 shares is 3 MiB, and is read at once."""

STRANGERS: Final = 4
"""All who have proved nothing get this part together: one of so many."""

HANDLE_BYTES: Final = 512
"""What a context handle counts: a few hundred bytes of objects."""

Who = tuple[bool, str]
"""Whether somebody has proved an account, and its name or the client's address (IPv6: a /64)."""


def who(caller: Caller) -> Who:
    """Return by what a caller counts."""
    proven = not (caller.guest or caller.anonymous)
    return proven, caller.user if proven else network(caller.address)


class Room:
    """Counts bytes by whose they are."""

    def __init__(self, size: int = SIZE) -> None:
        """Divide so many bytes."""
        self._size = size
        self._of: dict[Who, int] = {}
        self.used = 0
        self.strangers = 0
        """Those of the used that nobody has who has proved anything."""

    def change(self, whose: Who, change: int) -> bool:
        """Count more, or less; False, and all is as before, where others would have less left."""
        own = self._of.get(whose, 0) + change
        if change > 0:
            free = self._size - self.used
            if not whose[0]:
                free = min(free, self._size // STRANGERS - self.strangers)
            if own > free - change:
                return False
        self.used += change
        if not whose[0]:
            self.strangers += change
        if own:
            self._of[whose] = own
        else:
            self._of.pop(whose, None)
        return True
