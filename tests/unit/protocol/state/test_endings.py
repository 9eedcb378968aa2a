"""Much that ends, or goes on, at once does so in slices; who comes after the last waits."""

from typing import Any, NoReturn
from unittest.mock import MagicMock

import pytest
from smbengine import requests
from smbengine.client import Client, prove_with
from smbengine.durable import GUID, again, back, create, v2
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import Logout, TreeDisconnect
from usmbd.protocol.commands.durable import NEWS_TRIES
from usmbd.protocol.state.durable import AGAIN_SECONDS, SETTLE_SECONDS
from usmbd.protocol.state.endings import Endings
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.echo import EchoRequest
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK,
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY,
    SMB2_LOCKFLAG_UNLOCK,
)
from usmbd.protocol.wire.status import NtStatus

OPENS = 12
LOOKS = 4
SLICES = OPENS // (LOOKS + 1)
"""After which some are left: a slice is over at the look after LOOKS, one after each open."""


@pytest.fixture
def opens(client: Client) -> Client:
    """Return the client with a dozen files open."""
    for number in range(OPENS):
        client.open(str(number), share=0)
    return client


def rest(client: Client, rotation: Rotation) -> list[int]:
    """Return how many opens a session has left after each slice."""
    session = client.session
    left = [len(session.open_table)]
    while rotation.waiting:
        rotation.turn()
        left.append(len(session.open_table))
    return left


def in_slices() -> list[int]:
    """Return how many opens are left after each slice."""
    return [*range(OPENS - LOOKS - 1, 0, -LOOKS - 1), 0]


def test_who_comes_while_a_session_ends_waits() -> None:
    endings = Endings(MagicMock())
    said: list[str] = []
    endings.after(7, lambda: said.append("none ends"))
    endings.begin(7)
    endings.after(7, lambda: said.append("first"))
    endings.after(7, lambda: said.append("second"))
    endings.after(8, lambda: said.append("another"))
    assert said == ["none ends", "another"]
    endings.over(7)
    endings.over(7)
    endings.after(7, lambda: said.append("later"))
    assert said == ["none ends", "another", "first", "second", "later"]


def test_a_logoff_is_answered_after_the_last_close(opens: Client, engine: Engine) -> None:
    other = Client(engine).ready(user="bob")
    rotation = Rotation(engine, LOOKS)
    session = opens.session
    number = opens.post(Command.LOGOFF, requests.EMPTY)
    engine.settle()
    assert not opens.taken(number)
    assert session.closed
    assert other.call(Command.ECHO, EchoRequest().pack()).status is NtStatus.SUCCESS
    assert engine.store.sessions()
    assert Logout(session_id=session.session_id) not in engine.mountd.told
    left = [len(session.open_table)]
    while rotation.waiting:
        rotation.turn()
        left.append(len(session.open_table))
    assert left == in_slices()
    (reply,) = opens.taken(number)
    assert reply.status is NtStatus.SUCCESS
    assert reply.signed
    assert engine.mountd.told[-1] == Logout(session_id=session.session_id)
    assert [s.user for s in engine.store.sessions()] == ["bob"]
    assert not engine.server.closing


def test_a_tree_disconnect_too(opens: Client, engine: Engine) -> None:
    first = opens.tree_id
    opens.connect("readonly")
    kept = opens.open("1", access=0x80)
    rotation = Rotation(engine, LOOKS)
    number = opens.post(Command.TREE_DISCONNECT, requests.EMPTY, tree_id=first)
    engine.settle()
    assert not opens.taken(number)
    assert rest(opens, rotation) == [count + 1 for count in in_slices()]
    assert opens.taken(number)[0].status is NtStatus.SUCCESS
    assert TreeDisconnect(session_id=opens.session_id, tree_id=first) in engine.mountd.told
    assert opens.close(kept) is NtStatus.SUCCESS


def test_a_lost_connection_ends_its_session_in_slices(opens: Client, engine: Engine) -> None:
    rotation = Rotation(engine, LOOKS)
    session = opens.session
    opens.disconnect()
    assert not engine.server.session_table
    assert len(session.open_table) == OPENS - LOOKS - 1
    assert engine.server.closing
    while rotation.waiting:
        rotation.turn()
    assert not session.open_table
    assert not engine.server.closing
    assert not engine.store.sessions()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_login_waits_for_its_previous_session(
    opens: Client, engine: Engine, workers: int
) -> None:
    """Although that has begun to end already; in another worker as well."""
    server = engine.another_worker() if workers == 2 else engine.server
    client = Client(engine, server=server)
    client.negotiate()
    rotation = Rotation(engine, LOOKS)
    session = opens.session
    opens.disconnect()
    number = prove_with(client, opens.session_id)
    while rotation.waiting:
        assert session.open_table
        assert not client.taken(number)
        rotation.turn()
    assert client.taken(number)[0].status is NtStatus.SUCCESS
    assert not session.open_table


