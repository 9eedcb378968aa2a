"""SESSION_SETUP: who gets in with which protection, and how a session goes on or ends."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spnego
from smbengine import requests
from smbengine.client import NTLM_NEGOTIATE, Client, challenge_of, prove_with
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import LoginStatus, Logout
from usmbd.mountd.ipc.settings import Encryption, Signing
from usmbd.protocol.commands.session_setup import MAXIMUM_HALF_OPEN, STRANGER_SESSIONS
from usmbd.protocol.state.connection import HALF_OPEN_SIZE
from usmbd.protocol.state.memory import WAITING_SIZE
from usmbd.protocol.state.session import SessionState
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.state.store.records import SessionRecord
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.negotiate import SMB2_NEGOTIATE_SIGNING_REQUIRED
from usmbd.protocol.wire.negotiate_contexts import AES_128_CCM, AES_128_GCM, AES_256_GCM
from usmbd.protocol.wire.session_setup import (
    SMB2_SESSION_FLAG_ENCRYPT_DATA,
    SMB2_SESSION_FLAG_IS_GUEST,
    SMB2_SESSION_FLAG_IS_NULL,
    SessionSetupResponse,
)
from usmbd.protocol.wire.status import NtStatus


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Return a function that makes an engine of another configuration."""
    made: list[Engine] = []

    def make(**config: Any) -> Engine:
        made.append(Engine(tmp_path / str(len(made)), **config))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def negotiated(engine: Engine, *dialects: int) -> Client:
    client = Client(engine)
    client.negotiate(*dialects)
    return client


def nothing_left(engine: Engine) -> bool:
    """Say whether no session is left anywhere."""
    return not (
        engine.server.session_table
        or engine.store.sessions()
        or any(c.session_table or c.preauth_sessions for c in engine.server.connections)
    )


@pytest.mark.parametrize("dialect", [0x202, 0x210, 0x300, 0x302, 0x311])
def test_a_login_is_signed_with_the_new_key(engine: Engine, dialect: int) -> None:
    client = negotiated(engine, dialect)
    reply = client.login()  # verifies the signature
    assert reply.status is NtStatus.SUCCESS
    assert reply.signed
    assert reply.parse(SessionSetupResponse).session_flags == 0
    session = client.session
    assert (session.user, session.state) == ("alice", SessionState.VALID)
    assert engine.store.get_session(session.session_id).user == "alice"
    assert client.connection.preauth_sessions == {}
    assert session.acceptors == {}


@pytest.mark.parametrize("user", [("alice", "wrong"), ("nobody-here", "secret")])
def test_a_wrong_password_and_an_unknown_user_look_alike(
    engine: Engine, user: tuple[str, str]
) -> None:
    client = negotiated(engine)
    reply = client.login(*user)
    assert reply.status is NtStatus.LOGON_FAILURE
    assert not reply.signed
    assert nothing_left(engine)
    client.session_id = 0
    assert client.login().status is NtStatus.SUCCESS


def test_a_session_exists_for_others_only_when_it_is_proved(engine: Engine) -> None:
    client = negotiated(engine)
    _, (reply,) = client.setup(NTLM_NEGOTIATE)
    assert reply.status is NtStatus.MORE_PROCESSING_REQUIRED
    client.session_id = reply.header.session_id
    refused = client.call(Command.TREE_CONNECT, requests.tree_connect("data"))
    assert refused.status is NtStatus.USER_SESSION_DELETED
    assert engine.server.session_table == {}
    assert engine.store.sessions() == []
    client.disconnect()
    assert nothing_left(engine)


def test_garbage_for_a_token_ends_the_attempt(engine: Engine) -> None:
    client = negotiated(engine)
    for token in (b"", b"garbage", NTLM_NEGOTIATE[:10]):
        _, (reply,) = client.setup(token)
        assert reply.status in (NtStatus.INVALID_PARAMETER, NtStatus.LOGON_FAILURE)
    assert nothing_left(engine)


def test_an_unknown_session_cannot_go_on(engine: Engine) -> None:
    client = negotiated(engine)
    _, (reply,) = client.setup(NTLM_NEGOTIATE, session_id=0x4242)
    assert reply.status is NtStatus.USER_SESSION_DELETED


