"""`username map`: the names that clients say, and whose accounts they mean (smb.conf(5))."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from usmbd.mountd.config import values
from usmbd.mountd.config.ini import logical_lines
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
    """Read a file, whose lists and long lines are smb.conf's.

    ConfigError with the line that is malformed.
    """
    rules = []
    for number, entry in logical_lines(read_text(path)):
        if not entry or entry[0] in ";#":
            continue
        is_last = entry.startswith("!")
        account, equals, names = entry.removeprefix("!").partition("=")
        try:
            words = values.words(names, str)
        except ValueError as error:
            raise ConfigError(str(path), number, f"{names.strip()!r}: {error}") from error
        if not equals or not account.strip() or not words:
            raise ConfigError(str(path), number, "the line is not ACCOUNT = NAME NAME ...")
        rules.append(Rule(account.strip(), tuple(words), is_last))
    return UsernameMap(tuple(rules))
