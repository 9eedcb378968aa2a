"""A server whose share is available all the time, and its clients' persistent opens."""

import struct
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from smbengine.client import Client, Reply
from smbengine.durable import GUID, Context, again, create, granted, v2
from smbengine.requests import FileId
from smbengine.server import Engine
from usmbd.mountd.ipc.settings import Durability
from usmbd.protocol.commands.durable import V2_TIMEOUT
from usmbd.protocol.state.store.lmdb_environment import with_prefix
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_NONE
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2,
    SMB2_CREATE_REQUEST_LEASE,
    SMB2_DHANDLE_FLAG_PERSISTENT,
    LeaseV2,
)
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK, SMB2_LOCKFLAG_FAIL_IMMEDIATELY

FLAG = SMB2_DHANDLE_FLAG_PERSISTENT
LOCK = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY
KEY = bytes([7] * 16)
RH, RWH = 3, 7
NONE = SMB2_OPLOCK_LEVEL_NONE


def available(path: Path, durability: Durability = Durability.DATA, **config: Any) -> Engine:
    """Return an engine whose share is available all the time."""
    engine = Engine(path, persistent_handles=True, **config)
    engine.shares["data"] = replace(
        engine.shares["data"],
        continuous_availability=True,
        persistent_handles_durability=durability,
    )
    return engine


def restarted(engine: Engine) -> Engine:
    """Return the server after all of its processes were killed at once and started again."""
    engine.transports.clear()  # the dead say nothing any more
    engine.store.close()
    path = engine.files.parent
    return available(path, engine.shares["data"].persistent_handles_durability)


def lease(state: int) -> Context:
    """RqLs."""
    fields = LeaseV2(
        lease_key=KEY, lease_state=state, lease_flags=0, parent_lease_key=bytes(16), epoch=1
    )
    return SMB2_CREATE_REQUEST_LEASE, fields.pack()


def persistent(
    client: Client, *contexts: Context, timeout: int = 0, guid: bytes = GUID, **options: Any
) -> FileId:
    """Open a file persistently; without an oplock unless told."""
    asked = v2(timeout, guid, FLAG)
    reply = create(client, asked, *contexts, **{"oplock": NONE, **options})
    data = granted(reply)[SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2]
    assert struct.unpack("<II", data) == (timeout or V2_TIMEOUT, FLAG)
    return reply.file_id


def come_back(
    engine: Engine, client: Client, file: FileId, *contexts: Context, **options: Any
) -> tuple[Client, Reply]:
    """Claim the open by a new connection of the same client."""
    newer = Client(engine, client.guid).ready()
    return newer, create(newer, again(file, GUID, FLAG), *contexts, **{"oplock": NONE, **options})


def kept(engine: Engine) -> list[int]:
    """Return how many files have persistent opens in memory and on the disk."""
    counts = []
    for place in engine.store._persistent._kept:
        with place.env.begin() as txn:
            counts.append(len(list(with_prefix(txn, b"K"))))
    return counts
