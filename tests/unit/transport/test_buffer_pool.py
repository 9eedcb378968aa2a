"""Buffers are used again when no view of them is left, and never before."""

import pytest

from usmbd.transport.buffer_pool import KEPT_BYTES, KEPT_PER_CLASS, BufferPool


def test_a_free_buffer_is_used_again() -> None:
    pool = BufferPool()
    first = id(pool.take(100_000))
    assert id(pool.take(100_000)) == first
    assert id(pool.take(131_072)) == first
    assert id(pool.take(131_073)) != first


def test_a_view_keeps_its_buffer() -> None:
    pool = BufferPool()
    view = pool.view(70_000)
    part = view[10:20]
    address = id(view.obj)
    del view
    other = pool.view(70_000)
    assert id(other.obj) != address
    part.release()
    assert id(pool.view(70_000).obj) == address


def test_a_view_has_the_size_asked_for_and_is_writable() -> None:
    pool = BufferPool()
    for size in (0, 1, 65_536, 65_537, 8 << 20):
        view = pool.view(size)
        assert len(view) == size
        assert not view.readonly


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        (1, 1 << 16),
        (1 << 16, 1 << 16),
        ((1 << 16) + 1, 1 << 17),
        (1 << 20, 1 << 20),
        ((1 << 20) + 116, 5 << 18),
        ((8 << 20) + 116, 10 << 20),
        ((15 << 20), 16 << 20),
    ],
)
def test_there_are_four_classes_to_a_power_of_two(asked: int, size: int) -> None:
    assert len(BufferPool().take(asked)) == size


def test_only_so_many_are_kept() -> None:
    pool = BufferPool()
    held = [pool.view(1) for _ in range(KEPT_PER_CLASS + 3)]
    assert len({id(view.obj) for view in held}) == KEPT_PER_CLASS + 3
    kept = {id(view.obj) for view in held[:KEPT_PER_CLASS]}
    held.clear()
    again = [pool.view(1) for _ in range(KEPT_PER_CLASS)]
    assert {id(view.obj) for view in again} == kept


def test_what_is_not_asked_for_any_more_is_forgotten() -> None:
    pool = BufferPool()
    used, free = pool.view(1 << 20), pool.view(1 << 20)
    small = pool.view(1)
    del free, small
    assert pool.tidy() == 0  # they were taken a moment ago
    address = id(pool.view(1).obj)
    assert pool.tidy() == 1 << 20
    assert id(pool.view(1).obj) == address
    pool.tidy()
    pool.tidy()
    assert pool.kept == 1 << 20
    del used
    assert pool.tidy() == 1 << 20
    assert pool.kept == 0


def test_all_classes_together_keep_so_much() -> None:
    pool = BufferPool()
    held = [pool.view(size << 20) for size in (8, 16, 32) for _ in range(KEPT_PER_CLASS)]
    assert sum(map(len, held)) > KEPT_BYTES >= pool.kept
