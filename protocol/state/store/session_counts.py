"""How many sessions users have in each worker, in shared memory.

A number for each worker, which it alone writes; the supervisor clears a dead worker's. So a limit
of the whole server is asked by one sum, without a transaction.
"""

from pathlib import Path
from typing import Final

from usmbd.protocol.state.store import shared_table

WORKERS: Final = 1024
"""Workers that have a number; there are 64 at most."""

_SIZE: Final = 4  # bytes of one


class SessionCounts:
    """The numbers of all workers; shared by all processes."""

    def __init__(self, path: Path) -> None:
        """Map the table at `path`, which `create` has made."""
        self._map = shared_table.attach(path, WORKERS * _SIZE)
        self._numbers = memoryview(self._map).cast("I")

    @staticmethod
    def create(path: Path) -> None:
        """Make the table: there are no sessions."""
        shared_table.create(path, WORKERS * _SIZE)

    def put(self, worker: int, count: int) -> None:
        """Say how many a worker has."""
        if worker < WORKERS:
            self._numbers[worker] = count

    def total(self) -> int:
        """Return how many all workers have."""
        return sum(self._numbers)

    def close(self) -> None:
        """Unmap the table; a second call does nothing."""
        self._numbers.release()
        self._map.close()
