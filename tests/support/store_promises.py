"""What the tests of the store's promises share: three processes' stores, and opens to put in."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from store_engines import StoreEngine

from usmbd.protocol.state.store.base import (
    Store,
)
from usmbd.protocol.state.store.records import (
    DurableRecord,
    OpenRecord,
    file_key,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH, SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.status import NtStatus, SmbError

KEY, OTHER = file_key(1, 100), file_key(1, 101)
STREAM = file_key(1, 100, "stream")
READ, WRITE, DELETE = 1, 2, 0x10000
RWH, RH = 7, 3
CLIENT, LEASE, GUID, OWNER = (bytes([number] * 16) for number in range(1, 5))
FAR = 1 << 62
"""A deadline that does not come."""


@dataclass
class Stores:
    """The stores of three processes."""

    engine: StoreEngine
    one: Store
    two: Store
    supervisor: Store


def record(store: Store, access: int = READ, share: int = 7, **fields: int | bytes) -> OpenRecord:
    """Return the record of a new open."""
    return OpenRecord(
        open_id=store.new_open_id(),
        granted_access=access,
        share_access=share,
        **fields,  # type: ignore[arg-type]
    )


def opened(
    store: Store, access: int = READ, share: int = 7, key: bytes = KEY, **fields: int
) -> int:
    """Add an open; return its id."""
    new = record(store, access, share, **fields)
    store.add_open(key, new)
    return new.open_id


def leased(store: Store, state: int = RWH) -> OpenRecord:
    """Return the record of an open with the lease."""
    return record(
        store,
        oplock_level=SMB2_OPLOCK_LEVEL_LEASE,
        client_guid=CLIENT,
        lease_key=LEASE,
        lease_state=state,
        lease_version=2,
        lease_epoch=1,
    )


def durable_record(key: bytes = KEY, **fields: object) -> DurableRecord:
    """Return what a durable open is made anew from."""
    return DurableRecord(key, "share", "/share", b"file", READ, (1, 2), 1, **fields)  # type: ignore[arg-type]


def durable(store: Store, flags: int = 0, timeout: int = 1000, **kept: object) -> int:
    """Add a durable open with a batch oplock."""
    new = record(
        store,
        oplock_level=SMB2_OPLOCK_LEVEL_BATCH,
        client_guid=CLIENT,
        create_guid=GUID,
        durable_owner=OWNER,
        durable_open_timeout=timeout,
        flags=flags,
    )
    store.add_open(KEY, new, durable=durable_record(**kept))
    return new.open_id


def flags_of(store: Store, open_id: int, key: bytes = KEY) -> int:
    """Return the flags of an open."""
    return next(one.flags for one in store.opens(key) if one.open_id == open_id)


def refuses(status: NtStatus, call: Callable[..., object], *args: object, **kwargs: object) -> None:
    """Check that a call is refused with a status."""
    with pytest.raises(SmbError) as error:
        call(*args, **kwargs)
    assert error.value.status is status
