#!/usr/bin/python3 -IS
"""Owner, mode, user attributes and free space are those of the mount's options and of the server.

Without an option that keeps modes on the server, a mode has one bit in SMB: read-only.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Callable

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
SERVER_MODES = {"posix", "cifsacl", "modefromsid"}  # options with which modes are the server's
REFUSALS = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP)


def mount_options() -> dict[str, str]:
    """Return the options of the file system that MOUNT is on, and `type`, its type."""
    best: tuple[str, dict[str, str]] = ("", {})
    with open("/proc/self/mounts", encoding="utf-8") as file:
        for line in file:
            _, point, kind, options, *_ = line.split()
            if len(point) >= len(best[0]) and f"{MOUNT}/".startswith(f"{point.rstrip('/')}/"):
                pairs = (option.partition("=") for option in options.split(","))
                best = point, {name: value for name, _, value in pairs} | {"type": kind}
    return best[1]


OPTIONS = mount_options()


def mode(path: str) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(os.stat(path).st_mode)


def wait_for(path: str, writable: int, what: str) -> None:
    """Wait until the file's bit to write is so; a mount may remember attributes for a moment."""
    deadline = time.monotonic() + 60
    while mode(path) & 0o200 != writable:
        assert time.monotonic() < deadline, f"{path} never {what}: {mode(path):#o}"
        time.sleep(0.1)


def allowed(what: str, call: Callable[[], object]) -> bool:
    """Return whether the call is done; a clean refusal is told, every other error raised."""
    try:
        call()
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        print(f"{what}: {error.strerror}", file=sys.stderr)
        return False
    return True


def owner_and_mode() -> None:
    """Show new files and directories with the owner and modes of the options."""
    os.mkdir(f"{MOUNT}/directory")
    os.close(os.open(f"{MOUNT}/file", os.O_CREAT | os.O_WRONLY))
    if OPTIONS["type"] not in ("cifs", "smb3") or SERVER_MODES & OPTIONS.keys():
        return
    for mount in (MOUNT, MOUNT2):
        for name, option in (("file", "file_mode"), ("directory", "dir_mode")):
            found, expected = mode(f"{mount}/{name}"), int(OPTIONS[option], 8)
            assert found == expected, f"{mount}/{name}: {found:#o}, not {option}={expected:#o}"
            owner = os.stat(f"{mount}/{name}")
            assert (owner.st_uid, owner.st_gid) == (int(OPTIONS["uid"]), int(OPTIONS["gid"]))


def change_mode_and_owner() -> None:
    """Change mode and owner: it is done, or refused, and a read-only file can be removed."""
    path, seen = f"{MOUNT}/changed", f"{MOUNT2}/changed"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    before = os.stat(path)
    if allowed("chown", lambda: os.chown(path, 1, 1)):
        owner = os.stat(path).st_uid
        assert owner in (before.st_uid, 1), f"chown left it to {owner}"
    if allowed("chmod 0444", lambda: os.chmod(path, 0o444)):
        for name in (path, seen):  # the second mount sees it for the first time
            assert mode(name) & 0o222 == 0, f"{name} is still writable: {mode(name):#o}"
    os.unlink(path)
    assert not os.path.exists(path)

    path, seen = f"{MOUNT}/restored", f"{MOUNT2}/restored"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    if allowed("chmod 0444", lambda: os.chmod(path, 0o444)):
        # By the mount that learns it from the server: Linux 6.12 does not remember that it has set
        # the attribute itself, and then does not clear it (with ksmbd and usmbd alike).
        wait_for(seen, 0, "became read-only")
        os.chmod(seen, 0o644)
        for name in (path, seen):
            wait_for(name, 0o200, "became writable again")
        with open(path, "w", encoding="utf-8") as file:
            file.write("written")


def attributes() -> None:
    """Set, read, list and remove user attributes, or say why not."""
    path, value = f"{MOUNT}/attributes", bytes(range(256)) * 4
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    if not allowed("user attributes", lambda: os.setxattr(path, "user.one", value)):
        return
    os.setxattr(path, "user.Two", b"second")
    os.setxattr(path, "user.Two", b"replaced")
    for name in (path, f"{MOUNT2}/attributes"):
        found = sorted(key.lower() for key in os.listxattr(name))  # servers may change the case
        assert found == ["user.one", "user.two"], found
        assert os.getxattr(name, "user.one") == value
        assert os.getxattr(name, "user.Two") == b"replaced"
    os.removexattr(path, "user.one")
    assert len(os.listxattr(path)) == 1
    try:
        os.getxattr(path, "user.one")
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
    else:
        raise AssertionError("a removed attribute is still there")


def special_file() -> None:
    """Make a FIFO, or be refused and leave nothing behind."""
    path = f"{MOUNT}/fifo"
    if allowed("mkfifo", lambda: os.mkfifo(path)):
        assert stat.S_ISFIFO(os.stat(path).st_mode)
    else:
        assert "fifo" not in os.listdir(MOUNT), "the refused FIFO left a file"


def space() -> None:
    """Ask for the size of the file system, which has to make sense, the same by both mounts."""
    one, two = os.statvfs(MOUNT), os.statvfs(MOUNT2)
    assert one.f_blocks * one.f_frsize == two.f_blocks * two.f_frsize > 1 << 20, one
    assert 0 < one.f_bavail <= one.f_bfree <= one.f_blocks, one
    assert one.f_namemax >= 255, one


def main() -> None:
    """Run all cases; tell all that fail."""
    failed = False
    for run in (owner_and_mode, change_mode_and_owner, attributes, special_file, space):
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
