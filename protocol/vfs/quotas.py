"""Users' quotas, and groups': read and set by the keeper, as the kernel asks for CAP_SYS_ADMIN.

What a directory or project may take, statvfs(3) tells already.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from usmbd.protocol.vfs import keeper, quotactl
from usmbd.protocol.vfs.quotactl import UserQuota

MAXIMUM_AT_ONCE: Final = 1024
"""Users that one request is answered for, or sets: a keeper's thread takes 2 ms for them. More are
asked for by requests that follow each other."""

_READ, _LIST, _SET, _READ_GROUPS = range(4)
_HEAD = struct.Struct("=BI")  # what to do; for a list how many
_UID = struct.Struct("=I")
_LIMITS = struct.Struct("=IQQ")  # uid, soft and hard limit in blocks
_QUOTA = struct.Struct("=IQQQQ")


def _perform(file: int, message: bytes) -> bytes:
    """Do what a worker asks for, with the file system of a descriptor; OSError."""
    what, count = _HEAD.unpack_from(message)
    rest = memoryview(message)[_HEAD.size :]
    if what in (_READ, _READ_GROUPS):
        whose = quotactl.USERS if what == _READ else quotactl.GROUPS
        ids = [each for (each,) in _UID.iter_unpack(rest)]
        return _packed(
            quotactl.read(file, each, whose=whose) or UserQuota(each, 0, 0, 0, 0) for each in ids
        )
    if what == _LIST:
        (first,) = _UID.unpack(rest)
        return _packed(_from(file, first, min(count, MAXIMUM_AT_ONCE)))
    for uid, soft, hard in _LIMITS.iter_unpack(rest):
        quotactl.write(file, uid, soft, hard)
    return b""


def _from(file: int, uid: int, count: int) -> Iterator[UserQuota]:
    """Yield the quotas of those who have any, from a uid on."""
    while count and (found := quotactl.read(file, uid, or_next=True)) is not None:
        if found.used or found.soft or found.hard:
            count -= 1
            yield found
        uid = found.uid + 1
        if uid > 0xFFFFFFFE:  # the last is nobody
            return


def _packed(quotas: Iterable[UserQuota]) -> bytes:
    """Return quotas as they go to a worker."""
    return b"".join(_QUOTA.pack(q.uid, q.used, q.soft, q.hard, q.grace_ends) for q in quotas)


def _unpacked(answer: bytes) -> list[UserQuota]:
    return [UserQuota(*fields) for fields in _QUOTA.iter_unpack(answer)]


QUOTAS: Final = keeper.Trade(2, _perform)


def of_users(file: int, uids: Iterable[int]) -> list[UserQuota]:
    """Return the quotas of up to MAXIMUM_AT_ONCE users, in their order; OSError."""
    packed = b"".join(map(_UID.pack, uids))
    return _unpacked(keeper.ask(QUOTAS, file, _HEAD.pack(_READ, 0) + packed))


def of_group(file: int, gid: int) -> UserQuota:
    """Return a group's quota; OSError."""
    (found,) = _unpacked(keeper.ask(QUOTAS, file, _HEAD.pack(_READ_GROUPS, 0) + _UID.pack(gid)))
    return found


def of_all(file: int, first: int, count: int) -> list[UserQuota]:
    """Return up to `count` quotas in the order of the uids, `first` the lowest of them; OSError."""
    packed = _UID.pack(first)
    return _unpacked(keeper.ask(QUOTAS, file, _HEAD.pack(_LIST, count) + packed))


def set_limits(file: int, limits: Iterable[tuple[int, int, int]]) -> None:
    """Set soft and hard limits of up to MAXIMUM_AT_ONCE uids, in blocks, 0 for none; OSError."""
    packed = b"".join(_LIMITS.pack(*each) for each in limits)
    keeper.ask(QUOTAS, file, _HEAD.pack(_SET, 0) + packed)


def left(quota: UserQuota, now: float) -> tuple[int, int] | None:
    """Return the limit that holds for a user and what he may still take; None: there is none."""
    limit = quota.hard or quota.soft
    if not limit:
        return None
    if quota.soft and quota.used > quota.soft and 0 < quota.grace_ends <= now:
        return limit, 0
    return limit, max(limit - quota.used, 0)
