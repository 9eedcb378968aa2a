"""A table in shared memory that says in which workers clients watch directories.

A byte for each worker, which it alone writes; the supervisor clears a dead worker's. So who changes
a file asks with one search of a kibibyte whether anybody is to be told.
"""

from pathlib import Path
from typing import Final

from usmbd.protocol.state.store import shared_table

SIZE: Final = 1024
"""Workers that have a byte; there are 64 at most."""

_WATCHES: Final = b"\1"


class Watchers:
    """Who watches; shared by all processes."""

    def __init__(self, path: Path) -> None:
        """Map the table at `path`, which `create` has made."""
        self._map = shared_table.attach(path, SIZE)

    @staticmethod
    def create(path: Path) -> None:
        """Make the table: nobody watches."""
        shared_table.create(path, SIZE)

    def put(self, worker: int, watches: bool) -> None:
        """Say whether a worker has watches."""
        if worker < SIZE:
            self._map[worker] = watches

    def any(self) -> bool:
        """Tell whether any worker has."""
        return self._map.find(_WATCHES) >= 0

    def all(self) -> list[int]:
        """Return the workers that have."""
        return [worker for worker, watches in enumerate(self._map[:]) if watches]

    def close(self) -> None:
        """Unmap the table."""
        self._map.close()
