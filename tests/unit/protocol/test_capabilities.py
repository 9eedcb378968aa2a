"""Every bit that a volume or connection announces has its effect; no other is announced."""

import struct

import pytest
from smbengine import leases, requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.state.caching.rules import RH, RWH
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, FILE_OPEN, SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_REQUEST_LEASE, LeaseV2
from usmbd.protocol.wire.fscc import attributes as bits
from usmbd.protocol.wire.fscc.file_info import FileNameInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.negotiate import (
    SMB2_GLOBAL_CAP_DIRECTORY_LEASING,
    SMB2_GLOBAL_CAP_ENCRYPTION,
    SMB2_GLOBAL_CAP_LARGE_MTU,
    SMB2_GLOBAL_CAP_LEASING,
    SMB2_GLOBAL_CAP_MULTI_CHANNEL,
    NegotiateResponse,
)
from usmbd.protocol.wire.query_info import SMB2_0_INFO_FILESYSTEM, SMB2_0_INFO_SECURITY
from usmbd.protocol.wire.security import Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import EVERYONE, unix_user
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.wire.tree_connect import TreeConnectResponse

FileFsAttributeInformation = 5
SUCCESS, INVALID = NtStatus.SUCCESS, NtStatus.INVALID_PARAMETER


def announced(client: Client) -> int:
    """Return FileSystemAttributes of the client's share."""
    root = client.open("", 0x80, FILE_OPEN)
    body = requests.query_info(root, FileFsAttributeInformation, SMB2_0_INFO_FILESYSTEM)
    (value,) = struct.unpack_from("<I", client.call(Command.QUERY_INFO, body).data)
    client.close(root)
    return int(value)


def case_is_preserved(client: Client, engine: Engine) -> None:
    client.close(client.open("MiXed"))
    assert [path.name for path in engine.files.iterdir()] == ["MiXed"]


def case_can_be_told_apart(client: Client, engine: Engine) -> None:
    (engine.files / "one").write_bytes(b"1")
    (engine.files / "ONE").write_bytes(b"22")
    for name, size in (("one", 1), ("ONE", 2)):
        opened = client.open(name, disposition=FILE_OPEN)
        info = client.call(Command.QUERY_INFO, requests.query_info(opened, 5)).data
        assert struct.unpack_from("<Q", info, 8) == (size,)


def names_are_unicode(client: Client, engine: Engine) -> None:
    opened = client.open("日本 Ü")
    body = requests.query_info(opened, FileNameInformation)
    assert "日本 Ü".encode("utf-16-le") in client.call(Command.QUERY_INFO, body).data
    assert (engine.files / "日本 Ü").exists()


def acls_persist(client: Client, engine: Engine) -> None:
    (engine.files / "file").touch()
    owner = (engine.files / "file").stat().st_uid
    opened = client.open("file", 0x000E0000, FILE_OPEN)
    aces = (Ace(0, 0, 0x001F01FF, unix_user(owner)), Ace(0, 0, 0x00120089, EVERYONE))
    sent = SecurityDescriptor(dacl=Acl(aces), control=4).pack()
    body = requests.set_info(opened, 0, sent, SMB2_0_INFO_SECURITY, 4)
    assert client.call(Command.SET_INFO, body).status is SUCCESS
    assert (engine.files / "file").stat().st_mode & 0o777 == 0o644


def files_are_sparse(client: Client, engine: Engine) -> None:
    path = engine.files / "file"
    path.write_bytes(b"x" * (1 << 20))
    opened, before = client.open("file"), path.stat().st_blocks
    zeros = struct.pack("<QQ", 0, 1 << 19)
    for code, data in ((fsctl.FSCTL_SET_SPARSE, b""), (fsctl.FSCTL_SET_ZERO_DATA, zeros)):
        assert client.call(Command.IOCTL, requests.ioctl(opened, code, data)).status is SUCCESS
    assert path.stat().st_blocks < before


def streams_have_names(client: Client, engine: Engine) -> None:
    opened = client.open("file:stream")
    assert client.call(Command.WRITE, requests.write(opened, b"abc")).status is SUCCESS
    assert client.call(Command.READ, requests.read(opened, 3)).data == b"abc"
    assert (engine.files / "file").stat().st_size == 0


def files_point_elsewhere(client: Client, engine: Engine) -> None:
    opened, point = client.open("file"), struct.pack("<IHH", 0x80000042, 4, 0) + b"data"
    code = fsctl.FSCTL_SET_REPARSE_POINT
    assert client.call(Command.IOCTL, requests.ioctl(opened, code, point)).status is SUCCESS
    assert client.create("file", disposition=FILE_OPEN) is NtStatus.IO_REPARSE_TAG_NOT_HANDLED


