"""Compounds that loop, lie, change their session, or ask for too much (rows 18, 19, 20)."""

import struct

import pytest
from smbtest import raw, smb2
from smbtest.raw import Raw
from smbtest.smb2 import ALL_ONES, ECHO, ECHO_BODY, RELATED, compound, split

from .conftest import Connect, Target


def run(client: Raw, *elements: bytes) -> list[raw.Reply]:
    """Send a compound: its replies, which may come in several messages."""
    client.send(compound(*elements))
    replies: list[raw.Reply] = []
    while len(replies) < len(elements):
        replies += [client.parse(part) for part in split(client.receive())]
    return replies


def element(client: Raw, command: int, body: bytes, **fields: int) -> bytes:
    """Pack one element."""
    return client.header(command, **fields) + body


@pytest.mark.parametrize(
    "following", [8, 56, 60, 63, 65, 68, 70, 100, 4096, 0x7FFFFFF8, 0xFFFFFFF8]
)
def test_next_commands(connect: Connect, following: int) -> None:
    client = connect().ready()
    first = element(client, ECHO, ECHO_BODY, next=following)
    client.send(first + bytes(4) + element(client, ECHO, ECHO_BODY))
    assert client.closed()


def test_the_last_is_cut(connect: Connect) -> None:
    """Also when the one before had to wait for mountd."""
    path = "\\\\x\\data".encode("utf-16-le")
    for command, body in ((ECHO, ECHO_BODY), (smb2.TREE_CONNECT, smb2.tree_body(path))):
        for size in (1, 8, 63):
            client = connect().ready()
            client.signs = False
            first = element(client, command, body)
            first += bytes(-len(first) % 8)
            first = client.sign(first[:20] + struct.pack("<I", len(first)) + first[24:])
            client.send(first + element(client, ECHO, ECHO_BODY)[:size])
            assert client.closed()


def test_five_hundred(client: Raw) -> None:
    replies = run(client, *[element(client, ECHO, ECHO_BODY) for _ in range(500)])
    assert {reply.status for reply in replies} == {smb2.SUCCESS}


def test_too_many(client: Raw) -> None:
    client.send(compound(*[element(client, ECHO, ECHO_BODY) for _ in range(1500)]))
    assert client.closed()


def test_cancels_without_end(client: Raw) -> None:
    """They have no replies and cost no credits."""
    client.send(compound(*[element(client, smb2.CANCEL, ECHO_BODY) for _ in range(1000)]))
    try:
        client.call(ECHO, ECHO_BODY)
    except raw.Closed:
        return


def test_related_first(client: Raw) -> None:
    replies = run(
        client,
        element(client, smb2.READ, smb2.read_body(ALL_ONES, 1), flags=RELATED),
        element(client, smb2.CLOSE, smb2.close_body(ALL_ONES), flags=RELATED),
    )
    assert [reply.status for reply in replies] == [smb2.INVALID_PARAMETER] * 2


def test_related_without_a_file(client: Raw) -> None:
    for command, body in (
        (smb2.READ, smb2.read_body(ALL_ONES, 1)),
        (smb2.WRITE, smb2.write_body(ALL_ONES, b"x")),
        (smb2.CLOSE, smb2.close_body(ALL_ONES)),
        (smb2.LOCK, smb2.lock_body(ALL_ONES, [(0, 1, 2)])),
        (smb2.QUERY_INFO, smb2.query_body(ALL_ONES, 1, 5)),
        (smb2.QUERY_DIRECTORY, smb2.directory_body(ALL_ONES)),
        (smb2.FLUSH, struct.pack("<HHI", 24, 0, 0) + ALL_ONES),
    ):
        replies = run(
            client,
            element(client, ECHO, ECHO_BODY),
            element(client, command, body, flags=RELATED),
        )
        assert replies[1].status in (smb2.FILE_CLOSED, smb2.INVALID_PARAMETER), command


def test_related_after_a_failure(client: Raw) -> None:
    replies = run(
        client,
        element(client, smb2.CREATE, smb2.create_body("none", disposition=smb2.OPEN)),
        element(client, smb2.READ, smb2.read_body(ALL_ONES, 1), flags=RELATED),
        element(client, smb2.CLOSE, smb2.close_body(ALL_ONES), flags=RELATED),
    )
    assert {reply.status for reply in replies} == {smb2.OBJECT_NAME_NOT_FOUND}


def test_related_after_close(client: Raw) -> None:
    replies = run(
        client,
        element(client, smb2.CREATE, smb2.create_body("closed")),
        element(client, smb2.CLOSE, smb2.close_body(ALL_ONES), flags=RELATED),
        element(client, smb2.READ, smb2.read_body(ALL_ONES, 1), flags=RELATED),
        element(client, smb2.CLOSE, smb2.close_body(ALL_ONES), flags=RELATED),
    )
    assert [reply.status for reply in replies] == [0, 0, smb2.FILE_CLOSED, smb2.FILE_CLOSED]


