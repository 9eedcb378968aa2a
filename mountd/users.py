"""The password file: `name:base64(NT hash)`, one user a line, as ksmbd's `ksmbdpwd.db`.

What else is known of an account stands in a comment (`account_facts`). It is read whole and
replaced whole: written beside, synced, renamed, mode 0600, under a lock file, so that neither a
reader nor a crash ever sees half of it.
"""

import base64
import binascii
import contextlib
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from usmbd.mountd.account_facts import (
    MARK,
    NOTHING_KNOWN,
    AccountFacts,
    format_facts,
    parse_facts,
)
from usmbd.mountd.errors import ConfigError, raise_all
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.plain_file import read_file

# ksmbd's protocol with its kernel half leaves 48 bytes for a name with its end; the same limit
# keeps the file usable there.
MAX_USER_NAME_BYTES = 47
# What [MS-SAMR] 2.2.6.21 has room for, so what Windows and Samba set by DCE/RPC; of ksmbd.adduser
# 128 bytes.
MAX_PASSWORD_CHARACTERS = 256
NT_HASH_SIZE = 16
NO_PASSWORD = nt_hash("")
"""The NT hash of the empty password, which lets nobody in (Samba: `null passwords = no`)."""
# Both lines of a user have 150 bytes at most: it holds 100,000 users and more.
MAX_FILE_SIZE = 16 * 1024 * 1024


_FORBIDDEN = frozenset('"/\\[]:|<>+=;?,*')
"""[MS-SAMR] 3.1.1.8.4: what no sAMAccountName has in it."""
_BEGINNINGS = ("#", "@", "&")
"""`#` begins a comment of the password file, the others a group in the configuration's lists."""


def check_user_name(name: str) -> str:
    """Return the name, or raise ValueError that says why a new user cannot have it."""
    check_stored_name(name)
    if found := _FORBIDDEN & set(name):
        raise ValueError(f"a user name has no {min(found)!r}: nobody could log in by it")
    if name.startswith(_BEGINNINGS) or name.endswith("."):
        raise ValueError(
            f"a user name does not begin with {', '.join(_BEGINNINGS)} or end with a dot"
        )
    return name


def check_stored_name(name: str) -> str:
    """Return the name, or raise ValueError that says why the password file cannot have it."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError("the user name is not UTF-8") from error
    if not 1 <= size <= MAX_USER_NAME_BYTES:
        raise ValueError(f"a user name has 1 to {MAX_USER_NAME_BYTES} bytes, this one {size}")
    if ":" in name or not name.isprintable():
        raise ValueError("a user name has no colon and no control characters")
    if name != name.strip():
        raise ValueError("a user name does not begin or end with a space")
    return name


def hash_password(password: str) -> bytes:
    """Return the NT hash, or raise ValueError when the password is empty, too long, no text."""
    try:
        size = len(password.encode("utf-16-le")) // 2
    except UnicodeEncodeError as error:
        raise ValueError("the password is not UTF-8") from error
    if not size:
        raise ValueError("an empty password lets everybody in: there has to be one")
    if size > (most := MAX_PASSWORD_CHARACTERS):
        raise ValueError(f"a password has at most {most} characters, this one {size}")
    return nt_hash(password)


class UserTable:
    """The users by name. Names are looked up as they are first, then without regard to case."""

    def __init__(
        self,
        hashes: dict[str, bytes] | None = None,
        facts: dict[str, AccountFacts] | None = None,
    ) -> None:
        """Take the NT hashes, and what else is known, by name."""
        self.hashes: dict[str, bytes] = dict(hashes or {})
        self.facts: dict[str, AccountFacts] = dict(facts or {})
        self._folded: dict[str, str | None] = {}
        for name in self.hashes:
            key = name.casefold()
            # Two users that differ in case alone can be meant only exactly.
            self._folded[key] = None if key in self._folded else name

    def find(self, name: str) -> str | None:
        """Return the user's name as stored, or None."""
        if name in self.hashes:
            return name
        return self._folded.get(name.casefold())

    def facts_of(self, name: str) -> AccountFacts:
        """Return what is known of a user by his stored name."""
        return self.facts.get(name, NOTHING_KNOWN)

    def put(self, name: str, digest: bytes, *, must_change: bool = False) -> None:
        """Give a user, new or not, a password that begins to age now."""
        self.hashes[name] = digest
        self.facts[name] = replace(
            self.facts_of(name), changed=int(time.time()), must_change=must_change
        )

    def account(self, name: str) -> str:
        """Return what failures of this name count for: the user that it finds, else its own kind.

        No user's name begins with a colon.
        """
        found = self.find(name)
        return found if found is not None else ":" + name.casefold()

    def __len__(self) -> int:
        return len(self.hashes)


