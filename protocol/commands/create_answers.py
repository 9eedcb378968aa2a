"""The response to a CREATE, with its create contexts ([MS-SMB2] 2.2.14)."""

from usmbd.protocol.commands.durable import Asked, durable_answer
from usmbd.protocol.commands.request import Answer
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.store.records import NO_ID, OPLOCK_BREAKING, OpenRecord
from usmbd.protocol.wire.create import build_create_response
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST,
    SMB2_CREATE_QUERY_ON_DISK_ID,
    SMB2_LEASE_FLAG_BREAK_IN_PROGRESS,
    SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET,
    build_contexts,
    lease_response,
    lease_response_v2,
    maximal_access_response,
    on_disk_id_response,
    parse_maximal_access,
)
from usmbd.protocol.wire.create_contexts_posix import posix_response
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.fscc.posix import owner_sids, wire_mode
from usmbd.protocol.wire.status import NtStatus


def response(
    open_: Open, stat: FileStat, action: int, level: int, answers: list[tuple[bytes, bytes]]
) -> Answer:
    """Return the response for an open."""
    return list(
        build_create_response(
            stat,
            open_.persistent_id,
            open_.volatile_id,
            create_action=action,
            oplock_level=level,
            contexts=build_contexts(answers) if answers else b"",
        )
    )


def answer_contexts(
    open_: Open,
    stat: FileStat,
    maximal: int,
    contexts: dict[bytes, memoryview],
    asked: Asked | None,
    record: OpenRecord | None,
) -> list[tuple[bytes, bytes]]:
    """Return the create contexts of the response ([MS-SMB2] 3.3.5.9.*).

    `maximal` is what the user may do with the file, `record` what all workers know of the open.
    """
    answers = []
    request = contexts.get(SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST)
    if request is not None:
        since = parse_maximal_access(request)
        if since is not None and since == stat.last_write_time:
            answers.append(maximal_access_response(NtStatus.NONE_MAPPED, 0))
        else:
            answers.append(maximal_access_response(NtStatus.SUCCESS, maximal))
    if SMB2_CREATE_QUERY_ON_DISK_ID in contexts:
        ino = 0 if open_.tree.zero_file_ids else stat.ino
        answers.append(on_disk_id_response(ino, stat.dev))
    if asked is not None and open_.durable is not None:
        answers.append(durable_answer(open_.durable, asked))
    if open_.lease is not None and record is not None:
        answers.append(_lease_answer(record))
    if open_.pipe is None and open_.node.volume.options.posix:
        answers.append(
            posix_response(stat.nlink, stat.reparse_tag, wire_mode(stat), *owner_sids(stat))
        )
    return answers


def _lease_answer(record: OpenRecord) -> tuple[bytes, bytes]:
    """Return the lease as it is, in the version of the open that began it (3.3.5.9.8)."""
    flags = record.oplock_state == OPLOCK_BREAKING and SMB2_LEASE_FLAG_BREAK_IN_PROGRESS
    key, state = record.lease_key, record.lease_state
    if record.lease_version == 1:
        return lease_response(key, state, flags)
    parent_key = record.parent_lease_key
    if parent_key != NO_ID:
        flags |= SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET
    return lease_response_v2(key, state, flags, parent_key, record.lease_epoch)
