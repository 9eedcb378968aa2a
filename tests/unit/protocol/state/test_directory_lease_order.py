"""When who has a lease on a directory is told of what he, and a local program, change in it."""

import struct

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import KEY, breaks, take
from smbengine.notify import basic, set_info
from smbengine.server import Engine

from usmbd.protocol.state.caching.rules import RH
from usmbd.protocol.state.notify.attributes import HELD_SECONDS
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY
from usmbd.protocol.wire.create import (
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    SMB2_OPLOCK_LEVEL_LEASE,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_REQUEST_LEASE,
    SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET,
    LeaseV2,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus


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


def test_a_local_program_right_after_oneself(client: Client, engine: Engine) -> None:
    """What a client does that names its lease breaks nothing, what comes next does."""
    (engine.files / "dir").mkdir()
    (engine.files / "dir" / "file").touch()
    asked = {"options": FILE_DIRECTORY_FILE, "access": FILE_LIST_DIRECTORY}
    take(client, RH, name="dir", version=2, **asked)
    lease = LeaseV2(
        lease_key=bytes(range(16)),
        lease_state=RH,
        lease_flags=SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET,
        parent_lease_key=KEY,
    )
    contexts = [(SMB2_CREATE_REQUEST_LEASE, lease.pack())]
    file = client.open(r"dir\file", oplock=SMB2_OPLOCK_LEVEL_LEASE, contexts=contexts)
    for data in (basic(attributes=2), struct.pack("<QQQQII", 0, 0, 0, 1 << 57, 0, 0)):
        assert set_info(client, file, 4, data) is NtStatus.SUCCESS
        engine.clock.advance(HELD_SECONDS)
        assert breaks(client) == []
    assert set_info(client, file, 4, basic(attributes=1)) is NtStatus.SUCCESS
    (engine.files / "dir" / "file").chmod(0o600)
    engine.settle()
    engine.clock.advance(HELD_SECONDS)
    engine.settle()
    assert [old for old, _, _ in breaks(client)] == [RH]
