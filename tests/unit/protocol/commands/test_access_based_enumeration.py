"""What `hide unreadable` leaves out of listings where NT ACLs are stored."""

import struct

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.vfs import acl
from usmbd.protocol.wire.access import (
    FILE_ALL_ACCESS,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_READ_EA,
    READ_CONTROL,
)
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, FILE_OPEN
from usmbd.protocol.wire.fscc.directory import FileNamesInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import SMB2_0_INFO_SECURITY
from usmbd.protocol.wire.security import Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import EVERYONE, Sid
from usmbd.protocol.wire.status import NtStatus

READS = FILE_READ_DATA | FILE_READ_EA | FILE_READ_ATTRIBUTES | READ_CONTROL
NOBODY = Sid(5, (21, 1, 2, 3, 4))


@pytest.fixture(autouse=True)
def ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have descriptors count for the tests' own user, who may be root."""
    monkeypatch.setattr(acl, "overrides", lambda identity: False)


def connected(engine: Engine, **more: bool) -> Client:
    share = engine.shares["data"]
    options = {name: getattr(share, name) for name in share.__struct_fields__}
    engine.mountd.shares["data"] = type(share)(**options | {"acl_xattr": True} | more)
    return Client(engine).ready()


def names(client: Client) -> set[str]:
    root = client.open("", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)
    data = client.call(
        Command.QUERY_DIRECTORY, requests.query_directory(root, FileNamesInformation)
    ).data
    found = set()
    while data:
        following, _, length = struct.unpack_from("<III", data)
        found.add(data[12 : 12 + length].decode("utf-16-le"))
        data = data[following:] if following else b""
    return found - {".", ".."}


def give(client: Client, name: str, *aces: Ace, options: int = 0) -> None:
    opened = client.open(name, FILE_ALL_ACCESS & ~0x01000000, options=options)
    sent = SecurityDescriptor(dacl=Acl(aces), control=4)
    body = requests.set_info(opened, 0, sent.pack(), SMB2_0_INFO_SECURITY, 4)
    assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    client.close(opened)


@pytest.mark.parametrize("options", [0, FILE_DIRECTORY_FILE])
def test_what_a_descriptor_does_not_let_read(engine: Engine, options: int) -> None:
    """Each of the rights that smbd asks for counts."""
    client = connected(engine, hide_unreadable=True)
    give(client, "seen", Ace(0, 0, READS, EVERYONE), options=options)
    give(client, "nobody's", Ace(0, 0, FILE_ALL_ACCESS, NOBODY), options=options)
    give(client, "denied", Ace(1, 0, FILE_READ_DATA, EVERYONE), Ace(0, 0, READS, EVERYONE),
         options=options)  # fmt: skip
    for right in (FILE_READ_DATA, FILE_READ_EA, FILE_READ_ATTRIBUTES):
        name = f"without {right:x}"
        give(client, name, Ace(0, 0, READS & ~right, EVERYONE), options=options)
    assert names(client) == {"seen"}
    assert len(names(connected(engine, hide_unreadable=False))) == 6


def test_a_long_list(engine: Engine) -> None:
    """Entries that are about others hide nothing and show nothing."""
    client = connected(engine, hide_unreadable=True)
    others = (Ace(0, 0, READS, Sid(5, (21, 1, 2, 3, each))) for each in range(90))
    give(client, "seen", *others, Ace(0, 0, READS, EVERYONE))
    give(client, "unseen", *(Ace(0, 0, READS, Sid(5, (21, 1, 2, 3, n))) for n in range(90)))
    assert names(client) == {"seen"}


def test_a_link_shows_as_what_it_leads_to(engine: Engine) -> None:
    client = connected(engine, hide_unreadable=True, follow_symlinks=True)
    give(client, "seen", Ace(0, 0, READS, EVERYONE))
    give(client, "unseen", Ace(0, 0, READS, NOBODY))
    for name in ("seen", "unseen"):
        (engine.files / f"to-{name}").symlink_to(name)
    assert names(client) == {"seen", "to-seen"}
