"""Leases between clients: granted, broken by what others do, acknowledged, lost to silence."""

import os
from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import KEY, acknowledge, body, breaks, lease_of, take, unheard, untold
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.state.caching.rules import NONE, RH, RW, RWH, R, W
from usmbd.protocol.state.store.records import OpenRecord
from usmbd.protocol.wire.access import DELETE, FILE_READ_ATTRIBUTES, FILE_READ_DATA
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OVERWRITE_IF,
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_LEASE,
    SMB2_OPLOCK_LEVEL_NONE,
    CreateResponse,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_REQUEST_LEASE,
    SMB2_LEASE_FLAG_BREAK_IN_PROGRESS,
    SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET,
    LeaseV1,
    LeaseV2,
)
from usmbd.protocol.wire.fscc.set_info import FileDispositionInformation, FileRenameInformation
from usmbd.protocol.wire.header import UNSOLICITED_MESSAGE_ID, Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK
from usmbd.protocol.wire.negotiate import SMB2_GLOBAL_CAP_LEASING
from usmbd.protocol.wire.oplock_break import (
    SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED,
    LeaseBreakNotification,
)
from usmbd.protocol.wire.status import NtStatus

KEY_2, PARENT = b"2" * 16, b"p" * 16
ACK = SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED


@pytest.mark.parametrize("dialect", [0x202, 0x210, 0x300, 0x302, 0x311])
def test_who_has_leases(engine: Engine, dialect: int) -> None:
    client = Client(engine)
    client.negotiate(dialect)
    offered = client.connection.server_capabilities & SMB2_GLOBAL_CAP_LEASING
    assert bool(offered) is (dialect > 0x202)
    client.login()
    client.connect()
    got = lease_of(client.call(Command.CREATE, body(RWH)))
    assert (got is not None) is (dialect > 0x202)
    got = lease_of(client.call(Command.CREATE, body(RWH, KEY_2, "other", version=2)))
    assert (got is not None) is (dialect >= 0x300)


def test_they_can_be_switched_off(engine: Engine) -> None:
    engine.server.config = engine.config({"leases": False})
    client = Client(engine).ready()
    assert not client.connection.server_capabilities & SMB2_GLOBAL_CAP_LEASING
    assert lease_of(client.call(Command.CREATE, body(RWH))) is None


def test_no_context_is_no_lease(client: Client) -> None:
    plain = requests.create("file", oplock=SMB2_OPLOCK_LEVEL_LEASE)
    assert lease_of(client.call(Command.CREATE, plain)) is None
    contexts = [(SMB2_CREATE_REQUEST_LEASE, LeaseV1(lease_key=KEY, lease_state=RWH).pack())]
    oplock = requests.create("file", oplock=SMB2_OPLOCK_LEVEL_NONE, contexts=contexts)
    assert lease_of(client.call(Command.CREATE, oplock)) is None


@pytest.mark.parametrize("size", [0, 16, 31, 33, 51, 53])
def test_a_malformed_context_is_refused(client: Client, size: int) -> None:
    contexts = [(SMB2_CREATE_REQUEST_LEASE, bytes(size))]
    wrong = requests.create("file", oplock=SMB2_OPLOCK_LEVEL_LEASE, contexts=contexts)
    assert client.call(Command.CREATE, wrong).status is NtStatus.INVALID_PARAMETER


def test_version_2_has_epoch_and_parent(client: Client) -> None:
    asked = LeaseV2(
        lease_key=KEY,
        lease_state=RW,
        lease_flags=SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET,
        parent_lease_key=PARENT,
        epoch=0x10,
    )
    contexts = [(SMB2_CREATE_REQUEST_LEASE, asked.pack())]
    create = requests.create("file", oplock=SMB2_OPLOCK_LEVEL_LEASE, contexts=contexts)
    asked.epoch += 1
    assert lease_of(client.call(Command.CREATE, create)) == asked


