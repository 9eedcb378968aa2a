"""A new configuration reaches opens that wait for their clients: those end that nobody could have.

Mountd is asked once for all that a user left from one address: a session may leave thousands.
"""

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Final

from usmbd.mountd.ipc.messages import TreeConnectResponse
from usmbd.protocol.state.deferred import stands
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.records import OPEN_DISCONNECTED, Absent
from usmbd.protocol.state.turns import in_turns

AT_A_TIME: Final = 16
"""Questions to mountd that are under way, beside those about who is connected."""

Group = tuple[Absent | None, list[int]]


class AbsentOpens:
    """The opens of one worker that wait for their clients, whenever mountd has read its files."""

    def __init__(self, server: Server) -> None:
        """Begin with nothing to ask."""
        self._server = server
        self._waiting: deque[Group] = deque()
        self._under_way = 0

    def begin(self) -> None:
        """Ask about all; what an earlier call still waits for does not count any more."""
        server, groups = self._server, dict[Absent | None, list[int]]()
        self._waiting.clear()
        self._under_way = 0
        asked = partial(self._ask_all, groups, server.generation)
        in_turns(server.turns, self, self._sort(server.durable.waiting(), groups), asked)

    def _sort(self, open_ids: list[int], groups: dict[Absent | None, list[int]]) -> Iterator[None]:
        """Look whose one open is in each step."""
        for open_id in open_ids:
            found = self._server.store.find_durable(open_id)
            if found is not None:
                groups.setdefault(found.durable.who, []).append(open_id)
            yield

    def _ask_all(self, groups: dict[Absent | None, list[int]], generation: int) -> None:
        """Ask about all that were found, unless there are newer files."""
        if generation == self._server.generation:
            self._waiting.extend(groups.items())
            self._go_on()

    def _go_on(self) -> None:
        """Ask as much as may be under way."""
        while self._waiting and self._under_way < AT_A_TIME:
            self._under_way += 1
            group = self._waiting.popleft()
            told = partial(self._told, group, self._server.generation)
            self._server.deferred.rights(group[0], told)

    def _told(self, group: Group, generation: int, answer: TreeConnectResponse) -> None:
        """End what could not be come back to; an open keeps its file from others."""
        if generation == self._server.generation:
            self._under_way -= 1
            in_turns(self._server.turns, self, self._end(group, answer), self._go_on)

    def _end(self, group: Group, answer: TreeConnectResponse) -> Iterator[None]:
        """Look at one open in each step, which somebody may have by now."""
        who, open_ids = group
        for open_id in open_ids:
            found = self._server.store.find_durable(open_id)
            if (
                found is not None
                and found.record.flags & OPEN_DISCONNECTED
                and found.durable.who == who
                and not stands(found, answer)
            ):
                self._server.durable.end_told(found, None)
            yield
