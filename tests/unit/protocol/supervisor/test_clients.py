"""Which worker a client gets by its ClientGuid, its address, or because it is expected there."""

from types import SimpleNamespace
from typing import Any

import pytest

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.supervisor import clients as module
from usmbd.protocol.supervisor.clients import AWAITED_SECONDS, EXPECTED_SECONDS, Clients
from usmbd.protocol.wire.negotiate import NO_GUID

A, B = bytes([1] * 16), bytes([2] * 16)
HERE, THERE = "192.0.2.1", "192.0.2.2"


class Worker:
    """What `Clients` needs of a worker."""

    def __init__(self, number: int, ready: bool) -> None:
        """Be worker `number`."""
        self.number = number
        self.clients: dict[int, tuple[str, bytes]] = {}
        self.ready = SimpleNamespace(is_set=lambda: ready)
        self.able = True
        self.silent = False

    @property
    def serves(self) -> bool:
        """As the real one."""
        return bool(self.ready.is_set()) and not self.silent


def worker(number: int, ready: bool = True) -> Any:
    """Return worker `number`."""
    return Worker(number, ready)


@pytest.fixture
def workers() -> list[Any]:
    return [worker(0), worker(1), worker(2)]


@pytest.fixture
def clients(workers: list[Any]) -> Clients:
    return Clients({worker.number: worker for worker in workers})


def by_address(clients: Clients, address: str, now: float = 0.0) -> int | None:
    """Return the number of the worker that the address gets."""
    found = clients.by_address(address, now, lambda worker: worker.able)  # type: ignore[attr-defined]
    return None if found is None else found.number


def test_an_address_goes_where_it_is_served(clients: Clients, workers: list[Any]) -> None:
    number = clients.came(workers[2], HERE, A)
    assert by_address(clients, HERE) == 2
    assert by_address(clients, THERE) == 0
    clients.came(workers[1], HERE, B)
    clients.came(workers[1], HERE, B)
    assert by_address(clients, HERE) == 1  # most of its connections
    clients.gone(workers[2], number)
    clients.gone(workers[2], number)
    assert clients.addresses == {HERE: {1: 2}}


def test_a_worker_that_cannot_is_passed_over(clients: Clients, workers: list[Any]) -> None:
    clients.came(workers[2], HERE, A)
    workers[2].able = False
    assert by_address(clients, HERE) == 0
    for one in workers:
        one.able = False
    assert by_address(clients, HERE) is None


def test_clients_that_do_not_stay_take_turns(clients: Clients, workers: list[Any]) -> None:
    found = []
    for _ in range(4):
        one = clients.by_guid(A)
        assert one is not None
        clients.gone(one, clients.came(one, HERE, A))
        found.append(one.number)
    assert found == [0, 1, 2, 0]


def test_a_guid_is_claimed_by_whoever_comes_first(clients: Clients, workers: list[Any]) -> None:
    first = clients.came(workers[1], HERE, NO_GUID)
    assert clients.claim(workers[1], first, A, 0.0)
    assert clients.guids == {A: (1, 1)}
    assert clients.by_guid(A) is workers[1]  # a TCP channel meets it
    assert clients.claim(workers[1], first, A, 0.0)  # the same again counts once
    assert not clients.claim(workers[1], first, B, 0.0)
    assert clients.guids == {A: (1, 1)}
    clients.gone(workers[1], first)
    assert clients.guids == {}


def test_a_client_of_another_worker_comes_again(clients: Clients, workers: list[Any]) -> None:
    clients.came(workers[2], HERE, A)
    second = clients.came(workers[0], THERE, NO_GUID)
    assert not clients.claim(workers[0], second, A, 10.0)
    clients.gone(workers[0], second)
    assert clients.guids == {A: (2, 1)}
    assert by_address(clients, THERE, 10.0 + EXPECTED_SECONDS - 1) == 2
    third = clients.came(workers[2], THERE, NO_GUID)
    assert clients.claim(workers[2], third, A, 11.0)
    clients.gone(workers[2], third)
    assert by_address(clients, THERE, 10.0 + EXPECTED_SECONDS) == 1  # idle longest


def test_a_client_may_come_again_from_another_address(clients: Clients, workers: list[Any]) -> None:
    clients.came(workers[2], HERE, A)
    second = clients.came(workers[0], THERE, NO_GUID)
    assert not clients.claim(workers[0], second, A, 10.0)
    assert by_address(clients, "192.0.2.9", 10.0 + AWAITED_SECONDS) == 1  # another client, later
    assert by_address(clients, "192.0.2.9", 11.0) == 2
    assert by_address(clients, "192.0.2.9", 11.0) == 1  # one alone is awaited


def test_what_is_expected_is_bounded(
    clients: Clients, workers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAXIMUM_EXPECTED", 2)
    clients.came(workers[2], HERE, A)
    for host in range(3):
        number = clients.came(workers[0], f"198.51.100.{host}", NO_GUID)
        assert not clients.claim(workers[0], number, A, 0.0)
        clients.gone(workers[0], number)
    found = [by_address(clients, f"198.51.100.{host}", AWAITED_SECONDS) for host in range(3)]
    assert found == [1, 2, 2]


def test_a_guid_of_a_worker_that_died(clients: Clients, workers: list[Any]) -> None:
    held = clients.came(workers[2], HERE, A)
    second = clients.came(workers[0], THERE, NO_GUID)
    del clients._workers[2]  # type: ignore[attr-defined]
    clients.gone(workers[2], held)
    assert clients.claim(workers[0], second, A, 0.0)
    assert not clients.claim(workers[0], 999, A, 0.0)


def test_limits_count_every_worker(clients: Clients, workers: list[Any]) -> None:
    config = ServerConfig(max_connections=3, max_ip_connections=2)
    clients.came(workers[0], HERE, A)
    assert clients.admit(config, HERE)
    clients.came(workers[1], HERE, NO_GUID)
    assert not clients.admit(config, HERE)
    assert clients.admit(config, THERE)
    clients.came(workers[1], THERE, NO_GUID)
    assert not clients.admit(config, "192.0.2.9")


def test_nobody_new_comes_to_a_worker_that_does_not_answer(
    clients: Clients, workers: list[Any]
) -> None:
    """Neither by its load nor by address or ClientGuid; only where no other is."""
    clients.came(workers[1], HERE, A)
    clients.came(workers[2], HERE, NO_GUID)
    workers[0].silent = workers[1].silent = True
    for found in (clients.by_guid(A), clients.by_guid(B)):
        assert found is not None
        assert found.number == 2
    assert by_address(clients, HERE) == 2
    workers[2].silent = True
    found = clients.by_guid(B)
    assert found is not None
    assert found.number == 0
    workers[1].silent = False
    found = clients.by_guid(A)
    assert found is not None
    assert found.number == 1
