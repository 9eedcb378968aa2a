"""NEGOTIATE contexts, tokens and logins (rows 4, 6 to 13, 16 of the bad inputs)."""

import os
import struct
import time

import pytest
import spnego
from smbtest import raw, smb2
from smbtest.raw import Raw
from smbtest.server import ALICE, BOB, Account
from smbtest.smb2 import ECHO, ECHO_BODY, PREAUTH, context, contexts, negotiate_body

from usmbd.mountd.throttle import MAX_WAIT

from .conftest import SESSIONS, Connect, Target

WRONG = Account(ALICE.name, "wrong")

SHA512 = struct.pack("<HHH", 1, 0, 1)
LYING_CONTEXTS = {
    "offset past the end": (PREAUTH, 1, {"offset": 5000}),
    "offset into the header": (PREAUTH, 1, {"offset": 8}),
    "offset of 32 bits": (PREAUTH, 1, {"offset": 0xFFFFFFF8}),
    "more than there are": (PREAUTH, 2, {}),
    "65535 of them": (PREAUTH, 0xFFFF, {}),
    "none": (PREAUTH, 0, {}),
    "preauth twice": (contexts(PREAUTH, PREAUTH), 2, {}),
    "longer than it is": (context(1, SHA512, 65535), 1, {}),
    "shorter than it is": (context(1, SHA512, 3), 1, {}),
    "no data": (context(1, b""), 1, {}),
    "more hashes than fit": (context(1, struct.pack("<HHH", 0xFFFF, 0, 1)), 1, {}),
    "more salt than fits": (context(1, struct.pack("<HHH", 1, 0xFFFF, 1)), 1, {}),
    "no hash we know": (context(1, struct.pack("<HHH", 1, 0, 9)), 1, {}),
    "more ciphers than fit": (contexts(PREAUTH, context(2, b"\xff\xff\2\0")), 2, {}),
    "no cipher": (contexts(PREAUTH, context(2, b"\0\0")), 2, {}),
    "ciphers twice": (contexts(PREAUTH, context(2, b"\1\0\2\0"), context(2, b"\1\0\2\0")), 3, {}),
    "no signing algorithm": (contexts(PREAUTH, context(8, b"\0\0")), 2, {}),
    "more signing than fits": (contexts(PREAUTH, context(8, b"\xff\xff\1\0")), 2, {}),
    "a netname of odd length": (contexts(PREAUTH, context(5, b"abc")), 2, {}),
    "compression that lies": (contexts(PREAUTH, context(3, b"\xff\xff\0\0\0\0\0\0")), 2, {}),
    "rdma transforms that lie": (contexts(PREAUTH, context(7, b"\xff\xff\0\0\0\0\0\0")), 2, {}),
    "thousand unknown": (contexts(PREAUTH, *[context(0x99, b"") for _ in range(1000)]), 1001, {}),
    "too many dialects": (PREAUTH, 1, {"dialects": 0xFFFF}),
    "no dialects": (PREAUTH, 1, {"dialects": 0}),
}


@pytest.mark.parametrize("name", LYING_CONTEXTS)
def test_negotiate_contexts(connect: Connect, name: str) -> None:
    extra, count, wrong = LYING_CONTEXTS[name]
    client = connect()
    client.post(smb2.NEGOTIATE, negotiate_body((0x0311,), client.guid, extra, count, **wrong))
    try:
        answer = client.reply()
    except raw.Closed:
        return
    assert answer.status != smb2.INTERNAL_ERROR


def refused(client: Raw, body: bytes) -> int:
    """Send a SESSION_SETUP that must not succeed: its status, 0 when the server hung up."""
    try:
        answer = client.call(smb2.SESSION_SETUP, body)
    except raw.Closed:
        return 0
    assert answer.status not in (smb2.SUCCESS, smb2.INTERNAL_ERROR)
    return answer.status


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 40), (8, 40), (64, 40), (88, 41), (88, 0xFFFF), (0xFFFF, 1), (0xFFFF, 0xFFFF), (90, 40),
     (88, 0), (0, 0), (128, 40)],
)  # fmt: skip
def test_security_buffers(connect: Connect, offset: int, length: int) -> None:
    client = connect()
    client.negotiate()
    refused(client, smb2.setup_body(b"x" * 40, offset=offset, length=length))


