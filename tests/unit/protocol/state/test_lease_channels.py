"""On which of its connections a client is told of a lease's break, and when on another one."""

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import acknowledge, breaks, take
from smbengine.server import Engine

from usmbd.protocol.state.caching.deliveries import LOOK_SECONDS
from usmbd.protocol.state.caching.rules import NONE, RH, RWH, R
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.oplock_break import SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED
from usmbd.protocol.wire.status import NtStatus

ACK = SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED


@pytest.fixture
def twin(engine: Engine, client: Client) -> Client:
    """Return a second connection of the client, with a session of its own."""
    return Client(engine, guid=client.guid).ready()


def test_a_break_is_told_again_where_its_connection_is_lost(
    engine: Engine, client: Client, twin: Client, other: Client
) -> None:
    take(twin, RWH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    assert breaks(client) == [(RWH, RH, ACK)]  # the oldest connection
    assert breaks(twin) == []
    client.disconnect()
    engine.settle()
    assert breaks(twin) == [(RWH, RH, ACK)]
    assert acknowledge(twin, RH) is NtStatus.SUCCESS
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    twin.disconnect()
    assert engine.server.caching.leases._connections.keys() == (
        {other.guid} if other.connection.server is engine.server else set()
    )


@pytest.mark.parametrize("answered", [True, False], ids=["asked", "told"])
def test_a_channel_that_acknowledges_nothing_is_given_up(
    engine: Engine, client: Client, twin: Client, other: Client, answered: bool
) -> None:
    """What is to be answered is told again, and what a client only has to know as well."""
    state = RWH if answered else R
    take(client, state)
    take(twin, state)  # by the same key, so that the lease outlives the first session
    client.connection.acknowledges = False
    if answered:
        message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    else:
        other.call(Command.WRITE, requests.write(other.open("file"), b"x"))
    expected = [(RWH, RH, ACK)] if answered else [(R, NONE, 0)]
    assert breaks(client) == expected
    engine.clock.advance(LOOK_SECONDS)
    engine.settle()
    assert client.lost
    assert not twin.lost
    assert breaks(twin) == expected
    engine.clock.advance(LOOK_SECONDS)
    assert engine.server.caching._deliveries._on_way == {}
    if answered:
        assert acknowledge(twin, RH) is NtStatus.SUCCESS
        assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_what_has_arrived_is_not_told_again(
    engine: Engine, client: Client, twin: Client, other: Client
) -> None:
    take(client, R)
    other.call(Command.WRITE, requests.write(other.open("file"), b"x"))
    engine.clock.advance(LOOK_SECONDS)
    client.disconnect()
    engine.settle()
    assert breaks(client) == [(R, NONE, 0)]
    assert breaks(twin) == []


def test_any_connection_of_the_client_answers(client: Client, twin: Client, other: Client) -> None:
    take(client, RWH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    assert acknowledge(twin, RH) is NtStatus.SUCCESS
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
