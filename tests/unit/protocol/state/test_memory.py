"""What one client may keep, and that it leaves the others theirs."""

from collections.abc import Callable

import pytest

from usmbd.protocol.state.connection import CREDIT_SIZE
from usmbd.protocol.state.memory import (
    CLIENT_SHARE,
    CONNECTION_LIMIT,
    CONNECTION_WAITING,
    LEAST_POOL,
    MIB,
    MOST_POOL,
    STRANGERS_POOL,
    WAITING_SIZE,
    ConnectionMemory,
    Memory,
    pool_limit,
)
from usmbd.protocol.state.standing import Standing

STRANGER, GUEST, USER = Standing


class Pools(Memory):
    """The memory of a worker whose loop turns when the test says so."""

    def __init__(self) -> None:
        """Begin empty, 128 MiB large."""
        self.turns: list[Callable[[], None]] = []
        super().__init__(10**6, self.turns.append)

    def turn(self) -> None:
        """Let the loop turn."""
        while self.turns:
            self.turns.pop(0)()

    def user(self, network: str = "192.0.2.1") -> ConnectionMemory:
        """Return a connection on which somebody has logged in."""
        connection = ConnectionMemory(self, network)
        connection.rise(USER)
        return connection


@pytest.fixture
def pools() -> Pools:
    return Pools()


def test_the_pool_is_a_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool_limit(10**6) == LEAST_POOL
    assert LEAST_POOL <= pool_limit(2) <= pool_limit(1) <= MOST_POOL
    machine = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": (24 << 30) // 4096}
    monkeypatch.setattr("os.sysconf", machine.__getitem__)
    assert [pool_limit(workers) // MIB for workers in (1, 2, 3, 4, 8)] == [512, 384, 256, 192, 128]


def test_a_connection_has_its_limit_and_a_client_with_many_has_a_part(pools: Pools) -> None:
    first = pools.user()
    first.keep(CONNECTION_LIMIT)
    assert first.full
    assert LEAST_POOL // CLIENT_SHARE == CONNECTION_LIMIT
    assert pools.user().full, "the same client"
    assert not pools.user("192.0.2.2").full


def test_four_clients_have_all_there_is(pools: Pools) -> None:
    for number in range(CLIENT_SHARE):
        pools.user(f"192.0.2.{number}").keep(CONNECTION_LIMIT)
    assert pools.user("192.0.2.99").full


def test_strangers_have_a_pool_of_their_own(pools: Pools) -> None:
    for number in range(64):
        ConnectionMemory(pools, f"192.0.2.{number}").keep(MIB)
    assert ConnectionMemory(pools, "192.0.2.99").full
    assert pools.pools[STRANGER].used == 2 * STRANGERS_POOL
    assert not pools.user().full


def test_who_logs_in_takes_along_what_is_kept(pools: Pools) -> None:
    connection = ConnectionMemory(pools, "192.0.2.1")
    connection.keep(1000)
    assert connection.wait(24)
    for standing in (GUEST, USER):
        connection.rise(standing)
        assert list(pools.clients) == [(standing, "192.0.2.1")]
        kept = {each: (pool.used, pool.waiting) for each, pool in pools.pools.items()}
        assert kept == {each: (0, 0) for each in Standing} | {standing: (1000, WAITING_SIZE + 24)}


def test_guests_take_no_users_memory(pools: Pools) -> None:
    for number in range(64):
        guest = ConnectionMemory(pools, f"192.0.2.{number}")
        guest.rise(GUEST)
        assert number or guest.room(CREDIT_SIZE * 130), "a WRITE of 8 MiB gets through"
        guest.keep(2 * MIB)
        while guest.wait(0):
            pass
    assert pools.pools[GUEST].used == 2 * pools.pools[GUEST].limit
    assert not pools.user("192.0.2.1").full
    assert pools.user("192.0.2.1").wait(0)


def test_who_starves_goes_on_when_there_is_room(pools: Pools) -> None:
    connection, other = pools.user(), pools.user("192.0.2.2")
    connection.keep(CONNECTION_LIMIT)
    told: list[str] = []
    connection.starve(lambda: told.append("on"))
    other.keep(1)
    other.keep(-1)
    pools.turn()
    assert told == []
    assert pools.short
    connection.keep(-1)
    assert told == [], "in a later turn"
    pools.turn()
    assert told == ["on"]
    assert not pools.short


def test_who_waits_is_refused_at_the_limit_and_reads_on(pools: Pools) -> None:
    connection = pools.user()
    count = 0
    while connection.wait(0):
        count += 1
    assert count == CONNECTION_WAITING // WAITING_SIZE
    assert not connection.full
    assert pools.user().wait(0)
    connection.waited(0)
    assert connection.wait(0)


def test_a_frame_that_has_begun_leaves_room_for_requests(pools: Pools) -> None:
    connections = [pools.user(f"192.0.2.{number}") for number in range(16)]
    begun = 0
    for connection in connections:
        if connection.room(8 * MIB):
            connection.keep(8 * MIB)
            begun += 1
    assert begun == LEAST_POOL * 3 // 4 // (8 * MIB)
    assert not connections[-1].full


def test_nothing_is_left_of_who_has_gone(pools: Pools) -> None:
    connection, other = pools.user(), pools.user()
    connection.keep(5)
    connection.starve(lambda: None)
    connection.close()
    assert not pools.short
    other.close()
    assert pools.clients, "a thread still works for the first"
    connection.keep(-5)
    assert pools.clients == {}
    assert pools.pools[USER].used == 0