def der(tag: int, data: bytes) -> bytes:
    """Pack a DER element."""
    if len(data) < 128:
        return bytes([tag, len(data)]) + data
    return bytes([tag, 0x82]) + len(data).to_bytes(2, "big") + data


NTLM_OID = der(6, bytes.fromhex("2b06010401823702020a"))
SPNEGO_OID = der(6, bytes.fromhex("2b0601050502"))


def init(*fields: bytes) -> bytes:
    """Pack a NegTokenInit."""
    return der(0x60, SPNEGO_OID + der(0xA0, der(0x30, b"".join(fields))))


NTLM_NEGOTIATE = b"NTLMSSP\0" + struct.pack("<II", 1, 0xE2088297) + bytes(24)
TYPES = der(0xA0, der(0x30, NTLM_OID))
TOKENS = {
    "no mechToken": init(TYPES),
    "an empty mechToken": init(TYPES, der(0xA2, der(4, b""))),
    "a short mechToken": init(TYPES, der(0xA2, der(4, b"NTLMSSP\0"))),
    "no type": init(der(0xA2, der(4, NTLM_NEGOTIATE))),
    "no types": init(der(0xA0, der(0x30, b"")), der(0xA2, der(4, NTLM_NEGOTIATE))),
    "an unknown type": init(der(0xA0, der(0x30, der(6, b"\x2a"))), der(0xA2, der(4, b"x"))),
    "empty": b"",
    "a length of 4 GiB": b"\x60\x84\xff\xff\xff\xff" + bytes(40),
    "a length of 127 bytes": b"\x60\xff" + b"\xff" * 127,
    "an indefinite length": b"\x60\x80" + bytes(40),
    "nested": b"\x60\x82\x40\x00" * 8000,
    "a response first": der(0xA1, der(0x30, der(0xA2, der(4, NTLM_NEGOTIATE)))),
    "ntlm cut": NTLM_NEGOTIATE[:9],
    "ntlm of type 2": b"NTLMSSP\0" + struct.pack("<I", 2) + bytes(40),
    "ntlm of type 3": b"NTLMSSP\0" + struct.pack("<I", 3) + bytes(80),
    "ntlm of type 9": b"NTLMSSP\0" + struct.pack("<I", 9) + bytes(80),
    "62 KiB": os.urandom(62000),
}


@pytest.mark.parametrize("name", TOKENS)
def test_first_tokens(connect: Connect, name: str) -> None:
    client = connect()
    client.negotiate()
    body = smb2.setup_body(TOKENS[name])
    client.post(smb2.SESSION_SETUP, body)
    answer = client.reply()
    assert answer.status not in (smb2.SUCCESS, smb2.INTERNAL_ERROR)
    refused(client, body)


def authenticate(**fields: tuple[int, int, int]) -> bytes:
    """Pack an NTLM AUTHENTICATE; a field is (length, maximum length, offset)."""
    names = ("lm", "nt", "domain", "user", "workstation", "key")
    head = b"NTLMSSP\0" + struct.pack("<I", 3)
    for name in names:
        head += struct.pack("<HHI", *fields.get(name, (0, 0, 88)))
    return head + struct.pack("<I", 0xE2888215) + bytes(8) + bytes(16) + b"\x41\0" * 200


