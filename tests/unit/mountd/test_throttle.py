"""Brute force is slowed, in parallel too, and its neighbours are not."""

from usmbd.mountd.throttle import (
    FREE_ACCOUNT_FAILURES,
    FREE_FAILURES,
    KNOWN_SECONDS,
    MAX_ACCOUNT_DELAY,
    MAX_ADDRESS_DELAY,
    MAX_KNOWN,
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
    throttle.succeeded("alice", "2001:db8::77", 0.0)
    assert throttle.reserve("alice", "2001:db8::1", 0.0) == 0.0
    for number in range(FREE_FAILURES):
        throttle.failed("alice", f"192.0.2.{number}", 0.0)
    assert throttle.reserve("alice", "192.0.2.9", 0.0) == 0.0


def test_one_address_with_many_users_is_slowed_a_little() -> None:
    throttle = Throttle()
    for number in range(40):
        throttle.failed(f"user{number}", "a", 0.0)
    assert throttle.reserve("new", "a", 0.0) == MAX_ADDRESS_DELAY


def guess_from_everywhere(throttle: Throttle, count: int) -> list[float | None]:
    """Guess at one account, each time from another address; return how long each waits."""
    waits = []
    for number in range(count):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        waits.append(throttle.reserve("alice", address, 0.0))
        if waits[-1] is not None:
            throttle.failed("alice", address, 0.0)
    return waits


def test_guesses_at_one_account_are_slowed_from_wherever_they_come() -> None:
    throttle = Throttle()
    waits = guess_from_everywhere(throttle, 1000)
    assert set(waits[:FREE_ACCOUNT_FAILURES]) == {0.0}
    delayed = [wait for wait in waits[FREE_ACCOUNT_FAILURES:] if wait is not None]
    assert delayed[:3] == [0.25, 0.75, 1.25]
    assert 1 < len(delayed) <= MAX_WAIT / MAX_ACCOUNT_DELAY + 1
    assert throttle.reserve("bob", "10.0.0.1", 0.0) == 0.0


def test_they_do_not_delay_the_owner_where_he_is_known() -> None:
    throttle = Throttle()
    throttle.succeeded("alice", "2001:db8::1", 0.0)
    guess_from_everywhere(throttle, 1000)
    assert throttle.reserve("alice", "2001:db8::2", 0.0) == 0.0
    assert throttle.reserve("alice", "2001:db8:0:1::1", 0.0) is None
    # His own errors there are counted there alone.
    for _ in range(FREE_FAILURES):
        throttle.failed("alice", "2001:db8::2", 0.0)
    assert throttle.reserve("alice", "2001:db8::2", 0.0) == 0.25


def test_elsewhere_he_waits_with_them_and_no_longer_than_they_guess() -> None:
    throttle = Throttle()
    guess_from_everywhere(throttle, 1000)
    wait = throttle.reserve("alice", "192.0.2.1", MAX_ACCOUNT_DELAY)
    assert wait is not None
    assert wait <= MAX_WAIT
    assert throttle.reserve("alice", "192.0.2.2", MAX_WAIT + 1.0) == MAX_ACCOUNT_DELAY
    assert throttle.reserve("alice", "192.0.2.3", MEMORY + 1) == 0.0


def test_an_address_is_not_known_for_ever() -> None:
    throttle = Throttle()
    throttle.succeeded("alice", "a", 0.0)
    later = KNOWN_SECONDS + 1
    for number in range(FREE_ACCOUNT_FAILURES):
        throttle.failed("alice", f"10.0.0.{number}", later)
    assert throttle.reserve("alice", "a", later) == 0.25


def test_success_and_time_forget() -> None:
    throttle = Throttle()
    fail(throttle, 10)
    throttle.succeeded("alice", "a", 0.0)
    assert throttle.reserve("alice", "a", 0.0) == 0.0
    fail(throttle, 9)
    assert throttle.reserve("alice", "a", MEMORY + 1) == 0.0


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for number in range(MAX_QUEUES):
        throttle.failed("u", str(number), 0.0)
    assert len(throttle._queues) == MAX_QUEUES
    for number in range(MAX_KNOWN + 5):
        throttle.succeeded("u", str(number), 0.0)
    assert len(throttle._known) == MAX_KNOWN
