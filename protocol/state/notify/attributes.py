"""IN_ATTRIB, which does not say what has changed, nor who has changed it.

What the engine changes it tells itself, perhaps in another worker, after the kernel. So an event
waits for its word, and is told when none comes: then a local program was it.
"""

from collections.abc import Iterator
from typing import Final

from usmbd.protocol.state.notify.change import ANY_ATTRIBUTE, modified
from usmbd.protocol.state.notify.directories import Directory
from usmbd.protocol.state.notify.telling import Telling
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.turns import Loop, in_turns

HELD_SECONDS: Final = 0.2
"""For so long an event waits for the engine's word, which says more."""


class Attributes:
    """What is held, by the directory's key and the name."""

    def __init__(self, host: Loop, clock: Clock, telling: Telling) -> None:
        """Begin with nothing."""
        self._host = host
        self._clock = clock
        self._telling = telling
        self._held: dict[tuple[bytes, str], Directory] = {}
        self._due = False  # somebody looks at what is held

    def changed(self, directory: Directory, name: str) -> None:
        """Take an event."""
        self._held[directory.key, name] = directory
        if not self._due:
            self._due = True
            self._clock.call_later(HELD_SECONDS, self._unexplained)

    def gone(self, directory: Directory, name: str) -> None:
        """Tell nothing of an entry that has gone."""
        self._held.pop((directory.key, name), None)

    def _unexplained(self) -> None:
        """Tell of the attributes that were changed by others than the engine."""
        self._due = False
        held, self._held = self._held, {}

        def steps() -> Iterator[None]:
            for (_, name), directory in held.items():
                self._telling.tell(directory, (modified(ANY_ATTRIBUTE, name),))
                yield

        in_turns(self._host.turns, self, steps())

    def explain(self, key: bytes, name: str) -> None:
        """Note that the engine has told of a name's attributes itself, which it changed before.

        All events of that have been read. What comes from now on is another change.
        """
        self._held.pop((key, name), None)
