"""SESSION_SETUP of a session that there is: what stays, what ends, how it is signed."""

from typing import Any

import pytest
import spnego
from msgspec import structs
from smbengine import requests
from smbengine.client import Client, challenge_of
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import LoginResponse
from usmbd.protocol.commands import session_setup
from usmbd.protocol.effects import Waiting
from usmbd.protocol.state.connection import MAXIMUM_ENDED
from usmbd.protocol.state.session import SessionState
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK, SMB2_LOCKFLAG_UNLOCK
from usmbd.protocol.wire.negotiate import SMB2_NEGOTIATE_SIGNING_REQUIRED
from usmbd.protocol.wire.status import NtStatus, SmbError


def test_reauthentication_keeps_keys_and_opens(client: Client) -> None:
    file = client.open("file")
    client.session.state = SessionState.EXPIRED
    assert client.create("other") is NtStatus.NETWORK_SESSION_EXPIRED
    signer = client.session.channel_list[client.connection].signer
    reply = client.login(sign=True)
    assert reply.status is NtStatus.SUCCESS
    assert reply.signed
    assert client.session.channel_list[client.connection].signer is signer
    assert client.call(Command.READ, requests.read(file, 1)).status is NtStatus.END_OF_FILE
    assert client.create("other") is NtStatus.SUCCESS


def test_a_password_takes_the_place_of_a_ticket(client: Client, engine: Engine) -> None:
    """For what is asked of his opens if the worker dies: the ticket may be over by then."""
    client.session.ticket = b"ticket"
    engine.server.keep_session(client.session, client.connection)
    assert [session.ticket for session in engine.store.sessions()] == [b"ticket"]
    assert client.login(sign=True).status is NtStatus.SUCCESS
    assert [session.ticket for session in engine.store.sessions()] == [b""]


def test_a_full_store_ends_no_session_that_is_proved_anew(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)

    client.session.ticket = b"ticket"
    monkeypatch.setattr(engine.server.store, "put_session", full)
    assert client.login(sign=True).status is NtStatus.SUCCESS
    assert client.create("file") is NtStatus.SUCCESS


@pytest.mark.parametrize("ticket", [b"", b"fresh"])
def test_a_session_that_ends_while_mountd_thinks_leaves_nothing(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch, ticket: bytes
) -> None:
    """Not the record of a session that nobody would remove."""
    client.session.ticket = b"ticket"
    asked = session_setup._login

    def login(*of: Any) -> Waiting[LoginResponse]:
        answer = yield from asked(*of)
        return structs.replace(answer, ticket=ticket)

    monkeypatch.setattr(session_setup, "_login", login)
    engine.mountd.held = True
    security = spnego.client("alice", "secret", protocol="ntlm")
    _, (reply,) = client.setup(security.step() or b"", session_id=client.session_id)
    token = security.step(challenge_of(reply)) or b""
    _, replies = client.setup(token, session_id=client.session_id)
    assert replies == []
    engine.server.close_session(client.session)
    engine.release(engine.mountd)
    engine.settle()
    assert engine.store.sessions() == []
    assert not engine.server.session_table


def test_a_reauthentication_s_end_is_signed_within_encryption_too(client: Client) -> None:
    """3.3.5.5.3: as by Windows and smbd 4.25, whose client (4.25) looks for it."""
    client.seals = True
    client.session.state = SessionState.EXPIRED
    opened = client.opened
    reply = client.login(sign=False)  # which verifies
    assert (reply.status, reply.signed) == (NtStatus.SUCCESS, True)
    assert client.opened == opened + 2
    assert not client.call(Command.ECHO, requests.EMPTY).signed


def test_what_an_expired_session_may_still_do(client: Client) -> None:
    file = client.open("file")
    exclusive, unlock = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | 0x10, SMB2_LOCKFLAG_UNLOCK
    locks = {flags: requests.lock(file, (0, 1, flags)) for flags in (exclusive, unlock)}
    assert client.call(Command.LOCK, locks[exclusive]).status is NtStatus.SUCCESS
    client.session.state = SessionState.EXPIRED
    assert client.call(Command.LOCK, locks[unlock]).status is NtStatus.SUCCESS
    refused = client.call(Command.LOCK, locks[exclusive])
    assert refused.status is NtStatus.NETWORK_SESSION_EXPIRED
    read = client.call(Command.READ, requests.read(file, 1))
    assert read.status is NtStatus.NETWORK_SESSION_EXPIRED
    assert client.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS
    assert client.close(file) is NtStatus.SUCCESS
    tree = client.call(Command.TREE_DISCONNECT, requests.EMPTY)
    assert tree.status is NtStatus.NETWORK_SESSION_EXPIRED
    assert client.call(Command.LOGOFF, requests.EMPTY).status is NtStatus.SUCCESS


def test_a_failed_reauthentication_ends_the_session(client: Client, engine: Engine) -> None:
    client.open("file")
    assert client.login("alice", "wrong", sign=True).status is NtStatus.LOGON_FAILURE
    assert not engine.server.session_table
    assert not engine.store.sessions()
    assert not client.connection.session_table
    assert client.create("file") is NtStatus.USER_SESSION_DELETED


@pytest.mark.parametrize("end", ["logoff", "a failed login", "closed by an administrator"])
def test_refusals_after_the_end_of_a_session_can_be_believed(
    client: Client, engine: Engine, end: str
) -> None:
    """They are signed with its key, for whoever signs; there are few such keys."""
    if end == "logoff":
        client.call(Command.LOGOFF, requests.EMPTY)
    elif end == "a failed login":
        client.login("alice", "wrong", sign=True)
    else:
        engine.server.close_session(client.session)
    for sign in (True, False):
        reply = client.call(Command.CREATE, requests.create("file"), sign=sign)
        assert reply.status is NtStatus.USER_SESSION_DELETED
        assert reply.signed is sign
    forged = bytearray(client.pack(Command.CREATE, requests.create("file"), sign=True))
    forged[-1] ^= 1
    client.send(bytes(forged))
    engine.settle()
    assert not client.replies[-1].signed


def test_few_keys_of_ended_sessions_are_kept(client: Client, engine: Engine) -> None:
    for _ in range(MAXIMUM_ENDED + 5):
        client.session_id, client.signer = 0, None
        assert client.login().status is NtStatus.SUCCESS
        client.call(Command.LOGOFF, requests.EMPTY)
    assert len(client.connection.ended_signers) == MAXIMUM_ENDED


def test_a_reauthentication_has_to_be_signed_where_all_is(engine: Engine) -> None:
    client = Client(engine)
    client.negotiate()
    client.login(mode=SMB2_NEGOTIATE_SIGNING_REQUIRED)
    assert client.login().status is NtStatus.ACCESS_DENIED
    assert client.session.state is SessionState.VALID