def parse_users(text: str, file: str) -> UserTable:
    """Read the file's text; ConfigError with all lines that are malformed."""
    hashes: dict[str, bytes] = {}
    facts: dict[str, AccountFacts] = {}
    errors: list[ConfigError] = []
    for number, line in enumerate(text.split("\n"), start=1):
        entry = line.strip()
        if entry.startswith(MARK):
            try:
                name, known = parse_facts(entry)
                facts[name] = known
            except ValueError as error:  # it may be one that keeps somebody out
                errors.append(ConfigError(file, number, str(error)))
            continue
        if not entry or entry[0] in ";#":
            continue
        try:
            name, digest = _parse_user(entry)
            if name in hashes:
                raise ValueError(f"the user {name!r} occurs twice")
            hashes[name] = digest
        except ValueError as error:
            errors.append(ConfigError(file, number, str(error)))
    raise_all(errors)
    return UserTable(hashes, facts)


def _parse_user(entry: str) -> tuple[str, bytes]:
    """Return a line's user and NT hash; ValueError that says what is wrong."""
    name, colon, encoded = entry.partition(":")
    if not colon:
        raise ValueError("the line is not NAME:HASH")
    check_stored_name(name)
    try:
        digest = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the hash of {name!r} is not base64") from error
    if len(digest) != NT_HASH_SIZE:
        raise ValueError(f"the hash of {name!r} has {len(digest)} bytes, not {NT_HASH_SIZE}")
    return name, digest


def load_users(path: Path, *, required: bool = False) -> UserTable:
    """Read the password file; no file is no users unless it is `required`.

    ConfigError when it is malformed.
    """
    try:
        data = read_file(path, MAX_FILE_SIZE + 1)
        if len(data) > MAX_FILE_SIZE:
            raise ConfigError(str(path), 0, f"the file is larger than {MAX_FILE_SIZE} bytes")
        return parse_users(data.decode(), str(path))
    except FileNotFoundError as error:
        if required:
            why = "there is no such file: put it back, or make one by usmbd.adduser"
            raise ConfigError(str(path), 0, why) from error
        return UserTable()
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), 0, "the file is not UTF-8") from error
    except OSError as error:
        raise ConfigError(str(path), 0, error.strerror or str(error)) from error


def file_version(path: Path) -> str:
    """Return what changes with a file's contents; nothing where there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


class Version:
    """Which contents of a file are known."""

    def __init__(self, path: Path) -> None:
        """Know none."""
        self._path = path
        self.known = self._seen = ""

    def read(self) -> None:
        """Know those of the moment: they are going to be read."""
        self.known = file_version(self._path)

    def differs(self) -> bool:
        """Whether the file is another than is known."""
        return self.known != file_version(self._path)

    def settled(self) -> bool:
        """Whether the file is another, and was the same at the last call.

        For one that calls again and again: a program that writes in place may not be at its end.
        """
        before, self._seen = self._seen, file_version(self._path)
        return self.known != self._seen == before


def format_users(hashes: dict[str, bytes], facts: dict[str, AccountFacts] | None = None) -> str:
    """Return the file's text; of who has no password nothing is kept."""
    known = facts or {}
    return "".join(
        f"{name}:{base64.b64encode(digest).decode()}\n"
        + format_facts(name, known.get(name, NOTHING_KNOWN))
        for name, digest in hashes.items()
    )


def lock_of(path: Path) -> Path:
    """Return the file by which tools wait for each other; it stays."""
    return path.with_name(f"{path.name}.lock")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `PATH.lock` so that two tools do not lose each other's changes."""
    descriptor = os.open(lock_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _give_to_owner(descriptor, path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _clear_away(path)
        yield
    finally:
        os.close(descriptor)


def _clear_away(path: Path) -> None:
    """Remove what somebody has left half written who was killed; who has the lock writes alone."""
    begun = re.compile(re.escape(f".{path.name}.") + "[a-z0-9_]{8}")  # mkstemp(3)'s names
    with contextlib.suppress(OSError):
        for each in path.parent.iterdir():
            if begun.fullmatch(each.name):
                each.unlink()


def _give_to_owner(descriptor: int, path: Path) -> None:
    """Let what root writes beside or in place of a user's file be that user's as well.

    Of a new file the folder decides whose it is.
    """
    if os.geteuid() == 0:
        owner = path.stat() if path.exists() else path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def replace_file(path: Path, text: str, mode: int) -> None:
    """Write `text` to `path` in one step: a reader sees the old file or the new, never a part.

    It stays its owner's, also when root writes it.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
            _give_to_owner(stream.fileno(), path)
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # of a full disk, which the calls say of a descriptor
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def edit_users(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Apply `change` to the users by name and write the file; what `change` raises stops it."""
    edit_accounts(path, lambda users: change(users.hashes))


def edit_accounts(path: Path, change: Callable[[UserTable], None]) -> tuple[UserTable, str]:
    """Apply `change` to the users and what is known of them, and write the file.

    Return them, and the file's version.

    Of who is not there any more nothing is kept. Where nobody knows how old a password is, or there
    is another one, it begins to age.
    """
    with locked(path):
        before = load_users(path)
        users = UserTable(before.hashes, before.facts)
        change(users)
        for name, digest in users.hashes.items():
            if digest != before.hashes.get(name) and users.facts_of(name) == before.facts_of(name):
                users.put(name, digest)
            elif not users.facts_of(name).changed:
                users.facts[name] = replace(users.facts_of(name), changed=int(time.time()))
        replace_file(path, format_users(users.hashes, users.facts), 0o600)
        return UserTable(users.hashes, users.facts), file_version(path)
