"""What a configuration file says, before anything is known of its meaning."""

import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from usmbd.mountd.errors import ConfigError
from usmbd.mountd.plain_file import read_file

Raw = str | list[str]
"""A value as written: text, or in YAML a sequence of texts."""

GLOBAL = "global"
# A configuration of a thousand shares is some 200 KiB; more than this is a wrong file.
MAX_FILE_SIZE = 8 * 1024 * 1024


def share_key(name: str) -> str:
    """Return that by which share names are equal: decomposed and casefolded, as in ksmbd."""
    return unicodedata.normalize("NFD", name).casefold()


@lru_cache(4096)
def parameter_key(name: str) -> str:
    """Return that by which parameter names are equal: case, spaces and `_` do not count."""
    return "".join(name.lower().replace("_", " ").split())


@dataclass(frozen=True, slots=True)
class Entry:
    """One parameter as written."""

    name: str
    value: Raw
    file: str
    line: int
    with_comment: str = ""
    """The value as Samba takes it, with the comment behind it; empty where there is none."""

    def error(self, message: str) -> ConfigError:
        """Return the error that points here."""
        return ConfigError(self.file, self.line, message)


@dataclass(slots=True)
class Section:
    """All that is said under one name, in order."""

    name: str
    file: str
    line: int
    entries: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class Source:
    """The sections by `share_key`; sections of one name are one section."""

    sections: dict[str, Section] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)
    """Lines that say nothing."""
    warnings: list[ConfigError] = field(default_factory=list)
    """What was left out."""

    def section(self, name: str, file: str, line: int) -> Section:
        """Return the section of that name, made when it is new."""
        return self.sections.setdefault(share_key(name), Section(name, file, line))


def read_text(path: Path) -> str:
    """Return the file's text, or raise the ConfigError that says why not."""
    try:
        data = read_file(path, MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError(str(path), 0, error.strerror or str(error)) from error
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError(str(path), 0, f"the file is larger than {MAX_FILE_SIZE} bytes")
    # Comments of an older character set say nothing; the tools write them as they are.
    text = data.decode("utf-8-sig", errors="surrogateescape")
    for number, one in enumerate(text.split("\n"), 1) if not _is_utf8(text) else ():
        if not (one.lstrip().startswith((";", "#")) or _is_utf8(one)):
            raise ConfigError(str(path), number, "the text is not UTF-8")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError(str(path), line, "the text holds a NUL character")
    return text


def _is_utf8(text: str) -> bool:
    """Whether the text has no byte that stands for itself."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
