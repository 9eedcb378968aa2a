"""Sessions that begin by a ticket: SPNEGO's ways, keys, the ticket's end, re-authentication."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from smbengine import requests
from smbengine.client import Client, challenge_of
from smbengine.configured import Configured
from smbengine.kerberos import KERBEROS, MS_KERBEROS, NTLM, UNKNOWN, USUAL, kerberos_login
from smbtest.tickets import Forge, Initiator
from spnego._spnego import NegState, NegTokenInit, unpack_token

from usmbd.protocol.state import expiry
from usmbd.protocol.state.session import SessionState
from usmbd.protocol.wire.create import FILE_OPEN_IF
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.negotiate import NegotiateResponse
from usmbd.protocol.wire.status import NtStatus

SUCCESS, FAILED, EXPIRED = (
    NtStatus.SUCCESS,
    NtStatus.LOGON_FAILURE,
    NtStatus.NETWORK_SESSION_EXPIRED,
)
DIALECTS = (0x202, 0x210, 0x300, 0x302, 0x311)

Serve = Callable[..., Configured]


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    pytest.importorskip("gssapi")
    made = Forge(tmp_path / "realm")
    monkeypatch.setenv("KRB5_CONFIG", str(made.configuration))
    monkeypatch.setenv("KRB5RCACHENAME", f"file2:{tmp_path}/rcache")
    return made


@pytest.fixture
def serve(tmp_path: Path, forge: Forge) -> Iterator[Serve]:
    made: list[Configured] = []

    def start(server: str = "") -> Configured:
        path = tmp_path / str(len(made))
        (path / "data").mkdir(parents=True)
        keytab = f"kerberos method = dedicated keytab\ndedicated keytab file = {forge.keytab}\n"
        text = f"[global]\n{keytab}{server}\n[data]\npath = {{path}}/data\nread only = no\n"
        made.append(Configured(path, text))
        return made[-1]

    yield start
    for engine in made:
        engine.close()


def hint(client: Client) -> list[str]:
    reply = client.negotiate()
    response = reply.parse(NegotiateResponse)
    start = response.security_buffer_offset
    token = unpack_token(reply.message[start : start + response.security_buffer_length])
    assert isinstance(token, NegTokenInit)
    return list(token.mech_types)


def test_what_is_offered(serve: Serve) -> None:
    assert hint(Client(serve())) == list(USUAL)
    assert hint(Client(serve("ntlm auth = disabled"))) == [MS_KERBEROS, KERBEROS]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_ticket_begins_a_session(serve: Serve, forge: Forge, dialect: int) -> None:
    client = Client(serve())
    client.negotiate(dialect)
    assert kerberos_login(client, Initiator(forge.ticket())).status is SUCCESS
    assert (client.session.user, client.session.guest) == ("alice", False)
    assert client.session.expires - time.time() > 3000
    assert client.connect("data").status is SUCCESS  # signed by the ticket's key


@pytest.mark.parametrize("mechanisms", [(KERBEROS, NTLM), (KERBEROS,), (MS_KERBEROS,), USUAL])
@pytest.mark.parametrize("optimistic", [True, False])
@pytest.mark.parametrize("mutual", [True, False])
def test_the_ways_of_spnego(
    serve: Serve, forge: Forge, mechanisms: tuple[str, ...], optimistic: bool, mutual: bool
) -> None:
    client = Client(serve())
    client.negotiate()
    initiator = Initiator(forge.ticket(), mutual=mutual)
    reply = kerberos_login(client, initiator, mechanisms, optimistic=optimistic)
    assert reply.status is SUCCESS
    assert client.connect("data").status is SUCCESS


def test_where_another_mechanism_stands_before_the_list_is_signed(
    serve: Serve, forge: Forge
) -> None:
    engine = serve()
    for signed, status in ((None, SUCCESS), ((KERBEROS, NTLM), FAILED)):
        client = Client(engine)
        client.negotiate()
        mechanisms = (UNKNOWN, KERBEROS, NTLM)
        initiator = Initiator(forge.ticket())
        reply = kerberos_login(client, initiator, mechanisms, signed_list=signed)
        assert reply.status is status
        if signed is None:
            assert client.connect("data").status is SUCCESS
        else:
            assert len(engine.server.session_table) == 1


def test_the_client_s_order_counts(serve: Serve) -> None:
    client = Client(serve())
    client.negotiate()
    _, (reply,) = client.setup(NegTokenInit(mech_types=[NTLM, KERBEROS], mech_token=None).pack())
    assert reply.status is NtStatus.MORE_PROCESSING_REQUIRED
    answer = unpack_token(challenge_of(reply))
    assert (answer.supported_mech, answer.neg_state) == (NTLM, NegState.accept_incomplete)


def test_without_ntlm(serve: Serve, forge: Forge) -> None:
    client = Client(serve("ntlm auth = disabled"))
    client.negotiate()
    assert client.login("alice", "secret").status is FAILED
    for mechanisms in ([NTLM], [MS_KERBEROS, NTLM]):
        token = NegTokenInit(mech_types=mechanisms, mech_token=b"NTLMSSP\0" + b"\1" * 24).pack()
        _, (reply,) = client.setup(token)
        assert reply.status in (FAILED, NtStatus.LOGON_FAILURE)
    assert kerberos_login(client, Initiator(forge.ticket())).status is SUCCESS


def test_a_bad_ticket_ends_the_session_that_it_meant(serve: Serve, forge: Forge) -> None:
    engine = serve()
    client = Client(engine)
    client.negotiate()
    initiator = Initiator(forge.ticket())
    assert kerberos_login(client, initiator).status is SUCCESS
    again = Client(engine)
    again.negotiate()
    assert kerberos_login(again, initiator).status is FAILED  # a replay
    assert client.connect("data").status is SUCCESS


class Later:
    """The `time` of the module that looks at tickets' ends, which a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shift = 0.0
        monkeypatch.setattr(expiry, "time", SimpleNamespace(time=lambda: time.time() + self.shift))

    def pass_by(self, engine: Configured, seconds: float) -> None:
        """Let time pass for the engine's timers, too."""
        self.shift += seconds
        engine.clock.advance(seconds)


