"""When two names are the same but for case: as on an NTFS volume."""

import pytest

from usmbd.protocol.state.store.records import file_key
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.short_names import is_made
from usmbd.protocol.vfs.wildcard import Pattern


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("abcÄß", "ABCäß"),
        ("ς", "Σ"),  # the final sigma has the capital of every other
        ("\u03c3", "Σ"),
        ("ÿ", "Ÿ"),
        ("ᾳ", "ᾼ"),
        ("ⅳ", "Ⅳ"),
        ("ⓐ", "Ⓐ"),
        ("\uff41", "\uff21"),
        ("ԣ", "Ԣ"),
        ("ǆ", "Ǆ"),
    ],
)
def test_the_same(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ß", "SS"),
        ("ß", "ẞ"),
        ("ﬁ", "FI"),
        ("\u0149", "\u02bcN"),
        ("i", "\u0131"),  # dotless
        ("I", "\u0131"),
        ("i", "İ"),
        ("s", "\u017f"),  # long
        ("µ", "μ"),
        ("K", "\u212a"),  # Kelvin
        ("Å", "\u212b"),  # Ångström
        ("\U00010428", "\U00010400"),  # Deseret: beyond the BMP nothing has a case
        ("\U0001e922", "\U0001e900"),
        ("ა", "Ა"),  # Georgian capitals are younger than the table
        ("\uab70", "\u13a0"),  # Cherokee, too
    ],
)
def test_not_the_same(one: str, other: str) -> None:
    assert fold(one) != fold(other)


def test_one_unit_for_one() -> None:
    """The whole table, whatever Unicode this Python knows: 973 rows of [MS-UCODEREF], and sigma."""
    changed = [code for code in range(0x110000) if fold(chr(code)) != chr(code)]
    assert len(changed) == 974
    assert changed[-1] < 0x10000
    assert all(len(fold(chr(code))) == 1 for code in changed)
    assert all(fold(fold(chr(code))) == fold(chr(code)) for code in changed)


def test_whoever_compares_names_compares_so() -> None:
    assert Pattern("\U00010428*").matches("\U00010428x")
    assert not Pattern("\U00010428*").matches("\U00010400x")
    assert not is_made("ﬁ3456~1")  # upper() makes eight characters of it
    assert file_key(1, 2, "strasse") != file_key(1, 2, "straße")
    assert file_key(1, 2, "ÄB") == file_key(1, 2, "äb")
