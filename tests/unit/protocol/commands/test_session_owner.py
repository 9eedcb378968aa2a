"""Whose session it is: no proof makes a session another's than the one that began it."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import LoginRequest, LoginResponse, LoginStatus
from usmbd.mountd.ipc.settings import Encryption, Signing
from usmbd.protocol.commands import session_owner
from usmbd.protocol.state.session import Session, SessionState
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.access import DELETE, FILE_READ_DATA
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.session_setup import (
    SMB2_SESSION_FLAG_IS_GUEST,
    SMB2_SESSION_FLAG_IS_NULL,
    SessionSetupResponse,
)
from usmbd.protocol.wire.status import NtStatus

RENAME, LINK, DISPOSITION, POSITION = 10, 11, 13, 14


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Return a function that makes an engine of another configuration."""
    made: list[Engine] = []

    def make(**config: Any) -> Engine:
        made.append(Engine(tmp_path / str(len(made)), **config))
        made[-1].mountd.anonymous = LoginStatus.ANONYMOUS
        made[-1].mountd.unknown_user = LoginStatus.GUEST
        return made[-1]

    yield make
    for engine in made:
        engine.close()


PROOFS: dict[str, Callable[[Client], Reply]] = {
    "alice": lambda client: client.login("alice", "secret", sign=client.signs),
    "bob": lambda client: client.login("bob", "hidden", sign=client.signs),
    "guest": lambda client: client.login("nobody-here", "x", sign=client.signs),
    "nobody": lambda client: client.anonymous(session_id=client.session_id, sign=client.signs),
}


def begun(engine: Engine, who: str) -> Client:
    """Return a client with a session of its own."""
    client = Client(engine)
    client.negotiate()
    client.signs = False
    assert PROOFS[who](client).status is NtStatus.SUCCESS
    client.signs = who in ("alice", "bob")
    return client


@pytest.mark.parametrize("first", PROOFS)
@pytest.mark.parametrize("then", PROOFS)
def test_a_session_stays_who_began_it(
    engines: Callable[..., Engine], first: str, then: str
) -> None:
    engine = engines()
    client = begun(engine, first)
    session = client.session
    owner = session.user, session.guest, session.anonymous
    reply = PROOFS[then](client)
    if first == then:
        assert reply.status is NtStatus.SUCCESS
        assert session.state is SessionState.VALID
    elif first in ("alice", "bob") and then == "nobody":
        assert reply.status is NtStatus.SUCCESS
        assert session.state is SessionState.SUSPENDED
    else:
        assert reply.status is NtStatus.ACCESS_DENIED
        assert session.closed
        assert not engine.server.session_table
        assert client.connect().status is NtStatus.USER_SESSION_DELETED
    assert (session.user, session.guest, session.anonymous) == owner


