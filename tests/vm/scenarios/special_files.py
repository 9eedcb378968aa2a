#!/usr/bin/python3 -IS
"""Links and special files that a client makes are such by another mount, and none leaves the share.

By what the client makes them depends on the mount: reparse points of NFS or WSL, files of its own
(mfsymlinks), or those of the POSIX extensions.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Callable

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
SERVER = os.environ.get("SERVER", "")
MFSYMLINKS = "mfsymlinks" in os.environ.get("VARIANT", "")
REFUSALS = (errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.EIO, errno.ENOSYS)


def done(what: str, call: Callable[[], object]) -> bool:
    """Return whether the call is done; a clean refusal is told, every other error raised."""
    try:
        call()
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        print(f"{what}: {error.strerror}", file=sys.stderr)
        return False
    return True


def gone(path: str) -> None:
    """Wait until a name is gone; a mount may remember names for a moment."""
    deadline = time.monotonic() + 60
    while os.path.lexists(path):
        assert time.monotonic() < deadline, f"{path} is never gone"
        time.sleep(0.1)


def links() -> bool:
    """Make links; both mounts read them, follow those that lead somewhere, and remove them."""
    with open(f"{MOUNT}/file", "w", encoding="utf-8") as file:
        file.write("here")
    os.makedirs(f"{MOUNT}/directory/inner")
    targets = {
        "to-file": "file",
        "to-directory": "directory",
        "to-nothing": "nothing",
        "directory/up": "../file",
        "directory/inner/far": "../../directory/./inner",
    }
    for name, target in targets.items():
        if not done(
            f"ln -s {target} {name}", lambda t=target, n=name: os.symlink(t, f"{MOUNT}/{n}")
        ):
            return False
    for mount in (MOUNT, MOUNT2):
        for name, target in targets.items():
            found = os.readlink(f"{mount}/{name}")
            if os.path.isdir(f"{mount}/{name}"):
                found = found.rstrip("/")  # with which Linux tells Windows what the link leads to
            assert found == target, f"{mount}/{name} leads to {found}, not {target}"
            assert stat.S_ISLNK(os.lstat(f"{mount}/{name}").st_mode)
        with open(f"{mount}/directory/up", encoding="utf-8") as file:
            assert file.read() == "here"
        assert "up" in os.listdir(f"{mount}/to-directory")
        entries = {entry.name: entry.is_symlink() for entry in os.scandir(mount)}
        # What the client alone takes for a link it does not see in a listing.
        assert entries["to-file"] or MFSYMLINKS, "a listing does not show the link as one"
        assert not entries["file"]
    try:
        os.symlink("file", f"{MOUNT}/to-file")
        raise AssertionError("a link took the place of another")
    except FileExistsError:
        pass
    os.rename(f"{MOUNT}/to-nothing", f"{MOUNT}/renamed")
    assert os.readlink(f"{MOUNT2}/renamed") == "nothing"
    for name in ("to-file", "to-directory", "renamed", "directory/up", "directory/inner/far"):
        os.unlink(f"{MOUNT}/{name}")
        assert not os.path.lexists(f"{MOUNT}/{name}")
    assert os.path.exists(f"{MOUNT}/file"), "what a link led to went with it"
    return True


def special_files() -> None:
    """Make a FIFO, a socket and devices; both mounts show what they are, with their numbers."""
    made = {
        "fifo": (stat.S_IFIFO, 0),
        "socket": (stat.S_IFSOCK, 0),
        "null": (stat.S_IFCHR, os.makedev(1, 3)),
        "disk": (stat.S_IFBLK, os.makedev(8, 1)),
    }
    there = {}
    for name, (kind, device) in made.items():
        path = f"{MOUNT}/{name}"
        if done(f"mknod {name}", lambda p=path, k=kind, d=device: os.mknod(p, k | 0o640, d)):
            there[name] = kind, device
    for mount in (MOUNT, MOUNT2):
        for name, (kind, device) in there.items():
            found = os.lstat(f"{mount}/{name}")
            assert stat.S_IFMT(found.st_mode) == kind, f"{mount}/{name}: {found.st_mode:#o}"
            if device:
                assert found.st_rdev == device, f"{mount}/{name}: {found.st_rdev:#x}"
    if "fifo" in there:
        # A FIFO of the client's own: what one process writes another of that machine reads.
        reader = os.open(f"{MOUNT}/fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(f"{MOUNT}/fifo", os.O_WRONLY | os.O_NONBLOCK)
        os.write(writer, b"words")
        assert os.read(reader, 16) == b"words"
        os.close(reader)
        os.close(writer)
    for name in there:
        os.unlink(f"{MOUNT}/{name}")
        gone(f"{MOUNT2}/{name}")


def main() -> None:
    """Links, then special files."""
    could = links()
    special_files()
    for mount in (MOUNT, MOUNT2):
        os.listdir(mount)
    if SERVER == "usmbd":
        assert could, "no link could be made"


main()
