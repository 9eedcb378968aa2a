"""Few places for many: a crowd displaces itself."""

import random
from collections import Counter

import pytest

from usmbd.protocol.door.places import Places


def test_the_crowd_s_eldest_goes() -> None:
    places: Places[int] = Places(4)
    assert [places.take(n, "a") for n in range(3)] == [None] * 3
    assert places.take(3, "b") is None
    assert places.take(4, "c") == 0
    assert places.take(5, "c") == 1
    assert (len(places), places.most, places.displaced) == (4, 2, 2)
    assert 3 in places


def test_where_nobody_has_two_the_eldest_goes() -> None:
    places: Places[int] = Places(3)
    assert [places.take(n, str(n)) for n in range(5)] == [None, None, None, 0, 1]


def test_a_place_is_cleared_once() -> None:
    places: Places[int] = Places(2)
    places.take(1, "a")
    assert places.leave(1)
    assert not places.leave(1)
    assert (len(places), places.most) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_count_of_the_largest_is_right(seed: int) -> None:
    chance = random.Random(seed)
    places: Places[int] = Places(30)
    held: dict[int, str] = {}
    for number in range(2000):
        if held and chance.random() < 0.3:
            gone: int | None = chance.choice(list(held))
            assert gone is not None
            places.leave(gone)
        else:
            largest = max(Counter(held.values()).values(), default=0)
            gone = places.take(number, chance.choice("aaaabbc"))
            if gone is not None:
                assert Counter(held.values())[held[gone]] == largest
            held[number] = places._holders[number]
        if gone is not None:
            del held[gone]
        assert places.most == max(Counter(held.values()).values(), default=0)
        assert len(places) == len(held) <= 30
