r"""How a name on disk that SMB cannot say is spelled on the wire, and back.

Local programs may put into a name what Windows cannot say ([MS-FSCC] 2.1.5.2, and the rules of
Win32). Each such piece has a stand-in of Unicode's private area, in both directions:

    : ? | * < > " \ 1-31, last . or space  U+F001 to U+F029, the map of Services for Mac, which
                                           macOS and Linux (mapposix) apply on their side
    first letter of a reserved name        U+F000 and the letter: CON is said U+F043 O N
    a byte that is not UTF-8               U+EF00 and the byte, MirBSD's OPTU-16

Files with stand-ins in their names exist too: Samba and ksmbd store what a Mac sends as it is.
Where that could be confused, U+F07F before a stand-in says that it is meant literally. So every
name on disk has a spelling, no two have the same, and `to_disk` undoes `to_wire`.
"""

import os
import re
from collections.abc import Callable
from typing import Final

_LITERALLY: Final = 0xF07F
# The same order as U+F020 to U+F027.
_PUNCTUATION: Final = '"*:<>?\\|'
_LAST: Final = {" ": "\uf028", ".": "\uf029"}
# Devices of DOS, which Win32 finds in every folder and with every extension. Samba knows most.
_RESERVED: Final = re.compile(
    r"(?:con|prn|aux|nul|com[1-9\xb9\xb2\xb3]|lpt[1-9\xb9\xb2\xb3]|conin\$|conout\$) *(?:\.|\Z)",
    re.ASCII | re.IGNORECASE,
)
_RESERVED_LETTERS: Final = "acnlpACNLP"

_FOR_CHARACTER: Final = {
    **{code: 0xF000 + code for code in range(1, 32)},
    **{ord(character): 0xF020 + at for at, character in enumerate(_PUNCTUATION)},
    # Python keeps an undecodable byte as U+DC00 and the byte (PEP 383).
    **{0xDC00 + byte: 0xEF00 + byte for byte in range(0x80, 0x100)},
}
_LETTERS: Final = {0xF000 + ord(letter) for letter in _RESERVED_LETTERS}
_STAND_INS: Final = frozenset((*_FOR_CHARACTER.values(), 0xF028, 0xF029, *_LETTERS, _LITERALLY))
_ENCODE_LITERALLY: Final = _FOR_CHARACTER | {
    code: chr(_LITERALLY) + chr(code) for code in _STAND_INS
}
_DECODE: Final = {
    chr(stand_in): chr(character) for character, stand_in in _FOR_CHARACTER.items()
} | {stand_in: character for character, stand_in in _LAST.items()}


def _any_of(codes: frozenset[int] | dict[int, int]) -> str:
    """Return the characters as a class of a regular expression."""
    return "[" + "".join(f"\\u{code:04x}" for code in sorted(codes)) + "]"


_HAS_STAND_IN: Final = re.compile(_any_of(_STAND_INS))
_HAS_ODD: Final = re.compile(_any_of(_STAND_INS | _FOR_CHARACTER.keys()))
_UNSPEAKABLE: Final = re.compile(_any_of(_FOR_CHARACTER))
# What stands for something: where it is escaped, anywhere, or only at the end.
_STANDS: Final = re.compile(
    f"{chr(_LITERALLY)}({_any_of(_STAND_INS)})|{_any_of(frozenset(_FOR_CHARACTER.values()))}"
    "|[\uf028\uf029]\\Z"
)


def is_odd(name: str) -> bool:
    """Whether the wire's spelling of a name on disk may differ from the name."""
    return (
        name[-1:] in _LAST
        or (name[:1] in _RESERVED_LETTERS and _RESERVED.match(name) is not None)
        or _HAS_ODD.search(name) is not None
    )


def is_speakable(name: str) -> bool:
    """Whether a client can say the name as it is on disk; an ending dot or space it can."""
    return _UNSPEAKABLE.search(name) is None


def to_wire(name: str) -> str:
    """Spell a name on disk so that every client can see and say it."""
    if not is_odd(name):
        return name
    spelled = _encode(name, _FOR_CHARACTER)
    return spelled if to_disk(spelled) == name else _encode(name, _ENCODE_LITERALLY)


def to_disk(name: str) -> str:
    """Return the name on disk that a client means by `name`.

    What no name on disk is spelled like is meant literally: nothing leads to "." or "..", and
    bytes cannot be put together to a character that could be said without.
    """
    if _HAS_STAND_IN.search(name) is None:
        return name
    meant = _STANDS.sub(lambda found: found[1] or _DECODE[found[0]], name)
    if ord(name[0]) in _LETTERS:
        reserved = chr(ord(name[0]) - 0xF000) + meant[1:]
        if _RESERVED.match(reserved):
            meant = reserved
    if meant in (".", "..") or not _can_be_on_disk(meant):
        return name
    if name not in (_encode(meant, _FOR_CHARACTER), _encode(meant, _ENCODE_LITERALLY)):
        return name
    return meant


def shown(name: str, exists: Callable[[str], bool]) -> str:
    """Spell a name on disk for a listing; `exists` tells of the other names in its directory.

    A name that looks like the spelling of another is shown as it is unless that other exists:
    what a Mac has stored through another server is seen by it as before.
    """
    spelled = to_wire(name)
    if chr(_LITERALLY) in spelled:
        other = to_disk(name)
        if other != name and to_wire(other) == name and not exists(other):
            return name
    return spelled


def _encode(name: str, table: dict[int, int] | dict[int, int | str]) -> str:
    """Put stand-ins into a name on disk."""
    spelled = name.translate(table)
    if name[-1:] in _LAST:
        spelled = spelled[:-1] + _LAST[name[-1]]
    if _RESERVED.match(name):
        spelled = chr(0xF000 + ord(name[0])) + spelled[1:]
    return spelled


def _can_be_on_disk(name: str) -> bool:
    """Whether the bytes of `name` read as `name` again."""
    try:
        return os.fsdecode(os.fsencode(name)) == name
    except UnicodeEncodeError:
        return False
