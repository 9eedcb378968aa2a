"""The response to a CREATE, with its create contexts ([MS-SMB2] 2.2.14)."""

from usmbd.protocol.commands.durable import Asked
from usmbd.protocol.commands.request import Answer
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.store.records import NO_ID, OPLOCK_BREAKING, OpenRecord
from usmbd.protocol.wire.create import build_create_response
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST,
    SMB2_CREATE_QUERY_ON_DISK_ID,
    SMB2_LEASE_FLAG_BREAK_IN_PROGRESS,
    SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET,
    Contexts,
    before,
    durable_element,
    lease_element_v2,
    lease_response,
    maximal_access_response,
    on_disk_id_response,
    parse_maximal_access,
)
from usmbd.protocol.wire.create_contexts_posix import SMB2_CREATE_POSIX, posix_response
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.fscc.posix import owner_sids, wire_mode
from usmbd.protocol.wire.status import NtStatus


def response(open_: Open, stat: FileStat, action: int, level: int, contexts: bytes) -> Answer:
    """Return the response for an open, with its chain of contexts."""
    return list(
        build_create_response(
            stat,
            open_.persistent_id,
            open_.volatile_id,
            create_action=action,
            oplock_level=level,
            contexts=contexts,
        )
    )


def answer_contexts(
    open_: Open,
    stat: FileStat,
    maximal: int,
    contexts: Contexts,
    asked: Asked | None,
    record: OpenRecord | None,
    aapl: tuple[bytes, bytes] | None = None,
) -> bytes:
    """Return the chain of create contexts of the response ([MS-SMB2] 3.3.5.9.*).

    `maximal` is what the user may do with the file, `record` what all workers know of the open,
    `aapl` what macOS is answered. The chain is built from its end, as its last element is another.
    """
    chain = b"" if aapl is None else before(b"", *aapl)
    if SMB2_CREATE_POSIX in contexts and open_.node.volume.options.posix:
        posix = posix_response(stat.nlink, stat.reparse_tag, wire_mode(stat), *owner_sids(stat))
        chain = before(chain, *posix)
    if open_.lease is not None and record is not None:
        chain = _with_lease(record, chain)
    durable = open_.durable
    if asked is not None and durable is not None:
        persistent = durable.persistent
        chain = durable_element(asked.version, durable.timeout, persistent, not chain) + chain
    if SMB2_CREATE_QUERY_ON_DISK_ID in contexts:
        ino = 0 if open_.tree.zero_file_ids else stat.ino
        chain = before(chain, *on_disk_id_response(ino, stat.dev))
    if SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST in contexts:
        since = parse_maximal_access(contexts[SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST])
        if since is not None and since == stat.last_write_time:
            access = maximal_access_response(NtStatus.NONE_MAPPED, 0)
        else:
            access = maximal_access_response(NtStatus.SUCCESS, maximal)
        chain = before(chain, *access)
    return chain


def _with_lease(record: OpenRecord, chain: bytes) -> bytes:
    """Return a chain with the lease as it is before it (3.3.5.9.8).

    In the version of the open that began it.
    """
    flags = record.oplock_state == OPLOCK_BREAKING and SMB2_LEASE_FLAG_BREAK_IN_PROGRESS
    key, state = record.lease_key, record.lease_state
    if record.lease_version == 1:
        return before(chain, *lease_response(key, state, flags))
    parent_key = record.parent_lease_key
    if parent_key != NO_ID:
        flags |= SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET
    epoch = record.lease_epoch
    return lease_element_v2(key, state, flags, parent_key, epoch, not chain) + chain