def test_the_version_is_that_of_the_first_open(client: Client) -> None:
    assert isinstance(lease_of(client.call(Command.CREATE, body(R, version=2))), LeaseV2)
    assert isinstance(lease_of(client.call(Command.CREATE, body(RH))), LeaseV2)
    assert isinstance(lease_of(client.call(Command.CREATE, body(R, KEY_2))), LeaseV1)
    assert isinstance(lease_of(client.call(Command.CREATE, body(R, KEY_2, version=2))), LeaseV1)


def test_a_key_is_for_one_file(client: Client, engine: Engine) -> None:
    take(client, RWH)
    wrong = client.call(Command.CREATE, body(RWH, name="another", disposition=FILE_CREATE))
    assert wrong.status is NtStatus.INVALID_PARAMETER
    assert not (engine.files / "another").exists()
    folder = body(RWH, name="folder", options=FILE_DIRECTORY_FILE)
    assert client.call(Command.CREATE, folder).status is NtStatus.INVALID_PARAMETER
    assert not (engine.files / "folder").exists()


def test_the_names_of_a_file_share_a_key(client: Client, engine: Engine) -> None:
    (engine.files / "file").write_bytes(b"")
    (engine.files / "hard").hardlink_to(engine.files / "file")
    take(client, RWH)
    assert take(client, RWH, name="hard")[1] == RWH


def test_a_key_is_free_again_with_the_last_close(client: Client) -> None:
    one, two = take(client, R)[0], take(client, R)[0]
    client.close(one)
    assert not client.create("another", FILE_READ_DATA)
    assert client.call(Command.CREATE, body(R, name="another")).status is (
        NtStatus.INVALID_PARAMETER
    )
    client.close(two)
    take(client, R, name="another")


def test_keys_are_each_client_s_own(client: Client, other: Client) -> None:
    take(client, R)
    take(other, R, name="another")
    assert take(other, R, KEY_2)[1] == R


def test_an_open_waits_for_the_writer_s_answer(client: Client, other: Client) -> None:
    take(client, RWH)
    message_id, _ = other.pending(Command.CREATE, body(RWH))
    assert breaks(client) == [(RWH, RH, ACK)]
    assert acknowledge(client, RH) is NtStatus.SUCCESS
    (reply,) = other.taken(message_id)
    lease = lease_of(reply)
    assert lease is not None
    assert lease.lease_state == RH


@pytest.mark.parametrize(("held", "left"), [(RW, SMB2_OPLOCK_LEVEL_II), (RWH, 0)])
def test_an_oplock_s_open_breaks_a_lease(
    client: Client, other: Client, held: int, left: int
) -> None:
    take(client, held)
    asked = requests.create("file", oplock=SMB2_OPLOCK_LEVEL_BATCH)
    message_id, _ = other.pending(Command.CREATE, asked)
    assert breaks(client) == [(held, held & ~W, ACK)]
    acknowledge(client, held & ~W)
    assert other.taken(message_id)[0].parse(CreateResponse).oplock_level == left


def test_a_dialect_without_leases_breaks_them_too(client: Client, engine: Engine) -> None:
    take(client, RWH)
    old = Client(engine).ready(0x202)
    message_id, _ = old.pending(Command.CREATE, requests.create("file"))
    assert breaks(client) == [(RWH, RH, ACK)]
    acknowledge(client, RH)
    assert old.taken(message_id)[0].status is NtStatus.SUCCESS


def test_an_own_open_with_the_key_waits_for_nothing(client: Client, other: Client) -> None:
    take(client, RWH)
    other.pending(Command.CREATE, requests.create("file"))
    lease = lease_of(client.call(Command.CREATE, body(RWH)))
    assert lease is not None
    assert lease.lease_state == RWH
    assert lease.lease_flags == SMB2_LEASE_FLAG_BREAK_IN_PROGRESS


