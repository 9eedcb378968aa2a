"""From a value's text to the value: one function for each type of parameter.

Each takes the text (or YAML's list of texts) and raises ValueError with what it wants.
"""

import calendar
import ipaddress
import os
import re
import resource
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from usmbd.mountd.config.samba import MODULES, REFUSED_MODULES
from usmbd.mountd.config.source import Raw
from usmbd.mountd.ipc.settings import DfsSite, ResourceForks
from usmbd.mountd.substitute import (
    CONNECT,
    STATIC,
    Template,
    expand,
    letters_of,
    static_substitutions,
    without,
)

OWN_MODULES = ("acl_xattr", "streams_xattr", "shadow_copy2", "fruit")

# Times whose every part differs, to see what a format tells of them.
_SAMPLES = (86_399, 1_234_567_890, 1_700_000_001)

_TRUE = frozenset(("yes", "true", "1", "on", "enable", "enabled"))
_FALSE = frozenset(("no", "false", "0", "off", "disable", "disabled"))
_SUFFIXES = {letter: 1 << 10 * power for power, letter in enumerate("KMGTPE", start=1)}
_SIZE = re.compile(r"(\d+)\s*([KMGTPE]?)(?:i?B)?", re.IGNORECASE)
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

# Dialects of unreleased Windows versions -> what replaced them.
FORGOTTEN = {"SMB2_22": "SMB3_00", "SMB2_24": "SMB3_00", "SMB3_10": "SMB3_11"}
OLDER = ("CORE", "COREPLUS", "LANMAN1", "LANMAN2", "NT1")

LEAST_CONNECTIONS = 256
MOST_CONNECTIONS = 16384
"""Between these the machine decides how many connections there may be by default."""

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Noted:
    """A value, and what has to be known of it: it is not quite what was written."""

    value: Any
    note: str


def written(value: Raw) -> str:
    """Return one text as it is written, without the quotes around it."""
    if isinstance(value, list):
        raise ValueError("one value is wanted, not a list")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if not value.isprintable():
        raise ValueError("the text holds control characters")
    return value


def text(value: Raw) -> str:
    """Return one text, without the quotes around it; no substitutions."""
    result = written(value)
    if letters := letters_of(result):
        raise ValueError(f"there are no substitutions such as %{letters[0]} here")
    return expand(result, {})


def template(value: Raw, letters: str = STATIC + CONNECT) -> str:
    """Return one text in which these substitutions may stand: a `Template` if any does."""
    result = written(value)
    for letter in letters_of(result):
        if letter not in letters + "$":
            known = ", ".join(f"%{each}" for each in letters)
            raise ValueError(f"%{letter} is not known here, only {known}")
    return Template(result) if letters_of(result) else expand(result, {})


def described(letters: str) -> Callable[[Raw], str | Noted]:
    """Return a parser for a text that people read: what is not known in it stays as it is written.

    It may hold these substitutions; another one opens nothing, and smbd knows more of them.
    """

    def parse(value: Raw) -> str | Noted:
        said = written(value)
        unknown = [each for each in letters_of(said) if each not in letters + "$"]
        if not unknown:
            return template(value, letters)
        known = ", ".join(f"%{each}" for each in letters)
        kept = without(said, letters)
        result = Template(kept) if letters_of(kept) else expand(kept, {})
        return Noted(result, f"%{unknown[0]} stays as it is written: known are {known}")

    return parse


def template_path(value: Raw) -> str:
    """Return an absolute path, normalized unless it is a `Template`, or nothing."""
    name = template(value)
    if name and not name.startswith(("/", "%H", "%$")):
        raise ValueError(f"{name!r} is not an absolute path")
    return name if isinstance(name, Template) or not name else os.path.normpath(name)


def name_text(limit: int) -> Callable[[Raw], str]:
    """Return a parser for a text that is not empty and has at most `limit` characters."""

    def parse(value: Raw) -> str:
        name = text(value)
        if not 1 <= len(name) <= limit:
            raise ValueError(f"1 to {limit} characters are wanted")
        return name

    return parse


def machine_name(limit: int) -> Callable[[Raw], str]:
    """Return a parser for a name of the machine, in which %h is the host's, cut to the limit."""
    parse = name_text(limit)

    def filled(value: Raw) -> str:
        if letters_of(written(value)) != ["h"]:
            return parse(value)
        return parse(expand(written(value), static_substitutions()).upper()[:limit])

    return filled


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
        if re.fullmatch(r"-\d+", word):
            raise ValueError(f"{word} is not between {low} and {high}")
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


def separator(value: Raw) -> str:
    """Return the character between a domain and a name in it."""
    result = written(value)
    if len(result) != 1 or result.isalnum():
        raise ValueError("it is one character, no letter and no digit")
    return result


