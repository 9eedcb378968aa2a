"""READ and WRITE by RDMA: what is refused, and what every refusal gives back."""

import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.rdma import (
    CONTENT,
    CREDIT,
    SIZE,
    TRANSFORM,
    V1,
    V1_INVALIDATE,
    Session,
)
from smbengine.server import Engine

from usmbd.protocol.wire.access import FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_OPEN
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK, SMB2_LOCKFLAG_FAIL_IMMEDIATELY
from usmbd.protocol.wire.status import NtStatus
from usmbd.transport.base import RemoteBuffer
from usmbd.transport.smbdirect import connection

INVALID = NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize("dialect", [0x300, 0x302, 0x311])
@pytest.mark.parametrize("channel", [V1, V1_INVALIDATE, TRANSFORM, 4, 0xFFFFFFFF])
def test_without_rdma_there_is_no_channel(tmp_path: Path, dialect: int, channel: int) -> None:
    engine = Engine(tmp_path, transport="memory")
    client = Client(engine).ready(dialect)
    file = client.open("file")
    info = requests.descriptors(RemoteBuffer(0, 1, 100))
    for command, body in (
        (Command.READ, requests.read_remote(file, 100, info, channel)),
        (Command.WRITE, requests.write_remote(file, 100, info, channel)),
    ):
        assert client.call(command, body).status is INVALID
    engine.close()


@pytest.mark.parametrize("transport", ["memory", "smbdirect"])
def test_before_smb3_the_channel_is_reserved(tmp_path: Path, transport: str) -> None:
    engine = Engine(tmp_path, transport=transport)
    client = Client(engine).ready(0x210)
    file = client.open("file")
    client.call(Command.WRITE, requests.write(file, CONTENT[:100]))
    info = requests.descriptors(RemoteBuffer(0, 1, 100))
    reply = client.call(Command.READ, requests.read_remote(file, 100, info, V1_INVALIDATE))
    assert reply.data == CONTENT[:100]
    engine.close()


def test_channels_that_a_dialect_lacks(rdma_engine: Engine) -> None:
    for dialect, channel in ((0x300, V1_INVALIDATE), (0x302, TRANSFORM), (0x311, 4)):
        session = Session(rdma_engine, dialect)
        region = session.register(100)
        assert session.read(100, region.remote(), channel=channel).status is INVALID
        assert session.write(100, region.remote(), channel=channel).status is INVALID
        assert not region.invalidated
    assert session.read(100, region.remote(), channel=TRANSFORM).status is INVALID


BAD_LISTS = {
    "none": b"",
    "cut off": bytes(15),
    "one and a half": struct.pack("<QII", 0x1000, 1, SIZE) + bytes(8),
    "too short": struct.pack("<QII", 0x1000, 1, 999),
    "an empty one first": struct.pack("<QIIQII", 0, 1, 0, 0x1000, 2, 1000),
    "beyond 64 bits": struct.pack("<QII", 2**64 - 999, 1, 1000),
    "a later one beyond": struct.pack("<QIIQII", 0x1000, 1, 1000, 2**64 - 1, 2, 2),
}


