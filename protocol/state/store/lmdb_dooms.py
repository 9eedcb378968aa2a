"""Files that are to be deleted, in LMDB: by which name, and for whom.

D + FileKey      ParentLeaseKey of the open that asks for it, path
"""

import os
from typing import Final

from usmbd.protocol.state.store.base import Doomed
from usmbd.protocol.state.store.lmdb_environment import FILE_HEADER, LmdbEnvironment
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.records import NO_ID, OPEN_FORK_BESIDE, OpenRecord

FILE_PENDING: Final = 1
"""The file is delete pending."""
FILE_DELETING: Final = 2
"""The last open is gone; the worker in the header deletes the file now."""
FILE_HAS_PATH: Final = 4
"""There is a D record."""
FILE_ONE_NAME: Final = 8
"""It is the name in the D record that is delete pending, one of several."""

_FORK_BESIDE: Final = b"+"  # OPEN_FORK_BESIDE, before a path, which begins with a slash


def keep_path(
    txn: Transaction, environment: LmdbEnvironment, key: bytes, record: OpenRecord, path: str
) -> int:
    """Keep by which path a file is to be deleted, and for whom; return the flag that says so.

    Where there is no room for that: 0.
    """
    packed = os.fsencode(path)
    if not environment.takes_path(packed):
        return 0
    if record.flags & OPEN_FORK_BESIDE:
        packed = _FORK_BESIDE + packed
    txn.put(b"D" + key, record.parent_lease_key + packed)
    return FILE_HAS_PATH


def doom_of(txn: Transaction, key: bytes) -> tuple[str, bytes]:
    """Return the path by which a file is to be deleted, and who asked for that; empty: unknown."""
    value = txn.get(b"D" + key, b"")
    path = value[len(NO_ID) :].removeprefix(_FORK_BESIDE)
    return os.fsdecode(path), bytes(value[: len(NO_ID)])


def left_by(txn: Transaction, key: bytes) -> Doomed:
    """Return what is to be deleted of a file whose worker is dead."""
    fork_beside = txn.get(b"D" + key, b"").startswith(_FORK_BESIDE, len(NO_ID))
    return Doomed(key, doom_of(txn, key)[0], fork_beside=fork_beside)


def is_doomed(txn: Transaction, key: bytes, flags: int, path: str) -> bool:
    """Tell whether a file that is delete pending is so by this path; no path: by any."""
    by_name = FILE_ONE_NAME | FILE_HAS_PATH
    return not path or flags & by_name != by_name or doom_of(txn, key)[0] == path


def is_pending(txn: Transaction, key: bytes, path: str = "") -> bool:
    """Tell whether a file is delete pending, by this path if there is one."""
    value = txn.get(b"F" + key)
    if value is None:
        return False
    flags = FILE_HEADER.unpack_from(value)[2]
    return bool(flags & FILE_PENDING) and is_doomed(txn, key, flags, path)