@pytest.mark.parametrize("seals", [False, True], ids=["plain", "encrypted"])
def test_the_tree_ends_in_the_midst(connect: Connect, seals: bool) -> None:
    """Row 18: TREE_DISCONNECT or LOGOFF, then a command on the same tree, related or not."""
    for command, gone in (
        (smb2.TREE_DISCONNECT, smb2.NETWORK_NAME_DELETED),
        (smb2.LOGOFF, smb2.USER_SESSION_DELETED),
    ):
        for flags in (0, RELATED):
            client = connect().ready()
            file_id = client.open("midst")
            message = compound(
                element(client, command, ECHO_BODY),
                element(client, smb2.CREATE, smb2.create_body("midst"), flags=flags),
                element(client, smb2.READ, smb2.read_body(file_id, 1), flags=flags),
            )
            client.send(client.seal(message) if seals else message)
            answer = client.receive()
            parts = split(client.unseal(answer) if seals else answer)
            statuses = [client.parse(part).status for part in parts]
            assert statuses[:2] == [smb2.SUCCESS, gone]
            assert statuses[2] in (gone, smb2.INVALID_PARAMETER)
            client.close()


def test_sessions_and_trees_change(connect: Connect) -> None:
    """Row 19: each unrelated element is looked up for itself, whatever came before it."""
    client = connect().ready()
    other = connect().ready()
    replies = run(
        client,
        element(client, smb2.CREATE, smb2.create_body("change")),
        element(client, smb2.CREATE, smb2.create_body("change"), session_id=other.session_id),
        element(client, smb2.CREATE, smb2.create_body("change"), tree_id=77),
        element(client, smb2.READ, smb2.read_body(ALL_ONES, 1), session_id=0, flags=RELATED),
        element(client, smb2.CREATE, smb2.create_body("change"), session_id=0),
        element(client, ECHO, ECHO_BODY),
    )
    deleted = smb2.USER_SESSION_DELETED
    statuses = [reply.status for reply in replies]
    assert statuses[:3] == [smb2.SUCCESS, deleted, smb2.NETWORK_NAME_DELETED]
    assert statuses[3] not in (smb2.SUCCESS, smb2.END_OF_FILE)
    assert statuses[4:] == [deleted, smb2.SUCCESS]


@pytest.mark.parametrize("seals", [False, True], ids=["plain", "encrypted"])
def test_replies_that_are_too_much(connect: Connect, target: Target, seals: bool) -> None:
    """Row 20: 60 READs of 8 MiB in one compound do not make a reply of 480 MiB."""
    client = connect(timeout=12).ready()
    path = target.data / "big"
    with path.open("wb") as file:
        file.truncate(8 << 20)
    path.chmod(0o666)
    file_id = client.open("big")
    before = target.memory()
    read = smb2.read_body(file_id, 8 << 20)
    message = compound(*[element(client, smb2.READ, read, charge=128) for _ in range(60)])
    client.send(client.seal(message) if seals else message)
    answer = client.receive()
    if seals:
        answer = client.unseal(answer)
    replies = [client.parse(part) for part in split(answer)]
    assert len(replies) == 60
    assert replies[0].status == smb2.SUCCESS
    assert replies[-1].status == smb2.INSUFFICIENT_RESOURCES
    assert target.memory() - before < 100 << 20
    path.unlink()


def test_a_negotiate_and_logins_inside(connect: Connect) -> None:
    client = connect().ready()
    client.send(
        compound(
            element(client, ECHO, ECHO_BODY),
            element(client, smb2.NEGOTIATE, smb2.negotiate_body((0x0210,), client.guid)),
        )
    )
    assert client.closed()
    client = connect().ready()
    replies = run(
        client,
        element(client, smb2.SESSION_SETUP, smb2.setup_body(b"x"), session_id=0),
        element(client, smb2.SESSION_SETUP, smb2.setup_body(b""), flags=RELATED),
        element(client, ECHO, ECHO_BODY),
    )
    assert replies[0].status not in (smb2.SUCCESS, smb2.INTERNAL_ERROR)
    assert replies[2].status == smb2.SUCCESS


def test_a_wait_in_the_midst(connect: Connect) -> None:
    """A LOCK that has to wait before the last element does not hold the others up."""
    one, two = connect().ready(), connect().ready()
    mine, theirs = one.open("wait"), two.open("wait")
    assert one.call(smb2.LOCK, smb2.lock_body(mine, [(0, 10, 2)])).status == smb2.SUCCESS
    replies = run(
        two,
        element(two, smb2.LOCK, smb2.lock_body(theirs, [(0, 10, 2)])),
        element(two, ECHO, ECHO_BODY),
    )
    assert replies[0].status != smb2.SUCCESS
    assert replies[1].status == smb2.SUCCESS
    replies = run(
        two,
        element(two, ECHO, ECHO_BODY),
        element(two, smb2.LOCK, smb2.lock_body(theirs, [(0, 10, 2)])),
    )
    assert replies[1].status == smb2.PENDING
    assert one.call(smb2.CLOSE, smb2.close_body(mine)).status == smb2.SUCCESS
    assert two.reply().status == smb2.SUCCESS
