"""A session on two connections: binding, keys of each channel, and the end of one."""

from typing import Any

import pytest
from smbengine import requests
from smbengine.client import NTLM_NEGOTIATE, Client
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import LoginStatus
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.session_setup import SMB2_SESSION_FLAG_BINDING
from usmbd.protocol.wire.status import NtStatus


def channel(first: Client, *dialects: int, **options: Any) -> Client:
    """Return a negotiated connection of the same client."""
    second = Client(first.engine, first.guid)
    second.negotiate(*(dialects or (first.dialect,)), **options)
    return second


@pytest.fixture
def two(client: Client) -> tuple[Client, Client]:
    """Return two channels of one session."""
    second = channel(client)
    assert second.bind(client).status is NtStatus.SUCCESS
    second.tree_id = client.tree_id
    return client, second


@pytest.mark.parametrize("dialect", [0x300, 0x302, 0x311])
def test_each_channel_has_a_signing_key_of_its_own(engine: Engine, dialect: int) -> None:
    first = Client(engine).ready(dialect)
    second = channel(first)
    reply = second.bind(first)
    assert reply.status is NtStatus.SUCCESS
    assert reply.signed
    assert first.session is second.session
    signers = [c.signer for c in first.session.channel_list.values() if c.signer is not None]
    assert len({signer.sign(bytes(64), 7, True, False) for signer in signers}) == 2
    second.tree_id = first.tree_id
    file = second.open("file")  # its reply's signature was verified with the channel's key
    assert first.close(file) is NtStatus.SUCCESS


def test_channels_share_the_cipher_keys(two: tuple[Client, Client]) -> None:
    first, second = two
    first.seals = second.seals = True
    file = first.open("file")
    assert second.close(file) is NtStatus.SUCCESS


def test_the_other_channels_key_is_refused(two: tuple[Client, Client]) -> None:
    first, second = two
    first.signer, second.signer = second.signer, None
    reply = first.call(Command.CREATE, requests.create("file"), sign=True)
    assert reply.status is NtStatus.ACCESS_DENIED


def test_a_session_lives_on_its_last_channel(two: tuple[Client, Client], engine: Engine) -> None:
    first, second = two
    file = first.open("file")
    first.disconnect()
    assert second.call(Command.READ, requests.read(file, 1)).status is NtStatus.END_OF_FILE
    assert list(second.session.channel_list) == [second.connection]
    second.disconnect()
    assert not engine.server.session_table
    assert not engine.store.sessions()


def test_logoff_on_one_channel_ends_it_on_both(two: tuple[Client, Client]) -> None:
    first, second = two
    assert second.call(Command.LOGOFF, requests.EMPTY).signed
    first.signer = None
    assert first.create("file") is NtStatus.USER_SESSION_DELETED
    assert not first.connection.session_table
    assert not second.connection.session_table


def test_a_wrong_password_leaves_the_session_alone(client: Client) -> None:
    second = channel(client)
    assert second.bind(client, "alice", "wrong").status is NtStatus.LOGON_FAILURE
    assert second.connection.session_table == {}
    assert client.create("file") is NtStatus.SUCCESS


def test_another_user_may_not_join(client: Client) -> None:
    second = channel(client)
    assert second.bind(client, "bob", "hidden").status is NtStatus.ACCESS_DENIED
    assert client.session.user == "alice"
    assert len(client.session.channel_list) == 1
    assert second.create("file") is NtStatus.USER_SESSION_DELETED


def test_a_channel_that_is_not_proved_is_not_served(client: Client) -> None:
    second = channel(client)
    second.session_id, second.signer = client.session_id, client.signer
    _, (reply,) = second.setup(
        NTLM_NEGOTIATE, session_id=client.session_id, flags=SMB2_SESSION_FLAG_BINDING, sign=True
    )
    assert reply.status is NtStatus.MORE_PROCESSING_REQUIRED
    second.tree_id = client.tree_id
    assert second.create("file") is NtStatus.USER_SESSION_DELETED
    second.disconnect()
    assert client.create("file") is NtStatus.SUCCESS


def test_a_binding_has_to_be_signed_with_the_sessions_key(client: Client) -> None:
    second = channel(client)
    flags = SMB2_SESSION_FLAG_BINDING
    _, (reply,) = second.setup(NTLM_NEGOTIATE, session_id=client.session_id, flags=flags)
    assert reply.status is NtStatus.INVALID_PARAMETER
    second.signer = Client(client.engine).ready().signer
    _, (reply,) = second.setup(NTLM_NEGOTIATE, session_id=client.session_id, flags=flags, sign=True)
    assert reply.status is NtStatus.ACCESS_DENIED
    assert second.connection.session_table == {}


def test_a_binding_to_a_session_that_is_not_there(client: Client) -> None:
    second = channel(client)
    second.signer = client.signer
    _, (reply,) = second.setup(
        NTLM_NEGOTIATE, session_id=0x4242, flags=SMB2_SESSION_FLAG_BINDING, sign=True
    )
    assert reply.status is NtStatus.USER_SESSION_DELETED