AUTHENTICATES = {
    "nt response of 1 byte": {"nt": (1, 1, 88)},
    "nt response of 15 bytes": {"nt": (15, 15, 88)},
    "nt response of 16 bytes": {"nt": (16, 16, 88)},
    "nt response of 17 bytes": {"nt": (17, 17, 88), "user": (10, 10, 88)},
    "nt response of 24 bytes": {"nt": (24, 24, 88), "user": (10, 10, 88)},
    "nt response of 44 bytes": {"nt": (44, 44, 88), "user": (10, 10, 88)},
    "nt response past the end": {"nt": (60, 60, 460), "user": (10, 10, 88)},
    "nt response of 64 KiB": {"nt": (65535, 65535, 88), "user": (10, 10, 88)},
    "a key of 17 bytes": {"nt": (60, 60, 88), "user": (10, 10, 88), "key": (17, 17, 88)},
    "a key of 400 bytes": {"nt": (60, 60, 88), "user": (10, 10, 88), "key": (400, 400, 88)},
    "a key at 4 GiB": {"nt": (60, 60, 88), "user": (10, 10, 88), "key": (16, 16, 0xFFFFFFFF)},
    "user of odd length": {"nt": (60, 60, 88), "user": (9, 9, 88)},
    "user past the end": {"nt": (60, 60, 88), "user": (10, 10, 486)},
    "user at 4 GiB": {"nt": (60, 60, 88), "user": (10, 10, 0xFFFFFFFE)},
    "domain of 400 bytes": {"nt": (60, 60, 88), "user": (10, 10, 88), "domain": (400, 400, 88)},
    "workstation in the head": {"nt": (60, 60, 88), "user": (10, 10, 88), "workstation": (8, 8, 0)},
}


@pytest.mark.parametrize("name", AUTHENTICATES)
def test_last_tokens(connect: Connect, name: str) -> None:
    """Rows 8 and 9; wrapped in SPNEGO and bare."""
    token = authenticate(**AUTHENTICATES[name])
    for wrap in (False, True):
        client = connect()
        client.negotiate()
        first = init(TYPES, der(0xA2, der(4, NTLM_NEGOTIATE))) if wrap else NTLM_NEGOTIATE
        answer = client.call(smb2.SESSION_SETUP, smb2.setup_body(first))
        assert answer.status == smb2.MORE_PROCESSING_REQUIRED
        last = der(0xA1, der(0x30, der(0xA2, der(4, token)))) if wrap else token
        answer = client.call(
            smb2.SESSION_SETUP, smb2.setup_body(last), session_id=answer.session_id
        )
        assert answer.status in (smb2.LOGON_FAILURE, smb2.INVALID_PARAMETER), hex(answer.status)


@pytest.mark.parametrize("user", [b"\0\xd8", b"\0\xdc\0\xd8", b"\0\0", b"g\0\0\0", b"\n\0" * 100])
def test_user_names(connect: Connect, target: Target, user: bytes) -> None:
    """Lone surrogates, NUL, and what could make lines of its own in the log."""
    client = connect()
    client.negotiate()
    answer = client.call(smb2.SESSION_SETUP, smb2.setup_body(NTLM_NEGOTIATE))
    token = authenticate(
        nt=(60, 60, 88),
        user=(len(user), len(user), 88 + 400),
        domain=(len(user), len(user), 88 + 400),
    )
    last = smb2.setup_body(token + user)
    answer = client.call(smb2.SESSION_SETUP, last, session_id=answer.session_id)
    assert answer.status in (smb2.LOGON_FAILURE, smb2.INVALID_PARAMETER)
    assert "\n\n\n" not in target.log


def test_half_open_logins(connect: Connect, target: Target) -> None:
    """Row 10: of one connection the oldest give way, and they take no memory with them."""
    before = target.memory()
    for _ in range(20):
        client = connect()
        client.negotiate()
        body = smb2.setup_body(NTLM_NEGOTIATE)
        replies = [client.call(smb2.SESSION_SETUP, body, session_id=0) for _ in range(100)]
        assert {reply.status for reply in replies} == {smb2.MORE_PROCESSING_REQUIRED}
        first = client.call(smb2.SESSION_SETUP, body, session_id=replies[0].session_id)
        assert first.status == smb2.USER_SESSION_DELETED
        client.close()
    assert target.memory() - before < 16 << 20


