"""Breaks that something has to wait for, and whether it has to."""

from typing import Final, NamedTuple

from usmbd.protocol.state.caching.rules import (
    BREAKS,
    Operation,
    held,
    is_waited_for,
    same_lease,
)
from usmbd.protocol.state.store.others import Others
from usmbd.protocol.state.store.records import OpenRecord
from usmbd.protocol.wire.status import NtStatus, SmbError

NOBODY: Final = OpenRecord(0, 0, 0)
"""Whose open is none of a file's, and has no lease."""


class Break(NamedTuple):
    """One holder, by one of its opens, and the state that may stay of what it holds."""

    record: OpenRecord
    left: int


class BreakNeededError(Exception):
    """Something has to wait until the caching of a file's other opens is broken."""

    def __init__(self, key: bytes, breaks: list[Break]) -> None:
        """Keep who is to be asked for what."""
        super().__init__(f"{len(breaks)} clients cache the file")
        self.key = key
        self.breaks = breaks


def check(key: bytes, operation: Operation, others: Others, mine: OpenRecord | None) -> None:
    """BreakNeededError if `operation` by the open `mine` has to wait for others of the file.

    SmbError(FILE_NOT_AVAILABLE) where one of them is persistent and waits for its client.
    """
    verdicts = BREAKS[operation]
    if not any(held(kind) in verdicts for kind in others.kinds(mine or NOBODY, 0)):
        return
    breaks = [
        Break(other, verdict.left)
        for other in others.all
        if (verdict := verdicts.get(held(other))) is not None
        and not (mine is not None and (other.open_id == mine.open_id or same_lease(mine, other)))
    ]
    if any(is_waited_for(one.record) for one in breaks):
        raise SmbError(NtStatus.FILE_NOT_AVAILABLE)
    if breaks:
        raise BreakNeededError(key, breaks)
