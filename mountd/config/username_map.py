"""`username map`: the names that clients say, and whose accounts they mean (smb.conf(5))."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from usmbd.mountd.config.source import read_text
from usmbd.mountd.errors import ConfigError

GROUPS = ("@", "+", "&")
"""Before the name of a group whose members are meant; netgroups are not known."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: who of these names is `account`; the last line that fits counts."""

    account: str
    names: tuple[str, ...]
    is_last: bool = False
    """It begins with `!`: where it fits, no line after it is read."""


@dataclass(frozen=True, slots=True)
class UsernameMap:
    """The rules of a file."""

    rules: tuple[Rule, ...] = ()

    def account(self, name: str, is_member: Callable[[str, str], bool]) -> str:
        """Return the account that a client means by a name, the name itself where no rule fits."""
        result = name
        for rule in self.rules:
            if any(_fits(each, name, is_member) for each in rule.names):
                result = rule.account
                if rule.is_last:
                    break
        return result


def _fits(pattern: str, name: str, is_member: Callable[[str, str], bool]) -> bool:
    """Whether a word of a rule means a name."""
    if pattern.startswith(GROUPS):
        return is_member(name, pattern[1:])
    return pattern == "*" or pattern.casefold() == name.casefold()


def load_username_map(path: Path) -> UsernameMap:
    """Read a file; ConfigError with the line that is malformed."""
    rules = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        entry = line.strip()
        if not entry or entry[0] in ";#":
            continue
        is_last = entry.startswith("!")
        account, equals, names = entry.removeprefix("!").partition("=")
        try:
            words = shlex.split(names.replace("\\", "\\\\"))
        except ValueError as error:
            raise ConfigError(str(path), number, f"{names.strip()!r}: {error}") from error
        if not equals or not account.strip() or not words:
            raise ConfigError(str(path), number, "the line is not ACCOUNT = NAME NAME ...")
        rules.append(Rule(account.strip(), tuple(words), is_last))
    return UsernameMap(tuple(rules))
