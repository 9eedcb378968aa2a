"""SACLs: for who holds SeSecurityPrivilege ([MS-FSA] 2.1.5.1), which is root here."""

import os

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.access import (
    ACCESS_SYSTEM_SECURITY,
    FILE_READ_ATTRIBUTES,
    MAXIMUM_ALLOWED,
    READ_CONTROL,
)
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DIRECTORY_FILE, FILE_OPEN
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import SACL_SECURITY_INFORMATION, SMB2_0_INFO_SECURITY
from usmbd.protocol.wire.security import (
    CONTAINER_INHERIT_ACE,
    OBJECT_INHERIT_ACE,
    SE_SACL_PRESENT,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import EVERYONE
from usmbd.protocol.wire.status import NtStatus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone holds the privilege")

SYSTEM_AUDIT_ACE_TYPE = 2
FAILED_ACCESS_ACE_FLAG = 0x80
ASKED = ACCESS_SYSTEM_SECURITY | READ_CONTROL
AUDIT = Ace(
    SYSTEM_AUDIT_ACE_TYPE,
    FAILED_ACCESS_ACE_FLAG | OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE,
    READ_CONTROL,
    EVERYONE,
)


@pytest.fixture
def stored(engine: Engine) -> Client:
    """Return root's client of a share that stores NT ACLs."""
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], acl_xattr=True)
    return Client(engine).ready()


def set_sacl(client: Client, file: FileId, *aces: Ace) -> NtStatus:
    descriptor = SecurityDescriptor(sacl=Acl(aces), control=SE_SACL_PRESENT).pack()
    what = SACL_SECURITY_INFORMATION
    body = requests.set_info(file, 0, descriptor, SMB2_0_INFO_SECURITY, what)
    return client.call(Command.SET_INFO, body).status


def sacl(client: Client, file: FileId) -> tuple[Ace, ...]:
    what = SACL_SECURITY_INFORMATION
    body = requests.query_info(file, 0, SMB2_0_INFO_SECURITY, additional=what)
    descriptor = SecurityDescriptor.parse(memoryview(client.call(Command.QUERY_INFO, body).data))
    return descriptor.sacl.aces if descriptor.sacl is not None else ()


def test_root_sets_and_sees_it(stored: Client) -> None:
    folder = stored.open("folder", ASKED, options=FILE_DIRECTORY_FILE)
    assert set_sacl(stored, folder, AUDIT) is NtStatus.SUCCESS
    again = stored.open("folder", ASKED | MAXIMUM_ALLOWED, FILE_OPEN)
    assert sacl(stored, again) == (AUDIT,)
    new = stored.open("folder\\file", ASKED)
    (handed_down,) = sacl(stored, new)
    assert (handed_down.type, handed_down.sid) == (SYSTEM_AUDIT_ACE_TYPE, EVERYONE)
    plain = stored.open("folder", MAXIMUM_ALLOWED, FILE_OPEN)
    assert set_sacl(stored, plain) is NtStatus.ACCESS_DENIED


def test_nobody_else_holds_the_privilege(engine: Engine) -> None:
    (engine.files / "file").touch()
    engine.mountd.identities["bob"] = Identity(2000, 2000)
    bob = Client(engine).ready(user="bob")
    assert bob.create("file", ASKED, FILE_OPEN) is NtStatus.PRIVILEGE_NOT_HELD


def test_what_is_not_stored_is_refused(engine: Engine, client: Client) -> None:
    file = client.open("file", ASKED)
    assert set_sacl(client, file, AUDIT) is NtStatus.NOT_SUPPORTED
    assert set_sacl(client, file) is NtStatus.SUCCESS  # as it is
    assert sacl(client, file) == ()


def test_a_read_only_share_keeps_its_own(engine: Engine) -> None:
    (engine.files / "file").touch()
    share = engine.shares["readonly"]
    engine.shares["readonly"] = msgspec.structs.replace(share, acl_xattr=True)
    reader = Client(engine).ready(share="readonly")
    file = reader.open("file", ASKED | FILE_READ_ATTRIBUTES, FILE_OPEN)
    assert set_sacl(reader, file, AUDIT) is NtStatus.ACCESS_DENIED
    assert sacl(reader, file) == ()


AUDITED = (b"SecD", SecurityDescriptor(sacl=Acl((AUDIT,)), control=SE_SACL_PRESENT).pack())


def test_a_file_is_made_with_one_by_who_holds_the_privilege(stored: Client) -> None:
    new = stored.open("file", ASKED, FILE_CREATE, contexts=[AUDITED])
    assert sacl(stored, new) == (AUDIT,)
    stored.engine.mountd.identities["bob"] = Identity(1001, 1001)
    stored.engine.files.chmod(0o777)
    bob = Client(stored.engine).ready(user="bob")
    body = requests.create("other", disposition=FILE_CREATE, contexts=[AUDITED])
    assert bob.call(Command.CREATE, body).status is NtStatus.PRIVILEGE_NOT_HELD
    nothing = (b"SecD", SecurityDescriptor(sacl=Acl(()), control=SE_SACL_PRESENT).pack())
    body = requests.create("other", disposition=FILE_CREATE, contexts=[nothing])
    assert bob.call(Command.CREATE, body).status is NtStatus.SUCCESS
