#!/usr/bin/python3 -IS
"""A SQLite database whose writer is killed within a transaction keeps exactly what was committed.

SQLite turns its shared lock into an exclusive one on the same bytes. Locks of SMB cannot change so,
and the Linux client refuses it by itself unless the mount has `nobrl`. Where it is refused, the
database is opened with SQLite's `unix-excl`, which takes the exclusive lock from the start.
"""

import fcntl
import os
import signal
import sqlite3
import sys

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
TRANSACTIONS = max(1, int(5 * float(os.environ.get("SCALE", "1"))))
ROWS = 20  # of each transaction
PAYLOAD = "x" * 500


def usable_vfs() -> str:
    """Return the name of the SQLite VFS whose locks the mount can do."""
    with open(f"{MOUNT}/probe", "wb+") as file:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 16)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 16)
        except OSError:
            return "unix-excl"
    return "unix"


def connect(directory: str, vfs: str) -> sqlite3.Connection:
    """Open the database there; a locked one is waited for."""
    uri = f"file:{directory}/database?vfs={vfs}"
    return sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)


def insert(database: sqlite3.Connection, transaction: int, rows: int) -> None:
    """Begin the transaction and insert its rows."""
    database.execute("BEGIN IMMEDIATE")
    values = ((transaction, row, PAYLOAD) for row in range(rows))
    database.executemany("INSERT INTO entries VALUES (?, ?, ?)", values)


def write_until_killed(vfs: str, report: int) -> None:
    """Write one byte to `report` for each commit, and `!` in the midst of the last transaction."""
    database = connect(MOUNT, vfs)
    database.execute("PRAGMA journal_mode = DELETE")
    database.execute("PRAGMA cache_size = 5")  # so few pages that the last one reaches the file
    database.execute("CREATE TABLE entries (batch INTEGER, number INTEGER, payload TEXT)")
    for transaction in range(TRANSACTIONS):
        insert(database, transaction, ROWS)
        database.execute("COMMIT")
        os.write(report, b".")
    insert(database, TRANSACTIONS, 5 * ROWS)
    os.write(report, b"!")
    signal.pause()


def main() -> None:
    """Kill a writer in the midst of a transaction, then look at the database."""
    vfs = usable_vfs()
    print(f"vfs {vfs}", file=sys.stderr)
    receive, report = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write_until_killed(vfs, report)
        finally:  # only reached by an exception, which has to be seen
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    os.close(report)
    heard = b""
    while (byte := os.read(receive, 1)) == b".":
        heard += byte
    assert byte == b"!", "the writer failed"
    assert len(heard) == TRANSACTIONS
    before = os.stat(f"{MOUNT}/database").st_size
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.path.getsize(f"{MOUNT}/database-journal") > 0, "nothing is left to roll back"

    database = connect(MOUNT, vfs)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    counts = database.execute("SELECT batch, count(*) FROM entries GROUP BY batch").fetchall()
    assert counts == [(number, ROWS) for number in range(TRANSACTIONS)], counts
    assert os.stat(f"{MOUNT}/database").st_size < before, "the rollback did not cut the file"
    insert(database, TRANSACTIONS, ROWS)
    database.execute("COMMIT")
    database.close()
    assert "database-journal" not in os.listdir(MOUNT)

    database = connect(MOUNT2, vfs)
    [(rows,)] = database.execute("SELECT count(*) FROM entries").fetchall()
    assert rows == (TRANSACTIONS + 1) * ROWS, f"{rows} rows by the second mount"
    database.close()


if __name__ == "__main__":
    main()
