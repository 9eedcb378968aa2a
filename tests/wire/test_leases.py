"""Leases over sockets: two clients of two workers, and clients that play with them."""

import os
import struct
from collections.abc import Iterator

import pytest
from smbtest.deaf import make_deaf
from smbtest.raw import PENDING, SUCCESS, Closed, Raw
from smbtest.server import BOB
from smbtest.smb2 import CREATE, ECHO, ECHO_BODY, READ_WRITE, create_body, create_context

from .conftest import LEASES, Connect, Target

OPLOCK_BREAK, CANCEL = 18, 12
R, RH, RW, RWH = 1, 3, 5, 7
LEASE = 0xFF
UNASKED = (1 << 64) - 1
CANCELLED, INVALID_PARAMETER, NOT_FOUND = 0xC0000120, 0xC000000D, 0xC0000034
TRIES = 32
MANY = 2000
SECONDS = 60
"""More than TCP needs to be sure that a client is gone, on a busy machine."""

Pair = tuple[Raw, Raw]


@pytest.fixture
def pair(target: Target, connect: Connect) -> Iterator[Pair]:
    """Connect until two clients are served by different processes."""
    first = connect().ready()
    for _ in range(TRIES):
        other = connect().ready(account=BOB)
        if target.process_of(other.port) != target.process_of(first.port):
            yield first, other
            return
        other.close()
    raise AssertionError("all clients are served by one process")


def leased(name: str, key: bytes, state: int) -> bytes:
    """Pack a CREATE that asks for a lease."""
    body = bytearray(
        create_body(name, extra=create_context(b"RqLs", key + struct.pack("<IIQ", state, 0, 0)))
    )
    body[3] = LEASE
    return bytes(body)


def notice(client: Raw) -> tuple[int, int, bytes]:
    """Wait for a Lease Break Notification: states before and after, and the key."""
    reply = client.reply()
    assert (reply.message_id, reply.command, reply.session_id) == (UNASKED, OPLOCK_BREAK, 0)
    size, _, _, key, before, after = struct.unpack_from("<HHI16sII", reply.body)
    assert size == 44
    return before, after, key


def answer(client: Raw, key: bytes, state: int) -> int:
    """Acknowledge a break."""
    body = struct.pack("<HHI16sIQ", 36, 0, 0, key, state, 0)
    return client.call(OPLOCK_BREAK, body).status


def test_a_break_crosses_the_workers(pair: Pair) -> None:
    one, two = pair
    key = os.urandom(16)
    assert one.call(CREATE, leased("leased", key, RWH)).status == SUCCESS
    two.post(CREATE, create_body("leased"))
    assert two.reply().status == PENDING
    assert notice(one) == (RWH, RH, key)
    assert two.call(ECHO, ECHO_BODY).status == SUCCESS  # who waits holds nothing up
    assert answer(one, key, RH) == SUCCESS
    assert two.reply().status == SUCCESS


@pytest.mark.parametrize("end", ["cancel", "disconnect of who waits", "disconnect of the holder"])
def test_a_wait_ends(pair: Pair, end: str) -> None:
    one, two = pair
    key = os.urandom(16)
    assert one.call(CREATE, leased("leased", key, RWH)).status == SUCCESS
    two.post(CREATE, create_body("leased"))
    interim = two.reply()
    assert interim.status == PENDING
    assert notice(one) == (RWH, RH, key)
    if end == "cancel":
        two.post(CANCEL, ECHO_BODY, message_id=interim.message_id)
        assert two.reply().status == CANCELLED
    elif end == "disconnect of the holder":
        one.close()
        assert two.reply().status == SUCCESS
        return
    else:
        two.close()
    assert answer(one, key, RH) == SUCCESS
    assert one.call(ECHO, ECHO_BODY).status == SUCCESS


def test_a_break_reaches_a_client_one_of_whose_networks_is_cut(
    pair: Pair, target: Target, connect: Connect
) -> None:
    """Nobody waits until TCP gives up, or until the break has run out."""
    one, two = pair
    key = os.urandom(16)
    assert one.call(CREATE, leased("cut", key, RWH)).status == SUCCESS
    second = connect(one.guid).ready()
    assert target.process_of(second.port) == target.process_of(one.port)
    assert second.call(CREATE, leased("cut", key, RWH)).status == SUCCESS
    make_deaf(one.socket)
    for client in (two, second):
        client.socket.settimeout(SECONDS)
    two.post(CREATE, create_body("cut"))
    assert two.reply().status == PENDING
    assert notice(second) == (RWH, RH, key)
    assert answer(second, key, RH) == SUCCESS
    assert two.reply().status == SUCCESS


def test_a_client_that_is_cut_off_is_not_waited_for(pair: Pair) -> None:
    """It takes as long as TCP needs to be sure, far less than a break may."""
    one, two = pair
    assert one.call(CREATE, leased("cut", os.urandom(16), RWH)).status == SUCCESS
    make_deaf(one.socket)
    two.socket.settimeout(SECONDS)
    two.post(CREATE, create_body("cut"))
    assert two.reply().status == PENDING
    assert two.reply().status == SUCCESS
    make_deaf(one.socket, deaf=False)
    with pytest.raises((Closed, ConnectionError)):
        one.call(ECHO, ECHO_BODY)


def test_many_leases_of_one_client_leave_nothing(target: Target, connect: Connect) -> None:
    client = connect().ready()
    for number in range(MANY):
        status = client.call(
            CREATE, leased(f"leased{number % 50}", struct.pack("<QQ", number % 50, 1), RWH)
        ).status
        assert status == SUCCESS
    assert target.records(LEASES) == 50
    client.close()


def test_answers_of_any_kind_are_survived(connect: Connect) -> None:
    client = connect().ready()
    key = os.urandom(16)
    assert client.call(CREATE, leased("leased", key, RW)).status == SUCCESS
    for state in (0, R, 2, 4, RW, RWH, 8, 0xFFFFFFFF):
        assert answer(client, key, state) != SUCCESS
        assert answer(client, os.urandom(16), state) == NOT_FOUND
    for size in range(37):
        body = struct.pack("<HHI16sIQ", 36, 0, 0, key, 0, 0)[:size]
        try:
            assert client.call(OPLOCK_BREAK, body).status != SUCCESS
        except Closed:
            client = connect().ready()


def test_a_malformed_request_takes_no_file(target: Target, connect: Connect) -> None:
    client = connect().ready()
    for size in (*range(0, 60, 7), 4096):
        context = create_context(b"RqLs", bytes(size))
        body = bytearray(create_body("unmade", READ_WRITE, extra=context))
        body[3] = LEASE
        assert client.call(CREATE, bytes(body)).status == INVALID_PARAMETER
    assert target.records(LEASES) == 0