def test_nothing_of_a_session_goes_to_another(
    engines: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    engine = engines()
    client = Client(engine).ready(user="bob")
    file = client.open("file", share=0)
    assert client.login("alice", "secret", sign=True).status is NtStatus.ACCESS_DENIED
    assert "of bob ended: it was re-authenticated as alice" in caplog.text
    read = client.call(Command.READ, requests.read(file, 1))
    assert read.status is NtStatus.USER_SESSION_DELETED
    assert not engine.store.sessions()
    other = Client(engine).ready()
    assert other.create("file", share=0) is NtStatus.SUCCESS  # it is not open any more


def test_an_account_of_another_uid_is_another(engines: Callable[..., Engine]) -> None:
    """A name that was given anew belongs to somebody else."""
    engine = engines()
    client = begun(engine, "alice")
    uid = client.session.identity.uid
    engine.mountd.identities["alice"] = Identity(uid + 1, 60)
    assert PROOFS["alice"](client).status is NtStatus.ACCESS_DENIED
    assert client.session_id not in engine.server.session_table


def names(client: Client, file: requests.FileId) -> list[NtStatus]:
    """Try what opens or changes a name; return the answers."""
    name = "new".encode("utf-16-le")
    target = struct.pack("<8xQI", 0, len(name)) + name
    changes = ((RENAME, target), (LINK, target), (DISPOSITION, b"\1"))
    return [
        client.connect().status,
        client.create("file", access=FILE_READ_DATA),
        *(
            client.call(Command.SET_INFO, requests.set_info(file, kind, data)).status
            for kind, data in changes
        ),
    ]


def test_a_suspended_session_opens_nothing(
    engines: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engine = engines()
    client = Client(engine).ready()
    file = client.open("file", access=FILE_READ_DATA | DELETE)
    flags = PROOFS["nobody"](client).parse(SessionSetupResponse).session_flags
    assert flags == SMB2_SESSION_FLAG_IS_NULL
    assert "of alice re-authenticated as anonymous" in caplog.text
    assert names(client, file) == [NtStatus.ACCESS_DENIED] * 5
    read = client.call(Command.READ, requests.read(file, 1))
    assert read.status is NtStatus.END_OF_FILE  # what is open is the key's, and goes on
    assert PROOFS["alice"](client).status is NtStatus.SUCCESS
    assert "is alice's again" in caplog.text
    assert client.call(Command.READ, requests.read(file, 1)).status is NtStatus.END_OF_FILE
    assert client.create("file") is NtStatus.SUCCESS


def test_a_suspended_session_gets_no_other_user_and_no_channel(
    engines: Callable[..., Engine],
) -> None:
    """Not even by way of nobody: bob's session, made anonymous, does not become alice's."""
    engine = engines(multichannel=True)
    client = begun(engine, "bob")
    assert PROOFS["nobody"](client).status is NtStatus.SUCCESS
    second = Client(engine, guid=client.guid)
    second.negotiate()
    assert second.bind(client, "bob", "hidden").status is NtStatus.NOT_SUPPORTED
    assert PROOFS["alice"](client).status is NtStatus.ACCESS_DENIED
    assert not engine.server.session_table


PROTECTED = (
    {"signing": Signing.MANDATORY},
    {"encryption": Encryption.REQUIRED},
)


@pytest.mark.parametrize("config", PROTECTED, ids=["signing", "encryption"])
@pytest.mark.parametrize("who", ["guest", "nobody"])
def test_who_has_no_key_has_no_session_where_all_is_protected(
    engines: Callable[..., Engine], config: dict[str, Any], who: str
) -> None:
    engine = engines(**config)
    client = Client(engine)
    client.negotiate()
    client.signs = False
    assert PROOFS[who](client).status is NtStatus.ACCESS_DENIED
    assert not engine.server.session_table
    assert not client.connection.session_table


@pytest.mark.parametrize("config", PROTECTED, ids=["signing", "encryption"])
def test_nor_does_a_session_come_to_it(
    engines: Callable[..., Engine], config: dict[str, Any]
) -> None:
    engine = engines(**config)
    client = begun(engine, "alice")
    assert PROOFS["nobody"](client).status is NtStatus.ACCESS_DENIED
    assert not engine.server.session_table


def test_nobodys_keys_are_known_to_all(engines: Callable[..., Engine]) -> None:
    """An anonymous session cannot encrypt: no share that requires it takes it for encrypted."""
    engine = engines()
    client = begun(engine, "nobody")
    assert client.session.sealer is None
    assert not client.session.encrypt_data


@pytest.mark.parametrize("thief", ["guest", "nobody", "bob"])
@pytest.mark.parametrize("victim", ["guest", "nobody", "alice"])
def test_only_the_same_account_ends_its_lost_session(
    engines: Callable[..., Engine], thief: str, victim: str
) -> None:
    """A guest is not the same as another guest, nor as the account of that name."""
    engine = engines()
    lost = begun(engine, victim)
    client = Client(engine)
    client.negotiate()
    client.signs = False
    previous = {"previous": lost.session_id}
    if thief == "nobody":
        reply = client.anonymous(**previous)
    else:
        reply = client.login("bob" if thief == "bob" else "nobody-here", "hidden", **previous)
    assert reply.status is NtStatus.SUCCESS
    assert lost.session_id in engine.server.session_table


def test_the_same_account_by_another_domain_is_the_same(engines: Callable[..., Engine]) -> None:
    engine = engines()
    lost = begun(engine, "alice")
    again = Client(engine)
    again.negotiate()
    reply = again.login(domain="ELSEWHERE", previous=lost.session_id)
    assert reply.status is NtStatus.SUCCESS
    assert list(engine.server.session_table) == [again.session_id]


def test_a_guest_is_flagged(engines: Callable[..., Engine]) -> None:
    client = begun(engines(), "guest")
    flags = PROOFS["guest"](client).parse(SessionSetupResponse).session_flags
    assert flags == SMB2_SESSION_FLAG_IS_GUEST


@pytest.mark.parametrize("status", [LoginStatus.OK, LoginStatus.GUEST, LoginStatus.ANONYMOUS])
def test_a_new_session_is_whose_mountd_says(status: LoginStatus) -> None:
    session = Session(1, 0x311)
    answer = LoginResponse(status=status, user="alice", uid=7, gid=8, groups=[8, 9], credential=10)
    session_owner.own(session, answer, "HOME")
    assert (session.user, session.domain, session.credential) == ("alice", "HOME", 10)
    assert session.guest == (status is LoginStatus.GUEST)
    assert session.anonymous == (status is LoginStatus.ANONYMOUS)
    assert session.identity == Identity(7, 8, (8, 9))
    assert session.proven_user == ("alice" if status is LoginStatus.OK else "")


@pytest.mark.parametrize("which", ["user", "domain", "workstation"])
@pytest.mark.parametrize(("length", "asked"), [(256, True), (257, False)])
def test_mountd_is_asked_about_names_of_a_name_s_length(
    engines: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    length: int,
    asked: bool,
) -> None:
    """A longer one is no message to it: who has such a name is not known, that is all."""
    names = {"user": "nobody", "domain": "", "workstation": "pc", which: "x" * length}
    monkeypatch.setenv("NETBIOS_COMPUTER_NAME", names["workstation"])
    engine = engines()
    client = Client(engine)
    client.negotiate()
    client.signs = False
    engine.mountd.unknown_user = LoginStatus.BAD_USER
    reply = client.login(names["user"], domain=names["domain"])
    assert reply.status is NtStatus.LOGON_FAILURE
    logins = [message for message in engine.mountd.asked if isinstance(message, LoginRequest)]
    assert [len(getattr(message, which)) for message in logins] == [length] * asked
