"""Byte-range locks: overlap, stacking and unlocking as [MS-FSA] and smbtorture's smb2.lock say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usmbd.protocol.state.store import byte_range_locks as brl
from usmbd.protocol.state.store.records import LockRange

ME, OTHER = 0x0001_0100_0000_0001, 0x0002_0100_0000_0001
TOP = (1 << 64) - 1


def granted(*locks: tuple[int, LockRange]) -> bytes:
    return b"".join(brl.pack_lock(owner, lock) for owner, lock in locks)


@pytest.mark.parametrize(
    ("held", "wanted", "conflict"),
    [
        ((10, 0), (10, 0), False),
        ((10, 0), (9, 1), False),
        ((10, 0), (10, 1), False),
        ((10, 0), (9, 2), True),
        ((10, 0), (10, 2), False),
        ((10, 0), (9, 3), True),
        ((10, 10), (10, 0), False),
        ((10, 10), (11, 0), True),
        ((10, 10), (20, 0), False),
        ((0, 0), (0, 0), False),
        ((0, 0), (0, 10), False),
        ((0, 10), (0, 0), False),
        ((10, 10), (0, 10), False),
        ((10, 10), (0, 11), True),
        ((10, 10), (19, 1), True),
        ((10, 10), (20, 1), False),
        ((TOP, 1), (TOP, 1), True),
        ((TOP - 1, 1), (TOP, 1), False),
        ((0, TOP), (TOP - 1, 1), True),
        ((0, TOP), (TOP, 1), False),
    ],
)
def test_overlap_of_exclusive_ranges(
    held: tuple[int, int], wanted: tuple[int, int], conflict: bool
) -> None:
    locks = granted((OTHER, LockRange(*held, True)))
    assert (brl.lock_conflict(locks, ME, LockRange(*wanted, True)) is not None) == conflict


@pytest.mark.parametrize(
    ("owner", "held", "wanted", "conflict"),
    [
        (ME, False, False, False),
        (OTHER, False, False, False),
        (ME, True, False, False),  # a shared lock stacks on one's own exclusive lock
        (OTHER, True, False, True),
        (ME, False, True, True),  # an exclusive lock stacks on nothing
        (OTHER, False, True, True),
        (ME, True, True, True),
        (OTHER, True, True, True),
    ],
)
def test_stacking(owner: int, held: bool, wanted: bool, conflict: bool) -> None:
    locks = granted((owner, LockRange(0, 10, held)))
    assert (brl.lock_conflict(locks, ME, LockRange(5, 10, wanted)) is not None) == conflict


@pytest.mark.parametrize(
    ("owner", "exclusive", "write", "conflict"),
    [
        (ME, True, False, False),
        (ME, True, True, False),
        (OTHER, True, False, True),
        (OTHER, True, True, True),
        (ME, False, False, False),
        (ME, False, True, True),
        (OTHER, False, False, False),
        (OTHER, False, True, True),
    ],
)
def test_io(owner: int, exclusive: bool, write: bool, conflict: bool) -> None:
    locks = granted((owner, LockRange(10, 10, exclusive)))
    assert brl.io_conflict(locks, ME, 0, 11, write) == conflict
    assert not brl.io_conflict(locks, ME, 0, 10, write)
    assert not brl.io_conflict(locks, ME, 20, 10, write)


def test_unlock_needs_the_exact_range_and_owner() -> None:
    locks = granted((ME, LockRange(110, 4)), (ME, LockRange(112, 4)), (OTHER, LockRange(0, 8)))
    assert brl.unlock(locks, ME, LockRange(110, 6)) is None
    assert brl.unlock(locks, ME, LockRange(0, 8)) is None
    assert brl.unlock(locks, ME, LockRange(112, 4)) == granted(
        (ME, LockRange(110, 4)), (OTHER, LockRange(0, 8))
    )


def test_unlock_takes_the_exclusive_lock_of_a_stack_first() -> None:
    exclusive, shared = (ME, LockRange(0, 10, True)), (ME, LockRange(0, 10))
    left = brl.unlock(granted(shared, exclusive, shared), ME, LockRange(0, 10))
    assert left == granted(shared, shared)


numbers = st.one_of(st.integers(0, 3), st.integers(0, TOP), st.just(ME))
some_locks = st.lists(
    st.tuples(
        st.sampled_from([ME, OTHER, 0]), st.builds(LockRange, numbers, numbers, st.booleans())
    ),
    max_size=8,
)


@given(some_locks, st.integers(0, 7))
def test_unlock_finds_every_lock_and_no_other(
    locks: list[tuple[int, LockRange]], pick: int
) -> None:
    if locks:
        owner, wanted = locks[pick % len(locks)]
        left = brl.unlock(granted(*locks), owner, wanted)
        assert left is not None
        same = [(o, r) for o, r in locks if (o, r[:2]) == (owner, wanted[:2])]
        gone = (owner, LockRange(*wanted[:2], any(r.exclusive for _, r in same)))
        expected = list(locks)
        expected.remove(gone)
        assert left == granted(*expected)
    assert brl.unlock(granted(*locks), 12345, LockRange(0, 1)) is None


@given(some_locks)
def test_without_open_keeps_the_locks_of_others(locks: list[tuple[int, LockRange]]) -> None:
    kept = granted(*[(owner, lock) for owner, lock in locks if owner != ME])
    assert brl.without_open(granted(*locks), ME) == kept


# -- many ranges at once -------------------------------------------------------------------------

NUMBERS = st.integers(0, 12) | st.sampled_from([TOP - 1, TOP])
RANGE = st.builds(LockRange, NUMBERS, NUMBERS, st.booleans())
RANGES = st.lists(RANGE, min_size=1, max_size=12)
HELD = st.lists(st.tuples(st.sampled_from([ME, OTHER]), RANGE))


@given(HELD, RANGES)
def test_many_ranges_are_taken_as_one_after_the_other(
    held: list[tuple[int, LockRange]], ranges: list[LockRange]
) -> None:
    locks = before = granted(*held)
    expected = None
    for index, wanted in enumerate(ranges):
        conflict = brl.lock_conflict(locks, ME, wanted)
        if conflict is not None:
            expected = index, conflict
            break
        locks += brl.pack_lock(ME, wanted)
    assert brl.first_conflict(before, ME, ranges, 10_000) == expected


@given(HELD, RANGES)
def test_many_ranges_are_unlocked_as_one_after_the_other(
    held: list[tuple[int, LockRange]], ranges: list[LockRange]
) -> None:
    locks = before = granted(*held)
    unlocked = 0
    for wanted in ranges:
        fewer = brl.unlock(locks, ME, wanted)
        if fewer is None:
            break
        locks = fewer
        unlocked += 1
    assert brl.unlock_all(before, ME, ranges) == (unlocked, locks)


def test_ranges_beside_each_other_take_few_comparisons() -> None:
    held = granted(*((OTHER, LockRange(20 * n, 10, True)) for n in range(2000)))
    beside = [LockRange(20 * n + 10, 10, True) for n in range(512)]
    assert brl.first_conflict(held, ME, beside, budget=512) is None
    within = [LockRange(0, 50_000, False) for _ in range(512)]
    with pytest.raises(brl.TooLongError):
        brl.first_conflict(granted((ME, LockRange(0, 1, False))), ME, within, budget=511)