@pytest.mark.parametrize("info", BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_bad_descriptors(session: Session, info: bytes) -> None:
    body = requests.read_remote(session.file, 1000, info)
    assert session.client.call(Command.READ, body).status is INVALID
    assert session.write(1000, info).status is INVALID
    assert session.path.read_bytes() == CONTENT


BAD_READS = [
    {"length": 0},
    {"read_channel_info_offset": 0},
    {"read_channel_info_offset": 111},
    {"read_channel_info_offset": 113},
    {"read_channel_info_offset": 0xFFFF},
    {"read_channel_info_length": 0},
    {"read_channel_info_length": 32},
    {"read_channel_info_length": 0xFFFF},
]
BAD_WRITES = [
    {"length": 1},
    {"data_offset": 112},
    {"length": 16, "data_offset": 112},
    {"remaining_bytes": 0},
    {"remaining_bytes": 1001},
    {"remaining_bytes": (8 << 20) + 1},
    {"remaining_bytes": 0xFFFFFFFF},
    {"write_channel_info_offset": 0},
    {"write_channel_info_offset": 111},
    {"write_channel_info_offset": 113},
    {"write_channel_info_length": 0},
    {"write_channel_info_length": 32},
    {"write_channel_info_length": 0xFFFF},
]


@pytest.mark.parametrize("wrong", BAD_READS, ids=str)
def test_bad_reads(session: Session, wrong: dict[str, int]) -> None:
    region = session.register(1000)
    reply = session.read(1000, region.remote(), **wrong)
    assert reply.status is INVALID
    assert region.data == bytes(1000)


@pytest.mark.parametrize("wrong", BAD_WRITES, ids=str)
def test_bad_writes(session: Session, wrong: dict[str, int]) -> None:
    reply = session.write(1000, session.register(1000).remote(), **wrong)
    assert reply.status is INVALID
    assert session.path.read_bytes() == CONTENT


def test_more_than_was_announced(session: Session) -> None:
    size = session.sizes.max_read_size + 1
    assert session.read(size, RemoteBuffer(0, 1, size)).status is INVALID


def test_a_read_without_credits_for_it(session: Session) -> None:
    region = session.register(CREDIT + 1)
    info = requests.descriptors(region.remote())
    body = requests.read_remote(session.file, CREDIT + 1, info, V1_INVALIDATE)
    assert session.client.call(Command.READ, body, credit_charge=1).status is INVALID
    assert region.invalidated


def test_the_server_insists_on_encryption(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, share="sealed", encrypted=True)
    region = session.register(b"secret")
    assert session.write(6, region.remote()).status is NtStatus.ACCESS_DENIED
    session.path.write_bytes(b"hidden")
    assert session.read(6, region.remote()).status is NtStatus.ACCESS_DENIED
    assert region.data == b"secret"
    assert session.path.read_bytes() == b"hidden"


def test_errors_invalidate_too(session: Session) -> None:
    def check(reply: Reply, status: NtStatus) -> None:
        assert reply.status is status
        assert region.invalidated

    def remote() -> RemoteBuffer:
        nonlocal region
        region = session.register(100)
        return region.remote()

    region = session.register(100)
    invalidate = V1_INVALIDATE
    check(session.read(100, remote(), channel=invalidate, offset=SIZE), NtStatus.END_OF_FILE)
    check(session.read(200, remote(), channel=invalidate), INVALID)
    check(session.read(100, remote(), channel=invalidate, offset=2**63), INVALID)
    check(session.write(200, remote(), channel=invalidate), INVALID)
    check(session.write(100, remote(), 2**63, invalidate), INVALID)
    short = {"minimum_count": 100}
    check(session.read(100, remote(), channel=invalidate, offset=SIZE - 99, **short),
          NtStatus.END_OF_FILE)  # fmt: skip
    readable = session.client.open("file", FILE_READ_DATA, FILE_OPEN)
    session.file, own = readable, session.file
    check(session.write(100, remote(), channel=invalidate), NtStatus.ACCESS_DENIED)
    session.file = (own[0], own[1] + 77)
    check(session.read(100, remote(), channel=invalidate), NtStatus.FILE_CLOSED)
    check(session.write(100, remote(), channel=invalidate), NtStatus.FILE_CLOSED)
    session.file = session.client.open("folder", options=1)
    check(session.read(100, remote(), channel=invalidate), NtStatus.INVALID_DEVICE_REQUEST)
    check(session.write(100, remote(), channel=invalidate), NtStatus.INVALID_DEVICE_REQUEST)
    session.file = own
    flags = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY
    lock = requests.lock(session.client.open("file"), (0, 10, flags))
    assert session.client.call(Command.LOCK, lock).status is NtStatus.SUCCESS
    check(session.read(100, remote(), channel=invalidate), NtStatus.FILE_LOCK_CONFLICT)
    check(session.write(100, remote(), channel=invalidate), NtStatus.FILE_LOCK_CONFLICT)
    session.client.tree_id += 1
    check(session.read(100, remote(), channel=invalidate), NtStatus.NETWORK_NAME_DELETED)
    session.client.session_id += 1
    session.client.signer = None
    check(session.write(100, remote(), channel=invalidate), NtStatus.USER_SESSION_DELETED)
    assert session.path.read_bytes() == CONTENT


def test_other_commands_invalidate_nothing(session: Session) -> None:
    region = session.register(100)
    assert session.read(100, region.remote(), offset=SIZE).status is NtStatus.END_OF_FILE
    info = requests.descriptors(region.remote())
    body = requests.read_remote(session.file, 100, info, V1_INVALIDATE)
    assert session.client.call(Command.QUERY_INFO, body).status is not NtStatus.SUCCESS
    assert not region.invalidated


@pytest.mark.parametrize("command", [Command.READ, Command.WRITE])
def test_whoever_pays_for_less_than_is_moved_is_refused(
    rdma_engine: Engine, command: Command
) -> None:
    session = Session(rdma_engine, 0x311)
    client = session.client
    region = session.register(3 * CREDIT)
    info = requests.descriptors(region.remote())
    build = requests.read_remote if command is Command.READ else requests.write_remote
    body = build(session.file, 3 * CREDIT, info, V1_INVALIDATE)
    (reply,) = client.taken(client.post(command, body, credit_charge=2))
    assert reply.status is INVALID
    assert region.invalidated
    assert session.path.stat().st_size == 0


def test_reads_of_one_message_take_no_more_memory_than_those_of_many(
    rdma_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TRANSFERS_HIGH", 3 * CREDIT)
    session = Session(rdma_engine, 0x311)
    session.client.call(Command.WRITE, requests.write(session.file, CONTENT[:CREDIT]))
    region = session.register(CREDIT)
    info = requests.descriptors(region.remote())
    read = (Command.READ, requests.read_remote(session.file, CREDIT, info, V1))
    replies = session.client.compound(*[read] * 5, related=False)
    refused = NtStatus.INSUFFICIENT_RESOURCES
    assert [reply.status for reply in replies] == [NtStatus.SUCCESS] * 3 + [refused] * 2
    assert session.read(CREDIT, region.remote()).status is NtStatus.SUCCESS


def test_memory_is_not_read_for_a_write_that_is_refused(session: Session) -> None:
    session.file = session.client.open("file", FILE_READ_DATA, FILE_OPEN)
    nobodys = RemoteBuffer(0, 1, 100)  # reading that would end the connection
    assert session.write(100, nobodys).status is NtStatus.ACCESS_DENIED
    session.file = session.client.open("folder", options=1)
    assert session.write(100, nobodys).status is NtStatus.INVALID_DEVICE_REQUEST
    assert not session.rdma.lost
