"""The engines of the store that the suite of promises is run against.

Another engine: a class that has what `StoreEngine` says, and a row in ENGINES.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from usmbd.protocol.state.store.base import SUPERVISOR, Store
from usmbd.protocol.state.store.lmdb_persistent import PersistentPlaces
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import DurableRecord

MAP_SIZE = 8 << 20


class StoreEngine(Protocol):
    """Gives out the stores of several workers, which are all in this process."""

    def worker(self, number: int) -> Store:
        """Return the store of a worker that has just started."""

    def supervisor(self) -> Store:
        """Return the store of the supervisor."""

    def start_again(self, workers: int, *, booted: bool = False) -> int:
        """End all processes at once, or the machine if it is `booted`; return what `restore` did.

        The stores that were given out are dead.
        """

    def close(self) -> None:
        """End all."""


class LmdbEngine:
    """LMDB, which a process attaches to once: the workers' stores share one environment."""

    def __init__(self, path: Path) -> None:
        """Make a store below `path`."""
        self._path = path
        self._places = PersistentPlaces.below(path / "state", path / "data")
        self._attach()
        self._store.restore(2, self._locate)

    def _attach(self) -> None:
        LmdbStore.create(self._path / "store", MAP_SIZE)
        self._store = LmdbStore.attach(self._path / "store", SUPERVISOR, self._places)

    def worker(self, number: int) -> Store:
        """Attach as a worker."""
        environment = copy.copy(self._store._environment)
        environment.worker = number
        environment.begin_ids()
        store = LmdbStore(environment, self._places)
        store._persistent._kept = self._store._persistent._kept
        return store

    def supervisor(self) -> Store:
        """Return the store that is attached."""
        return self._store

    def start_again(self, workers: int, *, booted: bool = False) -> int:
        """Attach to a new store."""
        self._store.close()
        if booted:
            for boot in self._path.rglob("boot"):
                boot.write_text("another")
        self._attach()
        return self._store.restore(workers, self._locate)

    @staticmethod
    def _locate(durable: DurableRecord) -> bytes | None:
        return None if durable.path == b"gone" else durable.key

    def close(self) -> None:
        """Detach."""
        self._store.close()


ENGINES: Final[dict[str, Callable[[Path], StoreEngine]]] = {"lmdb": LmdbEngine}