@pytest.mark.parametrize(
    ("dialects", "status"),
    [
        ((0x302, 0x300), NtStatus.INVALID_PARAMETER),
        ((0x311, 0x302), NtStatus.REQUEST_OUT_OF_SEQUENCE),  # GMAC there, CMAC here
        ((0x311, 0x210), NtStatus.REQUEST_OUT_OF_SEQUENCE),
        ((0x210, 0x210), NtStatus.REQUEST_NOT_ACCEPTED),
    ],
)
def test_only_the_same_dialect_of_the_third_may_join(
    engine: Engine, dialects: tuple[int, int], status: NtStatus
) -> None:
    first = Client(engine).ready(dialects[0])
    second = channel(first, dialects[1])
    reply = second.bind(first)
    assert reply.status is status
    assert reply.signed
    assert len(first.session.channel_list) == 1
    assert second.connection.session_table == {}


def test_another_client_may_not_join(client: Client) -> None:
    second = Client(client.engine)
    second.negotiate()
    assert second.bind(client).status is NtStatus.REQUEST_NOT_ACCEPTED
    assert second.connection.session_table == {}


def test_a_session_of_another_worker_cannot_be_joined(client: Client, engine: Engine) -> None:
    second = Client(engine, client.guid, server=engine.another_worker())
    second.negotiate()
    assert second.bind(client).status is NtStatus.REQUEST_NOT_ACCEPTED
    assert client.create("file") is NtStatus.SUCCESS


@pytest.mark.parametrize("options", [{"ciphers": (1,)}, {"algorithms": (1,)}])
def test_other_algorithms_may_not_join(client: Client, options: dict[str, Any]) -> None:
    second = channel(client, **options)
    _, (reply,) = joining(second, client)
    assert reply.status in (NtStatus.REQUEST_OUT_OF_SEQUENCE, NtStatus.INVALID_PARAMETER)
    assert second.connection.session_table == {}


def joining(second: Client, first: Client) -> Any:
    """Send the first message of a binding, signed with the session's key."""
    second.session_id, second.signer = first.session_id, first.signer
    return second.setup(
        NTLM_NEGOTIATE,
        session_id=first.session_id,
        flags=SMB2_SESSION_FLAG_BINDING,
        sign=second.signer is not None,
    )


def test_a_channel_may_not_be_bound_twice(two: tuple[Client, Client]) -> None:
    _, (reply,) = two[1].setup(
        NTLM_NEGOTIATE,
        session_id=two[0].session_id,
        flags=SMB2_SESSION_FLAG_BINDING,
        sign=True,
    )
    assert reply.status is NtStatus.REQUEST_NOT_ACCEPTED
    # The session's key does not count on a connection that has a key of its own.
    _, (reply,) = joining(two[1], two[0])
    assert reply.status is NtStatus.ACCESS_DENIED
    assert two[0].create("file") is NtStatus.SUCCESS


def test_a_guests_session_has_no_channels(engine: Engine) -> None:
    engine.mountd.unknown_user = LoginStatus.GUEST
    first = Client(engine)
    first.negotiate()
    first.login("nobody-here", "x")
    second = channel(first)
    _, (reply,) = joining(second, first)
    assert reply.status is NtStatus.INVALID_PARAMETER  # there is no key to sign it with
    assert len(first.session.channel_list) == 1


def test_a_lock_that_waits_ends_with_its_channel_not_its_session(
    two: tuple[Client, Client], engine: Engine
) -> None:
    first, second = two
    holder = Client(engine).ready(user="bob")
    held = holder.open("file")
    assert holder.call(Command.LOCK, requests.lock(held, (0, 1, 0x12))).status is NtStatus.SUCCESS
    file = first.open("file")
    second.pending(Command.LOCK, requests.lock(file, (0, 1, 2)))
    second.disconnect()
    assert not engine.server.waiters
    assert first.close(file) is NtStatus.SUCCESS


DENIED = "198.51.100.1"


def elsewhere(first: Client) -> Client:
    """Return a negotiated connection of the same client, from an address that is denied."""
    second = channel(first)
    second.connection.transport.peer = DENIED
    return second


def test_no_channel_comes_from_where_a_share_in_use_may_not_be_used(
    client: Client, engine: Engine
) -> None:
    engine.mountd.denied.add(DENIED)
    second = elsewhere(client)
    assert second.bind(client).status is NtStatus.ACCESS_DENIED
    assert second.connection.session_table == {}
    assert client.create("file") is NtStatus.SUCCESS
    assert len(client.session.channel_list) == 1


def test_no_share_is_connected_that_one_of_the_channels_may_not_use(engine: Engine) -> None:
    engine.mountd.denied.add(DENIED)
    first = Client(engine)
    first.negotiate()
    first.login()
    second = elsewhere(first)
    assert second.bind(first).status is NtStatus.SUCCESS  # it uses no share yet
    assert first.connect().status is NtStatus.ACCESS_DENIED


def test_a_channel_that_comes_while_a_share_is_connected_counts(engine: Engine) -> None:
    engine.mountd.denied.add(DENIED)
    first = Client(engine)
    first.negotiate()
    first.login()
    second = elsewhere(first)
    engine.mountd.held = True
    waiting = first.post(Command.TREE_CONNECT, requests.tree_connect("data"))
    engine.settle()
    asked = engine.mountd.waiting.pop()
    engine.mountd.held = False
    assert second.bind(first).status is NtStatus.SUCCESS
    engine.mountd.later(asked)
    engine.settle()
    (reply,) = first.taken(waiting)
    assert reply.status is NtStatus.ACCESS_DENIED
