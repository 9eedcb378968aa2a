"""The syntax of ksmbd.conf and smb.conf.

Sections `[name]`, parameters `name = value` (before the first section they are of [global], as with
Samba), comments from `;` or `#` to the end of the line. ksmbd begins a comment anywhere, Samba at a
line's start only: here it begins at a line's start, at a value's start (`read only = ; yes` is the
default) or after a space, never between quotes. So neither `path = /srv/a#b` nor
`path = /srv/a ; my files` is misread; where Samba takes more for the value, an entry keeps it. A
backslash at a line's end joins the next line to it (Samba). `include = FILE` reads another file in
place. What is malformed is noted, and reading goes on: all errors are told at once.
"""

import glob
import re
from pathlib import Path

from usmbd.mountd.config.source import (
    GLOBAL,
    Entry,
    Section,
    Source,
    parameter_key,
    read_text,
    share_key,
)
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.substitute import expand, letters_of, static_substitutions

GLOBALS = "globals"

# Deep enough for a tree of snippets; a circle is named long before.
MAX_INCLUDE_DEPTH = 8

# Quotes are those of a word, not the inches of `3" and 5"`.
_QUOTED_OR_COMMENT = re.compile(r'(?:^|(?<=[\s,;@+&]))"[^"]*"|(?:^|(?<=\s))[;#]')


def strip_comment(value: str) -> str:
    """Return the value before a comment, without the spaces around it."""
    for found in _QUOTED_OR_COMMENT.finditer(value):
        if found[0][0] != '"':
            return value[: found.start()].strip()
    return value.strip()


def read_back(value: str) -> str | None:
    """Return what is read where this is written behind `name =`; None where it is not one line."""
    (_, line), *rest = logical_lines(f"name = {value}\n")
    return strip_comment(line.partition("=")[2]) if rest == [(2, "")] else None


def logical_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines with their numbers, those that a backslash continues joined."""
    lines: list[tuple[int, str]] = []
    parts: list[str] = []
    start = 1
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not parts:
            start = number
        if stripped.endswith("\\") and (parts or stripped[0] not in ";#"):
            parts.append(stripped[:-1].rstrip())
            continue
        lines.append((start, " ".join([*parts, stripped])))
        parts = []
    if parts:
        lines.append((start, " ".join(parts)))
    return lines


def parse(text: str, path: Path, source: Source) -> None:
    """Add what the text of `path` says to `source`, with what is malformed in its `errors`."""
    _parse(text, path, source, None, ())


def _parse(
    text: str, path: Path, source: Source, section: Section | None, parents: tuple[Path, ...]
) -> None:
    """Add the text's entries, those before its first section to `section`."""
    file = str(path)
    for number, line in logical_lines(text):
        if not line or line[0] in ";#":
            continue
        if line[0] == "[":
            name, bracket, rest = line[1:].partition("]")
            if not bracket or strip_comment(rest):
                what = f"{line!r} is not a section such as [share]"
                source.errors.append(ConfigError(file, number, what))
                continue
            name = name.strip()
            # Samba takes both for the same.
            name = GLOBAL if share_key(name) == GLOBALS else name
            section = source.section(name, file, number)
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or not name:
            what = f"{line!r} is neither [section] nor name = value"
            source.errors.append(ConfigError(file, number, what))
            continue
        whole = value.strip()
        value = strip_comment(value)
        if parameter_key(name) == "include":
            if value:
                entry = Entry(name, value, file, number)
                try:
                    _include(entry, path, source, section, (*parents, path))
                except ConfigError as error:
                    source.errors.append(error)
            continue
        if section is None:  # as with Samba
            section = source.section(GLOBAL, file, number)
        section.entries.append(Entry(name, value, file, number, whole if whole != value else ""))


def _include(
    entry: Entry, path: Path, source: Source, section: Section | None, parents: tuple[Path, ...]
) -> None:
    """Read the file that an `include` names, beside the one that names it.

    One that is not there is left out aloud: Samba passes over it, and distributions name files
    that come with other packages.
    """
    name = expand(str(entry.value).strip('"'), static_substitutions())
    if letters := letters_of(name):
        pattern = re.sub(r"%.", "*", glob.escape(name))
        if not glob.glob(pattern, root_dir=path.parent):
            what = f"include = {entry.value}: no client has such a file: it is left out"
            source.warnings.append(entry.error(what))
            return
        raise entry.error(
            f"include = {entry.value}: %{letters[0]} is not the same for all clients, and the files"
            " are read once: write a share for each case, or `hosts allow`, `valid users`"
        )
    if name == "registry":
        what = "include = registry: usmbd's own is always read (`net rpc conf import`)"
        source.warnings.append(entry.error(what))
        return
    target = path.parent / name
    if len(parents) >= MAX_INCLUDE_DEPTH or target in parents:
        raise entry.error(f"include = {entry.value}: the files include each other or too deeply")
    try:
        text = read_text(target)
    except ConfigError as error:
        if error.line:
            raise
        if isinstance(error.__cause__, FileNotFoundError):
            what = f"include = {entry.value}: there is no such file: it is left out"
            source.warnings.append(entry.error(what))
            return
        raise entry.error(f"include = {entry.value}: {error.message}") from error
    _parse(text, target, source, section, parents)
