"""LOCK between two sessions: conflicts, waiting, and everything that ends a wait."""

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK,
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY,
    SMB2_LOCKFLAG_SHARED_LOCK,
    SMB2_LOCKFLAG_UNLOCK,
)
from usmbd.protocol.wire.status import NtStatus

SHARED = SMB2_LOCKFLAG_SHARED_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY
EXCLUSIVE = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY
WAIT = SMB2_LOCKFLAG_EXCLUSIVE_LOCK
UNLOCK = SMB2_LOCKFLAG_UNLOCK


def lock(client: Client, file_id: FileId, *ranges: tuple[int, int, int]) -> NtStatus:
    return client.call(Command.LOCK, requests.lock(file_id, *ranges)).status


class Two:
    """Two sessions with one file open each; the first has locked bytes 0 to 9."""

    def __init__(self, engine: Engine) -> None:
        """Open and lock."""
        self.engine = engine
        self.holder = Client(engine).ready()
        self.waiter = Client(engine).ready(user="bob")
        self.held = self.holder.open("file")
        self.wanted = self.waiter.open("file")
        assert lock(self.holder, self.held, (0, 10, EXCLUSIVE)) is NtStatus.SUCCESS

    def wait(self) -> tuple[int, int]:
        """Have the second session wait for a byte of the first."""
        return self.waiter.pending(Command.LOCK, requests.lock(self.wanted, (5, 1, WAIT)))

    def outcome(self, message_id: int) -> NtStatus:
        """Return how the waiting lock ended, signed like every final reply."""
        (reply,) = self.waiter.taken(message_id)
        assert reply.signed
        return reply.status

    def nobody_waits(self) -> bool:
        """Say whether nothing of a wait is left."""
        server, connection = self.engine.server, self.waiter.connection
        return not server.waiters and not connection.async_command_list


@pytest.fixture
def two(engine: Engine) -> Two:
    return Two(engine)


def test_a_conflict_is_refused_at_once_where_asked(two: Two) -> None:
    assert lock(two.waiter, two.wanted, (5, 1, EXCLUSIVE)) is NtStatus.LOCK_NOT_GRANTED
    assert lock(two.waiter, two.wanted, (5, 1, SHARED)) is NtStatus.LOCK_NOT_GRANTED
    assert lock(two.waiter, two.wanted, (10, 1, EXCLUSIVE)) is NtStatus.SUCCESS


def test_locked_bytes_are_closed_to_others(two: Two) -> None:
    assert two.holder.call(Command.WRITE, requests.write(two.held, b"0123456789ab")).status == 0
    read = two.waiter.call(Command.READ, requests.read(two.wanted, 4, 8))
    assert read.status is NtStatus.FILE_LOCK_CONFLICT
    write = two.waiter.call(Command.WRITE, requests.write(two.wanted, b"x", 9))
    assert write.status is NtStatus.FILE_LOCK_CONFLICT
    assert two.waiter.call(Command.READ, requests.read(two.wanted, 4, 10)).data == b"ab"


def test_a_directory_has_no_bytes_to_lock(client: Client) -> None:
    folder = client.open("folder", options=FILE_DIRECTORY_FILE)
    for flags in (EXCLUSIVE, SHARED, WAIT, UNLOCK):
        assert lock(client, folder, (0, 1, flags)) is NtStatus.INVALID_PARAMETER
    assert lock(client, client.open("folder:stream"), (0, 1, EXCLUSIVE)) is NtStatus.SUCCESS


def test_an_unlock_lets_the_waiter_in(two: Two) -> None:
    message_id, _ = two.wait()
    assert lock(two.holder, two.held, (0, 10, UNLOCK)) is NtStatus.SUCCESS
    assert two.outcome(message_id) is NtStatus.SUCCESS
    assert two.nobody_waits()
    assert two.waiter.open_of(two.wanted).lock_count == 1
    assert lock(two.holder, two.held, (0, 10, EXCLUSIVE)) is NtStatus.LOCK_NOT_GRANTED


def test_a_waiter_that_is_woken_for_nothing_waits_on(two: Two) -> None:
    assert lock(two.holder, two.held, (20, 1, EXCLUSIVE)) is NtStatus.SUCCESS
    message_id, _ = two.wait()
    assert lock(two.holder, two.held, (20, 1, UNLOCK)) is NtStatus.SUCCESS
    assert two.waiter.taken(message_id) == []  # no second interim reply either
    assert lock(two.holder, two.held, (0, 10, UNLOCK)) is NtStatus.SUCCESS
    assert two.outcome(message_id) is NtStatus.SUCCESS


