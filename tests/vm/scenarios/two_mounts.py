#!/usr/bin/python3 -IS
"""What one mount does, another mount of the share sees: contents, names, locks; one creator wins.

A file is up to date when it is opened (the server breaks leases for that). Names and attributes
that a mount has looked at before may be a second old (`actimeo`), so those are waited for.
"""

import errno
import fcntl
import mmap
import os
import select
import signal
import sys
import time
from collections.abc import Callable

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
RACES = max(2, int(5 * float(os.environ.get("SCALE", "1"))))
CHILD_SECONDS = 180  # a child that is not done by then is ended by SIGALRM


def write(path: str, content: bytes, mode: str = "wb") -> None:
    """Write the content by one open, one write and one close."""
    with open(path, mode, buffering=0) as file:
        file.write(content)


def read(path: str) -> bytes:
    """Return the file's content as a new open finds it."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds, at most 60 s."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"not in 60 s: {what}"
        time.sleep(0.05)


def shows(path: str, expected: bytes, what: str) -> None:
    """Wait until the file has that content; tell what it has, and whether the server has it."""
    try:
        eventually(lambda: read(path) == expected, what)
    except AssertionError as error:
        found, size = read(path), os.stat(path).st_size
        direct = os.open(path, os.O_RDONLY | os.O_DIRECT)
        page = mmap.mmap(-1, 4096)
        past_cache = page[: os.preadv(direct, [page], 0)]
        told = f"{error}: {found!r}, {size} bytes, on the server {past_cache!r}"
        raise AssertionError(told) from error


def fork(work: Callable[[int], None]) -> tuple[int, int]:
    """Run `work(descriptor)` in a child; return its process id and the pipe's end to read from."""
    receive, send = os.pipe()
    child = os.fork()
    if child:
        os.close(send)
        return child, receive
    signal.alarm(CHILD_SECONDS)
    try:
        work(send)
        os._exit(0)
    finally:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def contents() -> None:
    """Write, append, cut and replace by turns."""
    here, there = f"{MOUNT}/contents", f"{MOUNT2}/contents"
    with open(here, "wb", buffering=0) as file:
        file.write(b"still open")  # may be in this mount's memory, under a lease to write
        shows(there, b"still open", "data of a file that is open for writing")
        file.write(b", more")
        os.fsync(file)  # after a break Linux 6.12 keeps what it writes to an open file for a while
        shows(there, b"still open, more", "data written after the break")
    for number in range(3):
        for to, by in ((here, there), (there, here)):
            expected = read(by) + b"%d" % number
            write(to, b"%d" % number, "ab")
            shows(by, expected, f"appended to {to}")
    os.truncate(there, 5)
    shows(here, b"still", "a shorter length")
    eventually(lambda: os.stat(here).st_size == 5, "a shorter length by stat")
    write(here, b"new")
    shows(there, b"new", "a replaced content")


def names() -> None:
    """Create, rename and remove by one, list by the other."""
    os.mkdir(f"{MOUNT}/names")
    eventually(lambda: os.path.isdir(f"{MOUNT2}/names"), "a new directory")
    assert os.listdir(f"{MOUNT2}/names") == []
    write(f"{MOUNT}/names/one", b"1")
    eventually(lambda: os.listdir(f"{MOUNT2}/names") == ["one"], "a new file")
    os.rename(f"{MOUNT2}/names/one", f"{MOUNT2}/names/two")
    eventually(lambda: os.listdir(f"{MOUNT}/names") == ["two"], "a new name")
    eventually(lambda: not os.path.exists(f"{MOUNT}/names/one"), "the old name's end")
    assert read(f"{MOUNT}/names/two") == b"1"
    os.unlink(f"{MOUNT2}/names/two")  # the first mount may hold it open yet: it closes late
    eventually(lambda: not os.path.exists(f"{MOUNT}/names/two"), "the file's end")
    eventually(lambda: os.listdir(f"{MOUNT}/names") == [], "the name's end")
    os.rmdir(f"{MOUNT}/names")
    eventually(lambda: not os.path.exists(f"{MOUNT2}/names"), "the directory's end")


def try_lock(file: int, first: int) -> bool:
    """Return whether ten bytes from `first` can be locked at once."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, first)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def locks() -> None:
    """Lock ranges by one mount that the other then cannot have, but can wait for."""
    if "nobrl" in os.environ.get("VARIANT", ""):
        print("locks: not with nobrl, which keeps them in the client", file=sys.stderr)
        return
    # An open that had an oplock to write keeps its locks to itself, and Linux 6.12 forgets to send
    # them when the oplock is broken (seen with ksmbd and usmbd alike): so lock by an open without,
    # which O_SYNC makes a new one for the server too (Linux 7.3 shares one between other flags).
    first = os.open(f"{MOUNT}/locks", os.O_RDWR | os.O_CREAT)
    there = os.open(f"{MOUNT2}/locks", os.O_RDWR)
    here = os.open(f"{MOUNT}/locks", os.O_RDWR | os.O_SYNC)
    assert try_lock(here, 0)
    assert not try_lock(there, 5), "both have bytes 5..9"
    assert try_lock(there, 10), "bytes 10..19 are free"
    assert not try_lock(here, 10), "both have bytes 10..19"

    def wait_for_lock(report: int) -> None:
        file = os.open(f"{MOUNT2}/locks", os.O_RDWR)
        os.write(report, b"?")
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 0)
        os.write(report, b"!")

    child, heard = fork(wait_for_lock)
    assert os.read(heard, 1) == b"?", "the child failed"
    assert not select.select([heard], [], [], 0.5)[0], "the child did not wait for the lock"
    fcntl.lockf(here, fcntl.LOCK_UN, 10, 0)
    assert os.read(heard, 1) == b"!", "the child did not get the lock"
    assert os.waitpid(child, 0)[1] == 0
    eventually(lambda: try_lock(here, 0), "the lock of a process that has ended")
    for file in (first, here, there):
        os.close(file)


def race() -> None:
    """Create the same names by both mounts at once: each name has one creator."""

    def create(directory: str, report: int) -> None:
        for number in range(RACES):
            try:
                os.close(os.open(f"{directory}/{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                os.write(report, b"1")
            except FileExistsError:
                os.write(report, b"0")

    os.mkdir(f"{MOUNT}/race")
    eventually(lambda: os.path.isdir(f"{MOUNT2}/race"), "a new directory")
    child, heard = fork(lambda report: create(f"{MOUNT2}/race", report))
    own, report = os.pipe()
    create(f"{MOUNT}/race", report)
    assert os.waitpid(child, 0)[1] == 0, "the child failed"
    wins = list(zip(os.read(own, RACES), os.read(heard, RACES), strict=True))
    assert all(sorted(pair) == [*b"01"] for pair in wins), f"creators of each name: {wins}"


def main() -> None:
    """Run all cases; tell all that fail."""
    failed = False
    for run in (contents, names, locks, race):
        try:
            run()
        except (AssertionError, OSError) as error:
            failed = True
            frame = error.__traceback__ and error.__traceback__.tb_next
            line = frame.tb_lineno if frame else 0
            print(f"{run.__name__}, line {line}: {error}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
