#!/usr/bin/python3 -IS
"""By the POSIX extensions a mount does what a local file system does, call by call.

Each step is done in a folder of the mount and in a local one; what came of it, the error or the
file's type, mode and number of links, has to be the same. Sizes of directories are not compared.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
SCRATCH = os.environ["SCRATCH"]
SERVER = os.environ.get("SERVER", "")

Step = Callable[[str], object]


def make(name: str, mode: int = 0o644, text: bytes = b"") -> Step:
    """Create a file with this mode and content."""

    def step(root: str) -> object:
        file = os.open(f"{root}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        os.write(file, text)
        os.close(file)
        return seen(root, name)

    return step


def seen(root: str, name: str) -> tuple[str, object, object, object]:
    """Return what lstat(2) tells of a file that two file systems can have in common.

    By the other mount: the one that makes a file takes it to have its options' mode at first.
    """
    found = os.lstat(f"{MOUNT2 if root == MOUNT else root}/{name}")
    kind = stat.S_IFMT(found.st_mode)
    # Directories count their links in their own ways; devices have no size.
    links = found.st_nlink if kind != stat.S_IFDIR else None
    size = found.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else None
    device = found.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else None
    return oct(found.st_mode), links, size, device


def look(name: str) -> Step:
    """Look at a file."""
    return lambda root: seen(root, name)


def call(function: Callable[..., object], *names: str, then: str = "", **more: object) -> Step:
    """Call a function of `os` with names below the folder, then look at one of them."""

    def step(root: str) -> object:
        function(*(f"{root}/{name}" for name in names), **more)
        return seen(root, then) if then else None

    return step


def chmod(name: str, mode: int) -> Step:
    """Change a file's mode."""
    return call(os.chmod, name, mode=mode, then=name)


def link_to(target: str, name: str) -> Step:
    """Make a symbolic link, and read it."""

    def step(root: str) -> object:
        os.symlink(target, f"{root}/{name}")
        # Linux tells Windows by a slash what leads to a directory.
        return os.path.islink(f"{root}/{name}"), os.readlink(f"{root}/{name}").rstrip("/")

    return step


def node(name: str, kind: int, device: int = 0) -> Step:
    """Make a special file."""

    def step(root: str) -> object:
        os.mknod(f"{root}/{name}", mode=kind | 0o640, device=device)
        # Linux tells the server no mode, nor of a later chmod(2): it is that of the share's files.
        mode, *rest = seen(root, name)
        return stat.S_IFMT(int(mode, 8)), rest

    return step


def listing(name: str = "") -> Step:
    """List a folder, with the types of what is in it."""

    def step(root: str) -> object:
        entries = os.scandir(f"{root}/{name}")
        return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)

    return step


def read(name: str) -> Step:
    """Read a file."""

    def step(root: str) -> object:
        with open(f"{root}/{name}", "rb") as file:
            return file.read()

    return step


