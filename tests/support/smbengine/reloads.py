"""What mountd's files say anew, and what a client does afterwards."""

import msgspec

from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus


def change(engine: Engine, share: str = "data", **options: object) -> None:
    """Change a share's configuration as mountd has it."""
    engine.shares[share] = msgspec.structs.replace(engine.shares[share], **options)


def write(client: Client, file: FileId) -> NtStatus:
    """Write to a file; return what came of it."""
    return client.call(Command.WRITE, requests.write(file, b"new")).status
