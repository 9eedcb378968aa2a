"""ChannelSequence and replays: what a lost channel still brings changes nothing."""

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire.fsctl import FSCTL_SET_SPARSE
from usmbd.protocol.wire.header import SMB2_FLAGS_REPLAY_OPERATION, Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK,
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY,
    SMB2_LOCKFLAG_UNLOCK,
)
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_210, SMB2_DIALECT_300
from usmbd.protocol.wire.status import NtStatus

REPLAY = SMB2_FLAGS_REPLAY_OPERATION
POSITION = 14  # FilePositionInformation

MODIFYING = {
    "WRITE": (Command.WRITE, lambda file: requests.write(file, b"data")),
    "SET_INFO": (Command.SET_INFO, lambda file: requests.set_info(file, POSITION, bytes(8))),
    "IOCTL": (Command.IOCTL, lambda file: requests.ioctl(file, FSCTL_SET_SPARSE)),
}


@pytest.mark.parametrize("flags", [0, REPLAY], ids=["new", "replay"])
@pytest.mark.parametrize("command", MODIFYING)
def test_what_changes_something_is_refused_when_it_is_late(
    client: Client, command: str, flags: int
) -> None:
    """A sequence is later by up to 0x7FFF, modulo 2^16, and then the open's; else it is late."""
    code, build = MODIFYING[command]
    file = client.open("file")
    for sequence, status in (
        (0, NtStatus.SUCCESS),
        (0x8000, NtStatus.FILE_NOT_AVAILABLE),
        (0xFFFF, NtStatus.FILE_NOT_AVAILABLE),
        (0x7FFF, NtStatus.SUCCESS),
        (0x7FFE, NtStatus.FILE_NOT_AVAILABLE),
        (0, NtStatus.FILE_NOT_AVAILABLE),
        (0xFFFE, NtStatus.SUCCESS),
        (1, NtStatus.SUCCESS),
        (0xFFFE, NtStatus.FILE_NOT_AVAILABLE),
        (1, NtStatus.SUCCESS),
    ):
        reply = client.call(code, build(file), status=sequence, flags=flags)
        assert reply.status is status, hex(sequence)


def test_what_only_reads_is_served_however_late(client: Client) -> None:
    file = client.open("file")
    client.call(Command.WRITE, requests.write(file, b"data"), status=5)
    reply = client.call(Command.READ, requests.read(file, 4), status=4)
    assert reply.data == b"data"
    assert client.call(Command.CLOSE, requests.close(file), status=4).status is NtStatus.SUCCESS


def test_an_open_begins_with_the_sequence_of_its_create(client: Client) -> None:
    """A client that has lost many channels begins far from 0."""
    file = client.call(Command.CREATE, requests.create("file"), status=0x9000).file_id
    write = requests.write(file, b"data")
    assert client.call(Command.WRITE, write, status=0x9000).status is NtStatus.SUCCESS
    assert client.call(Command.WRITE, write).status is NtStatus.SUCCESS  # 0x7000 further on
    late = client.call(Command.WRITE, write, status=0x9000)
    assert late.status is NtStatus.FILE_NOT_AVAILABLE


def test_older_dialects_have_no_sequence(engine: Engine) -> None:
    client = Client(engine).ready(SMB2_DIALECT_210)
    file = client.open("file")
    for sequence in (0x7000, 0, 0xFFFF):
        reply = client.call(Command.WRITE, requests.write(file, b"data"), status=sequence)
        assert reply.status is NtStatus.SUCCESS
    newer = Client(engine).ready(SMB2_DIALECT_300)
    file = newer.open("file")
    reply = newer.call(Command.WRITE, requests.write(file, b"data"), status=0xFFFF)
    assert reply.status is NtStatus.FILE_NOT_AVAILABLE


def waiting_lock(client: Client, file: FileId, **fields: int) -> tuple[int, int]:
    """Have a LOCK of the open wait."""
    body = requests.lock(file, (0, 1, SMB2_LOCKFLAG_EXCLUSIVE_LOCK))
    return client.pending(Command.LOCK, body, **fields)


def hold(client: Client) -> FileId:
    """Return an open of the file that has locked what the others want."""
    holder = client.open("file")
    flags = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY
    client.call(Command.LOCK, requests.lock(holder, (0, 1, flags)))
    return holder


def test_a_replay_waits_for_what_an_earlier_channel_began(client: Client) -> None:
    """Open.OutstandingPreRequestCount: the original might still act after its replay."""
    holder, file = hold(client), client.open("file")
    began = waiting_lock(client, file)
    write = requests.write(file, b"data", 8)
    for _ in range(2):
        replay = client.call(Command.WRITE, write, status=1, flags=REPLAY)
        assert replay.status is NtStatus.FILE_NOT_AVAILABLE
    assert client.call(Command.WRITE, write, status=1).status is NtStatus.SUCCESS  # a new one
    client.call(Command.LOCK, requests.lock(holder, (0, 1, SMB2_LOCKFLAG_UNLOCK)))
    assert client.taken(began[0])[0].status is NtStatus.SUCCESS
    replay = client.call(Command.WRITE, write, status=1, flags=REPLAY)
    assert replay.status is NtStatus.SUCCESS


def test_a_replay_need_not_wait_for_its_own_channel(client: Client) -> None:
    """Requests of the same sequence are no originals of it."""
    holder, file = hold(client), client.open("file")
    began = waiting_lock(client, file, status=3)
    write = requests.write(file, b"data", 8)
    assert client.call(Command.WRITE, write, status=3, flags=REPLAY).status is NtStatus.SUCCESS
    client.cancel(*began, status=3)
    assert client.taken(began[0])[0].status is NtStatus.CANCELLED
    open_ = client.open_of(file)
    assert (open_.outstanding, open_.outstanding_pre) == (0, 0)
    assert client.close(holder) is NtStatus.SUCCESS


def test_calls_on_threads_are_outstanding(client: Client, engine: Engine) -> None:
    file = client.open("file")
    engine.threads.held = True
    began = client.post(Command.FLUSH, requests.flush(file))
    write = requests.write(file, b"data")
    replay = client.call(Command.WRITE, write, status=1, flags=REPLAY)
    assert replay.status is NtStatus.FILE_NOT_AVAILABLE
    engine.release(engine.threads)
    assert client.taken(began)[0].status is NtStatus.SUCCESS
    assert client.call(Command.WRITE, write, status=1, flags=REPLAY).status is NtStatus.SUCCESS
    open_ = client.open_of(file)
    assert (open_.outstanding, open_.outstanding_pre) == (0, 0)