@pytest.mark.parametrize("by_async_id", [True, False])
def test_cancel_ends_the_wait(two: Two, by_async_id: bool) -> None:
    message_id, async_id = two.wait()
    two.waiter.cancel(message_id, async_id if by_async_id else 0)
    assert two.outcome(message_id) is NtStatus.CANCELLED
    assert two.nobody_waits()
    assert lock(two.holder, two.held, (0, 10, UNLOCK)) is NtStatus.SUCCESS
    assert two.waiter.replies == []
    assert two.waiter.open_of(two.wanted).lock_count == 0


def test_cancel_of_what_does_not_wait_is_not_answered(two: Two) -> None:
    message_id, async_id = two.wait()
    two.waiter.cancel(message_id, async_id + 7)
    two.holder.cancel(message_id, async_id)  # another connection's
    assert two.waiter.replies == two.holder.replies == []
    two.waiter.cancel(message_id, async_id)
    assert two.outcome(message_id) is NtStatus.CANCELLED


def test_close_ends_the_wait_before_its_own_reply(two: Two) -> None:
    message_id, _ = two.wait()
    closing = two.waiter.post(Command.CLOSE, requests.close(two.wanted))
    assert [(r.header.message_id, r.status) for r in two.waiter.replies] == [
        (message_id, NtStatus.RANGE_NOT_LOCKED),
        (closing, NtStatus.SUCCESS),
    ]
    assert two.nobody_waits()


def test_the_holders_close_lets_the_waiter_in(two: Two) -> None:
    message_id, _ = two.wait()
    assert two.holder.close(two.held) is NtStatus.SUCCESS
    assert two.outcome(message_id) is NtStatus.SUCCESS


def test_the_holders_disconnect_lets_the_waiter_in(two: Two) -> None:
    message_id, _ = two.wait()
    two.holder.disconnect()
    assert two.outcome(message_id) is NtStatus.SUCCESS


def test_a_lost_connection_leaves_nothing_of_its_wait(two: Two) -> None:
    two.wait()
    two.waiter.disconnect()
    assert two.nobody_waits()
    key = two.holder.open_of(two.held).key
    assert [r.open_id for r in two.engine.store.opens(key)] == [two.held[0]]
    assert lock(two.holder, two.held, (0, 10, UNLOCK)) is NtStatus.SUCCESS


@pytest.mark.parametrize("command", [Command.LOGOFF, Command.TREE_DISCONNECT])
def test_the_end_of_session_or_tree_ends_the_wait(two: Two, command: Command) -> None:
    message_id, _ = two.wait()
    two.waiter.post(command, requests.EMPTY)
    statuses = {r.header.message_id: r.status for r in two.waiter.replies}
    assert statuses.pop(message_id) is NtStatus.RANGE_NOT_LOCKED
    assert list(statuses.values()) == [NtStatus.SUCCESS]
    assert two.nobody_waits()


def test_waiters_of_another_worker_are_woken_by_a_message(engine: Engine) -> None:
    holder = Client(engine).ready()
    waiter = Client(engine, server=engine.another_worker()).ready(user="bob")
    held, wanted = holder.open("file"), waiter.open("file")
    assert lock(holder, held, (0, 10, EXCLUSIVE)) is NtStatus.SUCCESS
    message_id, _ = waiter.pending(Command.LOCK, requests.lock(wanted, (0, 1, WAIT)))
    assert lock(holder, held, (0, 10, UNLOCK)) is NtStatus.SUCCESS
    assert engine.peers.woken == [(2, holder.open_of(held).key)]
    (reply,) = waiter.taken(message_id)
    assert reply.status is NtStatus.SUCCESS


def test_an_array_of_locks_is_all_or_nothing(two: Two) -> None:
    ranges = [(100, 10, EXCLUSIVE), (5, 1, EXCLUSIVE)]
    assert lock(two.waiter, two.wanted, *ranges) is NtStatus.LOCK_NOT_GRANTED
    assert lock(two.holder, two.held, (100, 10, EXCLUSIVE)) is NtStatus.SUCCESS


def test_an_array_of_unlocks_keeps_what_it_unlocked(client: Client) -> None:
    file = client.open("file")
    assert lock(client, file, (0, 1, EXCLUSIVE), (5, 1, EXCLUSIVE)) is NtStatus.SUCCESS
    assert lock(client, file, (0, 1, UNLOCK), (7, 1, UNLOCK)) is NtStatus.RANGE_NOT_LOCKED
    assert client.open_of(file).lock_count == 1
    assert lock(client, file, (0, 1, UNLOCK)) is NtStatus.RANGE_NOT_LOCKED
    assert lock(client, file, (5, 1, UNLOCK)) is NtStatus.SUCCESS


