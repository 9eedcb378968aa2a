"""Signatures, encryption, credits and ids that are not the sender's (rows 13, 16, 18, 21, 36)."""

import struct
from collections.abc import Callable

import pytest
from smbtest import raw, smb2
from smbtest.raw import Raw
from smbtest.server import ALICE, BOB
from smbtest.smb2 import ECHO, ECHO_BODY, compound

from .conftest import Connect, Target

DIALECTS = (0x0210, 0x0300, 0x0311)
SPOILERS: tuple[Callable[[bytes], bytes], ...] = (
    lambda m: m[:48] + bytes(16) + m[64:],
    lambda m: m[:63] + bytes([m[63] ^ 1]) + m[64:],
    lambda m: m[:-1] + bytes([m[-1] ^ 1]),
    lambda m: m[:-1],
    lambda m: m[:12] + bytes([m[12] ^ 1]) + m[13:],
)


def strict(connect: Connect, dialect: int) -> Raw:
    """Return a client whose session requires signatures."""
    client = connect()
    client.negotiate(dialect, mode=3)
    assert client.login(mode=3) == smb2.SUCCESS
    client.signs = True
    assert client.connect().status == smb2.SUCCESS
    return client


@pytest.mark.parametrize("dialect", DIALECTS, ids=hex)
def test_signing_that_is_stripped_or_forged(connect: Connect, dialect: int) -> None:
    client = strict(connect, dialect)
    file_id = client.open("signed")
    client.signs = False
    for command, body in (
        (smb2.READ, smb2.read_body(file_id, 10)),
        (smb2.WRITE, smb2.write_body(file_id, b"forged")),
        (smb2.CREATE, smb2.create_body("forged")),
        (smb2.TREE_DISCONNECT, smb2.TREE_DISCONNECT_BODY),
        (smb2.LOGOFF, smb2.LOGOFF_BODY),
    ):
        assert client.call(command, body).status == smb2.ACCESS_DENIED
        for spoil in SPOILERS:
            client.send(spoil(client.sign(client.header(command) + body)))
            status = client.parse_unchecked(client.receive()).status
            assert status in (smb2.ACCESS_DENIED, smb2.INVALID_PARAMETER)
    client.signs = True
    assert client.call(smb2.READ, smb2.read_body(file_id, 10)).status == smb2.END_OF_FILE


@pytest.mark.parametrize("dialect", DIALECTS, ids=hex)
def test_signed_messages_that_come_again(connect: Connect, dialect: int) -> None:
    """Replayed: the message id is used. Reflected: it is a reply. On another connection: no key."""
    client = strict(connect, dialect)
    message = client.sign(client.header(smb2.CREATE) + smb2.create_body("replayed"))
    client.send(message)
    reply = client.receive()
    other = connect()
    other.negotiate(dialect)
    other.call(ECHO, ECHO_BODY, session_id=0)
    other.call(ECHO, ECHO_BODY, session_id=0, credits=500)
    other.send(message)
    answer = other.parse_unchecked(other.receive())
    assert answer.status == smb2.USER_SESSION_DELETED
    client.send(message)
    assert client.closed()
    client = strict(connect, dialect)
    client.send(reply)
    assert client.closed()


def test_an_unsigned_tree_connect_at_311(connect: Connect) -> None:
    """[MS-SMB2] 3.3.5.7: 3.1.1 protects at least the first request by a signature."""
    client = connect()
    client.negotiate()
    client.login()
    client.post(smb2.TREE_CONNECT, smb2.tree_body("\\\\x\\data".encode("utf-16-le")))
    assert client.closed()


# --- encryption ---------------------------------------------------------------------------


@pytest.fixture(params=[(0x0300, smb2.CCM), (0x0311, smb2.CCM), (0x0311, smb2.GCM)], ids=str)
def sealed(connect: Connect, request: pytest.FixtureRequest) -> Raw:
    """Connect to the share that wants encryption."""
    dialect, cipher = request.param
    client = connect()
    client.negotiate(dialect, ciphers=(cipher,))
    client.login()
    client.seals = True
    assert client.connect("encrypted").status == smb2.SUCCESS
    return client


def test_unencrypted_on_an_encrypted_share(sealed: Raw) -> None:
    file_id = sealed.open("secret")
    sealed.call(smb2.WRITE, smb2.write_body(file_id, b"secret"))
    sealed.seals = False
    for signs in (False, True):
        sealed.signs = signs
        for command, body in (
            (smb2.READ, smb2.read_body(file_id, 10)),
            (smb2.CREATE, smb2.create_body("other")),
            (smb2.QUERY_INFO, smb2.query_body(file_id, 1, 18)),
            (smb2.TREE_DISCONNECT, smb2.TREE_DISCONNECT_BODY),
        ):
            answer = sealed.call(command, body)
            assert answer.status == smb2.ACCESS_DENIED
            assert b"secret" not in answer.message
    sealed.seals = True
    assert sealed.call(smb2.READ, smb2.read_body(file_id, 10)).body[16:] == b"secret"


