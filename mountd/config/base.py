"""What a file says, to which the registry adds shares, and users of the machine after it.

The file is read at a start and a reload. A share that DCE/RPC changes is made anew alone: with
2,000 others all of them took 0.3 s, in which nobody logs in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from usmbd.mountd.config.source import Section, share_key
from usmbd.mountd.config.usershare_rules import Rules
from usmbd.mountd.shares import Share

if TYPE_CHECKING:
    from usmbd.mountd.config.configuration import Configuration


@dataclass(frozen=True, slots=True)
class Made:
    """What a section of the registry has come to."""

    share: Share | None
    why: str = ""
    """Why there is no share."""
    warnings: tuple[str, ...] = ()
    said: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usershare:
    """A share that a user of the machine has made: what is said of it, and who may use it."""

    section: Section
    security: bytes


Make = Callable[[Iterable[Section]], dict[str, Made]]
"""Makes shares of the registry's sections, by `share_key`."""


@dataclass(frozen=True, slots=True)
class Base:
    """The configuration of a file alone, and what was made of the registry's sections."""

    alone: Configuration
    dfs: bool
    """`host msdfs`."""
    make: Make
    made: dict[str, Made] = field(default_factory=dict)
    rules: Rules | None = None
    """Of shares that users of the machine make; None: they make none."""
    theirs: dict[str, Made] = field(default_factory=dict)
    """What these came to."""
    securities: dict[str, bytes] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    """Why some of theirs are no shares."""

    def with_usershares(self, shares: Iterable[Usershare], told: Iterable[str]) -> Base:
        """Return the same with these shares of users, and no others."""
        found = list(shares)
        made = self.make(each.section for each in found)
        theirs = {key: _by_user(each) for key, each in made.items()}
        securities = {share_key(each.section.name): each.security for each in found}
        return dataclasses.replace(self, theirs=theirs, securities=securities, told=tuple(told))

    def with_all(self, sections: Iterable[Section]) -> Configuration:
        """Return the configuration with these shares of the registry, and no others."""
        return dataclasses.replace(self, made=self.make(sections)).whole()

    def changed(self, name: str, section: Section | None) -> Configuration:
        """Return the configuration with one share of the registry made anew; None: it is gone."""
        made = {key: each for key, each in self.made.items() if key != share_key(name)}
        if section is not None:
            made |= self.make([section])
        return dataclasses.replace(self, made=made).whole()

    def whole(self) -> Configuration:
        """Return the configuration of all: who comes first has a name for himself."""
        alone = self.alone
        found = {key: each.share for key, each in self.made.items() if each.share is not None}
        behind = {key: each for key, each in self.theirs.items() if key not in self.made}
        theirs = {key: each.share for key, each in behind.items() if each.share is not None}
        shares = {**theirs, **alone.shares, **found}
        configs = [share.config for share in shares.values()]
        every = [*configs, *([alone.homes.config] if alone.homes is not None else [])]
        fruits = {each.name: each.fruit for each in configs if each.fruit}
        server = msgspec.structs.replace(
            alone.server,
            persistent_handles=any(each.continuous_availability for each in every),
            dfs=self.dfs and any(each.msdfs_root for each in every),
            fruit_model=next((fruit.model for fruit in fruits.values()), ""),
            backup_disks=[name for name, fruit in fruits.items() if fruit.time_machine],
        )
        said = dict(alone.said)
        every_made = [*self.made.values(), *behind.values()]
        for each in every_made:
            said |= each.said
        return dataclasses.replace(
            alone,
            server=server,
            shares=shares,
            warnings=[*alone.warnings, *_warnings(every_made), *self.told],
            said=said,
            registered=frozenset(found),
            usershares={key: self.securities[key] for key in theirs},
            left_out={key: each.why for key, each in self.made.items() if each.share is None},
            base=self,
        )


def _warnings(every: Iterable[Made]) -> Iterator[str]:
    return (warning for each in every for warning in each.warnings)


def _by_user(made: Made) -> Made:
    """Return a share as one whose path a user has named."""
    if made.share is None:
        return made
    config = msgspec.structs.replace(made.share.config, usershare=True)
    return dataclasses.replace(made, share=dataclasses.replace(made.share, config=config))
