"""Shares that users of the machine make by files in a folder: `net usershare`, desktops' dialogs.

    #VERSION 2                      net(8), smb.conf(5): usershare path
    path=/home/alice/Public
    comment=
    usershare_acl=S-1-1-0:R,        F all, R reading, D nothing; S-1-1-0:R where none is named
    guest_ok=n
    sharename=Public                the file is named as the share, in small letters

The folder is root's, with the sticky bit and not everybody's; a file is its owner's word, and never
a link. What such a file says of a share is a section like others, behind all that the administrator
says: with its path and comment as they are, without substitutions.
"""

import contextlib
import os
import re
import shlex
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from usmbd.mountd.admin.descriptors import (
    ACCESS_ALLOWED,
    ACCESS_DENIED,
    EVERYONE,
    Ace,
    Descriptor,
    pack,
)
from usmbd.mountd.config.base import Usershare
from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.config.source import Entry, Section, share_key
from usmbd.mountd.config.usershare_rules import Rules, of_share
from usmbd.mountd.paths import Directories
from usmbd.mountd.substitute import spelled

MAX_FILE: Final = 10 * 1024
"""Bytes, as with Samba."""

MOST_TOLD: Final = 5
"""Files of which it is told at a time why they are no shares: anybody may write thousands."""

TEMPORARY: Final = ":"
"""What `net usershare` is about to rename begins so."""

FULL, READ = 0x101F01FF, 0x801200A9
"""GENERIC_ALL and GENERIC_READ with what they mean of files."""

_RIGHTS: Final = {
    "f": (ACCESS_ALLOWED, FULL),
    "r": (ACCESS_ALLOWED, READ),
    "d": (ACCESS_DENIED, FULL),
}
_SID = re.compile(r"S-1-[0-9]{1,10}(-[0-9]{1,10}){1,15}", re.IGNORECASE)


class NoShareError(Exception):
    """A file makes no share, and why."""


@dataclass(slots=True)
class _Told:
    """Why files are no shares, the first few."""

    lines: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, line: str) -> None:
        """Tell it, or count it."""
        if len(self.lines) < MOST_TOLD:
            self.lines.append(line)
        else:
            self.more += 1

    def all(self) -> tuple[str, ...]:
        """Return what is to be told."""
        more = (f"{self.more} more files of usershares are left out",) if self.more else ()
        return (*self.lines, *more)


def stamp(rules: Rules) -> int:
    """Return a number that is another once a file has come, gone or been renamed; 0: no folder."""
    try:
        return os.stat(rules.folder).st_mtime_ns
    except OSError:
        return 0


def version(rules: Rules) -> tuple[object, ...]:
    """Return what is another once any of the files is."""
    names = _names(rules)
    found: list[object] = [stamp(rules)]
    for name in names:
        try:
            facts = os.lstat(os.path.join(rules.folder, name))
        except OSError:
            continue
        found.append((name, facts.st_ino, facts.st_mtime_ns, facts.st_size, facts.st_uid))
    return tuple(found)


def with_usershares(configuration: Configuration) -> Configuration:
    """Return the configuration with the shares that users have made by now; on any thread."""
    base = configuration.base
    if base is None or base.rules is None:
        return configuration
    with contextlib.closing(Directories()) as directories:
        return base.with_usershares(*_read(base.rules, directories)).whole()


def without_share(configuration: Configuration) -> tuple[str, ...]:
    """Return why the folder, or files in it, make no shares; for who checks the configuration."""
    if configuration.base is None or configuration.base.rules is None:
        return ()
    with contextlib.closing(Directories()) as directories:
        return _read(configuration.base.rules, directories)[1]


def _read(rules: Rules, directories: Directories) -> tuple[list[Usershare], tuple[str, ...]]:
    """Read the folder: the shares, and what makes none."""
    told = _Told()
    if why := _wrong_with(rules.folder):
        return [], (f"{rules.folder}: {why}: no usershares",)
    shares: list[Usershare] = []
    names = _names(rules)
    for name in names:
        if len(shares) == rules.most:
            told.add(f"{rules.folder}: there are more than usershare max shares = {rules.most}")
            break
        try:
            shares.append(_share(rules, name, directories))
        except NoShareError as error:
            told.add(f"{rules.folder}: the file {name!r} makes no share: {error}")
    return shares, told.all()


def _wrong_with(folder: str) -> str:
    """Return why a folder cannot say who shares what; "" where it can."""
    try:
        facts = os.stat(folder)
    except FileNotFoundError:
        return f"it is not there (install -d -m 1770 -g GROUP {shlex.quote(folder)})"
    except OSError as error:
        return error.strerror or str(error)
    if not stat.S_ISDIR(facts.st_mode):
        return "it is no folder"
    if facts.st_uid not in (0, os.geteuid()):
        return "it is not root's"
    if not facts.st_mode & stat.S_ISVTX or facts.st_mode & stat.S_IWOTH:
        return "it has to have the sticky bit, and not to be everybody's to write (chmod 1770)"
    return ""


