"""Association groups: pipes whose context handles are good on each other (C706 9.3.3.3.1).

A client that has several calls under way has a pipe for each, in one group. Here a group is one
user's, and each interface's handles are apart.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import count

from usmbd.mountd.rpc.handles import Handles
from usmbd.mountd.rpc.view import Caller

FIRST = 0x5000


@dataclass(slots=True)
class _Group:
    """Whose it is, the pipes in it by name, and what each kind of them has open."""

    owner: tuple[object, ...]
    pipes: Counter[str] = field(default_factory=Counter)
    handles: dict[str, Handles] = field(default_factory=dict)


class Groups:
    """All groups, by their numbers; one ends with its last pipe."""

    def __init__(self) -> None:
        """Begin with none."""
        self._groups: dict[int, _Group] = {}
        self._numbers = count(FIRST)

    def __len__(self) -> int:
        return len(self._groups)

    def join(self, number: int, pipe: str, caller: Caller) -> tuple[int, Handles] | None:
        """Take a pipe into a group, a new one for 0; None where the caller has none such.

        Return its number, and what the group's pipes of that name have open.
        """
        # A worker knows these numbers and tickets of its own clients alone: one that is taken over
        # gets nobody else's handles, whatever name it gives.
        known = caller.credential, caller.ticket
        owner = caller.user, caller.uid, caller.guest, caller.anonymous, *known
        if not number:
            number = next(self._numbers) & 0xFFFFFFFF
            self._groups[number] = _Group(owner)
        group = self._groups.get(number)
        if group is None or group.owner != owner:
            return None
        group.pipes[pipe] += 1
        return number, group.handles.setdefault(pipe, Handles())

    def leave(self, number: int, pipe: str) -> None:
        """Take a pipe out of its group; handles go with the last pipe that can use them."""
        group = self._groups.get(number)
        if group is None:
            return
        group.pipes[pipe] -= 1
        if not group.pipes[pipe]:
            del group.pipes[pipe]
            group.handles.pop(pipe, None)
        if not group.pipes:
            del self._groups[number]
