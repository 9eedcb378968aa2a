"""The share-mode check of [MS-FSA] 2.1.5.1.2.2 in constant time.

Every condition of the document compares one right of one open with one share bit of another.
It is therefore enough to count, as NT's SHARE_ACCESS does, how many opens hold each right and
how many deny each right to others. The counts stand in lanes of two integers, `holders` and
`deniers`, so that the check of a new open is two ANDs however many opens the file has.
"""

from functools import lru_cache
from typing import Final, NamedTuple

FILE_SHARE_ALL: Final = 0x7  # FILE_SHARE_READ 1, FILE_SHARE_WRITE 2, FILE_SHARE_DELETE 4

_READ_ACCESS: Final = 0x0000_0021  # FILE_READ_DATA | FILE_EXECUTE
_WRITE_ACCESS: Final = 0x0000_0006  # FILE_WRITE_DATA | FILE_APPEND_DATA
_DELETE_ACCESS: Final = 0x0001_0000  # DELETE

_LANE: Final = 21  # bits: three lanes fill a 64-bit word, each counts two million opens

_ONE: Final = tuple(sum(1 << (_LANE * b) for b in range(3) if bits >> b & 1) for bits in range(8))
_ANY: Final = tuple(one * ((1 << _LANE) - 1) for one in _ONE)


class Profile(NamedTuple):
    """What one open means for sharing, as lanes: what it adds to the counts, what it excludes."""

    holds: int
    denies: int
    excludes_holders: int
    excludes_deniers: int


@lru_cache(maxsize=1024)  # far more than the combinations that programs use; bounded all the same
def profile(granted_access: int, share_access: int) -> Profile:
    """Return the profile of an open by its access mask and its FILE_SHARE bits.

    An open with none of the rights that sharing is about (a stat open) takes no part in it.
    """
    held = (
        (1 if granted_access & _READ_ACCESS else 0)
        | (2 if granted_access & _WRITE_ACCESS else 0)
        | (4 if granted_access & _DELETE_ACCESS else 0)
    )
    if not held:
        return Profile(0, 0, 0, 0)
    denied = ~share_access & FILE_SHARE_ALL
    return Profile(_ONE[held], _ONE[denied], _ANY[denied], _ANY[held])


def conflicts(holders: int, deniers: int, new: Profile) -> bool:
    """Tell whether a new open violates the sharing of the opens that are counted."""
    return bool(holders & new.excludes_holders or deniers & new.excludes_deniers)


def violates(access: int, share: int, other_access: int, other_share: int) -> bool:
    """Tell whether two opens with these access masks and share modes exclude each other."""
    other = profile(other_access, other_share)
    return conflicts(other.holds, other.denies, profile(access, share))


def denies_delete(deniers: int) -> bool:
    """Tell whether any counted open was made without FILE_SHARE_DELETE."""
    return bool(deniers & _ANY[4])
