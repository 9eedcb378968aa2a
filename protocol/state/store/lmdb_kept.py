"""What is kept of a durable open in LMDB beside its OpenRecord: written and removed with that.

P + open_id                    DurableRecord
C + ClientGuid + CreateGuid    open_id of one that waits for its client, or is persistent
Q + open_id                    LockSequenceArray, once it has one (`lmdb_locks`)

While an open that is durable alone has its client, their worker knows its CreateGuid by itself
(`replays`), and nobody else asks: to enter it at the CREATE would cost each open a microsecond.
"""

from typing import Final

import msgspec

from usmbd.protocol.state.store.lmdb_environment import PATH_BYTES, LmdbEnvironment
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.records import (
    NO_ID,
    OPEN_DISCONNECTED,
    OPEN_DURABLE,
    OPEN_GUIDS,
    OPEN_ID,
    OPEN_PERSISTENT,
    Absent,
    DurableRecord,
    OpenRecord,
    SessionRecord,
    caches_handle,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH as BATCH

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DurableRecord).decode
_decode_session = msgspec.msgpack.Decoder(SessionRecord).decode

_pack_id: Final = OPEN_ID.pack
_ID_SIZE: Final = OPEN_ID.size

_BY_GUID: Final = OPEN_DISCONNECTED | OPEN_PERSISTENT
"""Flags of opens that have a C record."""


def keep_durable(
    txn: Transaction, environment: LmdbEnvironment, record: OpenRecord, durable: DurableRecord
) -> None:
    """Make an open durable that is about to be written, if it may be, and there is room."""
    flags, level = record.flags, record.oplock_level
    if level != BATCH and not (flags & OPEN_PERSISTENT or caches_handle(record)):
        return
    if (len(durable.path) > PATH_BYTES or durable.who is not None) and (
        not environment.takes_path(durable.path, durable.beside_path)
    ):
        record.flags = flags & ~OPEN_PERSISTENT
        return
    record.flags = flags | OPEN_DURABLE
    txn.put(b"P" + _pack_id(record.open_id), _encode(durable))
    if flags & OPEN_PERSISTENT:
        enter_guid(txn, record)


def enter_guid(txn: Transaction, record: OpenRecord) -> None:
    """Have an open be found by its CreateGuid, if it has one."""
    if record.create_guid != NO_ID:
        txn.put(b"C" + record.client_guid + record.create_guid, OPEN_ID.pack(record.open_id))


def keep_user(txn: Transaction, environment: LmdbEnvironment, record: OpenRecord) -> bool:
    """Note whose a durable open is whose worker has died, by its session; False: there is no room.

    Its CREATE does not do so: nobody asks as long as the worker lives, which knows it.
    """
    packed, session = OPEN_ID.pack(record.open_id), OPEN_ID.pack(record.session_id)
    kept, known = txn.get(b"P" + packed), txn.get(b"S" + session)
    if kept is None or known is None:
        return True
    durable, of = _decode(kept), _decode_session(known)
    share = durable.share if durable.who is None else durable.who.share
    who = Absent(share, of.user, of.ticket, of.client_address, of.server_address)
    durable = msgspec.structs.replace(durable, who=who)
    if not environment.takes_path(durable.path, durable.beside_path):
        return False
    txn.put(b"P" + packed, _encode(durable))
    return True


def forget_guid(txn: Transaction, value: bytes, at: int) -> None:
    """Have the open at `at` of an F record be found by its CreateGuid no more."""
    txn.delete(b"C" + b"".join(OPEN_GUIDS.unpack_from(value, at)))


def forget_durable(txn: Transaction, value: bytes, at: int, flags: int) -> None:
    """Remove what is kept of the durable open whose record, with `flags`, stands at `at`."""
    packed = value[at : at + _ID_SIZE]
    txn.delete(b"P" + packed)
    txn.delete(b"Q" + packed)
    if flags & _BY_GUID:
        forget_guid(txn, value, at)
