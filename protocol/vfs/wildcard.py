r"""Patterns of QUERY_DIRECTORY and of veto lists ([MS-FSA] 2.1.4.4).

Besides `*` and `?` a pattern may hold what Windows' DOS layer makes of them: DOS_STAR `<`,
DOS_QM `>`, DOS_DOT `"`. Patterns that are a name, a beginning or an ending are compared as such;
the others run as a non-deterministic automaton whose states are the bits of one integer: a few
operations on 256 bits for each character of the name, whatever the pattern; nothing backtracks.
"""

import re
from typing import Final

from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.names import COMPONENT_MAX
from usmbd.protocol.vfs.short_names import short_name
from usmbd.protocol.wire.status import NtStatus, SmbError

_WILD = re.compile(r'[*?<>"]')
# What matches any run of characters swallows its like beside it.
_STARS = re.compile(r"[*<]*\*[*<]*")
_DOS_STARS = re.compile(r"<+")


class Pattern:
    """A pattern, ready to match many names; any thread may use it."""

    __slots__ = ("_automaton", "_case_sensitive", "_head", "_tail", "matches_all", "name", "text")

    def __init__(self, text: str, *, case_sensitive: bool = False) -> None:
        """Compile `text`; SmbError(OBJECT_NAME_INVALID) when it is longer than a name can be.

        `matches_all` tells the patterns that need no matching; `name` is the text when it
        holds no wildcard, else None.
        """
        if len(text) > COMPONENT_MAX:
            raise SmbError(NtStatus.OBJECT_NAME_INVALID)
        self.text: Final = text
        self._case_sensitive: Final = case_sensitive
        self.matches_all: Final = text in ("*", "*.*")
        wild = _WILD.search(text)
        self.name: Final = text if wild is None else None
        folded = text if case_sensitive else fold(text)
        self._head: str | None = None
        self._tail: str | None = None
        self._automaton: _Automaton | None = None
        if wild is None:
            self._head = folded
        elif folded[0] == "*" and not _WILD.search(folded, 1):
            self._tail = folded[1:]
        else:
            folded = _DOS_STARS.sub("<", _STARS.sub("*", folded))
            self._automaton = _Automaton(folded)

    @property
    def may_be_short(self) -> bool:
        """Whether it may mean an 8.3 name that stands for another: all of those have a tilde."""
        return "~" in self.text

    def matches_short(self, name: str) -> bool:
        """Whether the 8.3 name matches that stands for `name` ([MS-FSA] 2.1.5.6.3, ShortName)."""
        short = short_name(name)
        return bool(short) and self.matches(short)

    def matches(self, name: str) -> bool:
        """Whether `name` matches; an empty name matches nothing but the empty pattern."""
        if self.matches_all:
            return bool(name)
        if not self._case_sensitive:
            name = fold(name)
        if self._automaton is not None:
            return bool(name) and self._automaton.run(name)
        if self._tail is not None:
            return bool(name) and name.endswith(self._tail)
        return name == self._head


class _Automaton:
    """The states are the positions in the pattern; bit i is set when position i is reached."""

    __slots__ = ("_dos_dot", "_dos_qm", "_dos_star", "_final", "_letters", "_question", "_star")

    def __init__(self, text: str) -> None:
        masks: dict[str, int] = {}
        for position, character in enumerate(text):
            masks[character] = masks.get(character, 0) | 1 << position
        self._star = masks.pop("*", 0)
        self._question = masks.pop("?", 0)
        self._dos_star = masks.pop("<", 0)
        self._dos_qm = masks.pop(">", 0)
        self._dos_dot = masks.pop('"', 0)
        self._letters = masks
        self._final = 1 << len(text)

    def run(self, name: str) -> bool:
        """Whether the automaton accepts `name`."""
        stars = self._star | self._dos_star
        last_dot = name.rfind(".")
        states = 1
        for position, character in enumerate(name):
            stay = stars
            if character == ".":
                # DOS_QM gives way to a dot, DOS_STAR only to the last.
                states = _pass(states, stars | self._dos_qm)
                step = self._question | self._dos_dot
                if position == last_dot:
                    stay = self._star
            else:
                states = _pass(states, stars)
                step = self._question | self._dos_qm
            step |= self._letters.get(character, 0)
            states = (states & stay) | (states & step) << 1
            if not states:
                return False
        end = _pass(states, stars | self._dos_qm | self._dos_dot)
        return bool(end & self._final)


def _pass(states: int, passable: int) -> int:
    """Add the positions that are reached by skipping `passable` ones without a character.

    All runs at once: where a state meets a run of passable bits, the carry of an addition goes
    through to the bit behind the run.
    """
    meeting = states & passable
    return states | ((meeting + passable) ^ passable)
