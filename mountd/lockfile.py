"""One mountd for a state directory, and how the tools find it.

`mountd.lock` is locked as long as mountd lives, by the kernel: a crash leaves no stale lock, and
what stands in it, the process id and the path of the configuration, is believed only while the
lock is held.
"""

import fcntl
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

LOCK_NAME = "mountd.lock"

SUPERVISOR_LOCK = "usmbd.lock"
"""The supervisor's, by lockf(3), with its process id."""

PATIENCE = 5.0
"""Seconds until a lock that is held means that another server runs."""

PAUSE = 0.02
"""Seconds between two tries."""


class Running(NamedTuple):
    """A mountd that lives."""

    pid: int
    config: Path


class AlreadyRunningError(Exception):
    """Another mountd serves this state directory."""


def acquire(directory: Path, config: Path) -> int:
    """Lock the directory for this process, which serves `config`; return the lock's descriptor.

    AlreadyRunningError when another process has it and keeps it: one whose supervisor was killed
    ends within a moment, and its successor may be there before.
    """
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if time.monotonic() > end:
                os.close(descriptor)
                raise AlreadyRunningError(f"another mountd serves {directory}") from error
        time.sleep(PAUSE)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode() + os.fsencode(config), 0)
    return descriptor


def running(directory: Path) -> int | None:
    """Return the process id of the mountd that serves the directory, or None."""
    found = find(directory)
    return found.pid if found is not None else None


def find(directory: Path) -> Running | None:
    """Return the mountd that serves the directory, or None."""
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, config = os.pread(descriptor, 8192, 0).partition(b"\n")
            # 0 and 1 would be this process group, and init.
            if not pid.isdigit() or int(pid) <= 1:
                return None
            return Running(int(pid), Path(os.fsdecode(config)))
        return None
    finally:
        os.close(descriptor)


def supervisor(directory: Path) -> int | None:
    """Return the process id of the supervisor whose mountd serves the directory, or None."""
    try:
        descriptor = os.open(directory / SUPERVISOR_LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        os.lockf(descriptor, os.F_TEST, 0)
    except OSError:
        pid = os.pread(descriptor, 32, 0).strip()
        return int(pid) if pid.isdigit() and int(pid) > 1 else None
    finally:
        os.close(descriptor)
    return None


def tell_to_reload(directory: Path) -> bool:
    """Have the running mountd read its files again; False when none runs or it may not be told."""
    pid = running(directory)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGHUP)
    except (ProcessLookupError, PermissionError):
        return False
    return True
