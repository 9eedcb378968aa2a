"""Long work in slices: how much of a turn it gets, and who comes next."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from usmbd.transport.turns import ALLOWANCE, SLICE, UNSEEN, Turns


class Loop:
    """Takes turns when a test says so; `time` is the test's."""

    def __init__(self) -> None:
        self.ready: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self.time = 1.0
        self.turn_number = 1

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Keep a call for the next turn."""
        self.ready.append((callback, args))

    def turn(self) -> None:
        """Make the calls that were kept; the next turn begins after them."""
        for _ in range(len(self.ready)):
            callback, args = self.ready.popleft()
            callback(*args)
        self.turn_number += 1


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def turns(loop: Loop) -> Turns:
    return Turns(loop, lambda: loop.time)  # type: ignore[arg-type]


def work(loop: Loop, turns: Turns, owner: str, steps: int, done: list[str]) -> Callable[[], None]:
    """Return work of so many steps, each a quarter of a slice, which notes each slice it gets."""
    left = [steps]

    def run() -> None:
        done.append(owner)
        while left[0]:
            left[0] -= 1
            loop.time = round(loop.time + SLICE / 4, 9)
            if turns.over():
                if left[0]:
                    turns.later(owner, run)
                return

    return run


def test_a_turn_has_one_slice(loop: Loop, turns: Turns) -> None:
    done: list[str] = []
    turns.later("a", work(loop, turns, "a", 12, done))
    for number in range(3):
        before = loop.time
        loop.turn()
        assert loop.time - before == pytest.approx(SLICE)
        assert len(done) == number + 1
    loop.turn()
    assert not loop.ready


def test_owners_take_turns(loop: Loop, turns: Turns) -> None:
    """Whoever has much waits for himself."""
    done: list[str] = []
    for _ in range(10):
        turns.later("much", work(loop, turns, "much", 8, done))
    turns.later("little", work(loop, turns, "little", 8, done))
    for _ in range(4):
        loop.turn()
    assert done == ["much", "little", "much", "little"]


def test_short_work_shares_a_slice(loop: Loop, turns: Turns) -> None:
    done: list[str] = []
    for owner in "abcdef":
        turns.later(owner, work(loop, turns, owner, 1, done))
    loop.turn()
    assert done == ["a", "b", "c", "d"]
    loop.turn()
    assert done == ["a", "b", "c", "d", "e", "f"]


def test_beside_the_descriptors_the_first_gets_the_slice(loop: Loop, turns: Turns) -> None:
    """What others begin in the same turn, or while work waits, goes to the end of the row."""
    assert not turns.over()
    loop.time += SLICE
    assert turns.over()
    assert turns.over()
    loop.turn()
    assert not turns.over()
    turns.later("a", lambda: None)
    loop.turn()
    turns.later("a", lambda: None)
    assert turns.over()


def test_what_begins_beside_long_work_has_one_allowance(loop: Loop, turns: Turns) -> None:
    """Of all who begin together, in each turn; whoever has begun waits like others."""
    assert not turns.full()
    for others in (lambda: turns.later("much", lambda: None), lambda: None):
        loop.turn()
        others()
        turns.over()
        loop.time += SLICE
        assert turns.over()
        assert not turns.full()
        loop.time += 0.9 * ALLOWANCE
        assert not turns.full()
        loop.time += 0.2 * ALLOWANCE
        assert turns.full()


def test_work_that_fails_does_not_stop_the_others(loop: Loop, turns: Turns) -> None:
    done: list[str] = []
    turns.later("a", lambda: 1 // 0)
    turns.later("b", work(loop, turns, "b", 1, done))
    with pytest.raises(ZeroDivisionError):
        loop.turn()
    loop.turn()
    assert done == ["b"]


def test_the_loop_is_asked_for_one_turn(loop: Loop, turns: Turns) -> None:
    for _ in range(3):
        turns.later("a", lambda: None)
    assert len(loop.ready) == 1
    turns.over()
    assert len(loop.ready) == 1
    loop.turn()
    assert len(loop.ready) == 0, "all was done within the slice"
    assert not turns.over()
    assert len(loop.ready) == 0, "a slice beside the descriptors ends with its turn, uncalled"


def test_a_slice_beside_the_descriptors_is_all_of_its_turn(loop: Loop, turns: Turns) -> None:
    """What it leaves waits for the next turn, in which others are looked after first."""
    done: list[str] = []
    assert not turns.over()
    loop.time += SLICE
    assert turns.over()
    turns.later("a", work(loop, turns, "a", 2, done))
    loop.turn()
    assert done == []
    assert turns.over(), "what waits comes first"
    loop.turn()
    assert done == ["a"]
    assert not loop.ready


def test_what_is_left_of_a_slice_beside_the_descriptors_is_for_who_waits(
    loop: Loop, turns: Turns
) -> None:
    done: list[str] = []
    assert not turns.over()
    loop.time += SLICE / 2
    turns.later("a", work(loop, turns, "a", 12, done))
    before = loop.time
    loop.turn()
    assert loop.time - before == pytest.approx(SLICE / 2)
    before = loop.time
    loop.turn()
    assert loop.time - before == pytest.approx(SLICE)


def test_what_comes_in_a_turn_after_work_has_what_is_left_of_it(loop: Loop, turns: Turns) -> None:
    """Also when nothing waits any more: two slices of a turn would be twice as long a wait."""
    found = []

    def ask() -> None:
        found.append(turns.over())
        loop.time += SLICE / 3
        found.append(turns.over())

    turns.later("a", work(loop, turns, "a", 3, []))
    loop.call_soon(ask)
    loop.turn()
    assert found == [False, True]
    assert not turns.over(), "the next turn has its own"


def test_a_slice_is_four_milliseconds(loop: Loop, turns: Turns) -> None:
    assert not turns.over()
    loop.time += 0.0039
    assert not turns.over()
    loop.time += 0.0001
    assert turns.over()


def test_requests_that_came_together_count_from_their_first(loop: Loop, turns: Turns) -> None:
    began = turns.served(turns.served(0.0))
    loop.time += 0.0037
    assert turns.served(began) == began
    loop.time += 0.0001
    assert not turns.served(began)


def test_a_few_requests_are_served_beside_the_floods_of_others(loop: Loop, turns: Turns) -> None:
    """Whether the slice of this turn is used up, or others wait for the next."""
    for others in (lambda: turns.later("flood", lambda: None), lambda: None):
        others()
        turns.over()
        loop.time += 2 * SLICE
        began = turns.served(turns.served(0.0))
        assert turns.over()
        assert turns.served(began)
        loop.time += 0.9 * (ALLOWANCE - UNSEEN)
        assert turns.served(began)
        loop.time += 0.1 * ALLOWANCE
        assert not turns.served(began)
        loop.turn()


def test_a_flood_of_creates_holds_the_loop_for_five_milliseconds(loop: Loop, turns: Turns) -> None:
    """Two are served before the clock is looked at, and the last after it was."""
    create, began, count = 0.0004, 0.0, 0
    start = loop.time
    while count < 200:
        loop.time += create
        count += 1
        began = turns.served(began)
        if not began:
            break
    assert loop.time - start <= 0.005
    assert count == 12


def test_few_looks_at_the_clock_are_for_requests_that_come_together(
    loop: Loop, turns: Turns
) -> None:
    """None for two, one for three, in each of many turns: it is a system call on some machines."""
    looks: list[float] = []
    turns.clock = lambda: (looks.append(loop.time), loop.time)[1]
    for together, expected in ((1, 0), (2, 0), (3, 1), (4, 2)):
        for _ in range(3):
            began = 0.0
            for _ in range(together - 1):  # after the last nothing is left
                began = turns.served(began)
                assert began
            loop.turn()
        assert len(looks) == 3 * expected
        looks.clear()


def test_what_begins_first_in_a_turn_begins_unseen(loop: Loop, turns: Turns) -> None:
    """Its first look begins the slice; and what begins next in that turn looks first."""
    looks: list[float] = []
    turns.clock = lambda: (looks.append(loop.time), loop.time)[1]
    for _ in range(3):
        assert not turns.full()
        assert looks == []
        loop.time += UNSEEN
        assert not turns.over()
        loop.time += SLICE - UNSEEN - 0.00001
        assert not turns.over()
        loop.time += 0.00002
        assert turns.over()
        loop.turn()
        looks.clear()
    assert not turns.full()
    assert not turns.full()
    assert len(looks) == 1


def test_what_waits_comes_before_what_begins_unseen(loop: Loop, turns: Turns) -> None:
    done: list[str] = []
    assert not turns.full()
    turns.later("a", work(loop, turns, "a", 12, done))
    before = loop.time
    loop.turn()
    assert loop.time - before == pytest.approx(SLICE)
    assert not turns.full(), "half a millisecond is left for who begins"
    loop.time += ALLOWANCE
    assert turns.full()


def test_a_slice_that_is_used_up_to_its_end_is_over(loop: Loop, turns: Turns) -> None:
    done: list[int] = []

    def long() -> None:
        done.append(1)
        loop.time += SLICE

    for _ in range(2):
        turns.later("a", long)
    loop.turn()
    assert done == [1]
    loop.turn()
    assert done == [1, 1]


def test_an_owner_s_work_keeps_its_order(loop: Loop, turns: Turns) -> None:
    done: list[str] = []
    for name in ("a1", "a2", "a3"):
        turns.later("a", lambda name=name: done.append(name))  # type: ignore[misc]
    turns.later("b", lambda: done.append("b1"))
    loop.turn()
    assert done == ["a1", "b1", "a2", "a3"]
