"""Few places for many who have proved nothing yet: who comes last has one, at the cost of a crowd.

Where all are taken, one is cleared in the network (an IPv4 address, a /64 of IPv6) that has most of
them, the one that is held there for the longest. So a flood from a few addresses displaces itself,
and one from many displaces who does not get on; nobody waits for anybody. All is O(1).
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Holder = TypeVar("Holder", bound=Hashable)


class Places(Generic[Holder]):
    """Who holds a place, by network."""

    def __init__(self, capacity: int) -> None:
        """Begin empty, with so many places."""
        self.capacity = capacity
        self._networks: dict[str, dict[Holder, None]] = {}  # who came first stands first
        self._holders: dict[Holder, str] = {}
        self._crowds: dict[int, dict[str, None]] = {}  # networks by how many places they have
        self._most = 0
        self.displaced = 0
        """How often a place was cleared for another."""

    def __len__(self) -> int:
        """How many are taken."""
        return len(self._holders)

    def __contains__(self, holder: Holder) -> bool:
        """Whether he has a place."""
        return holder in self._holders

    @property
    def most(self) -> int:
        """How many places the network with most of them has."""
        return self._most

    def take(self, holder: Holder, network: str) -> Holder | None:
        """Give a place; return who has to go for it, if anybody: he has none any more."""
        gone = None
        if len(self._holders) >= self.capacity:
            crowd = next(iter(self._crowds[self._most]))
            gone = next(iter(self._networks[crowd]))
            self.leave(gone)
            self.displaced += 1
        self._holders[holder] = network
        held = self._networks.setdefault(network, {})
        held[holder] = None
        self._move(network, len(held) - 1, len(held))
        return gone

    def leave(self, holder: Holder) -> bool:
        """Clear a place; False when he has none."""
        network = self._holders.pop(holder, None)
        if network is None:
            return False
        held = self._networks[network]
        del held[holder]
        self._move(network, len(held) + 1, len(held))
        if not held:
            del self._networks[network]
        return True

    def _move(self, network: str, before: int, after: int) -> None:
        """Note how many places a network has now."""
        if before:
            crowd = self._crowds[before]
            del crowd[network]
            if not crowd:
                del self._crowds[before]
        if after:
            self._crowds.setdefault(after, {})[network] = None
        if after > self._most or (before == self._most and before not in self._crowds):
            self._most = after
