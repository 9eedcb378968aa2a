"""FILETIMEs by known dates."""

from datetime import UTC, datetime

from usmbd.protocol.wire import filetime


def test_known_dates() -> None:
    assert filetime.from_ns(0) == 116_444_736_000_000_000
    assert filetime.to_ns(116_444_736_000_000_000) == 0
    ns = int(datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp()) * 10**9
    assert filetime.from_ns(ns) == 133_536_816_000_000_000


def test_hundreds_of_nanoseconds_survive() -> None:
    ns = 1_700_000_000_123_456_700
    assert filetime.to_ns(filetime.from_ns(ns)) == ns


def test_times_that_no_client_understands_are_held_in_range() -> None:
    assert filetime.from_ns(-(10**9) * filetime.EPOCH_SECONDS - 1) == 0
    assert filetime.from_ns(2**80) == filetime.MAXIMUM
