"""Users of Samba's password files, for the import: smbpasswd(5), and what `pdbedit -L -w` prints.

Both have a line `name:uid:LM hash:NT hash:[flags]:LCT-...:` for each user. passdb.tdb is read by
Samba's own pdbedit.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from usmbd.mountd.account_facts import AccountFacts
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.users import (
    MAX_FILE_SIZE,
    NO_PASSWORD,
    NT_HASH_SIZE,
    check_stored_name,
    check_user_name,
)

TDB_MAGIC: Final = b"TDB file\n"

PDBEDIT_SECONDS: Final = 60
"""Until pdbedit is given up: it reads a thousand users in a second."""

ENDLESS: Final = 2085923199
"""6 February 2036: what Samba says of an account without an end."""

_FIELDS: Final = 5
"""Those that have to be there; the last change and what follows may be missing."""

_CHANGED: Final = "LCT-"


@dataclass(slots=True)
class Imported:
    """What a file says."""

    hashes: dict[str, bytes] = field(default_factory=dict)
    facts: dict[str, AccountFacts] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """Users whom nobody could or should log in as, each with the reason."""


def read_passdb(path: Path) -> Imported:
    """Read a file; ConfigError with the line that is malformed, OSError."""
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_SIZE + 1)
    ends: dict[str, int] = {}
    if data.startswith(TDB_MAGIC):
        data, ends = _ask_pdbedit(path)
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError(str(path), 0, f"the file is larger than {MAX_FILE_SIZE} bytes")
    try:
        found = parse_smbpasswd(data.decode(), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), 0, "the file is not UTF-8") from error
    for name in ends.keys() & found.facts.keys():
        found.facts[name] = replace(found.facts[name], ends=ends[name])
    return found


def parse_smbpasswd(text: str, file: str) -> Imported:
    """Read the lines of smbpasswd(5); ConfigError."""
    result = Imported()
    for number, line in enumerate(text.split("\n"), start=1):
        entry = line.strip()
        if not entry or entry[0] == "#":
            continue
        parts = entry.split(":")
        if len(parts) < _FIELDS or not parts[1].lstrip("-").isdecimal():
            raise ConfigError(file, number, "the line is not NAME:UID:LM:NT:[FLAGS]:...")
        name, digest, flags = parts[0], parts[3], parts[4]
        if not (flags.startswith("[") and flags.endswith("]")):
            raise ConfigError(file, number, f"the flags of {name!r} are not in brackets")
        try:
            check_stored_name(name)
        except ValueError as error:
            raise ConfigError(file, number, str(error)) from error
        if name in result.hashes:
            raise ConfigError(file, number, f"the user {name!r} occurs twice")
        why = _why_not(name, flags, digest)
        if why:
            result.left_out.append(f"{name}: {why}")
            continue
        try:
            result.hashes[name] = bytes.fromhex(digest)
        except ValueError as error:
            raise ConfigError(file, number, f"the hash of {name!r} is malformed") from error
        if len(digest) != 2 * NT_HASH_SIZE:
            raise ConfigError(file, number, f"the hash of {name!r} is malformed")
        try:
            result.facts[name] = _facts(flags, parts[_FIELDS : _FIELDS + 1])
        except ValueError as error:
            raise ConfigError(file, number, f"{name!r}: {error}") from error
        if result.hashes[name] == NO_PASSWORD:
            del result.hashes[name], result.facts[name]
            result.left_out.append(f"{name}: the password is empty")
    return result


def _facts(flags: str, changed: list[str]) -> AccountFacts:
    """Return what else is told of a user: a last change at 0 is one that he has to make."""
    disabled, lasting = "D" in flags, "X" in flags
    if not changed or not changed[0].startswith(_CHANGED):
        return AccountFacts(disabled=disabled, lasting=lasting)
    time = int(changed[0].removeprefix(_CHANGED), 16)
    if not 0 <= time < 1 << 32:
        raise ValueError(f"{changed[0]} is no time")
    return AccountFacts(time, disabled, lasting, must_change=not time and not lasting)


def _why_not(name: str, flags: str, digest: str) -> str:
    """Return why nobody is to log in as a user, "" where somebody may."""
    try:
        check_user_name(name)
    except ValueError as error:
        return str(error)
    if "U" not in flags:
        return "it is the account of a machine or a domain"
    if "L" in flags:
        return "the account is locked"
    if "N" in flags or digest.startswith(("NO PASSWORD", "XXXX")):
        return "there is no password"
    return ""


def parse_ends(text: str) -> dict[str, int]:
    """Return when accounts end, of what `pdbedit -L -v` says in UTC; those that do not are not."""
    ends: dict[str, int] = {}
    name = ""
    for line in text.splitlines():
        what, _, said = line.partition(":")
        if what == "Unix username":
            name = said.strip()
        elif what == "Kickoff time":
            with contextlib.suppress(ValueError):  # `never`
                end = int(parsedate_to_datetime(said.strip()).timestamp())
                if 0 < end < ENDLESS:
                    ends[name] = end
    return ends


def _ask_pdbedit(path: Path) -> tuple[bytes, dict[str, int]]:
    """Have Samba's tool print its database, and when accounts end; ConfigError.

    A copy of it: pdbedit writes to what it opens, and makes an empty one of what is broken.
    """
    with tempfile.TemporaryDirectory(prefix="usmbd-passdb-") as folder:
        copy = shutil.copy(path, folder)
        lines = _pdbedit(path, copy, "-w")
        return lines, parse_ends(_pdbedit(path, copy, "-v").decode(errors="replace"))


def _pdbedit(path: Path, copy: str, how: str) -> bytes:
    """List all users of a copy of `path`."""
    try:
        done = subprocess.run(
            ["pdbedit", "-s", "/dev/null", "-b", f"tdbsam:{copy}", "-L", how],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PDBEDIT_SECONDS,
            check=False,
            env=os.environ | {"TZ": "UTC", "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        why = "Samba's pdbedit, which reads it, is not there (package samba-common-bin)"
        raise ConfigError(str(path), 0, why) from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(str(path), 0, "pdbedit does not end") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ConfigError(str(path), 0, f"pdbedit: {said[-1] if said else done.returncode}")
    if not done.stdout:
        raise ConfigError(str(path), 0, "pdbedit finds no users in it")
    return done.stdout