def test_so_many_sessions_of_a_connection(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usmbd.protocol.commands.session_setup.MAXIMUM_SESSIONS", 2)
    client = negotiated(engine)
    for user, password in (("alice", "secret"), ("bob", "hidden")):
        client.session_id = 0
        client.login(user, password)
    client.session_id = 0
    assert client.setup(NTLM_NEGOTIATE)[1][0].status is NtStatus.INSUFFICIENT_RESOURCES


def test_logins_that_go_no_further_give_way(engine: Engine) -> None:
    """A stranger's soon, a user's later; what is known of them is counted and forgotten."""
    client = negotiated(engine)
    connection = client.connection
    for most in (STRANGER_SESSIONS, MAXIMUM_HALF_OPEN):
        begun = []
        for _ in range(most + 5):
            _, (reply,) = client.setup(NTLM_NEGOTIATE, session_id=0)
            assert reply.status is NtStatus.MORE_PROCESSING_REQUIRED
            begun.append(reply.header.session_id)
        assert list(connection.half_open) == begun[-most:]
        _, (reply,) = client.setup(NTLM_NEGOTIATE, session_id=begun[0])
        assert reply.status is NtStatus.USER_SESSION_DELETED
        client.session_id = 0
        client.login()
        assert connection.admitted
    assert connection.memory.waiting == len(connection._counted) * (WAITING_SIZE + HALF_OPEN_SIZE)
    client.disconnect()
    assert engine.server.memory.clients == {}
    assert engine.server.memory.pools[Standing.USER].waiting == 0


@pytest.mark.parametrize("size", [2 * 1024, 60 * 1024])
def test_a_first_message_that_is_too_long_is_not_kept(engine: Engine, size: int) -> None:
    client = negotiated(engine)
    _, (reply,) = client.setup(NTLM_NEGOTIATE + bytes(size))
    assert reply.status is NtStatus.INVALID_PARAMETER
    assert not client.connection.half_open
    assert client.login().status is NtStatus.SUCCESS


def test_strangers_take_no_user_s_session(tmp_path: Path) -> None:
    engine = Engine(tmp_path, max_active_sessions=2)
    try:
        engine.mountd.anonymous = LoginStatus.ANONYMOUS
        for _ in range(10):
            assert negotiated(engine).anonymous().status is NtStatus.SUCCESS
        for _ in range(2):
            client = negotiated(engine)
            assert client.login().status is NtStatus.SUCCESS
        assert negotiated(engine).setup(NTLM_NEGOTIATE)[1][0].status is (
            NtStatus.INSUFFICIENT_RESOURCES
        )
        client.disconnect()
        assert negotiated(engine).login().status is NtStatus.SUCCESS
    finally:
        engine.close()


def test_sessions_of_users_count_in_all_workers_together(tmp_path: Path) -> None:
    engine = Engine(tmp_path, max_active_sessions=2)
    try:
        other = engine.another_worker()
        clients = [Client(engine, server=server) for server in (engine.server, other)]
        for client in clients:
            client.negotiate()
            assert client.login().status is NtStatus.SUCCESS
        for server in (engine.server, other):
            late = Client(engine, server=server)
            late.negotiate()
            assert late.setup(NTLM_NEGOTIATE)[1][0].status is NtStatus.INSUFFICIENT_RESOURCES
        assert engine.store.user_sessions() == 2
        engine.store.drop_worker(2)  # which has died
        assert engine.store.user_sessions() == 1
        clients[0].disconnect()
        assert engine.store.user_sessions() == 0
    finally:
        engine.close()


def test_two_users_on_one_connection(engine: Engine) -> None:
    client = negotiated(engine)
    client.login()
    first = client.session_id, client.signer
    client.session_id = 0
    client.login("bob", "hidden")
    assert {s.user for s in client.connection.session_table.values()} == {"alice", "bob"}
    assert client.connect().status is NtStatus.SUCCESS
    client.session_id, client.signer = first
    assert client.create("file") is NtStatus.NETWORK_NAME_DELETED  # bob's tree is not alice's


# -- guests, nobody, and what the configuration demands -------------------------------------


def test_a_guest_signs_nothing(engine: Engine) -> None:
    engine.mountd.unknown_user = LoginStatus.GUEST
    client = negotiated(engine)
    reply = client.login("nobody-here", "secret")
    assert reply.parse(SessionSetupResponse).session_flags == SMB2_SESSION_FLAG_IS_GUEST
    assert not reply.signed
    assert client.session.guest
    assert client.session.sealer is None
    client.signs = False
    assert client.connect().status is NtStatus.SUCCESS


def test_no_guest_where_signing_is_mandatory(engines: Callable[..., Engine]) -> None:
    engine = engines(signing=Signing.MANDATORY)
    engine.mountd.unknown_user = LoginStatus.GUEST
    client = negotiated(engine)
    assert client.login("nobody-here", "x").status is NtStatus.ACCESS_DENIED
    assert nothing_left(engine)


def test_nobody_gets_in_where_mountd_says_so(engine: Engine) -> None:
    client = negotiated(engine)
    assert client.anonymous().status is NtStatus.ACCESS_DENIED
    assert nothing_left(engine)
    engine.mountd.anonymous = LoginStatus.ANONYMOUS
    reply = client.anonymous()
    assert reply.parse(SessionSetupResponse).session_flags == SMB2_SESSION_FLAG_IS_NULL
    assert client.session.anonymous
    client.signs = False
    assert client.connect("IPC$").status is NtStatus.SUCCESS


def test_a_client_that_requires_signing_gets_it(engine: Engine) -> None:
    client = negotiated(engine, 0x302)
    client.login(mode=SMB2_NEGOTIATE_SIGNING_REQUIRED)
    assert client.session.signing_required
    client.signs = False
    reply = client.connect()
    assert reply.status is NtStatus.ACCESS_DENIED
    client.signs = True
    assert client.connect().status is NtStatus.SUCCESS


@pytest.mark.parametrize("cipher", [AES_128_CCM, AES_128_GCM, AES_256_GCM])
def test_desired_encryption_holds_for_all_requests(
    engines: Callable[..., Engine], cipher: int
) -> None:
    engine = engines(encryption=Encryption.DESIRED)
    client = Client(engine)
    client.negotiate(ciphers=(cipher,))
    reply = client.login()
    assert reply.parse(SessionSetupResponse).session_flags == SMB2_SESSION_FLAG_ENCRYPT_DATA
    assert client.connect().status is NtStatus.ACCESS_DENIED  # signed is not enough
    client.seals = True
    assert client.connect().status is NtStatus.SUCCESS
    file = client.open("file")
    assert client.call(Command.WRITE, requests.write(file, bytes(300_000)), credit_charge=5)
    assert len(client.call(Command.READ, requests.read(file, 65536)).data) == 65536


def test_required_encryption_keeps_out_who_cannot(engines: Callable[..., Engine]) -> None:
    engine = engines(encryption=Encryption.REQUIRED)
    for dialect in (0x210, 0x300):
        client = Client(engine)
        client.negotiate(dialect, capabilities=0)
        assert client.login().status is NtStatus.ACCESS_DENIED
    assert nothing_left(engine)


# -- waiting for mountd ----------------------------------------------------------------------


def prove(client: Client) -> int:
    """Send the last message of a login, which then waits for mountd; return its MessageId."""
    security = spnego.client("alice", "secret", protocol="ntlm")
    _, (reply,) = client.setup(security.step() or b"")
    client.session_id = reply.header.session_id
    _, replies = client.setup(
        security.step(challenge_of(reply)) or b"", session_id=client.session_id
    )
    assert replies == []
    return client.message_id - 1


def test_others_are_served_while_mountd_thinks(engine: Engine) -> None:
    other = Client(engine).ready()
    engine.mountd.held = True
    client = negotiated(engine)
    message_id = prove(client)
    assert other.create("file") is NtStatus.SUCCESS
    engine.release(engine.mountd)
    (reply,) = client.taken(message_id)
    assert reply.status is NtStatus.SUCCESS


def test_a_second_step_while_mountd_thinks_is_refused(engine: Engine) -> None:
    engine.mountd.held = True
    client = negotiated(engine)
    message_id = prove(client)
    _, (reply,) = client.setup(NTLM_NEGOTIATE, session_id=client.session_id)
    assert reply.status is NtStatus.REQUEST_NOT_ACCEPTED
    engine.release(engine.mountd)
    (reply,) = client.taken(message_id)
    assert reply.status is NtStatus.SUCCESS


def test_a_client_that_goes_while_mountd_thinks_leaves_nothing(engine: Engine) -> None:
    engine.mountd.held = True
    client = negotiated(engine)
    prove(client)
    client.disconnect()
    engine.release(engine.mountd)
    assert nothing_left(engine)


# -- PreviousSessionId, LOGOFF, the end of a connection ----------------------------------------


def test_a_lost_session_is_closed_by_its_successor(client: Client, engine: Engine) -> None:
    file = client.open("file", share=0)
    again = negotiated(engine)
    assert again.login(previous=client.session_id).status is NtStatus.SUCCESS
    assert list(engine.server.session_table) == [again.session_id]
    assert [s.session_id for s in engine.store.sessions()] == [again.session_id]
    assert again.connect().status is NtStatus.SUCCESS
    assert again.create("file", share=0) is NtStatus.SUCCESS
    assert client.close(file) is NtStatus.USER_SESSION_DELETED


def test_nobody_closes_the_session_of_another_user(client: Client, engine: Engine) -> None:
    again = negotiated(engine)
    again.login("bob", "hidden", previous=client.session_id)
    assert client.create("file") is NtStatus.SUCCESS


def test_a_lost_session_of_another_worker(engine: Engine) -> None:
    lost = Client(engine, server=engine.another_worker()).ready()
    lost.open("file", share=0)
    engine.peers.held = True
    again = negotiated(engine)
    engine.mountd.held = True
    message_id = prove_with(again, lost.session_id)
    engine.release(engine.mountd)
    assert again.taken(message_id) == []  # until the other worker has closed it
    engine.release(engine.peers)
    (reply,) = again.taken(message_id)
    assert reply.status is NtStatus.SUCCESS
    assert not engine.peers.servers[2].session_table
    assert [s.session_id for s in engine.store.sessions()] == [again.session_id]


def test_a_client_that_goes_while_its_lost_session_is_closed(engine: Engine) -> None:
    lost = Client(engine, server=engine.another_worker()).ready()
    engine.peers.held = True
    again = negotiated(engine)
    prove_with(again, lost.session_id)
    again.disconnect()
    engine.release(engine.peers)
    assert nothing_left(engine)


def test_a_previous_session_that_nobody_knows(engine: Engine) -> None:
    engine.store.put_session(SessionRecord(session_id=77, worker=1, user="alice"))
    assert negotiated(engine).login(previous=77).status is NtStatus.SUCCESS
    assert negotiated(engine).login(previous=78).status is NtStatus.SUCCESS


def test_logoff_ends_all_and_is_signed(client: Client, engine: Engine) -> None:
    client.open("file", share=0)
    session_id = client.session_id
    reply = client.call(Command.LOGOFF, requests.EMPTY)
    assert reply.status is NtStatus.SUCCESS
    assert reply.signed
    assert nothing_left(engine)
    assert Logout(session_id=session_id) in engine.mountd.told
    assert client.create("file") is NtStatus.USER_SESSION_DELETED
    other = Client(engine).ready()
    assert other.create("file", share=0) is NtStatus.SUCCESS


def test_a_lost_connection_ends_its_sessions(client: Client, engine: Engine) -> None:
    client.open("file", share=0)
    client.disconnect()
    assert nothing_left(engine)
    assert not engine.server.connections
    assert Client(engine).ready().create("file", share=0) is NtStatus.SUCCESS


@pytest.mark.parametrize(
    ("why", "status"),
    [
        (LoginStatus.BAD_USER, NtStatus.LOGON_FAILURE),
        (LoginStatus.TOO_MANY, NtStatus.LOGON_FAILURE),
        (LoginStatus.PASSWORD_EXPIRED, NtStatus.PASSWORD_EXPIRED),
        (LoginStatus.PASSWORD_MUST_CHANGE, NtStatus.PASSWORD_MUST_CHANGE),
        (LoginStatus.ACCOUNT_DISABLED, NtStatus.ACCOUNT_DISABLED),
        (LoginStatus.ACCOUNT_EXPIRED, NtStatus.ACCOUNT_EXPIRED),
    ],
)
def test_why_somebody_is_not_let_in(
    engines: Callable[..., Engine], why: LoginStatus, status: NtStatus
) -> None:
    engine = engines()
    engine.mountd.unknown_user = why
    assert negotiated(engine).login("somebody", "x").status == status
    assert not engine.server.session_table
