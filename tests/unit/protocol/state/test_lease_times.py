"""How long a lease's client has to answer a break."""

from smbengine import requests
from smbengine.client import Client
from smbengine.leases import acknowledge, take
from smbengine.server import Engine

from usmbd.protocol.state.caching.notices import BREAK_SECONDS
from usmbd.protocol.state.caching.rules import NONE, RH, RWH
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus


def test_a_silent_client_loses_its_lease(client: Client, other: Client, engine: Engine) -> None:
    take(client, RWH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    engine.clock.advance(BREAK_SECONDS - 1)
    engine.settle()
    assert other.taken(message_id) == []
    engine.clock.advance(1)
    engine.settle()
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    assert acknowledge(client, RH) is NtStatus.UNSUCCESSFUL
    assert take(client, NONE)[1] == NONE


def test_the_time_of_one_break_does_not_end_the_next(
    client: Client, other: Client, engine: Engine
) -> None:
    take(client, RWH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    engine.clock.advance(BREAK_SECONDS - 1)
    acknowledge(client, RH)
    other.close(other.taken(message_id)[0].file_id)
    assert take(client, RWH)[1] == RWH
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    engine.clock.advance(2)
    engine.settle()
    assert other.taken(message_id) == []
    assert acknowledge(client, RH) is NtStatus.SUCCESS


def test_the_time_of_a_break_that_a_close_answered_does_not_end_the_next(
    client: Client, other: Client, engine: Engine
) -> None:
    """Linux closes a file that it keeps open unused, and opens it again with the same key."""
    file, _ = take(client, RWH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    client.close(file)
    other.close(other.taken(message_id)[0].file_id)
    engine.clock.advance(BREAK_SECONDS - 1)
    assert take(client, RWH)[1] == RWH
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    engine.clock.advance(2)
    engine.settle()
    assert other.taken(message_id) == []
    engine.clock.advance(BREAK_SECONDS - 2)
    engine.settle()
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_a_break_that_a_close_answers_leaves_nothing(
    client: Client, other: Client, engine: Engine
) -> None:
    """Neither a timer nor what is known of the lease: thousands a second can be had."""
    before = engine.clock.alarms(20)
    file, _ = take(client, RWH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    client.close(file)
    other.close(other.taken(message_id)[0].file_id)
    assert engine.clock.alarms(20) == before
    assert engine.server.caching.leases._table == {}


def test_who_opens_while_the_last_one_is_being_closed_has_its_break(
    client: Client, other: Client, engine: Engine
) -> None:
    """The store knows the lease until then, on a slow disk for a while: somebody has to end it."""
    file, _ = take(client, RWH)
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    engine.server.caching.closed(client.open_of(file))  # by which a close begins
    take(client, RWH)
    assert other.taken(message_id) == []
    engine.clock.advance(BREAK_SECONDS)
    engine.settle()
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
