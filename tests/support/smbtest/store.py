"""The workers' store, for tests that count what is in it."""

from pathlib import Path

import lmdb


def open_store(store: Path) -> lmdb.Environment:
    """Open a running server's store for reading.

    As large as the workers' map: by itself it is 10 MiB here, and no reading begins where a test
    of thousands of leases has used a page beyond (MDB_MAP_RESIZED).
    """
    size = (store / "data.mdb").stat().st_size
    return lmdb.open(str(store), map_size=size, readonly=True, max_readers=4096)
