"""`username map`: the names that clients say, and whose accounts they mean (smb.conf(5))."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from usmbd.mountd.config import values
from usmbd.mountd.config.ini import logical_lines
from usmbd.mountd.config.source import read_text
from usmbd.mountd.errors import ConfigError

log = logging.getLogger("usmbd.auth")

GROUPS = ("@", "+", "&")
"""Before the name of a group whose members are meant; netgroups are not known."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: who of these names is `account`; the last line that fits counts."""

    account: str
    names: tuple[str, ...]
    is_last: bool = False
    """It begins with `!`: where it fits, no line after it is read."""


Rules = tuple[Rule, ...]


class UsernameMap:
    """The rules of a file, read again where it has changed at a login: smbd reads it at each."""

    def __init__(self, path: Path | None = None) -> None:
        """Know what the file says now; without one names stay as they are."""
        self.path = path
        self.warnings: list[str] = []
        """What is wrong with it, and left out."""
        self._seen = self._version()
        self._rules = self._read()

    def account(self, name: str, is_member: Callable[[str, str], bool]) -> str:
        """Return the account that a client means by a name, the name itself where no rule fits."""
        result = name
        for rule in self._current():
            if any(_fits(each, name, is_member) for each in rule.names):
                result = rule.account
                if rule.is_last:
                    break
        return result

    def _current(self) -> Rules:
        """Return the rules as they are now: a stat(2) tells whether they are others."""
        if self.path is not None and (version := self._version()) != self._seen:
            self._seen = version
            self._rules = self._read()
            for warning in self.warnings:
                log.warning("%s", warning)
        return self._rules

    def _version(self) -> tuple[int, ...]:
        """Return what becomes another with the file's contents; nothing where there is no file."""
        with contextlib.suppress(OSError):
            if self.path is not None:
                found = self.path.stat()
                return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
        return ()

    def _read(self) -> Rules:
        """Return the rules; `warnings` has the rest."""
        self.warnings = []
        if self.path is None or not self._seen:
            return ()
        try:
            return parse(self.path, read_text(self.path), self.warnings)
        except ConfigError as error:
            self.warnings.append(f"{error}: names stay as they are")
            return ()


def _fits(pattern: str, name: str, is_member: Callable[[str, str], bool]) -> bool:
    """Whether a word of a rule means a name."""
    if pattern.startswith(GROUPS):
        return is_member(name, pattern[1:])
    return pattern == "*" or pattern.casefold() == name.casefold()


def parse(path: Path, text: str, warnings: list[str]) -> Rules:
    """Return the rules of a text, whose lists and long lines are smb.conf's.

    Lines that are none are left out with a warning; smbd passes over them.
    """
    rules = []
    for number, entry in logical_lines(text):
        if not entry or entry[0] in ";#":
            continue
        is_last = entry.startswith("!")
        account, equals, names = entry.removeprefix("!").partition("=")
        what, words = "the line is not ACCOUNT = NAME NAME ...", list[str]()
        try:
            words = values.words(names, str)
        except ValueError as error:
            what = f"{names.strip()!r}: {error}"
        if equals and account.strip() and words:
            rules.append(Rule(account.strip(), tuple(words), is_last))
        else:
            warnings.append(str(ConfigError(str(path), number, f"{what}: it is left out")))
    return tuple(rules)