def test_wrong_passwords_in_parallel(connect: Connect) -> None:
    """Row 11: each costs its delay, and only him who is wrong."""
    clients = []
    source = "127.1.2.3"
    for _ in range(30):
        client = connect(source=source)
        client.negotiate()
        security = spnego.client(WRONG.name, WRONG.password, protocol="ntlm")
        answer = client.call(smb2.SESSION_SETUP, smb2.setup_body(security.step() or b""))
        offset, length = struct.unpack_from("<HH", answer.body, 4)
        token = security.step(answer.message[offset : offset + length]) or b""
        client.post(smb2.SESSION_SETUP, smb2.setup_body(token), session_id=answer.session_id)
        clients.append(client)
    right = connect()
    right.negotiate()
    began = time.monotonic()
    assert right.login(BOB) == smb2.SUCCESS
    assert time.monotonic() - began < MAX_WAIT / 2
    answered = 0
    end = time.monotonic() + 2
    for client in clients:
        client.socket.settimeout(max(end - time.monotonic(), 0.01))
        try:
            assert client.reply().status == smb2.LOGON_FAILURE
            answered += 1
        except TimeoutError:
            continue
    assert 0 < answered < len(clients)


def test_two_logins_at_once_for_one_session(connect: Connect, target: Target) -> None:
    """Row 13: the last token twice in one segment, and a first one behind it."""
    for extra in (None, NTLM_NEGOTIATE, b"\xff" * 40):
        for _ in range(3):
            client = connect()
            client.negotiate()
            security = spnego.client(ALICE.name, ALICE.password, protocol="ntlm")
            answer = client.call(smb2.SESSION_SETUP, smb2.setup_body(security.step() or b""))
            offset, length = struct.unpack_from("<HH", answer.body, 4)
            token = security.step(answer.message[offset : offset + length]) or b""
            one = client.header(smb2.SESSION_SETUP, session_id=answer.session_id)
            two = client.header(smb2.SESSION_SETUP, session_id=answer.session_id)
            messages = [one + smb2.setup_body(token), two + smb2.setup_body(extra or token)]
            client.socket.sendall(b"".join(struct.pack(">I", len(m)) + m for m in messages))
            statuses = {client.parse_unchecked(client.receive()).status for _ in range(2)}
            assert len(statuses & {smb2.SUCCESS}) <= 1
            assert smb2.INTERNAL_ERROR not in statuses
            client.close()


def test_cut_off_in_the_midst_of_a_login(connect: Connect, target: Target) -> None:
    """The connection ends while mountd is asked, also while the previous session is closed."""
    for number in range(20):
        old = connect().ready()
        client = connect(bytes(old.guid))
        client.negotiate()
        security = spnego.client(ALICE.name, ALICE.password, protocol="ntlm")
        answer = client.call(smb2.SESSION_SETUP, smb2.setup_body(security.step() or b""))
        offset, length = struct.unpack_from("<HH", answer.body, 4)
        token = security.step(answer.message[offset : offset + length]) or b""
        client.post(
            smb2.SESSION_SETUP,
            smb2.setup_body(token, previous=old.session_id),
            session_id=answer.session_id,
        )
        time.sleep(number * 0.0003)
        client.close()
        old.close()


def test_the_previous_session_of_another_user(connect: Connect) -> None:
    victim = connect().ready(account=ALICE)
    for _ in range(4):  # on both workers
        thief = connect()
        thief.negotiate()
        assert thief.login(BOB, previous=victim.session_id) == smb2.SUCCESS
        assert victim.call(ECHO, ECHO_BODY).status == smb2.SUCCESS
        assert thief.connect("private").status == smb2.ACCESS_DENIED
    assert victim.open("still")


def test_the_previous_session_that_never_began(connect: Connect) -> None:
    half = connect()
    half.negotiate()
    answer = half.call(smb2.SESSION_SETUP, smb2.setup_body(NTLM_NEGOTIATE))
    other = connect()
    other.negotiate()
    assert other.login(previous=answer.session_id) == smb2.SUCCESS
    own = connect()
    own.negotiate()
    assert own.login(previous=0xFFFFFFFFFFFFFFFF) == smb2.SUCCESS


