"""Leases as a client sees them: asked for by CREATE, broken, acknowledged."""

from typing import Any

from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.requests import FileId
from usmbd.protocol.commands.breaks import LET_GO_SECONDS
from usmbd.protocol.wire.create import (
    SMB2_OPLOCK_LEVEL_LEASE,
    SMB2_OPLOCK_LEVEL_NONE,
    CreateResponse,
    create_contexts_buffer,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_REQUEST_LEASE,
    LeaseV1,
    LeaseV2,
    parse_contexts,
)
from usmbd.protocol.wire.header import UNSOLICITED_MESSAGE_ID, Command
from usmbd.protocol.wire.oplock_break import LeaseBreak, LeaseBreakNotification
from usmbd.protocol.wire.status import NtStatus

KEY = b"k" * 16
Lease = LeaseV1 | LeaseV2


def body(
    state: int, key: bytes = KEY, name: str = "file", version: int = 1, **options: Any
) -> bytes:
    """Build a CREATE that asks for a lease."""
    lease: Lease = LeaseV1(lease_key=key, lease_state=state)
    if version == 2:
        lease = LeaseV2(lease_key=key, lease_state=state, epoch=0x10)
    contexts = [(SMB2_CREATE_REQUEST_LEASE, lease.pack())]
    return requests.create(name, oplock=SMB2_OPLOCK_LEVEL_LEASE, contexts=contexts, **options)


def lease_of(reply: Reply) -> Lease | None:
    """Return the lease that came with an open."""
    assert reply.status is NtStatus.SUCCESS
    created = reply.parse(CreateResponse)
    if created.oplock_level != SMB2_OPLOCK_LEVEL_LEASE:
        assert created.oplock_level == SMB2_OPLOCK_LEVEL_NONE
        return None
    contexts = parse_contexts(create_contexts_buffer(memoryview(reply.message), created))
    data = contexts[SMB2_CREATE_REQUEST_LEASE]
    return LeaseV2.parse(data) if len(data) > LeaseV1.SIZE else LeaseV1.parse(data)


def take(client: Client, state: int, key: bytes = KEY, **options: Any) -> tuple[FileId, int]:
    """Open the file with a lease; return its FileId and the state that came with it."""
    reply = client.call(Command.CREATE, body(state, key, **options))
    lease = lease_of(reply)
    assert lease is not None
    assert lease.lease_key == key
    return reply.file_id, lease.lease_state


def unheard(client: Client, command: int, body: bytes) -> Reply:
    """Send a request that waits for others, who answer no break, until its time is over."""
    number = client.post(command, body)
    replies = client.taken(number)
    if not replies:
        client.engine.clock.advance(LET_GO_SECONDS)
        client.engine.settle()
        replies = client.taken(number)
    (reply,) = replies
    return reply


def breaks(client: Client) -> list[tuple[int, int, int]]:
    """Return what the server told the client: states before and after, flags."""
    found = []
    for reply in client.taken(UNSOLICITED_MESSAGE_ID):
        assert reply.header.command == Command.OPLOCK_BREAK
        assert not reply.header.session_id
        notice = reply.parse(LeaseBreakNotification)
        found.append((notice.current_lease_state, notice.new_lease_state, notice.flags))
    return found


def acknowledge(client: Client, state: int, key: bytes = KEY) -> NtStatus:
    """Answer a break."""
    answer = LeaseBreak(lease_key=key, lease_state=state)
    reply = client.call(Command.OPLOCK_BREAK, answer.pack())
    if reply.status is NtStatus.SUCCESS:
        assert reply.parse(LeaseBreak) == answer
    return reply.status


def untold(client: Client, command: int, body: bytes) -> int:
    """Send a request that waits without an interim response, as from Windows."""
    message_id = client.post(command, body)
    assert client.taken(message_id) == []
    return message_id
