"""From a value's text to the value: one function for each type of parameter.

Each takes the text (or YAML's list of texts) and raises ValueError with what it wants.
"""

import ipaddress
import os
import re
import shlex
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from usmbd.mountd.config.source import Raw

_TRUE = frozenset(("yes", "true", "1", "on", "enable", "enabled"))
_FALSE = frozenset(("no", "false", "0", "off", "disable", "disabled"))
_SUFFIXES = {letter: 1 << 10 * power for power, letter in enumerate("KMGTPE", start=1)}
_SIZE = re.compile(r"(\d+)\s*([KMGTPE]?)(?:i?B)?", re.IGNORECASE)
# Samba's substitutions; `%%` and a lone percent sign mean themselves.
_SUBSTITUTION = re.compile(r"%(?:[A-Za-z]|\$\()")

# [MS-SMB2] 2.2.3 DialectRevision, under the names that Samba and ksmbd give them.
DIALECTS = {
    "SMB2_02": 0x0202,
    "SMB2_10": 0x0210,
    "SMB2": 0x0210,
    "SMB3_00": 0x0300,
    "SMB3_02": 0x0302,
    "SMB3_11": 0x0311,
    "SMB3": 0x0311,
}

E = TypeVar("E", bound=StrEnum)


def text(value: Raw) -> str:
    """Return one text, without the quotes around it; no substitutions."""
    if isinstance(value, list):
        raise ValueError("one value is wanted, not a list")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    found = _SUBSTITUTION.search(value.replace("%%", ""))
    if found:
        raise ValueError(f"usmbd has no substitutions such as {found.group()}")
    if not value.isprintable():
        raise ValueError("the text holds control characters")
    return value.replace("%%", "%")


def name_text(limit: int) -> Callable[[Raw], str]:
    """Return a parser for a text that is not empty and has at most `limit` characters."""

    def parse(value: Raw) -> str:
        name = text(value)
        if not 1 <= len(name) <= limit:
            raise ValueError(f"1 to {limit} characters are wanted")
        return name

    return parse


def path(value: Raw) -> str:
    """Return an absolute path, normalized, or nothing."""
    name = text(value)
    if name and not name.startswith("/"):
        raise ValueError(f"{name!r} is not an absolute path")
    return os.path.normpath(name) if name else ""


def boolean(value: Raw) -> bool:
    """Return yes or no."""
    word = text(value).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{word!r} is neither yes nor no")


def number(low: int, high: int) -> Callable[[Raw], int]:
    """Return a parser for `low` to `high`, with the suffixes K to E."""

    def parse(value: Raw) -> int:
        word = text(value)
        found = _SIZE.fullmatch(word)
        if not found:
            raise ValueError(f"{word!r} is not a number")
        # A number of hundreds of digits is slow to convert and always out of range.
        if len(found.group(1)) > 20:
            raise ValueError(f"a number from {low} to {high} is wanted")
        result = int(found.group(1)) * _SUFFIXES.get(found.group(2).upper(), 1)
        if not low <= result <= high:
            raise ValueError(f"{word} is not between {low} and {high}")
        return result

    return parse


def minutes(value: Raw) -> int:
    """Return seconds for a number of minutes."""
    return number(0, 60 * 24 * 365)(value) * 60


def mode(value: Raw) -> int:
    """Return permission bits written in octal."""
    word = text(value)
    if not re.fullmatch(r"(0o?)?[0-7]{1,4}", word):
        raise ValueError(f"{word!r} is not an octal mode such as 0744")
    return int(word.lower().replace("o", ""), 8)


def words(value: Raw) -> list[str]:
    """Return the words of a list, parted by commas, spaces or tabs; quotes keep spaces."""
    if isinstance(value, list):
        return [text(item) for item in value if item]
    lexer = shlex.shlex(value, posix=True)
    lexer.whitespace = " \t,"
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""
    lexer.quotes = '"'
    try:
        return [text(word) for word in lexer if word]
    except ValueError as error:
        if "quotation" in str(error):
            raise ValueError("a quote is not closed") from error
        raise


def users(value: Raw) -> list[str]:
    """Return names of users and `@group`s."""
    result = []
    for word in words(value):
        if word[0] == "&" or word.startswith(("@&", "+&", "&+")):
            raise ValueError(f"{word!r}: usmbd has no NIS netgroups")
        if "\\" in word:
            raise ValueError(f"{word!r}: usmbd has no domains, only the users of its own file")
        name = "@" + word.lstrip("@+") if word[0] in "@+" else word
        if name == "@":
            raise ValueError(f"{word!r} names no group")
        result.append(name)
    return result


def veto_patterns(value: Raw) -> list[str]:
    """Return the patterns of `/a/b*/`."""
    if isinstance(value, list):
        return [text(item) for item in value if item]
    written = text(value)
    if written and "/" not in written:
        raise ValueError("the names stand between slashes: /a/b*/")
    return [pattern for pattern in written.split("/") if pattern]


def dialect(value: Raw) -> int:
    """Return the number of an SMB2 or SMB3 dialect."""
    word = text(value).upper()
    if word not in DIALECTS:
        raise ValueError(f"{word!r} is none of {', '.join(DIALECTS)}")
    return DIALECTS[word]


def choice(kind: type[E], **others: str) -> Callable[[Raw], E]:
    """Return a parser for an enumeration; `others` are further words, `_` standing for a space."""
    table = {member.value: member for member in kind}
    for word, meaning in others.items():
        table[word.replace("_", " ").strip()] = kind(meaning)

    def parse(value: Raw) -> E:
        word = text(value).lower().replace("_", " ")
        if word not in table:
            raise ValueError(f"{word!r} is none of {', '.join(kind)}")
        return table[word]

    return parse


def one_of(*known: str) -> Callable[[Raw], list[str]]:
    """Return a parser for a list of these words."""

    def parse(value: Raw) -> list[str]:
        result = words(value)
        for word in result:
            if word not in known:
                raise ValueError(f"usmbd has no {word!r}, only {', '.join(known)}")
        return result

    return parse


def interfaces(value: Raw) -> list[str]:
    """Return names of interfaces, addresses or networks."""
    result = words(value)
    for word in result:
        if "/" in word or ":" in word:
            try:
                ipaddress.ip_interface(word)
            except ValueError as error:
                raise ValueError(f"{word!r} is no interface, address or network") from error
        elif ";" in word:
            raise ValueError(f"{word!r}: usmbd takes no options of interfaces; it asks the system")
    return result


def workers(value: Raw) -> int:
    """Return the number of workers; `auto` is one for each core, at least two."""
    if text(value).lower() == "auto":
        # Two even on one core: a worker that waits for its disk leaves the core to the other.
        return max(2, len(os.sched_getaffinity(0)))
    # More than cores is never faster; 256 keeps the worker's number within 8 bits.
    return number(1, 256)(value)
