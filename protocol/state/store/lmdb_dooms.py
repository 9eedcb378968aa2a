"""Files that are to be deleted, in LMDB: by which names, and for whom.

D + FileKey      ParentLeaseKey of the open that asks for it, path (more behind it, NUL between)
"""

import os
from typing import Final

from usmbd.protocol.state.store.base import Doomed
from usmbd.protocol.state.store.lmdb_environment import FILE_HEADER, LmdbEnvironment
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.records import NO_ID, OPEN_FORK_BESIDE, OpenRecord
from usmbd.protocol.wire.status import NtStatus, SmbError

FILE_PENDING: Final = 1
"""The file is delete pending."""
FILE_DELETING: Final = 2
"""The last open is gone; the worker in the header deletes the file now."""
FILE_HAS_PATH: Final = 4
"""There is a D record."""
FILE_ONE_NAME: Final = 8
"""Only the names in the D record are delete pending, of several that the file has."""

NAMES_BYTES: Final = 1 << 16
"""Of a file's names that are delete pending at a time: 16 of the longest. Each one more, or less,
has all of them written anew, while no other worker writes."""

_FORK_BESIDE: Final = b"+"  # OPEN_FORK_BESIDE, before a path, which begins with a slash
_NEXT: Final = b"\0"  # between paths


def keep_path(
    txn: Transaction, environment: LmdbEnvironment, key: bytes, record: OpenRecord, path: str
) -> int:
    """Keep by which path a file is to be deleted, and for whom; return the flag that says so.

    Where there is no room for that: 0.
    """
    return _keep(txn, environment, key, record, os.fsencode(path))


def _keep(
    txn: Transaction, environment: LmdbEnvironment, key: bytes, record: OpenRecord, paths: bytes
) -> int:
    """Write a D record if there is room for it."""
    if not environment.takes_path(paths):
        return 0
    if record.flags & OPEN_FORK_BESIDE:
        paths = _FORK_BESIDE + paths
    txn.put(b"D" + key, record.parent_lease_key + paths)
    return FILE_HAS_PATH


def _paths(txn: Transaction, key: bytes) -> list[bytes]:
    """Return the paths in a D record."""
    value = txn.get(b"D" + key, b"")
    return bytes(value[len(NO_ID) :]).removeprefix(_FORK_BESIDE).split(_NEXT)


def doom_of(txn: Transaction, key: bytes) -> tuple[str, bytes]:
    """Return the path by which a file is to be deleted, and who asked for that; empty: unknown."""
    value = txn.get(b"D" + key, b"")
    return os.fsdecode(_paths(txn, key)[0]), bytes(value[: len(NO_ID)])


def left_by(txn: Transaction, key: bytes) -> Doomed:
    """Return what is to be deleted of a file whose worker is dead."""
    fork_beside = txn.get(b"D" + key, b"").startswith(_FORK_BESIDE, len(NO_ID))
    return Doomed(key, doom_of(txn, key)[0], fork_beside=fork_beside)


def doom(
    txn: Transaction,
    environment: LmdbEnvironment,
    key: bytes,
    flags: int,
    record: OpenRecord,
    path: str,
    one_name: bool,
) -> int:
    """Return the flags of a file that becomes delete pending, or one more name of it.

    SmbError(INSUFFICIENT_RESOURCES) where there are too many.
    """
    flags, before = flags & ~FILE_ONE_NAME | FILE_PENDING, flags
    if not path:
        return flags
    paths = os.fsencode(path)
    if one_name and before & FILE_ONE_NAME:
        paths = _NEXT.join((paths, *(one for one in _paths(txn, key) if one != paths)))
        if len(paths) > NAMES_BYTES or not environment.takes_path(paths):
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
    kept = _keep(txn, environment, key, record, paths)
    return flags | kept | (FILE_ONE_NAME if one_name and kept else 0)


def spare(txn: Transaction, key: bytes, flags: int, path: str) -> int:
    """Return the flags of a file that is delete pending no more, or not by this path."""
    if path and flags & FILE_ONE_NAME:
        value, paths = txn.get(b"D" + key, b""), _paths(txn, key)
        left = [one for one in paths if one != os.fsencode(path)]
        if left:
            head = value[: len(value) - len(_NEXT.join(paths))]
            txn.put(b"D" + key, head + _NEXT.join(left))
            return flags
    return flags & ~(FILE_PENDING | FILE_ONE_NAME)


def pending_names(txn: Transaction, key: bytes, flags: int, path: str) -> tuple[int, bool]:
    """Return how many names of a file are delete pending, and whether this one is (none: any)."""
    if not flags & FILE_PENDING:
        return 0, False
    if not flags & FILE_ONE_NAME:
        return 1, True
    paths = _paths(txn, key)
    return len(paths), not path or os.fsencode(path) in paths


def pending_names_of(txn: Transaction, key: bytes, path: str = "") -> tuple[int, bool]:
    """Return the same of a file that need not be open."""
    value = txn.get(b"F" + key)
    if value is None:
        return 0, False
    return pending_names(txn, key, FILE_HEADER.unpack_from(value)[2], path)
