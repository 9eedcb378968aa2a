"""With what flags folders and files are opened that clients name, or that lie among theirs."""

import fcntl
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Final, cast

import pytest

from usmbd.mountd.admin import dfs
from usmbd.protocol.state.notify import sight, walk
from usmbd.protocol.vfs import (
    dfs_links,
    inode_flags,
    kernel,
    reparse_points,
    scan,
    snapshots,
    time_machine,
    volume,
)
from usmbd.protocol.vfs import resolve as resolve_module
from usmbd.protocol.vfs.node import Node

NAMED: Final = {  # without looking into it: for what is there, whatever it is
    "a folder that is watched": (sight._PATH, True),
    "a folder below it": (walk._CHILD, True),
    "an entry of a list": (scan._ENTRY, False),
    "what becomes a reparse point": (reparse_points._NAMED, False),
    "a folder that was made": (volume._NEW_DIRECTORY, True),
}
READ: Final = {
    "a folder of a tree that is watched": (walk._READ, True),
    "a bundle of Time Machine": (time_machine._FOLDER, True),
    "its Info.plist": (time_machine._FILE, False),
    "a root of DFS": (dfs._FOLDER, True),
}


def test_no_link_is_followed() -> None:
    for what, (flags, folder) in {**NAMED, **READ}.items():
        assert flags & os.O_NOFOLLOW, what
        assert bool(flags & os.O_DIRECTORY) == folder, what
        assert not flags & (os.O_CREAT | os.O_TRUNC | os.O_APPEND), what
        assert flags & os.O_ACCMODE == os.O_RDONLY, what


def test_what_is_named_is_not_opened() -> None:
    """A device, a pipe or a file on tape does nothing then."""
    for what, (flags, _) in NAMED.items():
        assert flags & os.O_PATH, what


def test_who_reads_waits_for_no_pipe() -> None:
    """A folder is no pipe."""
    for what, (flags, folder) in READ.items():
        assert not flags & os.O_PATH, what
        assert folder or flags & os.O_NONBLOCK, what


def test_no_child_has_it() -> None:
    """Python's own os.open adds the flag; who calls the kernel himself has to say it."""
    for flags in (walk._CHILD, scan._ENTRY, reparse_points._NAMED, volume._NEW_DIRECTORY,
                  time_machine._FOLDER, time_machine._FILE, dfs._FOLDER):  # fmt: skip
        assert flags & os.O_CLOEXEC


def test_where_the_kernel_follows_no_link() -> None:
    """Snapshots are opened beneath the share, the way to a DFS link name by name."""
    for how, read in ((snapshots._DIRECTORY, False), (snapshots._LIST, True)):
        assert how._how.resolve & kernel.RESOLVE_NO_SYMLINKS
        assert how._how.resolve & kernel.RESOLVE_BENEATH
        assert how._how.flags & os.O_DIRECTORY
        assert bool(how._how.flags & os.O_PATH) != read
    assert dfs_links._STEP == os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    for resolve in (snapshots._NO_LINKS, resolve_module._BENEATH):
        assert resolve & kernel.RESOLVE_BENEATH
    assert resolve_module._BENEATH & kernel.RESOLVE_NO_MAGICLINKS


def test_who_asks_for_flags_waits_for_nobody(tmp_path: Path) -> None:
    """A local program may have a lease of the file (fcntl(2), F_SETLEASE)."""
    named = os.open(tmp_path, os.O_PATH)
    node = SimpleNamespace(readable=False, writable=False, fd=named)
    with inode_flags._open(cast(Node, node)) as fd:
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert fd != named
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    for node.readable, node.writable in ((True, False), (False, True)):
        with inode_flags._open(cast(Node, node)) as fd:
            assert fd == named
    os.close(named)


def test_what_is_new_is_new() -> None:
    flags = reparse_points._NEW_FILE
    assert flags == os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