def dfs_targets(value: Raw) -> list[str]:
    r"""Return the places of `msdfs proxy`, `\server\share[\path]` each, parted by commas."""
    targets = []
    for each in words(value) if isinstance(value, list) else written(value).split(","):
        parts = [part for part in each.strip().replace("/", "\\").split("\\") if part]
        if len(parts) < 2:
            raise ValueError(f"{each.strip()!r} is not \\SERVER\\SHARE")
        targets.append("\\" + "\\".join(parts))
    return targets


def dfs_sites(value: Raw) -> list[DfsSite]:
    """Return the sites of `NAME=ITEM,ITEM NAME=...`: networks of clients, hosts of targets."""
    sites: list[DfsSite] = []
    for word in value if isinstance(value, list) else written(value).split():
        name, equals, items = word.partition("=")
        if not name or not equals or any(s.name.casefold() == name.casefold() for s in sites):
            raise ValueError(f"{word!r} is not NAME=NETWORK,SERVER,... of a site of its own")
        site = DfsSite(name, [], [])
        for item in filter(None, items.split(",")):
            try:
                site.networks.append(str(ipaddress.ip_network(item, strict=False)))
            except ValueError:
                if "/" in item:
                    raise ValueError(f"{item!r} is no network") from None
                site.servers.append(item)
        sites.append(site)
    return sites


def minutes(value: Raw) -> int:
    """Return seconds for a number of minutes."""
    return number(0, 60 * 24 * 365)(value) * 60


def mode(value: Raw) -> int:
    """Return permission bits written in octal."""
    word = text(value)
    if not re.fullmatch(r"(0o?)?[0-7]{1,4}", word):
        raise ValueError(f"{word!r} is not an octal mode such as 0744")
    return int(word.lower().replace("o", ""), 8)


def words(value: Raw, parse: Callable[[Raw], str] = text, separators: str = " \t,;") -> list[str]:
    """Return the words of a list, parted as with Samba; quotes keep what is between them."""
    if isinstance(value, list):
        return [parse(item) for item in value if item]
    if '"' not in value:  # a tenth of the time, and a `username map` has thousands
        return [parse(word) for word in re.split(f"[{re.escape(separators)}]+", value) if word]
    lexer = shlex.shlex(value, posix=True)
    lexer.whitespace = separators
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""
    lexer.quotes = '"'
    try:
        return [parse(word) for word in lexer if word]
    except ValueError as error:
        if "quotation" in str(error):
            raise ValueError("a quote is not closed") from error
        raise


def users(value: Raw) -> list[str]:
    """Return names of users and `@group`s."""
    result = []
    for word in words(value, template):
        if word[0] == "&" or word.startswith(("@&", "+&", "&+")):
            raise ValueError(f"{word!r}: usmbd has no NIS netgroups")
        # A bare `@` stays: it is nobody, and a list that is empty would be everybody's.
        name = "@" + word.lstrip("@+") if word[0] in "@+" else word
        result.append(Template(name) if isinstance(word, Template) else name)
    return result


def veto_patterns(value: Raw) -> list[str]:
    """Return the patterns of `/a/b*/`."""
    if isinstance(value, list):
        return [text(item) for item in value if item]
    written = text(value)
    if written and "/" not in written:
        raise ValueError("the names stand between slashes: /a/b*/")
    return [pattern for pattern in written.split("/") if pattern]


def dialect(value: Raw) -> int | Noted:
    """Return the number of an SMB2 or SMB3 dialect; one that nobody speaks is the next one."""
    word = text(value).upper()
    if word in FORGOTTEN:
        return Noted(DIALECTS[FORGOTTEN[word]], f"{word} is taken for {FORGOTTEN[word]}")
    if word not in DIALECTS:
        raise ValueError(f"{word!r} is none of {', '.join(DIALECTS)}")
    return DIALECTS[word]


def lowest_dialect(value: Raw) -> int | Noted:
    """Return the number of the lowest dialect; SMB 1 and its like mean the oldest there is."""
    word = text(value).upper()
    if word in OLDER:
        return Noted(DIALECTS["SMB2_02"], f"{word} is not served: clients need SMB 2.0.2 or newer")
    if word == "DEFAULT":
        return DIALECTS["SMB2_02"]
    return dialect(value)


def highest_dialect(value: Raw) -> int | Noted:
    """Return the number of the highest dialect."""
    return DIALECTS["SMB3_11"] if text(value).upper() == "DEFAULT" else dialect(value)


def log_level(value: Raw) -> int | Noted:
    """Return the general level of `1 auth:3`."""
    first, *areas = text(value).split() or [""]
    level = number(0, 10)(first)
    if not areas:
        return level
    return Noted(level, f"the level {level} holds for all areas; usmbd.control -d switches one on")


def port(value: Raw) -> int | Noted:
    """Return the TCP port; of several the first but 139, which is that of NetBIOS."""
    first, *more = words(value) or [""]
    if first == "139" and more:
        first, more = more[0], ["139", *more[1:]]
    result = number(1, 65535)(first)
    if not more:
        return result
    return Noted(result, f"{', '.join(more)}: not listened on, only {result}")


