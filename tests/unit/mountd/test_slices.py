"""Long answers of mountd: so much of a turn, one step of each after the other."""

from typing import Any, cast

import pytest

from usmbd.mountd import slices
from usmbd.mountd.slices import FEW, BusyError, Slices, Steps


class Loop:
    """A loop whose clock moves by a step of an answer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Any] = []
        self.call_soon = self.calls.append

    def time(self) -> float:
        """Return the time."""
        return self.now

    def turn(self) -> None:
        """Make the calls of a turn."""
        calls, self.calls[:] = [*self.calls], []
        for each in calls:
            each()


@pytest.fixture
def loop() -> Loop:
    """Return a loop at rest."""
    return Loop()


@pytest.fixture
def made(loop: Loop) -> Slices:
    """Return the answers of it."""
    return Slices(cast(Any, loop))


def steps(loop: Loop, count: int, taken: list[str], name: str = "") -> Steps:
    """Answer in so many steps of half a slice each."""
    for _ in range(count):
        taken.append(name)
        loop.now += slices.SLICE / 2
        yield
    return name


def test_a_turn_has_one_slice(loop: Loop, made: Slices) -> None:
    taken: list[str] = []
    answers: list[object] = []
    made.begin(steps(loop, 5, taken, "long"), 5, answers.append)
    assert not taken
    turns = 0
    while loop.calls:
        loop.turn()
        turns += 1
        assert len(taken) <= 2 * turns
    assert (turns, answers) == (3, ["long"])


def test_each_has_a_step_in_turn(loop: Loop, made: Slices) -> None:
    """Who asks for one name waits for one step of each other, not for a thousand names."""
    taken: list[str] = []
    answers: list[object] = []
    made.begin(steps(loop, 100, taken, "long"), 100, answers.append)
    made.begin(steps(loop, 1, taken, "short"), 1, answers.append)
    for _ in range(2):
        loop.turn()
    assert taken == ["long", "short", "long", "long"]
    assert answers == ["short"]


def test_many_short_ones_have_one_slice(loop: Loop, made: Slices) -> None:
    """Those of one question to the system each: a list, or what is known of one account."""

    def one() -> Steps:
        loop.now += slices.SLICE / 2
        return "one"
        yield

    answers: list[object] = []
    for _ in range(6):
        made.begin(one(), 1, answers.append)
    for turn in range(1, 4):
        loop.turn()
        assert len(answers) == 2 * turn


def test_a_step_that_fails(loop: Loop, made: Slices) -> None:
    def failing() -> Steps:
        raise ValueError("no")
        yield

    answers: list[object] = []
    made.begin(failing(), 1000, answers.append)
    loop.turn()
    assert isinstance(answers[0], ValueError)
    assert not loop.calls


def test_large_ones_have_a_limit(loop: Loop, made: Slices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_LARGE", 2)
    answers: list[object] = []
    for count in (FEW + 1, FEW + 1, FEW + 1, FEW, FEW):
        made.begin(steps(loop, 1, [], "done"), count, answers.append)
    (refused,) = answers
    assert isinstance(refused, BusyError)
    while loop.calls:
        loop.turn()
    assert answers[1:] == ["done"] * 4
    made.begin(steps(loop, 1, [], "again"), FEW + 1, answers.append)
    while loop.calls:
        loop.turn()
    assert answers[-1] == "again"