def test_everything_inside_encryption_is_answered_inside_it(sealed: Raw, connect: Connect) -> None:
    """Errors before the session is looked at, commands without one, and another session's id."""
    other = connect().ready()
    cases = [
        (ECHO, ECHO_BODY, {}),
        (ECHO, ECHO_BODY, {"session_id": 0}),
        (ECHO, b"", {}),
        (smb2.CREATE, smb2.create_body("x"), {"session_id": 0}),
        (smb2.CREATE, smb2.create_body("x"), {"session_id": other.session_id}),
        (smb2.CREATE, smb2.create_body("x"), {"tree_id": 99}),
        (smb2.LOGOFF, smb2.LOGOFF_BODY, {"session_id": 0x1234}),
        (smb2.SESSION_SETUP, smb2.setup_body(b"x"), {"session_id": 0}),
        (smb2.SESSION_SETUP, smb2.setup_body(b"x"), {"session_id": other.session_id}),
        (77, bytes(40), {}),
    ]
    for command, body, fields in cases:
        message = sealed.header(command, **fields) + body
        sealed.send(sealed.seal(message))
        answer = sealed.receive()
        assert answer[:4] == b"\xfdSMB"
        assert sealed.parse(sealed.unseal(answer)).status != smb2.INTERNAL_ERROR
        several = compound(
            sealed.header(ECHO, **fields) + ECHO_BODY, sealed.header(command, **fields) + body
        )
        sealed.send(sealed.seal(several))
        answer = sealed.unseal(sealed.receive())
        assert len(smb2.split(answer)) == 2
    assert other.call(ECHO, ECHO_BODY).status == smb2.SUCCESS


TRANSFORMS: dict[str, Callable[[Raw, bytes], bytes]] = {
    "the size lies up": lambda c, m: c.seal(m, size=len(m) + 1),
    "the size lies down": lambda c, m: c.seal(m, size=len(m) - 1),
    "the size is 4 GiB": lambda c, m: c.seal(m, size=0xFFFFFFFF),
    "the size is 0": lambda c, m: c.seal(m, size=0),
    "an unknown session": lambda c, m: c.seal(m, session_id=0x1234),
    "no session": lambda c, m: c.seal(m, session_id=0),
    "no flag": lambda c, m: c.seal(m, flags=0),
    "flag 2": lambda c, m: c.seal(m, flags=2),
    "nothing inside": lambda c, m: c.seal(b""),
    "a byte inside": lambda c, m: c.seal(b"\xfe"),
    "half a header inside": lambda c, m: c.seal(m[:40]),
    "garbage inside": lambda c, m: c.seal(b"x" * 100),
    "SMB1 inside": lambda c, m: c.seal(b"\xffSMBr" + bytes(60)),
    "encrypted twice": lambda c, m: c.seal(c.seal(m)),
    "a spoiled tag": lambda c, m: c.seal(m)[:5] + b"\xff\xff" + c.seal(m)[7:],
    "a spoiled byte": lambda c, m: c.seal(m)[:-1] + b"\0\xff",
    "cut": lambda c, m: c.seal(m)[:60],
    "the header alone": lambda c, m: c.seal(m)[:52],
    "half the header": lambda c, m: c.seal(m)[:30],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_headers(connect: Connect, name: str) -> None:
    client = connect().ready()
    file_id = client.open("sealed")
    client.send(TRANSFORMS[name](client, client.header(smb2.CLOSE) + smb2.close_body(file_id)))
    assert client.closed()


def test_an_encrypted_message_that_comes_again(connect: Connect) -> None:
    """The nonce is used again, and so is the message id."""
    client = connect().ready()
    message = client.seal(client.header(ECHO) + ECHO_BODY, nonce=bytes(12))
    client.send(message)
    assert client.reply().status == smb2.SUCCESS
    client.send(message)
    assert client.closed()


def test_encrypted_with_a_session_of_another_connection(connect: Connect) -> None:
    victim = connect().ready()
    thief = connect(victim.guid)
    thief.negotiate()
    thief.send(victim.seal(victim.header(ECHO) + ECHO_BODY))
    assert thief.closed()
    assert victim.call(ECHO, ECHO_BODY, message_id=victim.message_id - 1).status == smb2.SUCCESS


# --- credits ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{"message_id": 0}, {"message_id": 1 << 40}, {"message_id": 0xFFFFFFFFFFFFFFFF},
     {"message_id": 0xFFFFFFFFFFFFFFFF, "charge": 0xFFFF}, {"charge": 0xFFFF}],
)  # fmt: skip
def test_message_ids_out_of_the_window(connect: Connect, fields: dict[str, int]) -> None:
    client = connect().ready()
    client.post(ECHO, ECHO_BODY, **fields)
    assert client.closed()