def test_an_array_that_begins_with_an_unlock_may_not_lock(client: Client) -> None:
    file = client.open("file")
    assert lock(client, file, (0, 1, EXCLUSIVE)) is NtStatus.SUCCESS
    ranges = [(0, 1, UNLOCK), (2, 1, EXCLUSIVE)]
    assert lock(client, file, *ranges) is NtStatus.INVALID_PARAMETER
    assert client.open_of(file).lock_count == 0  # what came before the mistake is done


@pytest.mark.parametrize(
    ("ranges", "status"),
    [
        ([(0, 1, SHARED | EXCLUSIVE)], NtStatus.INVALID_PARAMETER),
        ([(0, 1, 0)], NtStatus.INVALID_PARAMETER),
        ([(0, 1, WAIT), (2, 1, WAIT)], NtStatus.INVALID_PARAMETER),
        ([(2, 2**64 - 1, EXCLUSIVE)], NtStatus.INVALID_LOCK_RANGE),
        ([(1, 2**64 - 1, EXCLUSIVE)], NtStatus.SUCCESS),
        ([(2**64 - 1, 1, EXCLUSIVE)], NtStatus.SUCCESS),
        ([], NtStatus.INVALID_PARAMETER),
    ],
)
def test_what_a_request_may_ask(
    client: Client, ranges: list[tuple[int, int, int]], status: NtStatus
) -> None:
    assert lock(client, client.open("file"), *ranges) is status


def test_no_more_than_so_many_requests_may_wait(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usmbd.protocol.dispatch.dispatcher.MAXIMUM_ASYNC", 2)
    for _ in range(2):
        two.wait()
    status = lock(two.waiter, two.wanted, (5, 1, WAIT))
    assert status is NtStatus.INSUFFICIENT_RESOURCES
    assert len(two.waiter.connection.async_command_list) == 2


def in_sequence(client: Client, file: FileId, sequence: int, flags: int) -> NtStatus:
    body = requests.lock(file, (0, 10, flags), sequence=sequence)
    return client.call(Command.LOCK, body).status


@pytest.mark.parametrize("index", [1, 64])
def test_a_replay_is_answered_and_not_done(client: Client, index: int) -> None:
    file = client.open("file")
    one, two = index << 4 | 5, index << 4 | 6
    assert in_sequence(client, file, one, EXCLUSIVE) is NtStatus.SUCCESS
    for flags in (EXCLUSIVE, UNLOCK, UNLOCK):
        assert in_sequence(client, file, one, flags) is NtStatus.SUCCESS
    assert in_sequence(client, file, two, EXCLUSIVE) is NtStatus.LOCK_NOT_GRANTED
    assert in_sequence(client, file, two, UNLOCK) is NtStatus.SUCCESS
    assert in_sequence(client, file, two, UNLOCK) is NtStatus.SUCCESS
    assert lock(client, file, (0, 10, UNLOCK)) is NtStatus.RANGE_NOT_LOCKED


def test_what_failed_is_tried_again(client: Client) -> None:
    file = client.open("file")
    assert lock(client, file, (0, 10, EXCLUSIVE)) is NtStatus.SUCCESS
    assert in_sequence(client, file, 0x11, EXCLUSIVE) is NtStatus.LOCK_NOT_GRANTED
    assert lock(client, file, (0, 10, UNLOCK)) is NtStatus.SUCCESS
    assert in_sequence(client, file, 0x11, EXCLUSIVE) is NtStatus.SUCCESS


def test_a_lock_that_waited_is_done(engine: Engine) -> None:
    two = Two(engine)
    body = requests.lock(two.wanted, (5, 1, WAIT), sequence=0x11)
    message_id, _ = two.waiter.pending(Command.LOCK, body)
    assert two.waiter.open_of(two.wanted).lock_sequence == {}
    assert lock(two.holder, two.held, (0, 10, UNLOCK)) is NtStatus.SUCCESS
    assert two.outcome(message_id) is NtStatus.SUCCESS
    assert two.waiter.call(Command.LOCK, body).status is NtStatus.SUCCESS


@pytest.mark.parametrize(
    ("dialect", "sequence"), [(0x210, 0x11), (0x311, 0x01), (0x311, 65 << 4), (0x311, 0xFFFFFFFF)]
)
def test_without_a_sequence_everything_is_done(engine: Engine, dialect: int, sequence: int) -> None:
    client = Client(engine).ready(dialect)
    file = client.open("file")
    assert in_sequence(client, file, sequence, EXCLUSIVE) is NtStatus.SUCCESS
    assert in_sequence(client, file, sequence, EXCLUSIVE) is NtStatus.LOCK_NOT_GRANTED
    assert client.open_of(file).lock_sequence == {}
