"""Sections that are no shares: those of printers, and what says that it is not available."""

import contextlib
from typing import Final

from usmbd.mountd.config.parameters import SHARES
from usmbd.mountd.config.source import Section, parameter_key, share_key
from usmbd.mountd.errors import ConfigError

PRINTERS: Final = {
    "printers": "there are no printers",
    "print$": "there are no printers, and no drivers of theirs",
}
"""Sections of smb.conf that are about printers."""

UNAVAILABLE: Final = "it says available = no"
INVALID: Final = "it says -valid = no"
"""As the template of usershares does (smb.conf(5))."""


def why_left_out(section: Section) -> str:
    """Return why a section is no share; "" for one."""
    reason = PRINTERS.get(share_key(section.name), "")
    if not reason and _says(section, "printable", True):
        reason = PRINTERS["printers"]
    if not reason and _says(section, "available", False):
        reason = UNAVAILABLE
    if not reason and _says(section, "-valid", False):
        reason = INVALID
    return reason


def _says(section: Section, name: str, wanted: bool) -> bool:
    """Return whether a section says this of a boolean; what is malformed says nothing."""
    row = SHARES[parameter_key(name)]
    for entry in section.entries:
        if SHARES.get(parameter_key(entry.name)) is row and entry.value:
            with contextlib.suppress(ConfigError):
                return bool(row.value(entry)) is wanted
    return False
