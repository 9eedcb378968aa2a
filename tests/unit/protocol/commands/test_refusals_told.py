"""Why somebody is refused stands in the log: the client hears a status alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import LoginStatus
from usmbd.mountd.ipc.settings import Encryption, Signing
from usmbd.protocol.commands import tree_connect
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

Make = Callable[..., Client]


@pytest.fixture
def make(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Make]:
    """Return a function that makes a client of an engine of another configuration."""
    engines: list[Engine] = []

    def new(dialect: int = 0x311, **config: Any) -> Client:
        engines.append(Engine(tmp_path / str(len(engines)), **config))
        client = Client(engines[-1])
        client.negotiate(dialect, **({} if dialect >= 0x300 else {"capabilities": 0}))
        return client

    caplog.set_level("INFO", "usmbd")
    yield new
    for engine in engines:
        engine.close()


def facts(caplog: pytest.LogCaptureFixture, message: str) -> dict[str, str]:
    """Return what the one line of that message tells beside it."""
    (record,) = (each for each in caplog.records if each.getMessage() == message)
    assert record.levelname == "INFO"
    names = ("client", "user", "share")
    return {name: getattr(record, name) for name in names if hasattr(record, name)}


@pytest.mark.parametrize(
    "protected", [{"signing": Signing.MANDATORY}, {"encryption": Encryption.REQUIRED}]
)
def test_who_cannot_sign(
    make: Make, caplog: pytest.LogCaptureFixture, protected: dict[str, Any]
) -> None:
    client = make(**protected)
    client.engine.mountd.unknown_user = LoginStatus.GUEST
    assert client.login("nobody-here", "x").status is NtStatus.ACCESS_DENIED
    told = facts(caplog, "login refused: guest_cannot_sign")
    assert told.keys() == {"client", "user"}
    client.session_id = 0
    client.engine.mountd.anonymous = LoginStatus.ANONYMOUS
    assert client.anonymous().status is NtStatus.ACCESS_DENIED
    assert facts(caplog, "login refused: anonymous_cannot_sign")["client"] == told["client"]


def test_who_cannot_encrypt(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    client = make(0x210, encryption=Encryption.REQUIRED)
    assert client.login().status is NtStatus.ACCESS_DENIED
    assert facts(caplog, "login refused: encryption_required").keys() == {"client"}


def test_who_comes_when_there_is_no_room(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    first = make(max_active_sessions=1)
    assert first.login().status is NtStatus.SUCCESS
    second = Client(first.engine)
    second.negotiate()
    assert second.login().status is NtStatus.INSUFFICIENT_RESOURCES
    assert facts(caplog, "login refused: too_many_sessions").keys() == {"client"}


def test_who_does_not_encrypt_a_share_that_wants_it(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    client = make(0x210)
    engine = client.engine
    engine.shares["data"] = replace(engine.shares["data"], encryption_required=True)
    assert client.login().status is NtStatus.SUCCESS
    assert client.connect().status is NtStatus.ACCESS_DENIED
    told = facts(caplog, "tree connect refused: encryption_required")
    assert (told["user"], told["share"]) == ("alice", "data")


def test_who_has_too_many_trees(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_connect, "MAXIMUM_TREES", 1)
    client = make()
    assert client.login().status is NtStatus.SUCCESS
    assert client.connect().status is NtStatus.SUCCESS
    refused = client.call(Command.TREE_CONNECT, requests.tree_connect("data"), tree_id=0)
    assert refused.status is NtStatus.INSUFFICIENT_RESOURCES
    assert facts(caplog, "tree connect refused: too_many_trees")["share"] == "data"
