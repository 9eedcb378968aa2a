"""FileQuotaInformation: what users have taken and may take of a volume ([MS-FSCC] 2.4.41)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from usmbd.protocol.wire.base import Wire, i64, u32
from usmbd.protocol.wire.fscc.chain import build_chain
from usmbd.protocol.wire.sid import Sid
from usmbd.protocol.wire.status import NtStatus, SmbError

NO_LIMIT = -1
"""Of a threshold or a limit: there is none."""

DELETE_ENTRY = -2
"""Of a limit that is set: the user has no entry any more."""

ENTRY_ALIGNMENT = 8
"""Of FILE_QUOTA_INFORMATION in a chain."""

_LIST_ALIGNMENT = 4


class QuotaHead(Wire, size=40):
    """FILE_QUOTA_INFORMATION before its SID ([MS-FSCC] 2.4.41)."""

    next_entry_offset: u32 = 0
    sid_length: u32
    change_time: i64 = 0
    quota_used: i64
    quota_threshold: i64
    quota_limit: i64


class GetQuotaHead(Wire, size=8):
    """FILE_GET_QUOTA_INFORMATION before its SID ([MS-FSCC] 2.4.41.1)."""

    next_entry_offset: u32
    sid_length: u32


@dataclass(frozen=True, slots=True)
class Quota:
    """One user's entry, in bytes; NO_LIMIT for none."""

    sid: Sid
    used: int
    threshold: int
    limit: int


def build_quotas(quotas: Iterable[Quota]) -> bytes:
    """Return the chain of the entries; nobody knows when they were changed."""
    return build_chain(map(_build, quotas), ENTRY_ALIGNMENT)


def _build(quota: Quota) -> bytes:
    head = QuotaHead(
        sid_length=quota.sid.size,
        quota_used=quota.used,
        quota_threshold=quota.threshold,
        quota_limit=quota.limit,
    )
    return head.pack() + quota.sid.pack()


def parse_quotas(buffer: memoryview) -> Iterator[Quota]:
    """Yield the entries of a client's chain; SmbError(INVALID_PARAMETER) for one that is none."""
    for start, end in _entries(buffer, QuotaHead.SIZE, ENTRY_ALIGNMENT):
        head = QuotaHead.parse(buffer, start)
        sid = _sid(buffer[start + QuotaHead.SIZE : end], head.sid_length)
        yield Quota(sid, head.quota_used, head.quota_threshold, head.quota_limit)


def parse_sids(buffer: memoryview) -> Iterator[Sid]:
    """Yield the SIDs of a FILE_GET_QUOTA_INFORMATION chain; SmbError(INVALID_PARAMETER)."""
    for start, end in _entries(buffer, GetQuotaHead.SIZE, _LIST_ALIGNMENT):
        head = GetQuotaHead.parse(buffer, start)
        yield _sid(buffer[start + GetQuotaHead.SIZE : end], head.sid_length)


def parse_sid(buffer: memoryview) -> Sid:
    """Read a SID alone; SmbError(INVALID_PARAMETER)."""
    return _sid(buffer, len(buffer))


def _entries(buffer: memoryview, fixed: int, alignment: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each entry; a link leads forward, past the entry's fixed part."""
    start = 0
    while True:
        if start + fixed > len(buffer):
            raise SmbError(NtStatus.INVALID_PARAMETER)
        following = int.from_bytes(buffer[start : start + 4], "little")
        if not following:
            yield start, len(buffer)
            return
        if following % alignment or following < fixed:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        if start + following >= len(buffer):
            raise SmbError(NtStatus.INVALID_PARAMETER)
        yield start, start + following
        start += following


def _sid(buffer: memoryview, length: int) -> Sid:
    """Read the SID that has exactly `length` bytes at the buffer's beginning."""
    if length > len(buffer):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    try:
        sid = Sid.parse(buffer[:length])
    except SmbError:
        raise SmbError(NtStatus.INVALID_PARAMETER) from None
    if sid.size != length:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return sid
