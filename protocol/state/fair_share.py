"""Places that are few, divided so that nobody takes them from everybody.

Whoever has as many as are left gets no more: one client alone may have a half, two a third each,
and there is always room for the next (Choudhury and Hahne's dynamic thresholds, of switches'
buffers). Nothing is set apart for who does not come, and a check is three look-ups.

It holds for a user, whatever the number of sessions, and for an address (of IPv6 a /64), whatever
the number of users. Who has not proved to be anybody (guests, anonymous sessions) counts by the
address, beside the users there, and all of them together get no more than a quarter: so users have
what they would have of three quarters, whatever the others do.
"""

from collections.abc import Callable
from typing import TypeVar

from usmbd.protocol.wire.status import NtStatus, SmbError

K = TypeVar("K")

STRANGERS = 4
"""All who have proved nothing get this part of the places together: one of so many."""


class Place:
    """What somebody has of a share; given back once."""

    __slots__ = ("_address", "_share", "_user", "count")

    def __init__(self, share: "FairShare", user: str, address: str) -> None:
        """Begin with nothing."""
        self._share: FairShare | None = share
        self._user = user
        self._address = address
        self.count = 0

    @property
    def share(self) -> "FairShare | None":
        """Of what it is; None: it was given back."""
        return self._share

    def take(self, count: int = 1) -> None:
        """Take more; SmbError(INSUFFICIENT_RESOURCES). Nothing after it was given back."""
        if self._share is not None:
            self._share.change(self._user, self._address, count)
            self.count += count

    def count_in(self, count: int) -> None:
        """Have so many that are there already, whatever that leaves to the others."""
        if self._share is not None:
            self._share.change(self._user, self._address, count, there=True)
            self.count += count

    def give_back(self, count: int | None = None) -> None:
        """Let others have some, or all for good; twice is harmless."""
        share = self._share
        if share is None:
            return
        if count is None:
            self._share, count = None, self.count
        if count:
            self.count -= count
            share.change(self._user, self._address, -count)


class FairShare:
    """Divides places of one kind."""

    __slots__ = ("_addresses", "_capacity", "_users", "refused", "strangers", "used")

    def __init__(self, capacity: Callable[[], int]) -> None:
        """Divide `capacity()` places, a number that may change."""
        self._capacity = capacity
        self._users: dict[str, int] = {}
        self._addresses: dict[tuple[bool, str], int] = {}
        """By whether they have proved who they are."""
        self.used = 0
        self.strangers = 0
        """Those of the used that nobody has who has proved anything."""
        self.refused = 0
        """How often somebody asked for more than his part."""

    @property
    def capacity(self) -> int:
        """How many places there are."""
        return self._capacity()

    @property
    def most(self) -> int:
        """How many somebody has: a user or an address."""
        return max(max(self._users.values(), default=0), max(self._addresses.values(), default=0))

    def place(self, user: str, address: str) -> Place:
        """Return an empty place for a user ("": nobody knows who it is) at an address."""
        return Place(self, user, address)

    def take(self, user: str, address: str, count: int = 1) -> Place:
        """Return a place with so many; SmbError(INSUFFICIENT_RESOURCES)."""
        place = Place(self, user, address)
        place.take(count)
        return place

    def change(self, user: str, address: str, count: int, *, there: bool = False) -> None:
        """Count more, if that leaves as many to the others, or fewer; for `Place`.

        What is `there` already is counted whatever it leaves.
        """
        place = bool(user), address
        of_address = self._addresses.get(place, 0) + count
        of_user = self._users.get(user, 0) + count if user else 0
        if count > 0 and not there:
            capacity = self._capacity()
            free = capacity - self.used
            if not user:
                free = min(free, capacity // STRANGERS - self.strangers)
            if max(of_address, of_user) > free - count:
                self.refused += 1
                raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
        self.used += count
        _set(self._addresses, place, of_address)
        if user:
            _set(self._users, user, of_user)
        else:
            self.strangers += count


def _set(counts: dict[K, int], key: K, count: int) -> None:
    """Keep a count, but none of 0."""
    if count:
        counts[key] = count
    else:
        del counts[key]