def test_the_ticket_s_end(serve: Serve, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, later = serve(), Later(monkeypatch)
    client = Client(engine)
    client.negotiate()
    assert kerberos_login(client, Initiator(forge.ticket(seconds=500))).status is SUCCESS
    client.connect("data")
    file_id = client.open("f", disposition=FILE_OPEN_IF)
    later.pass_by(engine, 400)
    assert client.session.state is SessionState.VALID
    later.pass_by(engine, 110)
    assert client.session.state is SessionState.EXPIRED
    assert client.call(Command.TREE_CONNECT, requests.tree_connect("data")).status is EXPIRED
    assert client.call(Command.READ, requests.read(file_id, 1)).status is EXPIRED

    # A new ticket of the same user, and all goes on.
    fresh = Initiator(forge.ticket(seconds=3000))
    assert kerberos_login(client, fresh, sign=True).status is SUCCESS
    assert client.session.state is SessionState.VALID
    assert client.call(Command.WRITE, requests.write(file_id, b"x")).status is SUCCESS
    later.pass_by(engine, 600)
    assert client.session.state is SessionState.VALID
    later.pass_by(engine, 3000)
    assert client.call(Command.CLOSE, requests.close(file_id)).status is SUCCESS
    assert client.call(Command.LOGOFF, b"\4\0\0\0").status is SUCCESS


def test_a_password_ends_the_waiting_for_a_ticket(
    serve: Serve, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, later = serve(), Later(monkeypatch)
    client = Client(engine)
    client.negotiate()
    assert kerberos_login(client, Initiator(forge.ticket(seconds=500))).status is SUCCESS
    later.pass_by(engine, 600)
    assert client.login("alice", "secret", sign=True).status is SUCCESS
    assert (client.session.state, client.session.expires) == (SessionState.VALID, 0)


@pytest.mark.parametrize("expired", [False, True])
def test_another_account_s_ticket_ends_the_session(
    serve: Serve, forge: Forge, monkeypatch: pytest.MonkeyPatch, expired: bool
) -> None:
    engine, later = serve(), Later(monkeypatch)
    client = Client(engine)
    client.negotiate()
    assert kerberos_login(client, Initiator(forge.ticket(seconds=500))).status is SUCCESS
    if expired:
        later.pass_by(engine, 600)
    reply = kerberos_login(client, Initiator(forge.ticket("bob")), sign=True)
    assert reply.status is NtStatus.ACCESS_DENIED
    assert not engine.server.session_table


def test_an_expired_session_re_authenticated_as_nobody_stays_expired(
    serve: Serve, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, later = serve(), Later(monkeypatch)
    client = Client(engine)
    client.negotiate()
    assert kerberos_login(client, Initiator(forge.ticket(seconds=500))).status is SUCCESS
    later.pass_by(engine, 600)
    client.anonymous(session_id=client.session_id, sign=True)
    assert client.session.state is SessionState.EXPIRED


def test_ends_of_many_sessions_take_little(serve: Serve) -> None:
    engine = serve()
    watched = engine.server.expiries
    for number in range(5000):
        session = engine.server.new_session(0x311)
        session.expires = int(time.time()) + 1000 + number
        watched.watch(session)
    assert len(watched._queue) <= expiry.SPARE_ENTRIES + 1


def test_a_channel_by_a_ticket(serve: Serve, forge: Forge) -> None:
    engine = serve()
    client = Client(engine)
    client.negotiate()
    ticket = forge.ticket()
    assert kerberos_login(client, Initiator(ticket)).status is SUCCESS
    other = Client(engine, guid=client.guid)
    other.negotiate()
    other.session_id, other.signer = client.session_id, client.signer
    reply = kerberos_login(other, Initiator(ticket), sign=True, flags=1)
    assert reply.status is SUCCESS
    assert len(client.session.channel_list) == 2
    stranger = Client(engine, guid=client.guid)
    stranger.negotiate()
    stranger.session_id, stranger.signer = client.session_id, client.signer
    reply = kerberos_login(stranger, Initiator(forge.ticket("bob")), sign=True, flags=1)
    assert reply.status is NtStatus.ACCESS_DENIED
    assert len(client.session.channel_list) == 2
