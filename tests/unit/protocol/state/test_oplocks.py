"""Oplocks between two sessions: granted, broken, acknowledged, or lost to silence."""

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.oplocks import acknowledge, breaks, create
from smbengine.server import Engine

from usmbd.protocol.state.caching.deliveries import LOOK_SECONDS
from usmbd.protocol.state.caching.notices import BREAK_SECONDS
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES
from usmbd.protocol.wire.create import (
    FILE_OVERWRITE_IF,
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_EXCLUSIVE,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_NONE,
    CreateResponse,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

NONE, II = SMB2_OPLOCK_LEVEL_NONE, SMB2_OPLOCK_LEVEL_II
EXCLUSIVE, BATCH = SMB2_OPLOCK_LEVEL_EXCLUSIVE, SMB2_OPLOCK_LEVEL_BATCH


@pytest.mark.parametrize("level", [NONE, II, EXCLUSIVE, BATCH])
def test_who_is_alone_gets_what_he_asks(client: Client, level: int) -> None:
    assert create(client, level)[1] == level


@pytest.mark.parametrize("level", [EXCLUSIVE, BATCH])
def test_a_second_open_waits_for_the_first_ones_answer(
    client: Client, other: Client, level: int
) -> None:
    file, _ = create(client, level)
    message_id, _ = other.pending(Command.CREATE, requests.create("file", oplock=BATCH))
    assert breaks(client) == [(file, II)]
    assert acknowledge(client, file, II) is NtStatus.SUCCESS
    (reply,) = other.taken(message_id)
    assert reply.parse(CreateResponse).oplock_level == II


@pytest.mark.parametrize("how", ["answered", "closed", "cancelled"])
def test_what_has_ended_leaves_no_timer(
    client: Client, other: Client, engine: Engine, how: str
) -> None:
    """Each holds what it is for, half a minute long: thousands a second can be had."""
    before = engine.clock.alarms(20)
    for _ in range(3):
        file, _ = create(client, BATCH)
        number, _ = other.pending(Command.CREATE, requests.create("file"))
        assert engine.clock.alarms(20) == before + 2  # for the answer, and for who waits for it
        if how == "answered":
            acknowledge(client, file, NONE)
        elif how == "cancelled":
            other.cancel(number)
            assert engine.clock.alarms(20) == before + 1
        client.close(file)
        reply = other.taken(number)[-1]
        if how != "cancelled":
            other.close(reply.file_id)
        assert engine.clock.alarms(20) == before


def test_a_close_answers_as_well(client: Client, other: Client) -> None:
    file, _ = create(client, BATCH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file", oplock=BATCH))
    client.close(file)
    (reply,) = other.taken(message_id)
    assert reply.parse(CreateResponse).oplock_level == BATCH


@pytest.mark.parametrize("level", [BATCH, II])
def test_a_channel_that_acknowledges_nothing_is_given_up(
    client: Client, other: Client, engine: Engine, level: int
) -> None:
    second = Client(engine, guid=client.guid)
    second.negotiate()
    assert second.bind(client).status is NtStatus.SUCCESS
    second.tree_id = client.tree_id
    file, _ = create(client, level)
    client.connection.acknowledges = False
    if level == BATCH:
        message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    else:
        theirs, _ = create(other, NONE)
        other.call(Command.WRITE, requests.write(theirs, b"data"))
    told = [(file, II if level == BATCH else NONE)]
    assert (breaks(client), breaks(second)) == (told, [])
    engine.clock.advance(LOOK_SECONDS)
    engine.settle()
    assert client.lost
    assert breaks(second) == told
    if level == BATCH:
        assert acknowledge(second, file, II) is NtStatus.SUCCESS
        assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    engine.clock.advance(LOOK_SECONDS)
    second.disconnect()
    engine.settle()
    caching = engine.server.caching
    assert (caching._deliveries._on_way, caching.oplocks._told) == ({}, {})


@pytest.mark.parametrize(("level", "left"), [(II, NONE), (EXCLUSIVE, EXCLUSIVE), (BATCH, BATCH)])
def test_who_writes_keeps_what_lets_him_alone_write(
    client: Client, engine: Engine, level: int, left: int
) -> None:
    """A shared read cache goes with any write, also by him who has it."""
    file, _ = create(client, level)
    client.call(Command.WRITE, requests.write(file, b"data"))
    assert breaks(client) == ([] if left == level else [(file, left)])


def test_a_client_that_is_gone_is_not_waited_for(
    client: Client, other: Client, engine: Engine
) -> None:
    """Its oplock goes with its open, and who waits has the file as if it had not been there."""
    create(client, BATCH)
    client.connection.acknowledges = False
    message_id, _ = other.pending(Command.CREATE, requests.create("file", oplock=BATCH))
    engine.clock.advance(LOOK_SECONDS)
    engine.settle()
    (reply,) = other.taken(message_id)
    assert reply.parse(CreateResponse).oplock_level == BATCH


def test_one_look_at_a_time_is_due(client: Client, other: Client, engine: Engine) -> None:
    """Also after a look that has ended a channel, whose notice has gone by another one since."""
    second = Client(engine, guid=client.guid)
    second.negotiate()
    assert second.bind(client).status is NtStatus.SUCCESS
    create(client, II)
    client.connection.acknowledges = second.connection.acknowledges = False
    theirs, _ = create(other, NONE)
    other.call(Command.WRITE, requests.write(theirs, b"data"))
    engine.clock.advance(LOOK_SECONDS)
    due = pytest.approx(engine.clock.now + LOOK_SECONDS)
    looks = [timer for timer in engine.clock._timers if timer.call and timer.when == due]
    engine.settle()
    assert client.lost
    assert len(looks) == 1


def test_what_is_told_on_a_lost_channel_is_kept_until_its_end_is_dealt_with(
    client: Client, other: Client, engine: Engine
) -> None:
    """Its requests are cancelled first, in slices: a look meanwhile forgets nothing."""
    second = Client(engine, guid=client.guid)
    second.negotiate()
    assert second.bind(client).status is NtStatus.SUCCESS
    file, _ = create(client, II)
    theirs, _ = create(other, NONE)
    other.call(Command.WRITE, requests.write(theirs, b"data"))
    assert breaks(client) == [(file, NONE)]
    client.connection.closed = True
    engine.clock.advance(LOOK_SECONDS)
    client.disconnect()
    engine.settle()
    assert breaks(second) == [(file, NONE)]


def test_a_silent_client_loses_its_oplock(client: Client, other: Client, engine: Engine) -> None:
    file, _ = create(client, BATCH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file", oplock=BATCH))
    engine.clock.advance(BREAK_SECONDS - 1)
    engine.settle()
    assert other.taken(message_id) == []
    engine.clock.advance(1)
    engine.settle()
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    assert acknowledge(client, file, II) is not NtStatus.SUCCESS


def test_a_lost_client_does_not_hold_up_others(client: Client, other: Client) -> None:
    create(client, BATCH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    client.disconnect()
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_the_wait_can_be_cancelled(client: Client, other: Client) -> None:
    file, _ = create(client, BATCH)
    message_id, async_id = other.pending(Command.CREATE, requests.create("file"))
    other.cancel(message_id, async_id)
    assert other.taken(message_id)[0].status is NtStatus.CANCELLED
    assert acknowledge(client, file, II) is NtStatus.SUCCESS
    assert other.session.open_table == {}


def test_overwriting_breaks_to_none(client: Client, other: Client) -> None:
    file, _ = create(client, BATCH)
    body = requests.create("file", disposition=FILE_OVERWRITE_IF)
    message_id, _ = other.pending(Command.CREATE, body)
    assert breaks(client) == [(file, NONE)]
    assert acknowledge(client, file, NONE) is NtStatus.SUCCESS
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_a_look_at_attributes_breaks_nothing(client: Client, other: Client) -> None:
    create(client, BATCH)
    assert create(other, BATCH, access=FILE_READ_ATTRIBUTES)[1] == NONE
    assert breaks(client) == []


def test_a_write_breaks_level_two_without_waiting(client: Client, other: Client) -> None:
    file, level = create(client, II)
    assert level == II
    opened, _ = create(other, NONE)
    assert breaks(client) == []
    assert other.call(Command.WRITE, requests.write(opened, b"new")).status is NtStatus.SUCCESS
    assert breaks(client) == [(file, NONE)]
    assert other.call(Command.WRITE, requests.write(opened, b"new")).status is NtStatus.SUCCESS
    assert breaks(client) == []


def test_a_sharing_violation_lets_a_batch_holder_close_first(client: Client, other: Client) -> None:
    file, _ = create(client, BATCH, share=0)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    assert len(breaks(client)) == 1
    client.close(file)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_a_holder_that_stays_keeps_its_share_mode(client: Client, other: Client) -> None:
    file, _ = create(client, BATCH, share=0)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    acknowledge(client, file, II)
    assert other.taken(message_id)[0].status is NtStatus.SHARING_VIOLATION


def test_answers_that_nobody_asked_for(client: Client) -> None:
    file, _ = create(client, BATCH)
    for level in (NONE, II, EXCLUSIVE):
        assert acknowledge(client, file, level) is not NtStatus.SUCCESS
    assert acknowledge(client, (1, 2), NONE) is NtStatus.FILE_CLOSED


def test_a_compound_waits_for_a_break_in_its_place(client: Client, other: Client) -> None:
    file, _ = create(client, BATCH)
    replies = other.compound(
        (Command.CREATE, requests.create("file")), (Command.CLOSE, requests.close(requests.RELATED))
    )
    (interim,) = replies
    assert (interim.status, interim.header.command) == (NtStatus.PENDING, Command.CREATE)
    assert acknowledge(client, file, NONE) is NtStatus.SUCCESS
    assert [r.status for r in other.replies] == [NtStatus.SUCCESS] * 2
    assert other.replies[0].header.async_id == interim.header.async_id
