"""Which of a section's entries count, and what is to be said of the others."""

import contextlib
import dataclasses
from typing import Any

from usmbd.mountd.config.idmap import is_idmap
from usmbd.mountd.config.parameter import WHO_MAY
from usmbd.mountd.config.parameters import Parameter, find, shown
from usmbd.mountd.config.samba import Foreign
from usmbd.mountd.config.source import Entry, Section, parameter_key
from usmbd.mountd.errors import ConfigError

_CLOSED = {"read only": True, "guest ok": False}
"""Of these the value that lets nobody do more counts, where a section has both."""

_Same = dict[tuple[int, str], Entry]
"""Entries of a file of which the same is to be said, each once: copies of a share have its own."""

Chosen = dict[str, tuple[Parameter, Entry]]
"""The entries that count, by the parameter's name."""


class Chooser:
    """Chooses among entries; errors and warnings are gathered."""

    def __init__(self, *, strict: bool = False) -> None:
        """Begin with nothing to tell; `strict`: what nobody has is an error."""
        self._strict = strict
        self.errors: list[ConfigError] = []
        self.warnings: list[str] = []
        self.said: dict[str, dict[str, Any]] = {}
        """The values that count, by section and parameter."""
        self._ignored: dict[tuple[str, str], _Same] = {}
        self._noted: dict[tuple[str, str], _Same] = {}

    def warn(self, entry: Entry, message: str) -> None:
        """Note what is probably not meant."""
        self.warnings.append(str(entry.error(message)))

    def choose(self, section: Section, *, in_global: bool) -> Chosen:
        """Return the entries that count: of several for one parameter, the first that is not empty.

        Of those in _CLOSED the one that is safer. A parameter's own name comes before its synonyms,
        as in ksmbd. Every entry is checked, also one that does not count; one that is wrong is
        none. Scope-S rows that have a scope-G row of the same name are that one in [global].
        """
        chosen: Chosen = {}
        for entry in section.entries:
            if in_global and is_idmap(entry.name):
                continue
            try:
                parameter = find(entry, in_global=in_global)
                if isinstance(parameter, Foreign):
                    self._foreign(entry, parameter)
                    continue
                self._tell_of_comment(entry, parameter)
                if entry.value:
                    self._choose_entry(chosen, entry, parameter)
            except ConfigError as error:
                self.errors.append(error)
        said = {name: row.value(entry) for name, (row, entry) in chosen.items()}
        self.said.setdefault(section.name, {}).update(said)
        return chosen

    def _choose_entry(self, chosen: Chosen, entry: Entry, parameter: Parameter) -> None:
        """Let an entry count, unless another one for the parameter does."""
        noted = parameter.read(entry)
        key = parameter.name
        if key not in chosen:
            chosen[key] = (parameter, entry)
            if noted.note:
                what = f"{entry.name} = {shown(entry.value)}: {noted.note}"
                self._noted.setdefault((entry.file, what), {})[entry.line, entry.name] = entry
            return
        first = chosen[key][1]
        own = parameter_key(key)
        if parameter_key(entry.name) == own and parameter_key(first.name) != own:
            chosen[key] = (parameter, entry)
            entry, first = first, entry
        if parameter.value(entry) != parameter.value(first):
            if key in _CLOSED:
                open_, closed = first, entry
                if parameter.value(first) is _CLOSED[key]:
                    open_, closed = entry, first
                chosen[key] = (parameter, closed)
                what = f"{open_.name!r} does not count: line {closed.line} says the contrary"
                self.warn(open_, f"{what}, and is safer (Samba follows the last, ksmbd the first)")
                return
            if key in WHO_MAY:
                raise entry.error(
                    f"{entry.name!r} says something else than line {first.line}: Samba follows the"
                    " last, ksmbd the first; keep one of them"
                )
            self.warn(
                entry, f"{entry.name!r} does not count: line {first.line} has said it already"
            )

    def _tell_of_comment(self, entry: Entry, parameter: Parameter) -> None:
        """Warn of a comment that would be a part of the value with Samba, and make sense there."""
        if not entry.with_comment:
            return
        with contextlib.suppress(ConfigError):
            other = parameter.value(dataclasses.replace(entry, value=entry.with_comment))
            if not entry.value or other != parameter.value(entry):
                self.warn(
                    entry,
                    f"{entry.name}: a comment begins behind {shown(entry.value)!r}, as with ksmbd,"
                    f" and for Samba all of it is the value, {entry.with_comment!r}: put the value"
                    " in quotes, or the comment in a line of its own",
                )

    def _foreign(self, entry: Entry, foreign: Foreign) -> None:
        """Pass over a parameter that changes nothing; ConfigError when it would."""
        value = shown(entry.value)
        if foreign.accepts(value):
            return
        if not foreign.harmless or (self._strict and foreign.misplaced):
            raise entry.error(f"{entry.name} = {value}: {foreign.reason}")
        same = self._ignored.setdefault((entry.file, foreign.reason), {})
        same[entry.line, entry.name] = entry

    def tell_gathered(self) -> None:
        """Warn of what many entries say, in one line: what is taken for something else, or not."""
        for (_, what), entries in self._noted.items():
            first, *others = entries.values()
            lines = f" (and lines {', '.join(str(e.line) for e in others)})" if others else ""
            self.warn(first, what + lines)
        for (_, reason), entries in self._ignored.items():
            first, *others = entries.values()
            names = [repr(first.name), *(f"{e.name!r} (line {e.line})" for e in others)]
            self.warn(first, f"without effect: {', '.join(names)}: {reason}")
