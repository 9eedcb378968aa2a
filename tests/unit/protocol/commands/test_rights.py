"""What a client may not do although no single right of an open stands for it."""

import os
import struct

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES, FILE_READ_DATA, READ_CONTROL
from usmbd.protocol.wire.create import FILE_OPEN, FILE_OPEN_IF
from usmbd.protocol.wire.fscc.set_info import FileLinkInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK, SMB2_LOCKFLAG_FAIL_IMMEDIATELY
from usmbd.protocol.wire.query_info import SMB2_0_INFO_SECURITY
from usmbd.protocol.wire.status import NtStatus


@pytest.fixture
def reader(engine: Engine) -> Client:
    """Return a client of the read-only share, with one file there."""
    (engine.files / "file").write_bytes(b"data")
    return Client(engine).ready(share="readonly")


def test_a_read_only_share_gets_no_new_stream(engine: Engine, reader: Client) -> None:
    status = reader.create("file:new", FILE_READ_DATA, FILE_OPEN_IF)
    assert status is NtStatus.ACCESS_DENIED
    assert not any("DosStream" in name for name in os.listxattr(engine.files / "file"))


def test_a_read_only_share_gets_no_new_link(engine: Engine, reader: Client) -> None:
    opened = reader.open("file", FILE_READ_DATA, FILE_OPEN)
    body = requests.set_info(opened, FileLinkInformation, requests.named("other"))
    assert reader.call(Command.SET_INFO, body).status is NtStatus.ACCESS_DENIED
    assert not (engine.files / "other").exists()


def test_a_descriptor_of_no_part_stores_nothing(engine: Engine) -> None:
    (engine.files / "file").write_bytes(b"data")
    share = engine.shares["readonly"]
    engine.shares["readonly"] = msgspec.structs.replace(share, acl_xattr=True)
    reader = Client(engine).ready(share="readonly")
    opened = reader.open("file", READ_CONTROL, FILE_OPEN)
    descriptor = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)
    body = requests.set_info(opened, 0, descriptor, SMB2_0_INFO_SECURITY)
    assert reader.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    assert not any("NTACL" in name for name in os.listxattr(engine.files / "file"))


def test_who_may_not_read_may_not_lock(reader: Client) -> None:
    opened = reader.open("file", FILE_READ_ATTRIBUTES, FILE_OPEN)
    flags = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY
    reply = reader.call(Command.LOCK, requests.lock(opened, (0, 1, flags)))
    assert reply.status is NtStatus.ACCESS_DENIED
