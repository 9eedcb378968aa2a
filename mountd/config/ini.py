"""The syntax of ksmbd.conf and smb.conf.

Sections `[name]`, parameters `name = value`, comments from `;` or `#` to the end of the line.
ksmbd begins a comment anywhere, Samba at a line's start only: here it begins at a line's start,
at a value's start (`read only = ; yes` is the default) or after a space, so that neither
`path = /srv/a#b` nor `path = /srv/a ; my files` is misread. A backslash at a line's end joins
the next line to it (Samba). `include = FILE` reads another file in place.
"""

import re
from pathlib import Path

from usmbd.mountd.config.source import Entry, Section, Source, parameter_key, read_text
from usmbd.mountd.errors import ConfigError

# Deep enough for a tree of snippets; a circle is named long before.
MAX_INCLUDE_DEPTH = 8

_COMMENT = re.compile(r"(?:^|(?<=\s))[;#]")


def strip_comment(value: str) -> str:
    """Return the value before a comment, without the spaces around it."""
    found = _COMMENT.search(value)
    return (value[: found.start()] if found else value).strip()


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
    """Add what the text of `path` says to `source`; ConfigError where it is malformed."""
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
                raise ConfigError(file, number, f"{line!r} is not a section such as [share]")
            section = source.section(name.strip(), file, number)
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigError(file, number, f"{line!r} is neither [section] nor name = value")
        value = strip_comment(value)
        if parameter_key(name) == "include":
            if value:
                entry = Entry(name, value, file, number)
                _include(entry, path, source, section, (*parents, path))
            continue
        if section is None:
            raise ConfigError(file, number, f"{name!r} stands before the first [section]")
        section.entries.append(Entry(name, value, file, number))


def _include(
    entry: Entry, path: Path, source: Source, section: Section | None, parents: tuple[Path, ...]
) -> None:
    """Read the file that an `include` names, beside the one that names it."""
    target = path.parent / str(entry.value).strip('"')
    if "%" in target.name:
        raise entry.error(f"include = {entry.value}: usmbd has no substitutions such as %m")
    if len(parents) >= MAX_INCLUDE_DEPTH or target in parents:
        raise entry.error(f"include = {entry.value}: the files include each other or too deeply")
    try:
        text = read_text(target)
    except ConfigError as error:
        if error.line:
            raise
        raise entry.error(f"include = {entry.value}: {error.message}") from error
    _parse(text, target, source, section, parents)
