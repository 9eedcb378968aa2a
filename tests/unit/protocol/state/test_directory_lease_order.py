"""When who has a lease on a directory is told of what he changes in it himself."""

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import take
from smbengine.server import Engine

from usmbd.protocol.state.caching.rules import RH
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_DIRECTORY_FILE
from usmbd.protocol.wire.header import Command


@pytest.mark.parametrize("what", ["rename", "create", "delete"])
def test_the_answer_comes_before_the_break(client: Client, engine: Engine, what: str) -> None:
    """Which a client may take for another's change while it waits (Samba's smb2.dirlease)."""
    (engine.files / "dir").mkdir()
    options = FILE_DELETE_ON_CLOSE if what == "delete" else 0
    file = client.open(r"dir\old", options=options)
    asked = {"options": FILE_DIRECTORY_FILE, "access": FILE_LIST_DIRECTORY}
    _, granted = take(client, RH, name="dir", version=2, **asked)
    assert granted == RH
    command, body = {
        "rename": (Command.SET_INFO, requests.rename(file, r"dir\new")),
        "create": (Command.CREATE, requests.create(r"dir\new")),
        "delete": (Command.CLOSE, requests.close(file)),
    }[what]
    client.post(command, body)
    engine.settle()
    told = [reply.header.command for reply in client.replies]
    assert told == [command, Command.OPLOCK_BREAK]