def unlinked_while_open(root: str) -> object:
    """Go on with a file that has no name any more, and give the name to another."""
    file = os.open(f"{root}/held", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(file, b"first")
    os.unlink(f"{root}/held")
    there = os.path.lexists(f"{root}/held")
    other = os.open(f"{root}/held", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.write(other, b"second")
    found = os.pread(file, 10, 0), os.pread(other, 10, 0), there
    os.close(file)
    os.close(other)
    return found


def replaced_while_open(root: str) -> object:
    """Rename a file over one that is open; its reader goes on with what it had."""
    for name in ("new", "old"):
        with open(f"{root}/{name}", "w", encoding="utf-8") as file:
            file.write(name)
    with open(f"{root}/old", encoding="utf-8") as reader:
        os.rename(f"{root}/new", f"{root}/old")
        with open(f"{root}/old", encoding="utf-8") as file:
            return reader.read(), file.read(), os.path.lexists(f"{root}/new")


MODES = (0o600, 0o644, 0o755, 0o4755, 0o2711, 0o1777, 0o000, 0o700)
NAMES = (
    "Case",
    "case",
    "CASE",
    "a:b",
    "q?*",
    'x"<>|',
    "dot.",
    "space ",
    "con",
    "日本",
    "back\\slash",
)

STEPS: tuple[tuple[str, Step], ...] = (
    *((f"create {mode:04o}", make(f"c{mode:04o}", mode)) for mode in MODES),
    *((f"mkdir {mode:04o}", call(os.mkdir, f"d{mode:04o}", mode=mode, then=f"d{mode:04o}"))
      for mode in MODES),
    ("a file to change", make("file", 0o644, b"words")),
    *((f"chmod {mode:04o}", chmod("file", mode)) for mode in MODES),
    ("create it again", make("file")),
    *((f"a name {name!r}", make(name)) for name in NAMES),
    *((f"read {name!r}", read(name)) for name in NAMES),
    ("mkdir over a file", call(os.mkdir, "file")),
    ("link", call(os.link, "file", "file-2", then="file")),
    ("link over another", call(os.link, "file", "Case")),
    ("unlink of one name", call(os.unlink, "file-2")),
    ("what is left", look("file")),
    ("link to a file", link_to("file", "to-file")),
    ("link to nothing", link_to("nothing", "to-nothing")),
    ("link upwards", link_to("../file", "d0755/up")),
    ("link to a directory", link_to("d0755", "to-directory")),
    ("read by a link", read("to-file")),
    ("read by a link upwards", read("d0755/up")),
    ("read by a link to nothing", read("to-nothing")),
    ("a link over a file", link_to("x", "file")),
    ("list by a link", listing("to-directory")),
    ("unlink of a link", call(os.unlink, "to-directory")),
    ("rmdir of a link", call(os.rmdir, "to-file")),
    ("FIFO", node("fifo", stat.S_IFIFO)),
    ("socket", node("socket", stat.S_IFSOCK)),
    ("device", node("null", stat.S_IFCHR, os.makedev(1, 3))),
    ("disk", node("disk", stat.S_IFBLK, os.makedev(8, 1))),
    ("FIFO over a FIFO", node("fifo", stat.S_IFIFO)),
    ("unlink of a FIFO", call(os.unlink, "fifo")),
    ("unlink of a device", call(os.unlink, "null")),
    ("rename", call(os.rename, "file", "renamed", then="renamed")),
    ("rename of nothing", call(os.rename, "file", "renamed")),
    ("rename by case", call(os.rename, "renamed", "Renamed", then="Renamed")),
    ("rename over a file", call(os.rename, "Renamed", "c0644", then="c0644")),
    ("rename over a directory", call(os.rename, "c0644", "d0755")),
    ("rename of a directory over a file", call(os.rename, "d0755", "c0644")),
    ("rename of a directory over an empty one", call(os.rename, "d0700", "d1777", then="d1777")),
    ("a file in it", make("d1777/inner")),
    ("rename over one that is not", call(os.rename, "d0600", "d1777")),
    ("rmdir of one that is not empty", call(os.rmdir, "d1777")),
    ("rmdir of a file", call(os.rmdir, "c0644")),
    ("unlink of a directory", call(os.unlink, "d0644")),
    ("rmdir", call(os.rmdir, "d0644")),
    ("rmdir of nothing", call(os.rmdir, "d0644")),
    ("truncate", call(os.truncate, "c0644", length=3, then="c0644")),
    ("truncate to more", call(os.truncate, "c0644", length=70_000, then="c0644")),
    ("a long name", make("n" * 255)),
    ("a name too long", make("n" * 256)),
    ("a file as a directory", make("c0644/below")),
    ("in nothing", make("nowhere/below")),
    ("unlinked while open", unlinked_while_open),
    ("replaced while open", replaced_while_open),
    ("all", listing()),
)  # fmt: skip


def outcome(step: Step, root: str) -> object:
    """Do a step; return what came of it."""
    try:
        return step(root)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


def main() -> None:
    """Do all steps in both folders; tell where they differ."""
    os.umask(0o022)
    local = f"{SCRATCH}/like-local"
    os.mkdir(local)
    differ = 0
    for name, step in STEPS:
        expected, found = outcome(step, local), outcome(step, MOUNT)
        if found != expected:
            differ += 1
            print(f"{name}: {found}, locally {expected}", file=sys.stderr)
    one, two = outcome(listing(), local), outcome(listing(), MOUNT2)
    if one != two:
        differ += 1
        print(f"by another mount: {two}, locally {one}", file=sys.stderr)
    for name in sorted(set(os.listdir(local)) - {"disk", "socket"}):
        expected, found = outcome(look(name), local), outcome(look(name), MOUNT2)
        if expected != found:
            differ += 1
            print(f"{name} by another mount: {found}, locally {expected}", file=sys.stderr)
    print(f"{differ} of {len(STEPS)} differ", file=sys.stderr)
    sys.exit(1 if differ and SERVER == "usmbd" else 0)


main()
