"""The state directory: whoever may enter it could talk to the processes in each other's name."""

import contextlib
import errno
import os
import stat
from pathlib import Path

SECRETS_DIRECTORY = "secrets"
"""Of the state and the data directory: mountd's keys and its registry, which no worker sees."""

_OWNER_ALONE = 0o700


def prepare_directories(state: Path, data: Path) -> None:
    """Make the state directory as below, and for secrets one in it and one in the data directory.

    Where nothing can be kept in the data directory, the server does without.
    """
    prepare_directory(state)
    prepare_directory(state / SECRETS_DIRECTORY)
    with contextlib.suppress(OSError):
        data.mkdir(mode=_OWNER_ALONE, parents=True, exist_ok=True)
        prepare_directory(data / SECRETS_DIRECTORY)


def prepare_directory(path: Path) -> None:
    """Make the directory for this user alone, or make it so; OSError when that cannot be.

    One that others could only enter (0755 is what systemd makes) is closed to them. Where others
    could write, one of them may have put his own socket in mountd's place: that is refused.
    """
    path.mkdir(mode=_OWNER_ALONE, parents=True, exist_ok=True)
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise _refused(path, "belongs to another user: as him, or another `state directory`")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refused(path, "others can write in it: chmod go-w, or another `state directory`")
    if stat.S_IMODE(status.st_mode) != _OWNER_ALONE:
        path.chmod(_OWNER_ALONE)


def _refused(path: Path, why: str) -> PermissionError:
    """Return the error that says why, and what to do."""
    return PermissionError(errno.EPERM, why, str(path))