def test_the_previous_session_of_the_same_user(connect: Connect, target: Target) -> None:
    for _ in range(4):
        lost = connect().ready()
        lost.open("lost", share=0)
        again = connect()
        again.negotiate()
        assert again.login(previous=lost.session_id) == smb2.SUCCESS
        again.connect()
        assert again.open("lost", share=0)
        assert lost.call(ECHO, ECHO_BODY, session_id=0).status == smb2.SUCCESS
        assert lost.connect().status == smb2.USER_SESSION_DELETED
        again.close()


# --- binding ------------------------------------------------------------------------------


def bound(victim: Raw, connect: Connect, guid: bytes | None = None) -> Raw:
    """Return a negotiated connection that could be bound to the victim's session."""
    channel = connect(guid or victim.guid)
    channel.negotiate(victim.dialect)
    channel.signing_key = victim.signing_key
    return channel


@pytest.mark.parametrize("dialect", [0x0300, 0x0311])
def test_binding(connect: Connect, dialect: int) -> None:
    victim = connect().ready(dialect)
    file_id = victim.open("bound")
    channel = bound(victim, connect)
    assert channel.login(flags=1, session_id=victim.session_id) == smb2.SUCCESS
    channel.signs, channel.tree_id = True, victim.tree_id
    answer = channel.call(smb2.WRITE, smb2.write_body(file_id, b"x"))
    assert answer.status == smb2.SUCCESS
    victim.close()
    assert channel.call(smb2.READ, smb2.read_body(file_id, 1)).status == smb2.SUCCESS


@pytest.mark.parametrize("account", [WRONG, BOB], ids=["wrong", "bob"])
def test_binding_as_somebody_else(connect: Connect, account: Account) -> None:
    """Row 12: refused, and the session goes on unharmed."""
    victim = connect().ready()
    file_id = victim.open("victim", share=0)
    channel = bound(victim, connect)
    status = channel.login(account, flags=1, session_id=victim.session_id)
    assert status in (smb2.ACCESS_DENIED, smb2.LOGON_FAILURE), hex(status)
    channel.session_id, channel.tree_id = victim.session_id, victim.tree_id
    for signs in (False, True):
        channel.signs = signs
        assert (
            channel.call(smb2.READ, smb2.read_body(file_id, 1)).status == smb2.USER_SESSION_DELETED
        )
    assert victim.call(smb2.WRITE, smb2.write_body(file_id, b"x")).status == smb2.SUCCESS
    assert bound(victim, connect).login(flags=1, session_id=victim.session_id) == smb2.SUCCESS


def test_binding_as_nobody(connect: Connect) -> None:
    victim = connect().ready()
    channel = bound(victim, connect)
    for token in (NTLM_NEGOTIATE, authenticate()):
        message = channel.header(smb2.SESSION_SETUP, session_id=victim.session_id)
        channel.send(channel.sign(message + smb2.setup_body(token, 1)))
        answer = channel.parse_unchecked(channel.receive())
    assert answer.status in (smb2.ACCESS_DENIED, smb2.LOGON_FAILURE, smb2.INVALID_PARAMETER)
    assert victim.call(ECHO, ECHO_BODY).status == smb2.SUCCESS


