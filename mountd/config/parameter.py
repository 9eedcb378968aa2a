"""What a parameter is: its name, where it may stand, and how its value is read."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from usmbd.mountd.config import values
from usmbd.mountd.config.source import Entry, Raw, parameter_key

WHO_MAY = frozenset(
    {
        *("read only", "guest ok", "guest only", "valid users", "invalid users", "read list"),
        *("write list", "admin users", "hosts allow", "hosts deny", "map to guest", "path"),
        *("restrict anonymous", "server signing", "server smb encrypt", "force user", "veto files"),
    }
)
"""What decides who may do what: two values, or a misspelled name, may open a share."""


class Scope(StrEnum):
    """Where a parameter may stand."""

    GLOBAL = "G"
    SHARE = "S"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table."""

    name: str
    scope: Scope
    parse: Callable[[Raw], Any]
    default: Callable[[], Any]
    field: str = ""
    synonyms: tuple[str, ...] = ()
    inverted: tuple[str, ...] = ()
    """Names that say the contrary (`writable` for `read only`); boolean only."""

    def read(self, entry: Entry) -> values.Noted:
        """Return the entry's value and what has to be known of it; ConfigError when malformed."""
        value = entry.value
        try:
            if isinstance(value, str) and len(value) <= MOST_KEPT:
                noted = _parsed(self.parse, value)
            else:
                noted = _noted(self.parse, value)
        except ValueError as error:
            raise entry.error(f"{entry.name} = {shown(value)}: {error}") from error
        if self.inverted and parameter_key(entry.name) in map(parameter_key, self.inverted):
            return values.Noted(not noted.value, noted.note)
        return noted

    def value(self, entry: Entry) -> Any:
        """Return the entry's value; ConfigError when it is malformed."""
        return self.read(entry).value


def _noted(parse: Callable[[Raw], Any], value: Raw) -> values.Noted:
    result = parse(value)
    return result if isinstance(result, values.Noted) else values.Noted(result, "")


MOST_KEPT = 256
"""Characters of a value that is read once for all that say the same: thousands of shares do."""

_parsed = lru_cache(4096)(_noted)
"""Nobody changes what comes of it."""


def shown(value: Raw) -> str:
    """Return a value as it is shown in a message."""
    return ", ".join(value) if isinstance(value, list) else value
