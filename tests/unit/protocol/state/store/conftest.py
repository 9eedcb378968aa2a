"""A fresh store and the opens that its tests make."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from store_engines import ENGINES
from store_promises import Stores

from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import OpenRecord

MAP_SIZE = 8 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Create a store; return its directory."""
    path = tmp_path / "store"
    LmdbStore.create(path, MAP_SIZE)
    return path


@pytest.fixture
def store(directory: Path) -> Iterator[LmdbStore]:
    """Attach to the store as worker 1."""
    store = LmdbStore.attach(directory, 1)
    yield store
    store.close()


class Opener:
    """Adds opens to a store with as few words as a test needs."""

    def __init__(self, store: LmdbStore) -> None:
        """Open on behalf of `store`."""
        self.store = store

    def __call__(
        self, key: bytes, access: int = 1, share: int = 7, flags: int = 0, path: str = ""
    ) -> int:
        """Add an open; return its open_id."""
        record = OpenRecord(
            open_id=self.store.new_open_id(),
            granted_access=access,
            share_access=share,
            flags=flags,
        )
        self.store.add_open(key, record, path)
        return record.open_id


@pytest.fixture
def add(store: LmdbStore) -> Opener:
    """Return a function that adds an open of worker 1."""
    return Opener(store)


@pytest.fixture(params=ENGINES)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    """Start a server with two workers."""
    engine = ENGINES[request.param](tmp_path)
    yield Stores(engine, engine.worker(1), engine.worker(2), engine.supervisor())
    engine.close()
