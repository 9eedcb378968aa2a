"""Timers of the workers' event loop that are due together."""

import socket

import pytest

from usmbd.transport.loop import EpollLoop


def turns(loop: EpollLoop, number: int) -> None:
    """Take turns that do not wait."""
    for _ in range(number):
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_many_timers_of_one_moment_let_others_have_their_turn(
    loop: EpollLoop, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order; a descriptor that is ready is looked at between them."""
    called: list[object] = []
    monkeypatch.setattr("usmbd.transport.loop.TIMERS_SLICE", 0.0)
    loop.add_reader(pair[0].fileno(), called.append, "reader")
    pair[1].send(b"x")
    for number in range(4):
        loop.call_later(0, called.append, number)
    turns(loop, 5)
    numbers = [each for each in called if each != "reader"]
    assert numbers == [0, 1, 2, 3]
    between = [called[at + 1] for at, each in enumerate(called[:-1]) if each in numbers[:-1]]
    assert between == ["reader"] * 3


def test_a_timer_that_is_made_meanwhile_has_another_turn(loop: EpollLoop) -> None:
    called: list[int] = []

    def again() -> None:
        called.append(loop.turn_number)
        if len(called) < 3:
            loop.call_later(0, again)

    loop.call_later(0, again)
    turns(loop, 5)
    assert len(set(called)) == 3