def auto_boolean(*others: str, meaning: bool) -> Callable[[Raw], bool]:
    """Return a parser for yes and no, and for words that mean one of them."""

    def parse(value: Raw) -> bool:
        return meaning if text(value).lower() in others else boolean(value)

    return parse


def without_effect(why: str) -> Callable[[Raw], bool | Noted]:
    """Return a parser for what cannot be switched on yet: `yes` is no, and says why."""

    def parse(value: Raw) -> bool | Noted:
        return Noted(False, why) if boolean(value) else False

    return parse


def vfs_objects(value: Raw) -> list[str] | Noted:
    """Return the modules that usmbd does; those that change nothing are noted."""
    result, noted = [], []
    for word in words(value):
        name = word.lower().partition(":")[0]
        if name in REFUSED_MODULES:
            raise ValueError(f"{word}: {REFUSED_MODULES[name]}")
        if name in MODULES:
            noted.append(f"{word} is left out ({MODULES[name]})")
        elif name in OWN_MODULES:
            result.append(name)
        else:
            raise ValueError(f"usmbd has no {word!r}, only {', '.join(OWN_MODULES)}")
    return Noted(result, "; ".join(noted)) if noted else result


def fruit_resource(value: Raw) -> ResourceForks:
    """Return where resource forks are kept."""
    if text(value).lower() == "xattr":
        raise ValueError("Samba has no xattr on Linux either: it is file or stream")
    return choice(ResourceForks)(value)


def byte_size(value: Raw) -> int:
    """Return a number of bytes, with a unit (`500G`) or without."""
    match = re.fullmatch(r"(\d+)\s*([kmgtp]?)b?", text(value).strip().lower())
    if match is None:
        raise ValueError("a number of bytes is needed, as 500G")
    result = int(match[1]) << 10 * " kmgtp".index(match[2] or " ")
    if result >= 1 << 63:
        raise ValueError("no volume has so many bytes")
    return result


def snapshot_directory(value: Raw) -> str:
    """Return a folder by an absolute path, or by one that stays beneath a mount point."""
    result = text(value)
    parts = result.split("/")
    if not result or "\0" in result or ".." in parts or len(result) > 4095:
        raise ValueError("a path is needed, without `..`")
    return result.rstrip("/") or "/"


def inner_path(value: Raw) -> str:
    """Return a relative path without `..`, or nothing."""
    result = text(value).strip("/")
    if ".." in result.split("/") or "\0" in result:
        raise ValueError("a path within the snapshot is needed, without `..`")
    return result


def time_format(value: Raw) -> str:
    """Return a format for strftime(3) that says a time to the second, or has %lu for seconds."""
    result = written(value)
    if "/" in result:
        raise ValueError("a name has no `/`")
    if "%lu" in result:
        return result
    try:
        parsed = [time.strptime(time.strftime(result, time.gmtime(t)), result) for t in _SAMPLES]
    except (ValueError, re.error) as error:
        raise ValueError(f"no format for strptime(3): {error}") from error
    if [calendar.timegm(each) for each in parsed] != list(_SAMPLES):
        raise ValueError("year, month, day, hour, minute and second are needed, or %lu")
    return result


def sort_order(value: Raw) -> str:
    """Return asc or desc, and none for every other word, as Samba takes it."""
    word = text(value).lower()
    return word if word in ("asc", "desc") else "none"


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


def interfaces(value: Raw) -> list[str] | Noted:
    """Return names of interfaces (with wildcards), addresses or networks."""
    result, left_out = [], []
    for written_word in words(value, separators=" \t,"):
        word, semicolon, options = written_word.partition(";")
        if semicolon:
            left_out.append(options)
        if "/" in word or ":" in word:
            try:
                ipaddress.ip_interface(word)
            except ValueError as error:
                raise ValueError(f"{word!r} is no interface, address or network") from error
        result.append(word)
    if not left_out:
        return result
    return Noted(result, f"{', '.join(left_out)}: left out, for the system knows its interfaces")


def workers(value: Raw) -> int:
    """Return the number of workers; `auto` is one for each core, at least two."""
    if text(value).lower() == "auto":
        # Two even on one core: a worker that waits for its disk leaves the core to the other.
        return max(2, len(os.sched_getaffinity(0)))
    # More than cores is never faster; 256 keeps the worker's number within 8 bits.
    return number(1, 256)(value)


def default_connections() -> int:
    """Return how many connections this machine is good for: by its descriptors and its memory.

    A quarter of the descriptors of one process is kept for connections; one with a session and a
    few opens takes 50 KiB, and may have much more under way.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    descriptors = MOST_CONNECTIONS * 4 if hard == resource.RLIM_INFINITY else hard
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, descriptors // 4, memory >> 20))


def default_ip_connections() -> int:
    """Return how many of them may come from one address: a half, as hundreds of nodes may do."""
    return default_connections() // 2
