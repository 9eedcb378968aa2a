"""Compounds: one message, replies in one message, what a related request inherits."""

import struct

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.marks import BY_MEMORY
from smbengine.requests import RELATED, FileId
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.protocol.wire.close import SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE
from usmbd.protocol.wire.fscc.file_info import FileBasicInformation, FileInternalInformation
from usmbd.protocol.wire.header import HEADER_SIZE, SMB2_FLAGS_RELATED_OPERATIONS, Command
from usmbd.protocol.wire.status import NtStatus

QUERY = (Command.QUERY_INFO, requests.query_info(RELATED, FileBasicInformation))
CLOSE = (Command.CLOSE, requests.close(RELATED, SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB))


def create(name: str, **options: int) -> tuple[int, bytes]:
    return Command.CREATE, requests.create(name, **options)


def statuses(replies: list[Reply]) -> list[NtStatus]:
    return [reply.status for reply in replies]


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("dialect", [0x202, 0x300, 0x311])
@BY_MEMORY
def test_open_look_close(engine: Engine, dialect: int, sealed: bool) -> None:
    if sealed and dialect < 0x300:
        return
    client = Client(engine).ready(dialect)
    client.seals = sealed
    before = len(client.transport.arrived)
    replies = client.compound(create("file"), QUERY, CLOSE)
    assert statuses(replies) == [NtStatus.SUCCESS] * 3
    assert all(reply.signed is not sealed for reply in replies)
    assert [r.header.command for r in replies] == [
        Command.CREATE,
        Command.QUERY_INFO,
        Command.CLOSE,
    ]
    flags = [bool(r.header.flags & SMB2_FLAGS_RELATED_OPERATIONS) for r in replies]
    assert flags == [False, True, True]
    assert [len(r.message) % 8 for r in replies] == [0, 0, 0]  # the last is padded as well
    assert client.session.open_table == {}
    assert len(client.transport.arrived) == before


def test_credits_of_a_compound_are_those_of_its_requests(client: Client) -> None:
    client.compound(create("file"), QUERY, CLOSE)
    assert client.credits == client.connection.credit_window.available


def test_after_a_failed_create_all_related_fail_likewise(client: Client) -> None:
    replies = client.compound(create("no\\file"), QUERY, CLOSE)
    assert statuses(replies) == [NtStatus.OBJECT_PATH_NOT_FOUND] * 3


def test_a_failure_in_the_middle_hurts_itself_alone(client: Client) -> None:
    bad = (Command.QUERY_INFO, requests.query_info(RELATED, 250))
    replies = client.compound(create("file"), bad, CLOSE)
    assert statuses(replies) == [NtStatus.SUCCESS, NtStatus.INVALID_INFO_CLASS, NtStatus.SUCCESS]


def test_after_the_close_the_file_is_closed(client: Client) -> None:
    replies = client.compound(create("file"), CLOSE, QUERY)
    assert statuses(replies)[2] is NtStatus.FILE_CLOSED


def test_related_requests_inherit_session_tree_and_file(client: Client) -> None:
    file = client.open("file")
    packed = [
        client.pack(Command.QUERY_INFO, requests.query_info(file, FileInternalInformation),
                    next_command=HEADER_SIZE + 40),
        client.pack(Command.CLOSE, requests.close(RELATED), flags=SMB2_FLAGS_RELATED_OPERATIONS,
                    session_id=2**64 - 1, tree_id=2**32 - 1),
    ]  # fmt: skip
    client.send(b"".join(packed))
    client.engine.settle()
    assert statuses(client.replies[-2:]) == [NtStatus.SUCCESS] * 2
    assert client.session.open_table == {}


@pytest.mark.parametrize("file", [(RELATED[0], 0), (0, RELATED[0])])
def test_half_of_a_file_id_says_that_it_is_the_same_file(client: Client, file: FileId) -> None:
    """smb2.compound_async.getinfo_middle of Samba 4.25; no open has such a half."""
    replies = client.compound(create("file"), (Command.CLOSE, requests.close(file)))
    assert statuses(replies) == [NtStatus.SUCCESS] * 2


def test_unrelated_requests_stand_for_themselves(client: Client) -> None:
    replies = client.compound(create("no\\file"), create("one"), create("two"), related=False)
    assert statuses(replies) == [
        NtStatus.OBJECT_PATH_NOT_FOUND,
        NtStatus.SUCCESS,
        NtStatus.SUCCESS,
    ]
    assert len(client.session.open_table) == 2


def test_an_unrelated_request_forgets_the_file(client: Client) -> None:
    file = client.open("file")
    replies = client.compound(
        (Command.QUERY_INFO, requests.query_info(file, FileBasicInformation)),
        (Command.QUERY_INFO, requests.query_info(RELATED, FileBasicInformation)),
        related=False,
    )
    assert statuses(replies) == [NtStatus.SUCCESS, NtStatus.FILE_CLOSED]


def test_a_related_request_needs_one_before(client: Client) -> None:
    first = client.pack(
        *QUERY, flags=SMB2_FLAGS_RELATED_OPERATIONS, next_command=HEADER_SIZE + len(QUERY[1])
    )
    client.send(first + client.pack(Command.ECHO, requests.EMPTY))
    client.engine.settle()
    assert statuses(client.replies[-2:]) == [NtStatus.INVALID_PARAMETER, NtStatus.SUCCESS]


