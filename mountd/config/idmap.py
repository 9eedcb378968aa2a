"""`idmap config DOMAIN : OPTION`: which uids and gids a domain's users and groups have."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from usmbd.mountd.config.source import Entry
from usmbd.mountd.errors import ConfigError

DEFAULT_DOMAIN: Final = "*"
BY_RID, AUTORID = "rid", "autorid"

_NAME = re.compile(r"\s*idmap\s+config\s+(\S.*?)\s*:\s*(.*?)\s*", re.I)
_RANGE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*")
_MAX_ID = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class IdmapRange:
    """One domain's."""

    domain: str
    """The short name, or `*` for all that are not named."""
    backend: str
    low: int
    high: int
    base_rid: int = 0
    size: int = 100_000
    """`rangesize` of autorid: ids of one domain."""


def is_idmap(name: str) -> bool:
    """Whether a parameter's name is one of these."""
    return _NAME.fullmatch(name) is not None


def parse_idmap(entries: Iterable[Entry]) -> tuple[list[IdmapRange], list[ConfigError], list[str]]:
    """Return the ranges that count here, what is wrong, and what has no effect."""
    by_domain: dict[str, dict[str, Entry]] = {}
    errors, warnings = [], []
    for entry in entries:
        found = _NAME.fullmatch(entry.name)
        assert found is not None
        domain, option = found[1].upper(), "".join(found[2].lower().split())
        by_domain.setdefault(domain, {}).setdefault(option, entry)
    ranges: list[IdmapRange] = []
    for domain, options in by_domain.items():
        backend = options.get("backend")
        kind = "" if backend is None else str(backend.value).strip().lower()
        if kind not in (BY_RID, AUTORID) or (kind == AUTORID and domain != DEFAULT_DOMAIN):
            if backend is not None and kind != "nss":
                why = f"{backend.name} = {kind}: ids are those that the system knows (nss)"
                warnings.append(str(backend.error(why)))
            continue
        assert backend is not None
        try:
            ranges.append(_range(domain, kind, options, backend))
        except ConfigError as error:
            errors.append(error)
    for one, other in zip(by_low := sorted(ranges, key=lambda r: r.low), by_low[1:], strict=False):
        if other.low <= one.high:
            entry = by_domain[other.domain]["range"]
            errors.append(entry.error(f"{entry.name}: the range of {one.domain} overlaps it"))
    return ranges, errors, warnings


def _range(domain: str, kind: str, options: dict[str, Entry], backend: Entry) -> IdmapRange:
    """Return one domain's range; ConfigError."""
    entry = options.get("range")
    if entry is None:
        raise backend.error(f"{backend.name} = {kind}: `idmap config {domain} : range` is missing")
    found = _RANGE.fullmatch(str(entry.value))
    if found is None or not int(found[1]) < int(found[2]) <= _MAX_ID:
        raise entry.error(f"{entry.name} = {entry.value}: a range is LOW-HIGH")
    numbers = {}
    for option, default in (("base_rid", 0), ("rangesize", 100_000)):
        number = options.get(option)
        text = str(default) if number is None else str(number.value).strip()
        if not text.isdecimal() or (option == "rangesize" and int(text) < 2000):
            assert number is not None
            raise number.error(f"{number.name} = {text}: it is no number that fits")
        numbers[option] = int(text)
    return IdmapRange(
        domain, kind, int(found[1]), int(found[2]), numbers["base_rid"], numbers["rangesize"]
    )
