"""What a client is expected to send next, by what it has sent."""

import pytest

from usmbd.transport.expected import FORGET_AFTER, GATHER_SIZE, READ_SIZE, Expected, Retry


def test_small_frames_are_expected_first() -> None:
    expected = Expected()
    assert expected.room == READ_SIZE == 64 * 1024
    expected.learn(READ_SIZE)
    assert expected.room == READ_SIZE


@pytest.mark.parametrize(
    ("size", "frames"),
    [
        (READ_SIZE + 1, 4),
        (READ_SIZE + 116 + 4, 4),  # a WRITE of 64 KiB
        (READ_SIZE + 256, 4),
        (READ_SIZE + 257, 3),
        (GATHER_SIZE // 2, 2),
        (GATHER_SIZE, 1),
        (8 << 20, 1),
    ],
)
def test_room_is_for_whole_frames_like_the_last_large_one(size: int, frames: int) -> None:
    expected = Expected()
    expected.learn(size)
    assert expected.room == frames * size
    expected.learn(size)
    assert expected.room == frames * size
    expected.learn(2 * size)
    assert expected.room == max(GATHER_SIZE // (2 * size), 1) * 2 * size


def test_large_ones_are_forgotten_after_so_many_small_ones_in_a_row() -> None:
    expected = Expected()
    large = 1 << 20
    expected.learn(large)
    for _ in range(FORGET_AFTER - 1):
        expected.learn(100)
        assert expected.room == large
    expected.learn(large)  # begins the count anew
    for _ in range(FORGET_AFTER - 1):
        expected.learn(100)
    assert expected.room == large
    expected.learn(100)
    assert expected.room == READ_SIZE
    expected.learn(large)
    assert expected.room == large
    expected.learn(100)
    assert expected.room == large


def test_tries_that_find_nothing_come_ever_less_often() -> None:
    retry = Retry()
    left_out = []
    for _ in range(9):
        count = 0
        while not retry.wanted():
            count += 1
        left_out.append(count)
        retry.failed()
    assert left_out == [0, 1, 3, 7, 15, 31, 63, 63, 63]


def test_a_try_that_finds_something_begins_anew() -> None:
    retry = Retry()
    for _ in range(3):
        while not retry.wanted():
            pass
        retry.failed()
    while not retry.wanted():
        pass
    retry.found()
    assert retry.wanted()
    retry.failed()
    assert [retry.wanted(), retry.wanted()] == [False, True]
