"""A victim's proof that somebody else relays opens nothing for him, whatever session he has."""

import hashlib
import os
import struct
from collections.abc import Iterator

import pytest
import spnego
from smbtest import smb2
from smbtest.processes import wait_for
from smbtest.raw import Closed, Raw
from smbtest.server import ALICE, BOB, Options
from smbtest.smb2 import ECHO, ECHO_BODY
from smbtest.usmbd import Usmbd

from .conftest import ANSWER_SECONDS

SECRET = b"for the victim's eyes"
PROTECTION = {
    "signing": {"server signing": "mandatory"},
    "encryption": {"smb3 encryption": "required"},
    "neither": {},
}


@pytest.fixture(scope="module", params=PROTECTION)
def server(request: pytest.FixtureRequest) -> Iterator[Usmbd]:
    """Run a server with a file that only the victim may read."""
    server = Usmbd(Options(PROTECTION[request.param]))
    with server.running():
        secret = server.data / "secret"
        secret.write_bytes(SECRET)
        if os.geteuid() == 0:
            os.chown(secret, 5, 60)
        secret.chmod(0o600)
        yield server


@pytest.fixture
def bystander(server: Usmbd) -> Iterator[Raw]:
    """Connect the victim's own client, which must not notice anything."""
    with Raw(server, timeout=ANSWER_SECONDS) as client:
        client.negotiate()
        assert client.login(ALICE) == smb2.SUCCESS
        client.seals = True
        assert client.connect().status == smb2.SUCCESS
        file_id = client.open("secret", access=1)
        yield client
        assert client.call(smb2.READ, smb2.read_body(file_id, 100)).body[16:] == SECRET


def step(client: Raw, token: bytes) -> tuple[int, bytes]:
    """Send one token within the client's session: the status and the server's token.

    The session's hash goes on in `preauth`.
    """
    message = client.header(smb2.SESSION_SETUP, session_id=client.session_id)
    message += smb2.setup_body(token)
    message = client.sign(message) if client.signing_key else message
    client.send(message)
    answer = client.parse_unchecked(client.receive())
    client.preauth = hashlib.sha512(client.preauth + message).digest()
    if answer.status == smb2.MORE_PROCESSING_REQUIRED:
        client.preauth = hashlib.sha512(client.preauth + answer.message).digest()
    client.session_id = answer.session_id
    offset, length = struct.unpack_from("<HH", answer.body, 4)
    return answer.status, answer.message[offset : offset + length]


def relay(client: Raw) -> int:
    """Pass a victim's messages on, as whoever stands between it and the server: the status."""
    victim = spnego.client(ALICE.name, ALICE.password, protocol="ntlm")
    status, token = step(client, victim.step() or b"")
    if status != smb2.MORE_PROCESSING_REQUIRED:
        return status
    return step(client, victim.step(token) or b"")[0]


def anonymous(client: Raw) -> int:
    """Log in as nobody, with a key that everybody knows ([MS-NLMP] 3.2.5.1.2): the status."""
    negotiate = b"NTLMSSP\0" + struct.pack("<II", 1, 0xA2088287) + bytes(24)
    step(client, negotiate)
    fields = struct.pack("<HHI", 0, 0, 64) * 6
    token = b"NTLMSSP\0" + struct.pack("<I", 3) + fields + struct.pack("<I", 0xA2088A05)
    status, _ = step(client, token)
    if status == smb2.SUCCESS and not client.signing_key:
        client._derive(bytes(16), client.preauth, False)
    return status


def reads(client: Raw) -> list[bytes]:
    """Try every way of protection to read the victim's file: what came."""
    found = []
    for signs, seals in ((False, False), (True, False), (False, True)):
        if (signs and not client.signing_key) or (seals and not client.keys[0]):
            continue
        client.signs, client.seals = signs, seals
        try:
            path = f"\\\\{client.server.host}\\data".encode("utf-16-le")
            answer = client.call(smb2.TREE_CONNECT, smb2.tree_body(path), tree_id=0)
            if answer.status == smb2.SUCCESS:
                client.tree_id = answer.tree_id
            answer = client.call(smb2.CREATE, smb2.create_body("secret", 1, smb2.OPEN))
            if answer.status == smb2.SUCCESS:
                data = client.call(smb2.READ, smb2.read_body(answer.file_id, 100))
                found.append(data.body[16:])
        except Closed:
            break
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="without root all users have the same files")
@pytest.mark.parametrize("dialect", [0x0210, 0x0302, 0x0311])
@pytest.mark.parametrize("begins", ["nobody", "bob", "bob, then nobody", "nothing"])
def test_relayed_into_a_session(server: Usmbd, bystander: Raw, dialect: int, begins: str) -> None:
    with Raw(server) as attacker:
        attacker.negotiate(dialect)
        if begins.startswith("bob") and attacker.login(BOB) != smb2.SUCCESS:
            return  # a dialect that cannot encrypt, where all is to be
        if begins.endswith("nobody"):
            if anonymous(attacker) != smb2.SUCCESS:
                assert server.options.parameters
                attacker.session_id, attacker.signing_key, attacker.keys = 0, b"", (b"", b"")
            else:
                assert not reads(attacker)
        session_id = attacker.session_id
        try:
            status = relay(attacker)
            # Without a session of his own he logs the victim in, and has no key to go on with.
            assert (status == smb2.SUCCESS) <= (session_id == 0)
            if session_id or server.options.parameters:
                assert not reads(attacker)
        except Closed:
            pass
    assert bystander.call(ECHO, ECHO_BODY).status == smb2.SUCCESS
    if session_id and begins != "nobody":
        ended = f"the session of {BOB.name} ended"  # as late as with the attacker's connection
        wait_for(lambda: ended in server.log, 30, "the end of the session")


def test_the_same_account_again(server: Usmbd, bystander: Raw) -> None:
    """Who proves again to be who he is goes on, with all that is open."""
    with Raw(server) as client:
        client.negotiate()
        assert client.login(ALICE) == smb2.SUCCESS
        client.seals = True
        assert client.connect().status == smb2.SUCCESS
        file_id = client.open("secret", access=1)
        assert relay(client) == smb2.SUCCESS
        assert client.call(smb2.READ, smb2.read_body(file_id, 100)).body[16:] == SECRET


def test_nobody_where_all_is_protected(server: Usmbd) -> None:
    with Raw(server) as client:
        client.negotiate()
        expected = smb2.ACCESS_DENIED if server.options.parameters else smb2.SUCCESS
        assert anonymous(client) == expected
