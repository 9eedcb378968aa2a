"""Share modes: the counted check agrees with the pairwise one of [MS-FSA] 2.1.5.1.2.2."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from usmbd.protocol.state.store import sharing
from usmbd.protocol.state.store.lmdb_opens import MAX_OPENS_PER_FILE

READ, WRITE, DELETE = 0x21, 0x6, 0x10000
RIGHTS = (0x1, 0x20, 0x2, 0x4, 0x10000, 0x80, 0x100, 0x100000)  # the last three: stat opens


def pairwise(old: tuple[int, int], new: tuple[int, int]) -> bool:
    """Apply the document's conditions for one existing open, word for word."""
    held, shared = old
    wanted, offered = new
    taking_part = READ | WRITE | DELETE
    if not (held & taking_part and wanted & taking_part):
        return False
    return any(
        (wanted & right and not shared & bit) or (held & right and not offered & bit)
        for right, bit in ((READ, 1), (WRITE, 2), (DELETE, 4))
    )


def violates(opens: list[tuple[int, int]], new: tuple[int, int]) -> bool:
    profiles = [sharing.profile(*one) for one in opens]
    holders = sum(one.holds for one in profiles)
    deniers = sum(one.denies for one in profiles)
    return sharing.conflicts(holders, deniers, sharing.profile(*new))


def test_all_pairs_of_rights_and_share_modes() -> None:
    opens = list(product(RIGHTS, range(8)))
    for old, new in product(opens, opens):
        assert violates([old], new) == pairwise(old, new), (old, new)


an_open = st.tuples(
    st.lists(st.sampled_from(RIGHTS), max_size=4).map(lambda rights: sum(set(rights))),
    st.integers(0, 7),
)


@given(st.lists(an_open, max_size=6), an_open)
def test_many_opens_conflict_when_any_does(
    opens: list[tuple[int, int]], new: tuple[int, int]
) -> None:
    assert violates(opens, new) == any(pairwise(old, new) for old in opens)


def test_lanes_hold_the_most_opens_that_a_file_may_have() -> None:
    one = sharing.profile(0x10027, 0)
    most = MAX_OPENS_PER_FILE
    assert one.holds * most < 1 << 64
    assert sharing.conflicts(one.holds * most, 0, sharing.profile(1, 6))
    assert not sharing.conflicts(one.holds * most - one.holds * most, 0, one)