def test_credits_have_an_end(connect: Connect, target: Target) -> None:
    """Asking for more and more, and leaving one id out: the window stops, memory does too."""
    before = target.memory()
    client = connect().ready()
    hole = client.message_id
    client.message_id += 1
    total = 0
    for _ in range(9000):
        try:
            total += client.call(ECHO, ECHO_BODY, credits=0xFFFF).credits
        except raw.Closed:
            break
    else:
        raise AssertionError("the window has no end")
    assert total <= 8192
    assert client.message_id - hole <= 8193
    assert target.memory() - before < 8 << 20


def test_charges(connect: Connect) -> None:
    client = connect().ready()
    file_id = client.open("charged")
    client.call(smb2.WRITE, smb2.write_body(file_id, bytes(60000)))
    short = client.call(smb2.READ, smb2.read_body(file_id, 65537), charge=1)
    assert short.status == smb2.INVALID_PARAMETER
    none = client.call(smb2.READ, smb2.read_body(file_id, 65536), charge=0)
    assert len(none.body) == 60016
    for body, command in (
        (smb2.query_body(file_id, 1, 18, 65537), smb2.QUERY_INFO),
        (smb2.directory_body(file_id, size=65537), smb2.QUERY_DIRECTORY),
        (smb2.ioctl_body(file_id, 0x140204, size=65537), smb2.IOCTL),
    ):
        assert client.call(command, body, charge=1).status == smb2.INVALID_PARAMETER


# --- what belongs to somebody else --------------------------------------------------------


def test_ids_of_others(connect: Connect) -> None:
    """Session, tree and file ids of another user, on the own connection: never his data."""
    victim = connect().ready(account=ALICE, share="private")
    secret = victim.open("secret")
    victim.call(smb2.WRITE, smb2.write_body(secret, b"secret of alice"))
    thief = connect(victim.guid).ready(account=BOB)
    own = thief.open("own")
    files = (secret, secret[:8] + own[8:], own[:8] + secret[8:], smb2.ALL_ONES, bytes(16))
    for session_id in (thief.session_id, victim.session_id, 0, 0xFFFFFFFFFFFFFFFF):
        for tree_id in {thief.tree_id, victim.tree_id, 0, 2, 3, 0xFFFFFFFF}:
            for file_id in files:
                for command, body in (
                    (smb2.READ, smb2.read_body(file_id, 100)),
                    (smb2.QUERY_INFO, smb2.query_body(file_id, 1, 18)),
                    (smb2.WRITE, smb2.write_body(file_id, b"stolen")),
                    (smb2.CLOSE, smb2.close_body(file_id)),
                ):
                    answer = thief.call(command, body, session_id=session_id, tree_id=tree_id)
                    assert answer.status != smb2.SUCCESS
                    assert b"secret" not in answer.message
            if (session_id, tree_id) != (thief.session_id, thief.tree_id):
                answer = thief.call(
                    smb2.CREATE, smb2.create_body("secret"), session_id=session_id, tree_id=tree_id
                )
                assert answer.status in (smb2.USER_SESSION_DELETED, smb2.NETWORK_NAME_DELETED)
    assert victim.call(smb2.READ, smb2.read_body(secret, 100)).body[16:] == b"secret of alice"


def test_another_session_on_the_same_connection(connect: Connect) -> None:
    """Two users on one connection: the trees and files of one are not the other's."""
    client = connect().ready(account=ALICE, share="private")
    secret = client.open("secret2")
    tree = client.tree_id
    first = client.session_id
    assert client.login(BOB) == smb2.SUCCESS
    assert client.session_id != first
    assert client.connect("private").status == smb2.ACCESS_DENIED
    answer = client.call(smb2.READ, smb2.read_body(secret, 10), tree_id=tree)
    assert answer.status == smb2.NETWORK_NAME_DELETED
    client.connect()
    answer = client.call(smb2.READ, smb2.read_body(secret, 10))
    assert answer.status == smb2.FILE_CLOSED
    ids = struct.unpack("<QQ", secret)
    assert ids[0] == ids[1]


def test_files_of_another_tree(connect: Connect) -> None:
    client = connect().ready()
    file_id = client.open("tree")
    first = client.tree_id
    client.connect("readonly")
    answer = client.call(smb2.WRITE, smb2.write_body(file_id, b"x"))
    assert answer.status == smb2.FILE_CLOSED
    assert client.call(smb2.TREE_DISCONNECT, smb2.TREE_DISCONNECT_BODY, tree_id=first).status == 0
    answer = client.call(smb2.READ, smb2.read_body(file_id, 1), tree_id=first)
    assert answer.status == smb2.NETWORK_NAME_DELETED
