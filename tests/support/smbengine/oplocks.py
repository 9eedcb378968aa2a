"""Oplocks as a client sees them: asked for by CREATE, broken, acknowledged."""

from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from usmbd.protocol.wire.create import CreateResponse
from usmbd.protocol.wire.header import UNSOLICITED_MESSAGE_ID, Command
from usmbd.protocol.wire.oplock_break import OplockBreak
from usmbd.protocol.wire.status import NtStatus


def create(client: Client, level: int, name: str = "file", **options: int) -> tuple[FileId, int]:
    """Open the file; return its FileId and the oplock that came with it."""
    reply = client.call(Command.CREATE, requests.create(name, oplock=level, **options))
    return reply.file_id, reply.parse(CreateResponse).oplock_level


def breaks(client: Client) -> list[tuple[FileId, int]]:
    """Return what the server asked the client to give up."""
    found = []
    for reply in client.taken(UNSOLICITED_MESSAGE_ID):
        assert reply.header.command == Command.OPLOCK_BREAK
        body = reply.parse(OplockBreak)
        found.append(((body.persistent, body.volatile), body.oplock_level))
    return found


def acknowledge(client: Client, file: FileId, level: int) -> NtStatus:
    """Answer a break."""
    body = OplockBreak(oplock_level=level, persistent=file[0], volatile=file[1])
    return client.call(Command.OPLOCK_BREAK, body.pack()).status
