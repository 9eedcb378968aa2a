"""Leases on directories by the thousand: what local programs change breaks them in slices."""

from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import lease_of
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.protocol.state.caching.caching import Caching
from usmbd.protocol.state.notify.attributes import HELD_SECONDS
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_REQUEST_LEASE, LeaseV2
from usmbd.protocol.wire.header import Command

MANY = 20
RH = 3


def of_one(number: int) -> str:
    return "dir"


def of_each(number: int) -> str:
    return f"dir/{number}"


@pytest.fixture
def broken(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count breaks in the last of these."""
    counts = [0]
    break_own = Caching.break_own

    def counted(self: Caching, open_id: int, left: int) -> None:
        counts[-1] += 1
        break_own(self, open_id, left)

    monkeypatch.setattr(Caching, "break_own", counted)
    engine.server.notifier._leased._break_own = engine.server.caching.break_own
    return counts


def lease_each(client: Client, engine: Engine, name: Callable[[int], str]) -> None:
    """Have many leases."""
    for number in range(MANY):
        (engine.files / name(number)).mkdir(parents=True, exist_ok=True)
    for number in range(MANY):
        lease = LeaseV2(lease_key=bytes([number + 1] * 16), lease_state=RH)
        reply = client.call(
            Command.CREATE,
            requests.create(
                name(number).replace("/", "\\"),
                oplock=SMB2_OPLOCK_LEVEL_LEASE,
                contexts=[(SMB2_CREATE_REQUEST_LEASE, lease.pack())],
                options=FILE_DIRECTORY_FILE,
            ),
        )
        granted = lease_of(reply)
        assert granted is not None
        assert granted.lease_state == RH


@pytest.mark.parametrize("name", [of_one, of_each])
def test_a_slice_at_a_time(
    client: Client, engine: Engine, name: Callable[[int], str], broken: list[int]
) -> None:
    lease_each(client, engine, name)
    for each in {name(number) for number in range(MANY)}:
        (engine.files / each / "new").touch()
    engine.settle()
    turns = Rotation(engine, 3)
    engine.clock.advance(HELD_SECONDS)
    while turns.waiting:
        broken.append(0)
        turns.turn()
    assert sum(broken) == MANY
    assert max(broken) <= 4


def test_each_is_broken_once_whatever_comes_meanwhile(
    client: Client, engine: Engine, broken: list[int]
) -> None:
    """While no client has answered yet each change would have all of them broken again."""
    lease_each(client, engine, of_one)
    leased = engine.server.notifier._leased
    directory, _ = next(iter(leased._opens.values()))
    turns = Rotation(engine, 3)
    for _ in range(10):
        leased._broken(directory)
    while turns.waiting:
        turns.turn()
    assert MANY <= sum(broken) <= MANY + 3 + 10
