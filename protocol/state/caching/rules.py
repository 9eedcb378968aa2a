"""The state machine of oplocks and leases, as data: what is held, what is asked, what breaks.

An oplock and a lease are the same promise to a client: nobody sees or changes the file behind its
back while it caches what it read (R), what it wrote (W) or the open handle itself (H). So there is
one table, over states; an oplock's level is a name for one of them.

The tables stand for [MS-FSA] 2.1.4.12 (what breaks) and 2.1.5.18 (what is granted), and where these
leave room for what Samba does, which its tests (smb2.oplock, smb2.lease) have from Windows:

* An open that overwrites breaks all caching in one step, and waits for writers alone.
* A write, a lock or a new size waits for nobody: whoever writes has broken W by its open.
* Who lost everything keeps its lease, in the state NONE, and may raise it by another open.
* Beside byte-range locks nothing is granted, unless the open empties the file: what is locked is
  not to be cached. Locks beyond AllocationSize lock nothing ([MS-FSA] 2.1.5.18).
"""

from collections.abc import Hashable, Iterable
from enum import Enum, auto
from typing import Final, NamedTuple

from usmbd.protocol.state.store.records import (
    OPEN_DISCONNECTED,
    OPEN_PERSISTENT,
    OPLOCK_BREAKING,
    OpenRecord,
)
from usmbd.protocol.wire.access import (
    FILE_READ_ATTRIBUTES,
    FILE_WRITE_ATTRIBUTES,
    READ_CONTROL,
    SYNCHRONIZE,
)
from usmbd.protocol.wire.create import (
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_EXCLUSIVE,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_LEASE,
    SMB2_OPLOCK_LEVEL_NONE,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_LEASE_HANDLE_CACHING,
    SMB2_LEASE_NONE,
    SMB2_LEASE_READ_CACHING,
    SMB2_LEASE_WRITE_CACHING,
)

NONE: Final = SMB2_LEASE_NONE
R: Final = SMB2_LEASE_READ_CACHING
H: Final = SMB2_LEASE_HANDLE_CACHING
W: Final = SMB2_LEASE_WRITE_CACHING
RH: Final = R | H
RW: Final = R | W
RWH: Final = R | W | H

STATES: Final = (NONE, R, RH, RW, RWH)
"""All that a client can hold ([MS-SMB2] 3.3.1.12); anything else that it asks for is NONE."""

STATE_OF_LEVEL: Final = {
    SMB2_OPLOCK_LEVEL_NONE: NONE,
    SMB2_OPLOCK_LEVEL_II: R,
    SMB2_OPLOCK_LEVEL_EXCLUSIVE: RW,
    SMB2_OPLOCK_LEVEL_BATCH: RWH,
}
"""What each oplock lets a client cache; there is none for RH."""

LEVEL_OF_STATE: Final = {
    NONE: SMB2_OPLOCK_LEVEL_NONE,
    R: SMB2_OPLOCK_LEVEL_II,
    RH: SMB2_OPLOCK_LEVEL_II,
    RW: SMB2_OPLOCK_LEVEL_EXCLUSIVE,
    RWH: SMB2_OPLOCK_LEVEL_BATCH,
}
"""The oplock that stands for a state, or for the most of it."""


class Operation(Enum):
    """What somebody does to a file that others cache."""

    OPEN = auto()
    """Open it for more than a look at its attributes."""
    OVERWRITE = auto()
    """Open it and empty it: FILE_OVERWRITE, FILE_OVERWRITE_IF, FILE_SUPERSEDE."""
    SHARE = auto()
    """Open it against the share mode of an open that its client may only have cached; or rename or
    delete it, which such an open would be in the way of."""
    CHANGE = auto()
    """Write, set its size, zero a range, or lock one."""


class Verdict(NamedTuple):
    """What is left of a state, and whether the operation waits until no more is held."""

    left: int
    waits: bool


