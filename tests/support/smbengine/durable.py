"""A client's durable opens: the create contexts that ask for them, and what is answered."""

from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.requests import FileId
from smbengine.server import Engine
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH, CreateResponse
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_DURABLE_HANDLE_RECONNECT,
    SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2,
    SMB2_CREATE_DURABLE_HANDLE_REQUEST,
    SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2,
    DurableReconnect,
    DurableReconnectV2,
    DurableRequestV2,
    parse_contexts,
)
from usmbd.protocol.wire.header import SMB2_FLAGS_REPLAY_OPERATION, Command
from usmbd.protocol.wire.status import NtStatus

Context = tuple[bytes, bytes]
GUID = bytes(range(16))
"""A CreateGuid."""
KEYS = bytes([1] * 16), bytes([2] * 16)
"""Two ids of anything else."""
V1: Context = (SMB2_CREATE_DURABLE_HANDLE_REQUEST, bytes(16))
"""DHnQ."""


def v2(timeout: int = 0, guid: bytes = GUID, flags: int = 0) -> Context:
    """DH2Q."""
    data = DurableRequestV2(timeout=timeout, flags=flags, create_guid=guid).pack()
    return SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2, data


def again(file: FileId, guid: bytes | None = None, flags: int = 0) -> Context:
    """DHnC, or DH2C with a CreateGuid."""
    if guid is None:
        data = DurableReconnect(persistent=file[0], volatile=file[1]).pack()
        return SMB2_CREATE_DURABLE_HANDLE_RECONNECT, data
    fields = DurableReconnectV2(persistent=file[0], volatile=file[1], create_guid=guid, flags=flags)
    return SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2, fields.pack()


def create(
    client: Client,
    *contexts: Context,
    name: str = "file",
    oplock: int = SMB2_OPLOCK_LEVEL_BATCH,
    replay: bool = False,
    **options: int,
) -> Reply:
    """CREATE with contexts."""
    body = requests.create(name, oplock=oplock, contexts=contexts, **options)
    flags = SMB2_FLAGS_REPLAY_OPERATION if replay else 0
    return client.call(Command.CREATE, body, flags=flags)


def granted(reply: Reply) -> dict[bytes, bytes]:
    """Return the contexts of a CREATE's answer."""
    assert reply.status is NtStatus.SUCCESS, reply.status
    fixed = reply.parse(CreateResponse)
    start = fixed.create_contexts_offset
    data = memoryview(reply.message)[start : start + fixed.create_contexts_length]
    return {name: bytes(value) for name, value in parse_contexts(data).items()}


def durable(client: Client, context: Context = V1, **options: int) -> FileId:
    """Open a file durably."""
    reply = create(client, context, **options)
    assert context[0] in granted(reply)
    return reply.file_id


def back(engine: Engine, client: Client, **options: str) -> Client:
    """Return the client as it comes back: with the ClientGuid that it had."""
    return Client(engine, client.guid).ready(**options)
