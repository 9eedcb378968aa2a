"""The window of message ids, against a model that keeps every id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usmbd.protocol.state.sequence import SequenceWindow, charge_for, check_charge
from usmbd.protocol.wire.status import SmbError


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4), st.integers(0, 20)), max_size=60),
)
def test_an_id_is_used_once_and_only_when_granted(
    maximum: int, steps: list[tuple[int, int, int]]
) -> None:
    window = SequenceWindow(maximum)
    free, high = {0}, 1
    for message_id, charge, asked in steps:
        wanted = set(range(message_id, message_id + charge))
        assert window.use(message_id, charge) == (wanted <= free)
        if wanted <= free:
            free -= wanted
            granted = window.grant(asked, charge)
            assert granted <= max(asked, 1)
            free |= set(range(high, high + granted))
            high += granted
        assert window.available == len(free)
        assert len(free) <= max(maximum, 1)
        assert free, "a client is never left without any"


def test_a_left_out_id_stops_the_window() -> None:
    """Who skips an id can go on for as long as the window holds, and no longer."""
    window = SequenceWindow(8)
    assert window.use(0, 1)
    assert window.grant(100, 1) == 8
    for message_id in range(2, 9):
        assert window.use(message_id, 1)
        assert window.grant(100, 1) == 0
    assert window.use(1, 1)
    assert window.grant(100, 1) == 8


@pytest.mark.parametrize(
    ("length", "charge"), [(0, 1), (1, 1), (65536, 1), (65537, 2), (131072, 2), (8 << 20, 128)]
)
def test_what_a_payload_costs(length: int, charge: int) -> None:
    assert charge_for(length) == charge
    check_charge(charge, length)
    if length > 65536:
        with pytest.raises(SmbError):
            check_charge(charge - 1, length)
    else:
        check_charge(0, length)
