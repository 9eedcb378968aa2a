"""The effective configuration as text, in the syntax of ksmbd.conf (testparm's job)."""

import contextlib
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from usmbd.mountd.config import ini, values
from usmbd.mountd.config.load import HOMES, IPC, Configuration
from usmbd.mountd.config.parameters import TABLE, Parameter, Scope
from usmbd.mountd.config.source import GLOBAL, Entry, share_key
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.substitute import Template, literal

_DIALECT_NAMES = {number: name for name, number in values.DIALECTS.items() if "_" in name}
_DIALECTS = (values.lowest_dialect, values.highest_dialect)
_LISTS_OF_PATTERNS = (values.veto_patterns,)
_APART = re.compile(r"[\s,;#]")
"""What parts the words of a list, or begins a comment."""


def lines(configuration: Configuration, *, all_parameters: bool = False) -> list[str]:
    """Return what holds: the parameters that the files say, or all with their defaults."""
    server = configuration.server
    result = [f"[{GLOBAL}]"]
    said = _said(configuration, GLOBAL)
    for row in TABLE:
        if row.scope is Scope.GLOBAL:
            value = getattr(server, row.field) if row.field else said.get(row.name, row.default())
            if all_parameters or row.name in said:
                result.append(_line(row, value))
    for each in configuration.idmap:
        said_of = (
            *(("backend", each.backend), ("range", f"{each.low}-{each.high}")),
            *(("base_rid", each.base_rid), ("rangesize", each.size)),
        )
        result += [f"\tidmap config {each.domain} : {name} = {value}" for name, value in said_of]
    # A share's parameters in [global] are the shares' defaults, and shown there.
    defaults = {row.name: said[row.name] for row in TABLE if _default(row) and row.name in said}
    in_global = {row.name for row in TABLE if row.scope is Scope.GLOBAL}
    result += [
        _line(row, defaults[row.name])
        for row in TABLE
        if _default(row, defaults) and row.name not in in_global
    ]
    shares = [
        share.config.name
        for share in configuration.shares.values()
        if share.config.path or _said(configuration, share.config.name)  # IPC$, if it is there
    ]
    for name in [*([HOMES] if configuration.homes else []), *shares]:
        result += ["", f"[{name}]"]
        own = _said(configuration, name)
        for row in TABLE:
            if row.scope is not Scope.SHARE:
                continue
            if all_parameters and share_key(name) != IPC:
                value = own.get(row.name, defaults.get(row.name, row.default()))
                result.append(_line(row, value))
            elif row.name in own:
                result.append(_line(row, own[row.name]))
    return result


def _default(row: Parameter, among: dict[str, Any] | None = None) -> bool:
    """Return whether a row is a share's, and among those if they are given."""
    return row.scope is Scope.SHARE and (among is None or row.name in among)


def _said(configuration: Configuration, section: str) -> dict[str, Any]:
    """Return what the files say in a section, whatever case its name is in."""
    return next(
        (
            said
            for name, said in configuration.said.items()
            if share_key(name) == share_key(section)
        ),
        {},
    )


def _line(row: Parameter, value: Any) -> str:
    """Return one parameter as it may be written; a comment where no line can say it."""
    text = _text(row.parse, value)
    for each in (text, f'"{text}"', literal(text), f'"{literal(text)}"'):
        if _is_said(row, each, value):
            return f"\t{row.name} = {each}".rstrip()
    return f"\t# {row.name} = {text!r} (this form cannot say it, YAML can)"


def _is_said(row: Parameter, text: str, value: Any) -> bool:
    """Return whether a value is read from a text; an empty one says the default."""
    back = ini.read_back(text)
    if not back:
        return not text and bool(value == row.default())
    with contextlib.suppress(ConfigError):
        said = row.value(Entry(row.name, back, "", 0))
        return bool(said == value) and isinstance(said, Template) is isinstance(value, Template)
    return False


def _text(parse: Callable[..., Any], value: Any) -> str:
    """Return a value as it may be written."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, StrEnum):
        return value.value
    if parse is values.mode:
        return f"{value:04o}"
    if parse is values.minutes:
        return str(value // 60)
    if parse in _DIALECTS:
        return _DIALECT_NAMES[value]
    if parse is values.dfs_targets:
        return ",".join(value)
    if parse is values.dfs_sites:
        return " ".join(f"{site.name}={','.join(site.networks + site.servers)}" for site in value)
    if parse in _LISTS_OF_PATTERNS:
        return "".join(f"/{each}" for each in value) + ("/" if value else "")
    if isinstance(value, list):
        return " ".join(f'"{each}"' if _APART.search(each) else each for each in value)
    return str(value)
