"""Files that are to be deleted, in LMDB: by which names, and for whom.

D + FileKey      ParentLeaseKey of the open that asks for it, user and path; more behind a NUL
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
_NEXT: Final = b"\0"  # between names
_USER: Final = b":"  # behind a user, and before the path

User = tuple[int, ...]
"""Who deletes a file: uid, gid and groups."""


def keep_path(
    txn: Transaction,
    environment: LmdbEnvironment,
    key: bytes,
    record: OpenRecord,
    path: str,
    user: User,
) -> int:
    """Keep by which path a file is to be deleted, and by whom; return the flag that says so.

    Where there is no room for that: 0.
    """
    return _keep(txn, environment, key, record, _name(path, user))


def _keep(
    txn: Transaction, environment: LmdbEnvironment, key: bytes, record: OpenRecord, names: bytes
) -> int:
    """Write a D record if there is room for it."""
    if len(names) > NAMES_BYTES or not environment.takes_path(names):
        return 0
    if record.flags & OPEN_FORK_BESIDE:
        names = _FORK_BESIDE + names
    txn.put(b"D" + key, record.parent_lease_key + names)
    return FILE_HAS_PATH


def _name(path: str, user: User) -> bytes:
    """Return how one name stands in a D record."""
    return ",".join(map(str, user)).encode() + _USER + os.fsencode(path)


def _path(name: bytes) -> bytes:
    """Return the path in a name of a D record."""
    return name.partition(_USER)[2]


def _user(name: bytes) -> User:
    """Return the user in it."""
    user = name.partition(_USER)[0]
    return tuple(map(int, user.split(b","))) if user else ()


def _names(txn: Transaction, key: bytes) -> list[bytes]:
    """Return the names in a D record."""
    value = txn.get(b"D" + key, b"")
    return bytes(value[len(NO_ID) :]).removeprefix(_FORK_BESIDE).split(_NEXT)


def doom_of(txn: Transaction, key: bytes) -> tuple[str, bytes]:
    """Return the path by which a file is to be deleted, and who asked for that; empty: unknown."""
    value = txn.get(b"D" + key, b"")
    return os.fsdecode(_path(_names(txn, key)[0])), bytes(value[: len(NO_ID)])


def left_by(
    txn: Transaction,
    key: bytes,
    birth: tuple[int, int] | None = None,
    seen: tuple[int, ...] = (),
) -> Doomed:
    """Return what is to be deleted of a file that nobody has open who could do it."""
    fork_beside = txn.get(b"D" + key, b"").startswith(_FORK_BESIDE, len(NO_ID))
    first, *others = (
        Doomed(key, os.fsdecode(_path(name)), birth, seen, fork_beside, _user(name))
        for name in _names(txn, key)
    )
    return first._replace(others=tuple(others))


def doom(
    txn: Transaction,
    environment: LmdbEnvironment,
    key: bytes,
    flags: int,
    record: OpenRecord,
    path: str,
    user: User,
    one_name: bool,
) -> int:
    """Return the flags of a file that becomes delete pending, or one more name of it.

    SmbError(INSUFFICIENT_RESOURCES) where there are too many.
    """
    flags, before = flags & ~FILE_ONE_NAME | FILE_PENDING, flags
    if not path:
        return flags
    names, own = _name(path, user), os.fsencode(path)
    if one_name and before & FILE_ONE_NAME:
        names = _NEXT.join((names, *(one for one in _names(txn, key) if _path(one) != own)))
        if len(names) > NAMES_BYTES or not environment.takes_path(names):
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
    kept = _keep(txn, environment, key, record, names)
    return flags | kept | (FILE_ONE_NAME if one_name and kept else 0)


def spare(txn: Transaction, key: bytes, flags: int, path: str) -> int:
    """Return the flags of a file that is delete pending no more, or not by this path."""
    if path and flags & FILE_ONE_NAME:
        value, names = txn.get(b"D" + key, b""), _names(txn, key)
        left = [one for one in names if _path(one) != os.fsencode(path)]
        if left:
            head = value[: len(value) - len(_NEXT.join(names))]
            txn.put(b"D" + key, head + _NEXT.join(left))
            return flags
    return flags & ~(FILE_PENDING | FILE_ONE_NAME)


def pending_names(txn: Transaction, key: bytes, flags: int, path: str) -> tuple[int, bool]:
    """Return how many names of a file are delete pending, and whether this one is (none: any)."""
    if not flags & FILE_PENDING:
        return 0, False
    if not flags & FILE_ONE_NAME:
        return 1, True
    paths = [_path(name) for name in _names(txn, key)]
    return len(paths), not path or os.fsencode(path) in paths


def pending_names_of(txn: Transaction, key: bytes, path: str = "") -> tuple[int, bool]:
    """Return the same of a file that need not be open."""
    value = txn.get(b"F" + key)
    if value is None:
        return 0, False
    return pending_names(txn, key, FILE_HEADER.unpack_from(value)[2], path)
