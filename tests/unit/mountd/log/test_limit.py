"""Who makes the server say the same again and again makes no flood of it, and hides nothing."""

import logging

import pytest

from usmbd.mountd.log import limit as module
from usmbd.mountd.log.limit import (
    OWN,
    PERIOD_SECONDS,
    PROVEN,
    STRANGERS,
    RateLimit,
)


class Clock:
    """A time that stands still until it is moved."""

    now = 5.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> RateLimit:
    return RateLimit(clock)


def admitted(
    limit: RateLimit, times: int, line: int = 1, level: int = logging.INFO, **facts: object
) -> int:
    """Return how many of so many lines of one place are written."""
    record = {"name": "usmbd.conn", "levelno": level, "pathname": "x.py", "lineno": line}
    message = {"msg": "refused: %s", "args": ("too many",)}
    return sum(
        limit.admits(logging.makeLogRecord({**record, **message, **facts})) for _ in range(times)
    )


def test_it_is_what_the_readme_says() -> None:
    """README.md of the project: of an address and of all; README.md of mountd/log."""
    assert module.STRANGERS == (5, 50)
    assert module.PROVEN == (300, 1000)
    assert module.OWN == (100, 100)


def test_an_address_says_a_few_lines_of_a_kind(limit: RateLimit, clock: Clock) -> None:
    assert admitted(limit, 1000, client="192.0.2.1") == STRANGERS[0]
    assert admitted(limit, 1, client="192.0.2.2") == 1
    assert admitted(limit, 1, line=2, client="192.0.2.1") == 1  # another kind
    assert limit.remaining == PERIOD_SECONDS
    assert not limit.over()
    clock.now += PERIOD_SECONDS
    assert limit.over()
    (summary,) = limit.end()
    assert summary.getMessage() == "995 more like this: refused: too many"
    assert (summary.levelno, summary.name) == (logging.INFO, "usmbd.conn")
    assert summary.__dict__["addresses"] == 1
    assert admitted(limit, 1, client="192.0.2.1") == 1
    assert limit.remaining is None


def test_made_up_addresses_say_no_more_together(limit: RateLimit) -> None:
    written = sum(admitted(limit, 1, client=f"192.0.{n // 250}.{n % 250}") for n in range(5000))
    assert written == STRANGERS[1]
    (summary,) = limit.end()
    assert summary.getMessage().startswith(f"{5000 - STRANGERS[1]} more like this")
    assert summary.__dict__["addresses"] == 1000  # and no more of them are kept


def test_one_network_of_ipv6_is_one_client(limit: RateLimit) -> None:
    assert sum(admitted(limit, 1, client=f"2001:db8::{n:x}") for n in range(100)) == STRANGERS[0]
    assert admitted(limit, 1, client="2001:db8:0:1::1") == 1


def test_strangers_hide_no_login(limit: RateLimit) -> None:
    admitted(limit, 100_000, client="192.0.2.1")
    assert admitted(limit, 500, line=2, client="192.0.2.9", session=7) == PROVEN[0]
    many = sum(admitted(limit, 1, line=3, client=f"192.0.2.{n % 250}", session=n)
               for n in range(2000))  # fmt: skip
    assert many == PROVEN[1]


def test_what_has_no_client_is_limited_too(limit: RateLimit) -> None:
    assert admitted(limit, 10_000, level=logging.ERROR) == OWN[0]


def test_who_debugs_sees_all(limit: RateLimit) -> None:
    assert admitted(limit, 10_000, level=logging.DEBUG, client="192.0.2.1") == 10_000
