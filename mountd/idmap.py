"""SIDs of a domain to uids and gids, where the system has no account for them (`idmap config`).

`rid` is Samba's: an id is the RID, moved into the range, so that all servers agree. `autorid` is
like Samba's: each domain gets a part of the range when one of its users comes first, which is
remembered in the data directory: each server has its own.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from usmbd.mountd.config.idmap import AUTORID, BY_RID, DEFAULT_DOMAIN, IdmapRange
from usmbd.mountd.users import replace_file

log = logging.getLogger("usmbd.auth")

TABLE_NAME: Final = "idmap.json"

_OF_DOMAIN = "S-1-5-21-"
"""SIDs of domains ([MS-DTYP] 2.4.2.4); the others are Windows' own, and mean nobody here."""


class Idmap:
    """The ranges of the configuration, and which domain has which part of autorid's."""

    def __init__(self, ranges: Sequence[IdmapRange], directory: Path | None = None) -> None:
        """Take the ranges, and where the parts are remembered; without, nobody gets one."""
        self._ranges = ranges
        self._table = None if directory is None else directory / TABLE_NAME

    def id_of(self, sid: str, own_domain: tuple[str, str]) -> int | None:
        """Return the uid or gid of a SID; None where the configuration gives it none.

        `own_domain`: short name and SID of the domain whose name is known, the user's.
        """
        domain, _, last = sid.rpartition("-")
        if not sid.startswith(_OF_DOMAIN) or not last.isdecimal():
            return None
        rid = int(last)
        name = own_domain[0].upper() if own_domain[1] == domain else ""
        for each in self._ranges:
            if each.backend == BY_RID and each.domain == name:
                number = each.low + rid - each.base_rid
                return number if each.low <= number <= each.high else None
        for each in self._ranges:
            if each.backend == AUTORID and each.domain == DEFAULT_DOMAIN:
                return self._automatic(each, domain, rid)
        return None

    def _automatic(self, each: IdmapRange, domain: str, rid: int) -> int | None:
        """Return the id in the domain's part of the range, which it gets if it has none."""
        if self._table is None:
            return None
        key = f"{domain}#{rid // each.size}"
        try:
            parts = msgspec.json.decode(self._table.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            parts = {}
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s cannot be read: nobody gets an id by it: %s", self._table, error)
            return None
        if key not in parts:
            number = max(parts.values(), default=-1) + 1
            if each.low + (number + 1) * each.size - 1 > each.high:
                log.error("the range of autorid is full: %s gets no ids", domain)
                return None
            parts[key] = number
            try:
                replace_file(self._table, msgspec.json.encode(parts).decode(), 0o600)
            except OSError as error:
                log.error("%s cannot be written: %s", self._table, error.strerror)
                return None
        return each.low + parts[key] * each.size + rid % each.size