def test_a_lost_client_does_not_hold_up_others(client: Client, other: Client) -> None:
    take(client, RWH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    client.disconnect()
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_a_close_answers_as_well(client: Client, other: Client) -> None:
    file, _ = take(client, RWH)
    message_id, _ = other.pending(Command.CREATE, body(RWH))
    client.close(file)
    lease = lease_of(other.taken(message_id)[0])
    assert lease is not None
    assert lease.lease_state == RWH


def test_the_wait_can_be_cancelled(client: Client, other: Client) -> None:
    take(client, RWH)
    message_id, async_id = other.pending(Command.CREATE, requests.create("file"))
    other.cancel(message_id, async_id)
    assert other.taken(message_id)[0].status is NtStatus.CANCELLED
    assert acknowledge(client, RH) is NtStatus.SUCCESS
    assert other.session.open_table == {}


def test_overwriting_breaks_to_nothing(client: Client, other: Client) -> None:
    take(client, RWH)
    message_id, _ = other.pending(
        Command.CREATE, requests.create("file", disposition=FILE_OVERWRITE_IF)
    )
    assert breaks(client) == [(RWH, NONE, ACK)]
    acknowledge(client, NONE)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_a_second_break_is_told_after_the_first(client: Client, other: Client) -> None:
    take(client, RWH)
    one, _ = other.pending(Command.CREATE, requests.create("file"))
    overwrite = requests.create("file", disposition=FILE_OVERWRITE_IF)
    two, _ = other.pending(Command.CREATE, overwrite)
    assert breaks(client) == [(RWH, RH, ACK)]
    acknowledge(client, RH)
    client.engine.clock.advance(0)
    client.engine.settle()
    assert breaks(client) == [(RH, R, ACK)]
    assert other.taken(one) == other.taken(two) == []
    acknowledge(client, R)
    client.engine.clock.advance(0)
    client.engine.settle()
    assert breaks(client) == [(R, NONE, 0)]
    assert other.taken(one)[0].status is other.taken(two)[0].status is NtStatus.SUCCESS


def test_a_look_at_attributes_breaks_nothing(client: Client, other: Client) -> None:
    take(client, RWH)
    other.open("file", FILE_READ_ATTRIBUTES)
    assert breaks(client) == []


def test_a_handle_that_is_only_cached_is_not_in_the_way(client: Client, other: Client) -> None:
    file, _ = take(client, RWH, share=0)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    assert breaks(client) == [(RWH, RW, ACK)]
    client.close(file)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_one_that_is_in_use_is(client: Client, other: Client) -> None:
    take(client, RWH, share=0)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    acknowledge(client, RW)
    assert other.taken(message_id)[0].status is NtStatus.SHARING_VIOLATION


def write(client: Client, file: FileId) -> None:
    assert unheard(client, Command.WRITE, requests.write(file, b"x")).status is NtStatus.SUCCESS


def lock(client: Client, file: FileId) -> None:
    ranges = requests.lock(file, (0, 1, SMB2_LOCKFLAG_EXCLUSIVE_LOCK))
    assert client.call(Command.LOCK, ranges).status is NtStatus.SUCCESS


def cut(client: Client, file: FileId) -> None:
    size = requests.set_info(file, 20, bytes(8))
    assert unheard(client, Command.SET_INFO, size).status is NtStatus.SUCCESS


def allocate(client: Client, file: FileId) -> None:
    size = requests.set_info(file, 19, bytes(8))
    assert unheard(client, Command.SET_INFO, size).status is NtStatus.SUCCESS


def zero(client: Client, file: FileId) -> None:
    ioctl = requests.ioctl(file, 0x000980C8, bytes(8) + (1).to_bytes(8, "little"))
    assert unheard(client, Command.IOCTL, ioctl).status is NtStatus.SUCCESS


@pytest.mark.parametrize("change", [write, lock, cut, allocate, zero])
@pytest.mark.parametrize(("held", "flags"), [(R, 0), (RH, ACK)])
def test_a_change_breaks_what_others_have_read(
    client: Client,
    other: Client,
    change: Callable[[Client, FileId], None],
    held: int,
    flags: int,
) -> None:
    mine, state = take(client, held)
    theirs, _ = take(other, RH)
    assert state == held
    change(other, theirs)
    assert breaks(other) == []  # its own
    assert breaks(client) == [(held, NONE, flags)]
    change(client, mine) if change is not lock else None
    assert breaks(other) == ([(RH, NONE, ACK)] if change is not lock else [])


def test_a_change_without_the_key_breaks_the_own_client_s_lease(client: Client) -> None:
    take(client, R)
    write(client, client.open("file"))
    assert breaks(client) == [(R, NONE, 0)]


def rename(file: FileId, name: str) -> bytes:
    raw = name.encode("utf-16-le")
    buffer = b"\1" + bytes(15) + len(raw).to_bytes(4, "little") + raw
    return requests.set_info(file, FileRenameInformation, buffer)


def test_a_rename_waits_for_cached_handles(client: Client, other: Client) -> None:
    take(client, RH)
    file = other.open("file")
    message_id = untold(other, Command.SET_INFO, rename(file, "new"))
    assert breaks(client) == [(RH, R, ACK)]
    acknowledge(client, R)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    assert client.create("new") is NtStatus.SUCCESS


def test_a_compound_is_answered_at_once_when_its_rename_waits(
    client: Client, other: Client
) -> None:
    """Nothing is told before, as by Windows (smb2.compound_async.rename_last of Samba 4.25)."""
    take(client, RH)
    replies = other.compound(
        (Command.CREATE, requests.create("file", DELETE)),
        (Command.SET_INFO, rename(requests.RELATED, "new")),
    )
    assert replies == []
    assert breaks(client) == [(RH, R, ACK)]
    acknowledge(client, R)
    assert [r.status for r in other.replies] == [NtStatus.SUCCESS] * 2


def test_the_wait_for_a_rename_ends_with_its_file(client: Client, other: Client) -> None:
    take(client, RH)
    file = other.open("file")
    message_id = untold(other, Command.SET_INFO, rename(file, "new"))
    other.close(file)
    assert other.taken(message_id)[0].status is NtStatus.FILE_CLOSED


def test_a_rename_over_a_file_waits_for_its_cached_handles(client: Client, other: Client) -> None:
    cached, _ = take(client, RH, name="target")
    message_id = untold(other, Command.SET_INFO, rename(other.open("file"), "target"))
    assert breaks(client) == [(RH, R, ACK)]
    client.close(cached)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_an_own_rename_breaks_nothing_of_the_own_lease(client: Client) -> None:
    file, _ = take(client, RWH)
    assert client.call(Command.SET_INFO, rename(file, "new")).status is NtStatus.SUCCESS
    assert breaks(client) == []
    assert take(client, RWH, name="new")[1] == RWH


def test_a_deletion_waits_for_cached_handles(client: Client, other: Client, engine: Engine) -> None:
    cached, _ = take(client, RH)
    file = other.open("file")
    delete = requests.set_info(file, FileDispositionInformation, b"\1")
    message_id = untold(other, Command.SET_INFO, delete)
    assert breaks(client) == [(RH, R, ACK)]
    client.close(cached)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    other.close(file)
    assert not (engine.files / "file").exists()


def test_delete_on_close_waits_at_the_close(client: Client, other: Client, engine: Engine) -> None:
    cached, _ = take(client, RH)
    file = other.open("file", DELETE, options=FILE_DELETE_ON_CLOSE)
    message_id = untold(other, Command.CLOSE, requests.close(file))
    assert breaks(client) == [(RH, R, ACK)]
    client.close(cached)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    assert not (engine.files / "file").exists()


@pytest.mark.parametrize("end", ["tree disconnect", "logoff", "lost connection"])
@pytest.mark.parametrize("workers", [1, 2])
def test_delete_on_close_takes_handles_also_at_another_end(
    client: Client, other: Client, engine: Engine, end: str, workers: int
) -> None:
    """Nobody waits: the file goes when its last holder gives it up."""
    if workers == 2:
        other = Client(engine, server=engine.another_worker()).ready()
    cached, _ = take(client, RH)
    other.open("file", DELETE, options=FILE_DELETE_ON_CLOSE)
    assert breaks(client) == []
    if end == "lost connection":
        other.disconnect()
    else:
        command = Command.LOGOFF if end == "logoff" else Command.TREE_DISCONNECT
        assert other.call(command, requests.EMPTY).status is NtStatus.SUCCESS
    assert breaks(client) == [(RH, R, ACK)]
    client.close(cached)
    assert not (engine.files / "file").exists()


def test_locks_behind_the_data_are_no_obstacle(client: Client, other: Client) -> None:
    """A file without a byte has none that is locked ([MS-FSA] 2.1.5.18)."""
    file, _ = take(client, RWH)
    client.call(Command.LOCK, requests.lock(file, (0, 1, SMB2_LOCKFLAG_EXCLUSIVE_LOCK)))
    message_id = other.post(Command.CREATE, body(RWH, KEY_2))
    assert acknowledge(client, RH) is NtStatus.SUCCESS
    lease = lease_of(other.taken(message_id)[-1])
    assert lease is not None
    assert lease.lease_state == RH


@pytest.mark.parametrize("state", [W | RH, RW, W])
def test_more_than_what_was_left_is_not_accepted(client: Client, other: Client, state: int) -> None:
    take(client, RWH)
    other.pending(Command.CREATE, requests.create("file"))
    assert acknowledge(client, state) is NtStatus.REQUEST_NOT_ACCEPTED
    assert acknowledge(client, R) is NtStatus.SUCCESS


def test_answers_that_nobody_asked_for(client: Client) -> None:
    assert acknowledge(client, NONE) is NtStatus.OBJECT_NAME_NOT_FOUND
    take(client, RWH)
    assert acknowledge(client, NONE) is NtStatus.UNSUCCESSFUL
    assert acknowledge(client, NONE, KEY_2) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert take(client, NONE)[1] == RWH


def test_nobody_answers_for_another_client(client: Client, other: Client) -> None:
    take(client, RWH)
    other.pending(Command.CREATE, requests.create("file"))
    assert acknowledge(other, RH) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert acknowledge(client, RH) is NtStatus.SUCCESS


def test_an_epoch_is_told_to_those_who_have_one(client: Client, other: Client) -> None:
    take(client, RWH, version=2)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    (reply,) = client.taken(UNSOLICITED_MESSAGE_ID)
    assert reply.parse(LeaseBreakNotification).new_epoch == 0x12
    acknowledge(client, RH)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_a_lease_is_asked_once_however_many_opens_it_has(client: Client, other: Client) -> None:
    for _ in range(3):
        take(client, RH)
    theirs = other.open("file")
    write(other, theirs)
    assert breaks(client) == [(RH, NONE, ACK)]


def test_nothing_stays_of_closed_leases(client: Client, engine: Engine) -> None:
    for number in range(3):
        file, _ = take(client, RWH, os.urandom(16), name=f"file{number}")
        client.close(file)
    assert engine.server.caching.leases._table == {}
    assert engine.server.caching._holders == {}


def test_an_answered_break_leaves_no_timer(client: Client, other: Client, engine: Engine) -> None:
    """Neither for the answer nor for who waits for it."""
    take(client, RWH)
    number, _ = other.pending(Command.CREATE, requests.create("file"))
    waiting = engine.clock.alarms(20)
    acknowledge(client, RH)
    assert other.taken(number)[-1].status is NtStatus.SUCCESS
    assert engine.clock.alarms(20) == waiting - 2


def test_a_write_reads_no_open_that_caches_nothing(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may have thousands of opens, of leases that writes before have taken."""
    for _ in range(10):
        take(client, R)
    other = Client(engine).ready(user="bob")
    file = other.open("file")
    write = requests.write(file, b"new")
    assert other.call(Command.WRITE, write).status is NtStatus.SUCCESS
    assert breaks(client)
    read: list[bytes] = []
    parse = OpenRecord.parse

    def count(data: bytes, offset: int) -> OpenRecord:
        read.append(data)
        return parse(data, offset)

    monkeypatch.setattr(OpenRecord, "parse", count)
    assert other.call(Command.WRITE, write).status is NtStatus.SUCCESS
    assert read == []
