"""When two names are the same but for case: the one place that decides.

The rule is that of the table on an NTFS volume ($UpCase): every UTF-16 unit has one upper case,
which is one unit. So nothing changes its length (sharp s, ligatures), a Turkish i is no i
(dotless or dotted), and characters beyond the BMP, two units each, have no case at all. The
pairs are those of Windows 8's table ([MS-UCODEREF] 3.1.5.3, Unicode 5.1) and the final sigma,
which NTFS and Samba fold and that table does not.
"""

from typing import Final

_FINAL_SIGMA: Final = "\u03c2"
_BMP_END: Final = 0x10000

# Lower case letters whose upper case came to Unicode after 5.1: Windows leaves them alone, and
# Python learns more with every release. (first, last)
_LATER: Final = (
    (0x019B, 0x019B),
    (0x023F, 0x0240),
    (0x0252, 0x0252),
    (0x025C, 0x025C),
    (0x0261, 0x0261),
    (0x0264, 0x0266),
    (0x026A, 0x026A),
    (0x026C, 0x026C),
    (0x0282, 0x0282),
    (0x0287, 0x0287),
    (0x029D, 0x029E),
    (0x03F3, 0x03F3),
    (0x0525, 0x052F),
    (0x10D0, 0x10FF),  # Georgian
    (0x13F8, 0x13FD),  # Cherokee
    (0x1C80, 0x1C8F),
    (0x1D8E, 0x1D8E),
    (0x2C5F, 0x2C5F),
    (0x2CEC, 0x2CF3),
    (0x2D27, 0x2D2D),
    (0xA661, 0xA661),
    (0xA699, 0xA69B),
    (0xA790, 0xA7FF),
    (0xAB53, 0xABBF),  # Cherokee
)


class _Upcase(dict[int, int]):
    """The upper case of each character, worked out when it is first asked for."""

    def __missing__(self, key: int) -> int:
        value = self[key] = ord(_upper(chr(key)))
        return value


def _upper(character: str) -> str:
    """Return the one character that is the upper case of `character`, or itself."""
    if ord(character) >= _BMP_END or any(a <= ord(character) <= b for a, b in _LATER):
        return character
    # Greek letters with an iota below have one capital, which Unicode calls their title case.
    upper = character.upper() if len(character.upper()) == 1 else character.title()
    if len(upper) == 1 and (upper.lower() == character or character == _FINAL_SIGMA):
        return upper
    return character


_upcase = _Upcase()


def fold(name: str) -> str:
    """Return the form in which names that Windows takes for the same are equal."""
    return name.upper() if name.isascii() else name.translate(_upcase)