BREAKS: Final[dict[Operation, dict[int, Verdict]]] = {
    Operation.OPEN: {
        RW: Verdict(R, waits=True),
        RWH: Verdict(RH, waits=True),
    },
    Operation.OVERWRITE: {
        R: Verdict(NONE, waits=False),
        RH: Verdict(NONE, waits=False),
        RW: Verdict(NONE, waits=True),
        RWH: Verdict(NONE, waits=True),
    },
    Operation.SHARE: {
        RH: Verdict(R, waits=True),
        RWH: Verdict(RW, waits=True),
    },
    Operation.CHANGE: {
        R: Verdict(NONE, waits=False),
        RH: Verdict(NONE, waits=False),
    },
}
"""By operation and by the state that another client holds; what is missing is not touched.

CHANGE finds no W of others: they lost it when the open came by which the change is made."""

NEEDS_ANSWER: Final = frozenset((RH, RW, RWH))
"""States whose loss the client acknowledges ([MS-FSA] 2.1.5.18): only a read cache is dropped
without a word."""

_STAT = FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | SYNCHRONIZE
MORE_THAN_STAT: Final = 0xFFFFFFFF & ~_STAT
"""What an open has no right of that looks at attributes alone."""
_STAT_BESIDE_LEASES = _STAT | READ_CONTROL


def is_stat_open(access: int) -> bool:
    """Tell whether an open looks at attributes alone: it breaks nothing and shares with all."""
    return not access & ~_STAT


def is_stat_open_beside_leases(access: int) -> bool:
    """Tell whether an open breaks no leases: as above, or it reads the security descriptor."""
    return not access & ~_STAT_BESIDE_LEASES


def is_lease(record: OpenRecord) -> bool:
    """Tell whether an open has a lease, perhaps one in the state NONE."""
    return record.oplock_level == SMB2_OPLOCK_LEVEL_LEASE


def held(record: OpenRecord) -> int:
    """Return the state that an open's client holds, also while it is asked to give it up."""
    if record.oplock_level == SMB2_OPLOCK_LEVEL_LEASE:
        return record.lease_state
    return STATE_OF_LEVEL[record.oplock_level]


def is_breaking(record: OpenRecord) -> bool:
    """Tell whether an open's client has been asked and has not answered."""
    return record.oplock_state == OPLOCK_BREAKING


_WAITED_FOR: Final = OPEN_PERSISTENT | OPEN_DISCONNECTED


def is_waited_for(record: OpenRecord) -> bool:
    """Tell whether a persistent open waits for its client, so that others do ([MS-SMB2] 3.3.5.9).

    They are told FILE_NOT_AVAILABLE and come again. The document would have what caches its handle
    broken, as if the client could answer; but it may have data to write that it was promised room
    for.
    """
    return record.flags & _WAITED_FOR == _WAITED_FOR


def lease_of(record: OpenRecord) -> tuple[bytes, bytes] | None:
    """Return what names the lease of an open, if it has one."""
    return (record.client_guid, record.lease_key) if is_lease(record) else None


def holder_of(record: OpenRecord) -> Hashable:
    """Return what names the oplock or lease of an open."""
    return lease_of(record) or record.open_id


def same_lease(one: OpenRecord, other: OpenRecord) -> bool:
    """Tell whether two opens of a file share one lease: its client does not break it itself."""
    return (
        one.oplock_level == SMB2_OPLOCK_LEVEL_LEASE == other.oplock_level
        and one.lease_key == other.lease_key
        and one.client_guid == other.client_guid
    )


def grantable(asked: int, mine: OpenRecord, others: Iterable[OpenRecord], locked: bool) -> int:
    """Return the state that an open gets of the one it asks for ([MS-FSA] 2.1.5.18).

    `mine` is its own record, `others` are all opens that are to stay as they are; `locked`: the
    file's data has byte-range locks.
    """
    if locked or asked not in STATES:
        return NONE
    lease = is_lease(mine)
    for other in others:
        if same_lease(mine, other):
            continue
        if other.oplock_level or not is_stat_open(other.granted_access):
            asked &= ~W
        if other.oplock_level:
            if lease and not is_lease(other):
                asked &= ~H  # an oplock knows no H that could be broken alone
            elif not lease and held(other) & H and is_lease(other):
                return NONE
    return asked