def test_an_open_can_be_claimed_while_its_session_ends(opens: Client, engine: Engine) -> None:
    file = create(opens, v2()).file_id
    client = Client(engine, opens.guid).ready()
    rotation = Rotation(engine, LOOKS)
    opens.disconnect()
    body = requests.create("file", contexts=(again(file, GUID),))
    number = client.post(Command.CREATE, body)
    for _ in range(NEWS_TRIES + 1):  # looks of the claimant
        engine.clock.advance(SETTLE_SECONDS)
        engine.settle()
    assert not client.taken(number)
    while rotation.waiting:
        rotation.turn()
    engine.clock.advance(SETTLE_SECONDS)
    engine.settle()
    assert client.taken(number)[0].status is NtStatus.SUCCESS


def test_many_waiting_locks_are_tried_again_in_slices(client: Client, engine: Engine) -> None:
    """In the order in which they began to wait."""
    exclusive, now = SMB2_LOCKFLAG_EXCLUSIVE_LOCK, SMB2_LOCKFLAG_FAIL_IMMEDIATELY
    held = client.open("file")
    client.call(Command.LOCK, requests.lock(held, (0, 1, exclusive | now)))
    other = Client(engine).ready(user="bob")
    wanted = other.open("file")
    numbers = [
        other.pending(Command.LOCK, requests.lock(wanted, (0, 1, exclusive)))[0]
        for _ in range(OPENS)
    ]
    rotation = Rotation(engine, LOOKS)
    unlock = requests.lock(held, (0, 1, SMB2_LOCKFLAG_UNLOCK))
    assert client.call(Command.LOCK, unlock).status is NtStatus.SUCCESS
    assert len(engine.server.waiters[other.open_of(wanted).key]) == LOOKS
    slices = 0
    while rotation.waiting:
        rotation.turn()
        slices += 1
    assert slices == SLICES
    assert len(engine.server.waiters[other.open_of(wanted).key]) == OPENS - 1
    assert [len(other.taken(number)) for number in numbers] == [1] + [0] * (OPENS - 1)


def test_many_requests_of_a_lost_connection_end_in_slices(client: Client, engine: Engine) -> None:
    """The connection is taken out of its sessions after the last."""
    folder = client.open("", access=FILE_LIST_DIRECTORY, options=FILE_DIRECTORY_FILE)
    for _ in range(OPENS):
        client.pending(Command.CHANGE_NOTIFY, requests.change_notify(folder))
    connection = client.connection
    rotation = Rotation(engine, LOOKS)
    client.disconnect()
    assert len(connection.async_command_list) == OPENS - LOOKS - 1
    assert connection in engine.server.connections
    while rotation.waiting:
        rotation.turn()
    assert not connection.async_command_list
    assert connection not in engine.server.connections
    assert not engine.server.closing


class NotWalked(dict[object, object]):
    """A table of opens that wait, of which those alone are looked at whose time is over."""

    def values(self) -> NoReturn:
        """Refuse."""
        raise AssertionError

    def items(self) -> NoReturn:
        """Refuse."""
        raise AssertionError


def test_many_lost_opens_end_in_parts(opens: Client, engine: Engine) -> None:
    """Each when its time is over; those whose time is not, or whose client is back, are left."""
    lost: Any = engine.server.durable
    lost._waiting = NotWalked()
    for number in range(8):
        timeout = 5000 if number % 2 else 1000
        create(opens, v2(timeout, bytes([number] * 16)), name=f"durable {number}")
    first = list(opens.session.open_table)[-8]
    opens.disconnect()
    client = back(engine, opens)
    assert create(client, again((first, first), bytes(16)), name="durable 0").file_id
    rotation = Rotation(engine, 1)
    engine.clock.advance(1.01)
    left = [lost.places.used]
    while rotation.waiting:
        rotation.turn()
        left.append(lost.places.used)
    assert left == [5, 4]
    engine.clock.advance(4)
    while rotation.waiting:
        rotation.turn()
    assert not lost.places.used
    assert not lost._times


def test_an_open_that_cannot_be_ended_is_ended_later(
    opens: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(opens, v2(1000), name="durable")
    opens.disconnect()
    lost = engine.server.durable
    with monkeypatch.context() as failing:
        failing.setattr(lost, "_end", MagicMock(side_effect=OSError("the store is full")))
        engine.clock.advance(1.01)
    assert lost.places.used == 1
    engine.clock.advance(AGAIN_SECONDS)
    assert not lost.places.used


def test_clients_that_come_and_go_leave_no_times(opens: Client, engine: Engine) -> None:
    client = opens
    file = create(client, v2(), name="durable").file_id
    for _ in range(20):
        client.disconnect()
        client = back(engine, client)
        assert create(client, again(file, GUID), name="durable").file_id == file
    lost: Any = engine.server.durable
    assert len(lost._times) <= 6