EFFECTS = {
    bits.FILE_CASE_SENSITIVE_SEARCH: case_can_be_told_apart,
    bits.FILE_CASE_PRESERVED_NAMES: case_is_preserved,
    bits.FILE_UNICODE_ON_DISK: names_are_unicode,
    bits.FILE_PERSISTENT_ACLS: acls_persist,
    bits.FILE_SUPPORTS_SPARSE_FILES: files_are_sparse,
    bits.FILE_SUPPORTS_REPARSE_POINTS: files_point_elsewhere,
    bits.FILE_NAMED_STREAMS: streams_have_names,
}


def test_no_other_bit_is_announced(client: Client) -> None:
    assert announced(client) == sum(EFFECTS)


@pytest.mark.parametrize("bit", EFFECTS, ids=lambda bit: EFFECTS[bit].__name__)
def test_the_file_system_does_what_it_announces(client: Client, engine: Engine, bit: int) -> None:
    assert announced(client) & bit
    EFFECTS[bit](client, engine)


def test_a_read_only_share_says_so(engine: Engine) -> None:
    reader = Client(engine).ready(share="readonly")
    assert announced(reader) & bits.FILE_READ_ONLY_VOLUME
    assert reader.create("new") is NtStatus.ACCESS_DENIED


def test_share_flags_and_capabilities(engine: Engine) -> None:
    """Manual caching is the default; a sealed share says what it demands."""
    client = Client(engine).ready()
    plain = client.connect().parse(TreeConnectResponse)
    assert (plain.share_flags, plain.capabilities) == (0, 0)
    sealed = client.connect("sealed").parse(TreeConnectResponse)
    assert (sealed.share_flags, sealed.capabilities) == (0x8000, 0)


def large_messages_are_taken(client: Client, engine: Engine) -> None:
    data = bytes(range(256)) * 1024
    opened = client.open("file")
    sent = client.call(Command.WRITE, requests.write(opened, data), credit_charge=4)
    assert sent.status is SUCCESS
    read = client.call(Command.READ, requests.read(opened, len(data)), credit_charge=4)
    assert read.data == data


def a_session_has_two_channels(client: Client, engine: Engine) -> None:
    second = Client(engine, client.guid)
    second.negotiate(client.dialect)
    assert second.bind(client).status is SUCCESS
    second.tree_id = client.tree_id
    assert client.close(second.open("file")) is SUCCESS


def messages_are_encrypted(client: Client, engine: Engine) -> None:
    client.seals = True
    opened = client.open("file")
    reply = client.call(Command.WRITE, requests.write(opened, b"abc"))
    assert reply.status is SUCCESS
    assert client.opened == 2


def a_lease_is_given(client: Client, engine: Engine) -> None:
    assert leases.take(client, RWH, name="leased")[1] == RWH


def a_directory_has_a_lease(client: Client, engine: Engine) -> None:
    lease = LeaseV2(lease_key=leases.KEY, lease_state=RH).pack()
    asked = requests.create(
        "leased folder",
        oplock=SMB2_OPLOCK_LEVEL_LEASE,
        options=FILE_DIRECTORY_FILE,
        contexts=[(SMB2_CREATE_REQUEST_LEASE, lease)],
    )
    got = leases.lease_of(client.call(Command.CREATE, asked))
    assert got is not None
    assert got.lease_state == RH


CONNECTION_EFFECTS = {
    SMB2_GLOBAL_CAP_DIRECTORY_LEASING: a_directory_has_a_lease,
    SMB2_GLOBAL_CAP_LEASING: a_lease_is_given,
    SMB2_GLOBAL_CAP_LARGE_MTU: large_messages_are_taken,
    SMB2_GLOBAL_CAP_MULTI_CHANNEL: a_session_has_two_channels,
    SMB2_GLOBAL_CAP_ENCRYPTION: messages_are_encrypted,
}

DIALECT_BITS = {
    0x202: 0,
    0x210: SMB2_GLOBAL_CAP_LEASING | SMB2_GLOBAL_CAP_LARGE_MTU,
    # 3.1.1 says in a context that it encrypts ([MS-SMB2] 3.3.5.4).
    0x300: sum(CONNECTION_EFFECTS),
    0x302: sum(CONNECTION_EFFECTS),
    0x311: sum(CONNECTION_EFFECTS) & ~SMB2_GLOBAL_CAP_ENCRYPTION,
}


@pytest.mark.parametrize("dialect", DIALECT_BITS, ids=hex)
def test_a_connection_does_what_its_dialect_announces(engine: Engine, dialect: int) -> None:
    """Every bit of NEGOTIATE is announced where it works, and has its effect there."""
    reply = Client(engine).negotiate(dialect).parse(NegotiateResponse)
    assert reply.capabilities == DIALECT_BITS[dialect]
    for bit, effect in CONNECTION_EFFECTS.items():
        if bit & reply.capabilities:
            effect(Client(engine).ready(dialect), engine)


def test_what_is_not_announced_is_refused(engine: Engine) -> None:
    """Without LARGE_MTU there is no READ beyond 64 KiB ([MS-SMB2] 3.3.5.12)."""
    client = Client(engine).ready(0x202)
    opened = client.open("file")
    assert client.call(Command.READ, requests.read(opened, 65537)).status is INVALID
