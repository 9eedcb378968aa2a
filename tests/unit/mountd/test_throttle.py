"""Brute force is slowed, in parallel too, and its neighbours are not."""

from usmbd.mountd.throttle import (
    FREE_FAILURES,
    MAX_ADDRESS_DELAY,
    MAX_QUEUES,
    MAX_WAIT,
    MEMORY,
    Throttle,
)


def fail(throttle: Throttle, count: int, user: str = "alice", address: str = "a") -> None:
    for _ in range(count):
        throttle.failed(user, address, 0.0)


def test_typing_errors_are_free() -> None:
    throttle = Throttle()
    fail(throttle, FREE_FAILURES - 1)
    assert throttle.reserve("alice", "a", 0.0) == 0.0


def test_delays_grow_and_queue_up_whatever_the_password() -> None:
    throttle = Throttle()
    fail(throttle, FREE_FAILURES)
    assert throttle.reserve("alice", "a", 0.0) == 0.25
    assert throttle.reserve("alice", "a", 0.0) == 0.5
    throttle.failed("alice", "a", 0.0)
    assert throttle.reserve("alice", "a", 0.0) == 1.0


def test_a_flood_is_refused_and_only_that_user_at_that_address() -> None:
    throttle = Throttle()
    waits = []
    for _ in range(1000):
        wait = throttle.reserve("alice", "a", 0.0)
        waits.append(wait)
        if wait is not None:
            throttle.failed("alice", "a", 0.0)
    accepted = [wait for wait in waits if wait is not None]
    assert len(accepted) < 12
    assert max(accepted) <= MAX_WAIT
    assert throttle.reserve("bob", "a", 0.0) == 0.0
    assert throttle.reserve("alice", "b", 0.0) == 0.0


def test_the_addresses_of_an_ipv6_network_count_as_one() -> None:
    throttle = Throttle()
    for number in range(FREE_FAILURES):
        throttle.failed("alice", f"2001:db8::{number + 1}", 0.0)
    assert throttle.reserve("alice", "2001:db8::ffff:1", 0.0) == 0.25
    assert throttle.reserve("alice", "2001:db8:0:1::1", 0.0) == 0.0
    throttle.succeeded("alice", "2001:db8::77")
    assert throttle.reserve("alice", "2001:db8::1", 0.0) == 0.0
    for number in range(FREE_FAILURES):
        throttle.failed("alice", f"192.0.2.{number}", 0.0)
    assert throttle.reserve("alice", "192.0.2.9", 0.0) == 0.0


def test_one_address_with_many_users_is_slowed_a_little() -> None:
    throttle = Throttle()
    for number in range(40):
        throttle.failed(f"user{number}", "a", 0.0)
    assert throttle.reserve("new", "a", 0.0) == MAX_ADDRESS_DELAY


def test_success_and_time_forget() -> None:
    throttle = Throttle()
    fail(throttle, 10)
    throttle.succeeded("alice", "a")
    assert throttle.reserve("alice", "a", 0.0) == 0.0
    fail(throttle, 9)
    assert throttle.reserve("alice", "a", MEMORY + 1) == 0.0


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for number in range(MAX_QUEUES):
        throttle.failed("u", str(number), 0.0)
    assert len(throttle._queues) == MAX_QUEUES