def test_a_binding_that_is_replayed(connect: Connect) -> None:
    """Who repeats a victim's binding request has not become the victim, signed or unsigned."""
    victim = connect().ready()
    file_id = victim.open("replayed")
    honest = bound(victim, connect)
    assert honest.call(ECHO, ECHO_BODY).status == smb2.SUCCESS
    message = honest.sign(
        honest.header(smb2.SESSION_SETUP, session_id=victim.session_id)
        + smb2.setup_body(NTLM_NEGOTIATE, 1)
    )
    thief = connect(victim.guid)
    thief.negotiate()
    thief.call(ECHO, ECHO_BODY)
    thief.send(message)
    thief.message_id = honest.message_id
    answer = thief.parse_unchecked(thief.receive())
    assert answer.status == smb2.MORE_PROCESSING_REQUIRED
    thief.session_id, thief.tree_id = victim.session_id, victim.tree_id
    for command, body in (
        (smb2.READ, smb2.read_body(file_id, 1)),
        (smb2.CREATE, smb2.create_body("stolen")),
        (smb2.TREE_CONNECT, smb2.tree_body("\\\\x\\data".encode("utf-16-le"))),
        (smb2.LOGOFF, smb2.LOGOFF_BODY),
    ):
        assert thief.call(command, body).status == smb2.USER_SESSION_DELETED
    thief.close()
    assert victim.call(smb2.READ, smb2.read_body(file_id, 1)).status == smb2.END_OF_FILE


def test_binding_with_what_does_not_fit(connect: Connect) -> None:
    victim = connect().ready()
    unsigned = bound(victim, connect)
    answer = unsigned.call(
        smb2.SESSION_SETUP, smb2.setup_body(NTLM_NEGOTIATE, 1), session_id=victim.session_id
    )
    assert answer.status == smb2.INVALID_PARAMETER
    stranger = bound(victim, connect, os.urandom(16))
    assert stranger.login(flags=1, session_id=victim.session_id) != smb2.SUCCESS
    older = connect(victim.guid)
    older.negotiate(0x0302)
    older.signing_key = victim.signing_key
    assert older.login(flags=1, session_id=victim.session_id) != smb2.SUCCESS
    forged = bound(victim, connect)
    forged.signing_key = bytes(16)
    assert forged.login(flags=1, session_id=victim.session_id) == smb2.ACCESS_DENIED
    nowhere = bound(victim, connect)
    assert nowhere.login(flags=1, session_id=0x1234) == smb2.USER_SESSION_DELETED
    assert victim.call(ECHO, ECHO_BODY).status == smb2.SUCCESS


def test_binding_while_the_session_ends(connect: Connect, target: Target) -> None:
    """Row 15: the first channel logs off while mountd is asked about the second."""
    for number in range(10):
        victim = connect().ready()
        channel = bound(victim, connect)
        security = spnego.client(ALICE.name, ALICE.password, protocol="ntlm")

        def say(token: bytes, channel: Raw = channel, victim: Raw = victim) -> None:
            message = channel.header(smb2.SESSION_SETUP, session_id=victim.session_id)
            channel.send(channel.sign(message + smb2.setup_body(token, 1)))

        say(security.step() or b"")
        answer = channel.parse_unchecked(channel.receive())
        offset, length = struct.unpack_from("<HH", answer.body, 4)
        say(security.step(answer.message[offset : offset + length]) or b"")
        time.sleep(number * 0.0002)
        victim.post(smb2.LOGOFF, smb2.LOGOFF_BODY)
        channel.parse_unchecked(channel.receive())
        victim.reply()
        assert target.records(SESSIONS) == 2
        victim.close()
        channel.close()


def test_a_wrong_password_again(connect: Connect) -> None:
    """A failed re-authentication ends the session, with all that was open."""
    client = connect().ready()
    client.open("mine")
    assert client.login(WRONG, session_id=client.session_id) == smb2.LOGON_FAILURE
    assert client.call(smb2.CREATE, smb2.create_body("mine")).status == smb2.USER_SESSION_DELETED


def test_logoff_of_a_login_under_way(connect: Connect) -> None:
    client = connect()
    client.negotiate()
    answer = client.call(smb2.SESSION_SETUP, smb2.setup_body(NTLM_NEGOTIATE))
    client.session_id = answer.session_id
    for command in (smb2.LOGOFF, smb2.TREE_CONNECT, smb2.TREE_DISCONNECT, smb2.CREATE):
        assert client.call(command, bytes(64)).status == smb2.USER_SESSION_DELETED
    client.send(b"\xfdSMB" + bytes(40) + struct.pack("<Q", answer.session_id) + bytes(80))
    assert client.closed()
