"""How a query's answer fits the client's buffer: one rule set for all information classes."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from usmbd.protocol.wire.fscc.chain import whole_entries
from usmbd.protocol.wire.status import NtStatus, SmbError

Queried = TypeVar("Queried")


class Overflow(Enum):
    """What is sent when the answer is longer than the client's buffer."""

    CUT_NAME = auto()  # the name that ends the structure loses its tail, its length stays
    WHOLE_ENTRIES = auto()  # as many complete entries as fit, perhaps none
    AN_ENTRY_AT_LEAST = auto()  # likewise, but STATUS_BUFFER_TOO_SMALL without one


@dataclass(frozen=True, slots=True)
class InformationClass(Generic[Queried]):
    """One class's row: its smallest buffer, its builder and its rule for overflow.

    `minimum` is the size of the C structure with one character of its name, which is what the
    object store compares with ([MS-FSA] 2.1.5.12), not the bytes actually returned.
    """

    minimum: int
    build: Callable[[Queried], bytes]
    overflow: Overflow = Overflow.CUT_NAME


def answer(
    information_class: InformationClass[Queried], queried: Queried, limit: int
) -> tuple[NtStatus, bytes]:
    """Return (SUCCESS or BUFFER_OVERFLOW, at most `limit` bytes) ([MS-SMB2] 3.3.5.20.1).

    Raises SmbError(INFO_LENGTH_MISMATCH) when not even the fixed part fits,
    SmbError(BUFFER_TOO_SMALL) when an entry is due and none fits.
    """
    if limit < information_class.minimum:
        raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
    data = information_class.build(queried)
    if len(data) <= limit:
        return NtStatus.SUCCESS, data
    if information_class.overflow is Overflow.CUT_NAME:
        # Every name starts at an even offset and is cut between UTF-16 code units.
        return NtStatus.BUFFER_OVERFLOW, data[: limit & ~1]
    data = whole_entries(data, limit)
    if not data and information_class.overflow is Overflow.AN_ENTRY_AT_LEAST:
        raise SmbError(NtStatus.BUFFER_TOO_SMALL)
    return NtStatus.BUFFER_OVERFLOW, data