def test_after_an_unknown_session_nothing_is_related(client: Client) -> None:
    body = requests.create("file")
    padded = body + bytes(-len(body) % 8)
    first = client.pack(
        Command.CREATE, padded, session_id=99, sign=False, next_command=HEADER_SIZE + len(padded)
    )
    client.send(first + client.pack(*CLOSE, flags=SMB2_FLAGS_RELATED_OPERATIONS, sign=False))
    client.engine.settle()
    assert statuses(client.replies[-2:]) == [
        NtStatus.USER_SESSION_DELETED,
        NtStatus.INVALID_PARAMETER,
    ]


def test_the_last_request_of_a_compound_may_wait_alone(client: Client, engine: Engine) -> None:
    other = Client(engine).ready()
    held = other.open("file")
    assert other.call(Command.LOCK, requests.lock(held, (0, 1, 0x12))).status == 0
    replies = client.compound(create("file"), (Command.LOCK, requests.lock(RELATED, (0, 1, 2))))
    assert statuses(replies) == [NtStatus.SUCCESS, NtStatus.PENDING]
    assert other.close(held) is NtStatus.SUCCESS
    (final,) = client.taken(replies[1].header.message_id)
    assert final.status is NtStatus.SUCCESS
    assert final.signed


def test_a_request_in_the_middle_may_not_wait(client: Client, engine: Engine) -> None:
    other = Client(engine).ready()
    held = other.open("file")
    assert other.call(Command.LOCK, requests.lock(held, (0, 1, 0x12))).status == 0
    lock = (Command.LOCK, requests.lock(RELATED, (0, 1, 2)))
    replies = client.compound(create("file"), lock, CLOSE)
    assert statuses(replies) == [NtStatus.SUCCESS, NtStatus.INTERNAL_ERROR, NtStatus.SUCCESS]
    assert not engine.server.waiters


def test_a_compound_waits_for_threads_in_its_place(client: Client, engine: Engine) -> None:
    """On a slow volume every step goes to a thread, and the replies still leave together."""
    client.session.tree_connect_table[client.tree_id].speed.slow_until = float("inf")
    engine.threads.held = True
    replies = client.compound(create("file"), QUERY, CLOSE)
    assert replies == []
    assert client.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS
    engine.release(engine.threads)
    assert statuses(client.replies) == [NtStatus.SUCCESS] * 3


def test_a_client_that_goes_in_the_middle_of_a_compound(client: Client, engine: Engine) -> None:
    client.session.tree_connect_table[client.tree_id].speed.slow_until = float("inf")
    engine.threads.held = True
    client.compound(create("file", options=FILE_DELETE_ON_CLOSE), QUERY)
    client.disconnect()
    engine.release(engine.threads)
    assert not engine.server.session_table
    assert list(engine.files.iterdir()) == []


@pytest.mark.parametrize("following", [8, 56, 65, 68, 10_000])
def test_a_wrong_next_command_ends_the_connection(client: Client, following: int) -> None:
    first = client.pack(Command.ECHO, requests.EMPTY + bytes(4), next_command=following)
    client.send(first + client.pack(Command.ECHO, requests.EMPTY))
    client.engine.settle()
    assert client.lost


def test_too_many_requests_in_one_message(client: Client) -> None:
    client.call(Command.ECHO, requests.EMPTY, credits=2000)
    echo = (Command.ECHO, requests.EMPTY)
    assert len(client.compound(*[echo] * 500, related=False)) == 500
    client.compound(*[echo] * 600, related=False)
    assert client.lost


def test_next_command_of_the_replies(client: Client) -> None:
    replies = client.compound(create("file"), QUERY, CLOSE)
    following = [struct.unpack_from("<I", r.message, 20)[0] for r in replies]
    assert following == [len(replies[0].message), len(replies[1].message), 0]


def test_a_long_compound_lets_others_have_their_turn(client: Client, engine: Engine) -> None:
    """A few elements a slice, and others are answered between any two slices."""
    if engine.server.pinned:
        pytest.skip("a pinned loop opens on threads")
    client.call(Command.ECHO, requests.EMPTY, credits=2000)
    other = Client(engine).ready()
    rotation = Rotation(engine, 2)
    elements = [create(f"file{number}") for number in range(100)]
    assert client.compound(*elements, related=False) == []
    slices = 1
    while rotation.waiting:
        assert other.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS
        rotation.turn()
        slices += 1
    assert slices >= 100 // 5
    assert statuses(client.replies) == [NtStatus.SUCCESS] * 100
    assert len(list(engine.files.iterdir())) == 100


def test_a_client_that_goes_between_two_slices(client: Client, engine: Engine) -> None:
    if engine.server.pinned:
        pytest.skip("a pinned loop opens on threads")
    client.call(Command.ECHO, requests.EMPTY, credits=2000)
    rotation = Rotation(engine, 0)
    client.compound(*[create(f"file{number}") for number in range(100)], related=False)
    client.disconnect()
    while rotation.waiting:
        rotation.turn()
    assert not engine.server.session_table
    assert len(list(engine.files.iterdir())) <= 3


def test_a_malformed_end_after_a_slice_ends_the_connection(client: Client, engine: Engine) -> None:
    client.call(Command.ECHO, requests.EMPTY, credits=2000)
    rotation = Rotation(engine, 0)
    good = client.pack(Command.ECHO, requests.EMPTY + bytes(4), next_command=72)
    client.send(good * 8 + b"\xfeSMB")
    engine.settle()
    while rotation.waiting:
        rotation.turn()
    assert client.lost
