"""The registry's keys and values, in one SQLite database ([MS-RRP] 3.1.1).

Names are compared without regard to case and kept as they were written. Everything within
`changing` is there afterwards, or nothing of it, whenever the process ends.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.ipc.administration import Result

FILE_NAME = "registry.db"

MAX_PAGES = 16384
"""Pages of 4 KiB: 64 MiB hold 2,000 shares a hundred times."""

MAX_KEYS = 100_000

EPOCH = 11644473600
"""Seconds from 1601 to 1970."""

REG_SZ = 1

SCHEMA = """
    CREATE TABLE IF NOT EXISTS keys (
        id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, folded TEXT NOT NULL, name TEXT NOT NULL,
        class TEXT NOT NULL, written INTEGER NOT NULL, security BLOB NOT NULL,
        volatile INTEGER NOT NULL, UNIQUE (parent, folded)
    );
    CREATE TABLE IF NOT EXISTS data (
        key INTEGER NOT NULL, folded TEXT NOT NULL, name TEXT NOT NULL, type INTEGER NOT NULL,
        data BLOB NOT NULL, PRIMARY KEY (key, folded)
    ) WITHOUT ROWID;
"""


class Key(NamedTuple):
    """One key."""

    id: int
    name: str
    class_name: str
    written: int
    """FILETIME."""
    security: bytes
    volatile: bool


class Value(NamedTuple):
    """One value."""

    name: str
    type: int
    data: bytes


class Totals(NamedTuple):
    """What is in a key: how many of each, and the longest."""

    subkeys: int
    longest_subkey: int
    longest_class: int
    values: int
    longest_value_name: int
    longest_value: int


def fold(name: str) -> str:
    """Return that by which names are equal."""
    return name.upper()


class RegistryStore:
    """The database, open as long as mountd runs."""

    def __init__(self, path: Path | str, hives: Sequence[str]) -> None:
        """Open it, and make what is missing; sqlite3.Error when it cannot be used."""
        self._database = sqlite3.connect(path, isolation_level=None)
        run = self._database.execute
        run("PRAGMA synchronous = FULL")
        run(f"PRAGMA max_page_count = {MAX_PAGES}")
        self._database.executescript(SCHEMA)
        with self.changing():
            for (volatile,) in run("SELECT id FROM keys WHERE volatile").fetchall():
                self._remove(volatile)
            for hive in hives:
                if self._child(0, hive) is None:
                    self._add(0, hive, "", b"", volatile=False)

    @property
    def changes(self) -> int:
        """A number that is another one after each change."""
        return self._database.total_changes

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Make changes together; whatever is raised inside takes them back."""
        if self._database.in_transaction:
            yield
            return
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    # -- keys ------------------------------------------------------------------------------

    def find(self, path: Sequence[str]) -> Key | None:
        """Return the key of a path, the hive first."""
        found: Key | None = None
        parent = 0
        for name in path:
            found = self._child(parent, name)
            if found is None:
                return None
            parent = found.id
        return found

    def get(self, path: Sequence[str]) -> Key:
        """Return the key of a path; RefusedError(NOT_FOUND) when there is none."""
        found = self.find(path)
        if found is None:
            raise RefusedError(Result.NOT_FOUND)
        return found

    def make(self, path: Sequence[str], *, security: bytes = b"") -> Key:
        """Return the key of a path; it and those above it are made where they are missing."""
        found: Key | None = None
        parent = 0
        for name in path:
            found = self._child(parent, name)
            if found is None:
                found = self._add(parent, name, "", security, volatile=False)
            parent = found.id
        assert found is not None
        return found

    def add(
        self, parent: Key, name: str, class_name: str, security: bytes, *, volatile: bool
    ) -> Key:
        """Make a key that is not there; RefusedError(FAILED) when there are too many."""
        (count,) = self._database.execute("SELECT count(*) FROM keys").fetchone()
        if count >= MAX_KEYS:
            raise RefusedError(Result.FAILED)
        with self.changing():
            made = self._add(parent.id, name, class_name, security, volatile=volatile)
            self._touch(parent)
        return made

    def remove(self, key: Key) -> None:
        """Remove a key with all that is in it."""
        with self.changing():
            self._remove(key.id)

    def set_security(self, key: Key, security: bytes) -> None:
        """Set a key's descriptor."""
        self._database.execute("UPDATE keys SET security = ? WHERE id = ?", (security, key.id))

    def subkeys(self, key: Key, start: int = 0, count: int = -1) -> list[Key]:
        """Return subkeys by name."""
        rows = self._database.execute(
            "SELECT id, name, class, written, security, volatile FROM keys WHERE parent = ?"
            " ORDER BY folded LIMIT ? OFFSET ?",
            (key.id, count, start),
        )
        return [Key(*row) for row in rows]

    def totals(self, key: Key) -> Totals:
        """Return how much is in a key."""
        keys = self._database.execute(
            "SELECT count(*), max(length(name)), max(length(class)) FROM keys WHERE parent = ?",
            (key.id,),
        ).fetchone()
        values = self._database.execute(
            "SELECT count(*), max(length(name)), max(length(data)) FROM data WHERE key = ?",
            (key.id,),
        ).fetchone()
        return Totals(*(each or 0 for each in (*keys, *values)))

    # -- values ----------------------------------------------------------------------------

    def values(self, key: Key, start: int = 0, count: int = -1) -> list[Value]:
        """Return values by name."""
        rows = self._database.execute(
            "SELECT name, type, data FROM data WHERE key = ? ORDER BY folded LIMIT ? OFFSET ?",
            (key.id, count, start),
        )
        return [Value(*row) for row in rows]

    def value(self, key: Key, name: str) -> Value | None:
        """Return the value of a name."""
        row = self._database.execute(
            "SELECT name, type, data FROM data WHERE key = ? AND folded = ?", (key.id, fold(name))
        ).fetchone()
        return Value(*row) if row else None

    def set(self, key: Key, value: Value) -> None:
        """Set a value."""
        with self.changing():
            self._database.execute(
                "INSERT OR REPLACE INTO data VALUES (?, ?, ?, ?, ?)",
                (key.id, fold(value.name), value.name, value.type, value.data),
            )
            self._touch(key)

    def unset(self, key: Key, name: str) -> bool:
        """Remove a value; False when there was none."""
        with self.changing():
            gone = self._database.execute(
                "DELETE FROM data WHERE key = ? AND folded = ?", (key.id, fold(name))
            )
            self._touch(key)
        return gone.rowcount > 0

    # -- inside ----------------------------------------------------------------------------

    def _child(self, parent: int, name: str) -> Key | None:
        row = self._database.execute(
            "SELECT id, name, class, written, security, volatile FROM keys"
            " WHERE parent = ? AND folded = ?",
            (parent, fold(name)),
        ).fetchone()
        return Key(*row) if row else None

    def _add(
        self, parent: int, name: str, class_name: str, security: bytes, *, volatile: bool
    ) -> Key:
        written = _now()
        made = self._database.execute(
            "INSERT INTO keys (parent, folded, name, class, written, security, volatile)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (parent, fold(name), name, class_name, written, security, volatile),
        )
        assert made.lastrowid is not None
        return Key(made.lastrowid, name, class_name, written, security, volatile)

    def _remove(self, key: int) -> None:
        for (child,) in self._database.execute(
            "SELECT id FROM keys WHERE parent = ?", (key,)
        ).fetchall():
            self._remove(child)
        self._database.execute("DELETE FROM data WHERE key = ?", (key,))
        self._database.execute("DELETE FROM keys WHERE id = ?", (key,))

    def _touch(self, key: Key) -> None:
        self._database.execute("UPDATE keys SET written = ? WHERE id = ?", (_now(), key.id))


def _now() -> int:
    """Return the time as a FILETIME."""
    return time.time_ns() // 100 + EPOCH * 10_000_000


def text(value: str) -> bytes:
    """Return the data of a REG_SZ."""
    return value.encode("utf-16-le", "replace") + b"\0\0"


def read_text(data: bytes) -> str:
    """Return what a REG_SZ says; a NUL ends it."""
    return data[: len(data) & ~1].decode("utf-16-le", "replace").partition("\0")[0]
