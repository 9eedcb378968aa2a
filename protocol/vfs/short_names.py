"""Names of the form 8.3 for files whose own name is longer, for programs of old.

The short name follows from the long one alone, as in Samba's method `hash2`: nothing has to
be kept. Listings tell it only with `mangled names = yes`: each entry would pay 5 us for names
that nothing since Windows 95 asks for.
"""

import re
import zlib
from typing import Final

from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.spelling import is_odd

_BASE36: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HASH_DIGITS: Final = 6
_SHORT = re.compile(r"[A-Z0-9_$#&@!%()'`{}^~-]{1,8}(?:\.[A-Z0-9_$#&@!%()'`{}^~-]{1,3})?")
_MADE = re.compile(r"[A-Z0-9_][A-Z0-9]{5}~[A-Z0-9](?:\.[A-Z0-9]{1,3})?")
_NOT_PLAIN = re.compile(r"[^A-Z0-9]")


def short_name(name: str) -> str:
    """Return the 8.3 name that stands for `name`, "" when `name` is 8.3 itself."""
    upper = fold(name)
    if _SHORT.fullmatch(upper) and not is_odd(name):
        return ""
    return _make(upper)


def _make(upper: str) -> str:
    """Make the short name: a letter, six digits of the hash around a tilde, the extension."""
    number = zlib.crc32(upper.encode("utf-16-le", "surrogatepass")) % len(_BASE36) ** _HASH_DIGITS
    digits = ""
    for _ in range(_HASH_DIGITS):
        number, digit = divmod(number, len(_BASE36))
        digits = _BASE36[digit] + digits
    stem, dot, extension = upper.rpartition(".")
    plain = _NOT_PLAIN.sub("", extension)[:3] if dot and stem else ""
    first = upper[0] if upper[:1].isascii() and upper[:1].isalnum() else "_"
    short = f"{first}{digits[:-1]}~{digits[-1]}"
    return f"{short}.{plain}" if plain else short


def is_made(name: str) -> bool:
    """Whether `name` may be one that `short_name` made."""
    return "~" in name and _MADE.fullmatch(fold(name)) is not None
