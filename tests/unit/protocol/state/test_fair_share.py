"""Nobody takes from everybody what is few."""

from contextlib import suppress

import pytest

from usmbd.protocol.state.fair_share import FairShare, Place
from usmbd.protocol.wire.status import NtStatus, SmbError


def take_all(share: FairShare, user: str, address: str) -> list[Place]:
    """Take places until there is no more for this one."""
    places: list[Place] = []
    refused = share.refused
    while share.refused == refused:
        with suppress(SmbError):
            places.append(share.take(user, address))
    return places


@pytest.fixture
def share() -> FairShare:
    return FairShare(lambda: 1200)


def test_one_gets_a_half_and_the_next_a_half_of_the_rest(share: FairShare) -> None:
    assert len(take_all(share, "alice", "192.0.2.1")) == 600
    assert len(take_all(share, "bob", "192.0.2.2")) == 300
    assert len(take_all(share, "carol", "192.0.2.3")) == 150
    assert share.used == 1050
    assert share.most == 600
    assert share.refused == 3


def test_a_user_gets_no_more_by_many_addresses(share: FairShare) -> None:
    taken = [len(take_all(share, "alice", f"192.0.2.{n}")) for n in range(200)]
    assert sum(taken) == 600
    assert len(take_all(share, "bob", "192.0.3.1")) == 300


def test_an_address_gets_no_more_by_many_users(share: FairShare) -> None:
    assert sum(len(take_all(share, f"user{n}", "192.0.2.1")) for n in range(200)) == 600
    assert len(take_all(share, "bob", "192.0.3.1")) == 300


@pytest.mark.parametrize("address", ["192.0.3.1", "192.0.2.1"])
def test_strangers_get_a_quarter_together(share: FairShare, address: str) -> None:
    """A user then has a half of the rest, also where one of them is at the same address."""
    taken = [len(take_all(share, "", f"192.0.2.{n}")) for n in range(250)]
    assert taken[0] == 150  # a half of their quarter
    assert share.strangers == sum(taken) == 299
    assert len(take_all(share, "alice", address)) == 450


def test_a_stranger_is_another_than_the_next(share: FairShare) -> None:
    take_all(share, "", "192.0.2.1")
    assert take_all(share, "", "192.0.2.2")


def test_what_is_given_back_is_there_again(share: FairShare) -> None:
    for user in ("alice", ""):
        places = take_all(share, user, "192.0.2.1")
        for place in places:
            place.give_back()
            place.give_back()  # twice is harmless
        assert (share.used, share.strangers, share.most) == (0, 0, 0)


def test_a_place_grows_and_shrinks(share: FairShare) -> None:
    place = share.place("alice", "192.0.2.1")
    assert share.used == 0
    place.take(400)
    with pytest.raises(SmbError) as refused:
        place.take(201)
    assert refused.value.status is NtStatus.INSUFFICIENT_RESOURCES
    assert place.count == share.used == 400
    place.take(200)
    place.give_back(100)
    assert place.count == share.most == 500
    place.give_back()
    assert share.used == place.count == 0
    place.take(7)  # its owner is gone: there is nobody to give it back
    place.give_back(7)
    assert share.used == 0


def test_a_capacity_that_shrinks_refuses_more_and_takes_nothing_away() -> None:
    room = 100
    share = FairShare(lambda: room)
    places = take_all(share, "alice", "192.0.2.1")
    room = 10
    with pytest.raises(SmbError):
        share.take("bob", "192.0.2.2")
    for place in places:
        place.give_back()
    assert share.used == 0
