"""The opens of a file as they are packed: one of them, one of each kind, or all.

A file may have thousands, of few kinds. What decides about another's cache is what they may do and
what their clients cache; each of them is read where something of it has to be broken.
"""

import struct
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from usmbd.protocol.state.store.records import (
    LEASE_ID_SIZE,
    NO_ID,
    OPEN_ID,
    OPEN_LEASE_OFFSET,
    OPEN_LEASE_STATE_OFFSET,
    OPEN_OPLOCK_OFFSET,
    OPEN_SIZE,
    OpenRecord,
    parse_opens,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_LEASE as LEASE

FEW: Final = 32
"""So many are read sooner than told apart: an OpenRecord takes 0.5 us, and 10 to look at it."""

_UNTIL_LEASE: Final = "<8xI4xI2xBB"  # granted_access, flags, oplock_level, oplock_state
_SKIPPED: Final = OPEN_LEASE_OFFSET - struct.calcsize(_UNTIL_LEASE)
_BEHIND: Final = f"{OPEN_LEASE_STATE_OFFSET - OPEN_LEASE_OFFSET - LEASE_ID_SIZE}xI"
_END: Final = f"{OPEN_SIZE - OPEN_LEASE_STATE_OFFSET - 4}x"

_kinds: Final = struct.Struct(f"{_UNTIL_LEASE}{_SKIPPED + LEASE_ID_SIZE}x{_BEHIND}{_END}")
_with_lease: Final = struct.Struct(f"{_UNTIL_LEASE}{_SKIPPED}x{LEASE_ID_SIZE}s{_BEHIND}{_END}")

_shares: Final = struct.Struct(f"<8xII{OPEN_SIZE - 16}x")  # granted_access, share_access

_KEYS: Final = NO_ID, bytes([1]) * len(NO_ID)


class Others:
    """Packed opens of a file: all of them, or those beside which one is admitted."""

    def __init__(self, packed: bytes) -> None:
        """Keep a whole number of packed OpenRecords."""
        self._packed = packed

    @classmethod
    def of(cls, records: Sequence[OpenRecord]) -> "Others":
        """Return these."""
        return cls(b"".join(record.pack() for record in records))

    @cached_property
    def all(self) -> list[OpenRecord]:
        """Every one of them."""
        return parse_opens(self._packed)

    def kinds(self, record: OpenRecord, access: int) -> list[OpenRecord]:
        """Return one of each kind, but for those that have the lease of `record`.

        Of it only flags, oplock and state of its lease are said, and whether any of `access` was
        granted. Where there are few, `all` of them are returned.
        """
        packed = self._packed
        if len(packed) <= FEW * OPEN_SIZE:
            return self.all
        mine = record.client_guid + record.lease_key
        kinds: set[tuple[int, ...]]
        if record.oplock_level == LEASE and mine in packed:
            kinds = {
                (granted, flags, level, state, lease_state)
                for granted, flags, level, state, lease, lease_state in _with_lease.iter_unpack(
                    packed
                )
                if lease != mine or level != LEASE
            }
        else:
            kinds = set(_kinds.iter_unpack(packed))
        another = _KEYS[record.lease_key == NO_ID]
        return [
            OpenRecord(
                0,
                access if granted else 0,
                0,
                flags,
                oplock_level=level,
                oplock_state=state,
                lease_key=another,
                lease_state=lease_state,
            )
            for granted, flags, level, state, lease_state in {
                (granted & access != 0, *rest) for granted, *rest in kinds
            }
        ]

    def sharing(self) -> set[tuple[int, int]]:
        """Return what they were granted and what they share, all that are alike once."""
        return set(_shares.iter_unpack(self._packed))

    def with_id(self, open_id: int) -> OpenRecord | None:
        """Return one of them."""
        place = self._place(open_id)
        return None if place < 0 else OpenRecord.parse(self._packed, place)

    def without(self, open_id: int) -> "Others":
        """Return the others but for one."""
        packed, place = self._packed, self._place(open_id)
        return self if place < 0 else Others(packed[:place] + packed[place + OPEN_SIZE :])

    def _place(self, open_id: int) -> int:
        """Return where an open stands, -1 for nowhere."""
        packed, needle = self._packed, OPEN_ID.pack(open_id)
        place = packed.find(needle)
        while place > 0 and place % OPEN_SIZE:
            place = packed.find(needle, place + 1)
        return place

    def with_lease(self, record: OpenRecord) -> OpenRecord | None:
        """Return one of those that have the lease of `record`, if there are any."""
        packed, lease = self._packed, record.client_guid + record.lease_key
        at = packed.find(lease)
        while at >= 0:
            place = at - OPEN_LEASE_OFFSET
            if not place % OPEN_SIZE and packed[place + OPEN_OPLOCK_OFFSET] == LEASE:
                return OpenRecord.parse(packed, place)
            at = packed.find(lease, at + 1)
        return None