def _names(rules: Rules) -> list[str]:
    """Return the files' names in their order, of as many as there can be shares and two fifths.

    That is a fifth that makes no share, and one that is temporary, as with Samba.
    """
    limit = rules.most + 2 * rules.most // 5 + 1
    try:
        with os.scandir(rules.folder) as entries:
            names = [entry.name for entry in islice(entries, limit)]
    except OSError:
        return []
    return sorted(name for name in names if not name.startswith(TEMPORARY))


def _share(rules: Rules, name: str, directories: Directories) -> Usershare:
    """Return the share of one file; NoShareError."""
    path = os.path.join(rules.folder, name)
    owner, lines = _lines(path)
    said = dict(_parts(lines))
    title = said.get("sharename", name)
    if title.casefold() != name.casefold():
        raise NoShareError(f"it is named as another share, {title!r}")
    if share_key(title) in rules.sections:
        raise NoShareError(f"the configuration has a section [{title}]")
    folder = said["path"].strip(" ")
    _check_path(rules, folder, owner, directories)
    values = {"path": folder, "comment": said["comment"].strip(" ").strip('"'), "read only": "no"}
    if rules.guests:
        values["guest ok"] = "yes" if said.get("guest_ok", "").startswith("y") else "no"
    if not all(map(str.isprintable, values.values())):
        raise NoShareError("it holds control characters")
    section = Section(title, path, 0)
    section.entries += [Entry(key, spelled(value), path, 0) for key, value in values.items()]
    section.entries += [each for each in rules.template if of_share(each) not in values]
    return Usershare(section, _security(said["usershare_acl"]))


def _lines(path: str) -> tuple[int, list[str]]:
    """Return whose a file is, and its lines; NoShareError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NoShareError(error.strerror or str(error)) from error
    with open(fd, "rb") as stream:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise NoShareError("it is no file")
        if facts.st_mode & stat.S_IWOTH:
            raise NoShareError("everybody may write it")
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise NoShareError(f"it is larger than {MAX_FILE} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NoShareError("it is not UTF-8") from error
    return facts.st_uid, [line.strip("\r") for line in text.split("\n")]


def _parts(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what the lines say, which come in one order; NoShareError."""
    names = ["path", "comment", "usershare_acl"]
    head, *rest = lines
    if head not in ("#VERSION 1", "#VERSION 2"):
        raise NoShareError(f"its version is none that is known: {head[:40]!r}")
    if head == "#VERSION 2":
        names.append("guest_ok")
        if len(rest) > len(names) and rest[len(names)]:
            names.append("sharename")
    for number, name in enumerate(names):
        key, equals, value = rest[number].partition("=") if number < len(rest) else ("", "", "")
        if key != name or not equals:
            raise NoShareError(f"line {number + 2} does not say {name}=")
        yield name, value


def _check_path(rules: Rules, folder: str, owner: int, directories: Directories) -> None:
    """NoShareError for a folder that the owner of the file may not share."""
    if not folder.startswith("/"):
        raise NoShareError(f"{folder!r} is no absolute path")
    facts = directories.facts(folder)
    if facts is None:
        raise NoShareError(f"{folder!r} does not answer")
    if not facts.is_directory:
        raise NoShareError(f"{folder!r} is no folder")
    # As it is written, and where its links lead.
    for place in (os.path.normpath(folder), facts.real):
        if any(place.startswith(each) for each in rules.denied):
            raise NoShareError(f"{place!r}: usershare prefix deny list")
        if rules.allowed and not any(Path(place).is_relative_to(each) for each in rules.allowed):
            raise NoShareError(f"{place!r}: usershare prefix allow list")
    if rules.owner_only and owner not in (0, facts.owner):
        raise NoShareError(f"{folder!r} is another's (usershare owner only)")


def _security(acl: str) -> bytes:
    """Return the descriptor of `SID:F,SID:R,...`; NoShareError."""
    aces = []
    for word in filter(None, acl.strip().split(",")):
        sid, _, right = word.rpartition(":")
        if right.lower() not in _RIGHTS or not _SID.fullmatch(sid):
            raise NoShareError(f"{word[:80]!r} is no SID with :F, :R or :D")
        kind, mask = _RIGHTS[right.lower()]
        aces.append(Ace(kind, 0, mask, sid.upper()))
    try:
        return pack(Descriptor(None, None, tuple(aces or [Ace(ACCESS_ALLOWED, 0, READ, EVERYONE)])))
    except struct.error as error:
        raise NoShareError("a SID's number is too large") from error
