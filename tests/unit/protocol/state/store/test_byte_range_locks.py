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
