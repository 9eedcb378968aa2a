#!/usr/bin/python3 -IS
"""Random work on names (make, replace, append, rename, remove) leaves the tree that it should.

What there has to be is kept in memory: the path of each file with its content, and the directories.
The first mount works; now and then both mounts' trees are compared with it, whole. It makes
OPERATIONS of them, always the same.
"""

import errno
import os
import random
import sys
import time

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
OPERATIONS = int(os.environ.get("OPERATIONS", "150"))
SECONDS = float(os.environ.get("SECONDS_OF_WORK", "0"))  # so long, however many operations that is
MOST = 60  # files and directories at a time
COMPARED = 150  # operations between two comparisons
NAMES = (
    "a",
    "File.txt",
    "übel",
    "名前",
    "with space",
    "long-" * 20,
    "x'y&z",
    "UPPER",
    ".dot",
    "a+b",
)
REFUSED = (errno.EACCES, errno.EBUSY, errno.ENOTEMPTY)
"""What may come of a directory in which the client still has a file open (it closes late)."""


class Tree:
    """The tree on the first mount, and what there has to be."""

    def __init__(self) -> None:
        """Begin with an empty directory."""
        self.random = random.Random(21)
        self.files: dict[str, bytes] = {}
        self.folders = {""}
        self.refusals = 0

    def new_name(self) -> str:
        """Return a path that is free, in a directory that is there."""
        folder = self.random.choice(sorted(self.folders))
        while True:
            path = f"{folder}/{self.random.choice(NAMES)} {self.random.randrange(100)}"
            if path not in self.files and path not in self.folders:
                return path

    def a_file(self) -> str | None:
        """Return one of the files."""
        return self.random.choice(sorted(self.files)) if self.files else None

    def a_folder(self) -> str | None:
        """Return one of the directories, but the first."""
        folders = sorted(self.folders - {""})
        return self.random.choice(folders) if folders else None

    def put(self, path: str, content: bytes, flags: int) -> None:
        """Write by one open."""
        fd = os.open(MOUNT + path, os.O_WRONLY | flags, 0o644)
        assert os.write(fd, content) == len(content)
        os.close(fd)

    def make(self) -> None:
        """Make a file that was not there."""
        if len(self.files) + len(self.folders) > MOST:
            return self.remove()
        path, content = self.new_name(), self.random.randbytes(self.random.randrange(6_000))
        self.put(path, content, os.O_CREAT | os.O_EXCL)
        self.files[path] = content
        return None

    def replace(self) -> None:
        """Write a file anew by another name that is renamed onto it."""
        if path := self.a_file():
            content = self.random.randbytes(self.random.randrange(6_000))
            self.put(path + ".new", content, os.O_CREAT | os.O_TRUNC)
            os.replace(MOUNT + path + ".new", MOUNT + path)
            self.files[path] = content

    def append(self) -> None:
        """Write at the end of a file."""
        if path := self.a_file():
            content = self.random.randbytes(self.random.randrange(1, 500))
            self.put(path, content, os.O_APPEND)
            self.files[path] += content

    def read(self) -> None:
        """Read a file, and look for one that is not there."""
        if path := self.a_file():
            with open(MOUNT + path, "rb", buffering=0) as file:
                found = b"".join(iter(lambda: file.read(1 << 20), b""))
            assert found == self.files[path], f"{path} has another content"
        assert not os.path.exists(MOUNT + self.new_name())

    def rename(self) -> None:
        """Give a file another name and directory."""
        if path := self.a_file():
            target = self.new_name()
            os.rename(MOUNT + path, MOUNT + target)
            self.files[target] = self.files.pop(path)

    def remove(self) -> None:
        """Remove a file."""
        if path := self.a_file():
            os.unlink(MOUNT + path)
            del self.files[path]

    def make_folder(self) -> None:
        """Make a directory."""
        path = self.new_name()
        if path.count("/") < 4 and len(self.folders) < MOST // 4:
            os.mkdir(MOUNT + path)
            self.folders.add(path)

    def remove_folder(self) -> None:
        """Remove a directory; one that is not empty must not go."""
        if folder := self.a_folder():
            full = any(path.startswith(folder + "/") for path in [*self.files, *self.folders])
            try:
                os.rmdir(MOUNT + folder)
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                self.refusals += 1
            else:
                assert not full, f"{folder} was removed with what is in it"
                self.folders.remove(folder)

    def rename_folder(self) -> None:
        """Give a directory, and so all that is in it, another name."""
        if folder := self.a_folder():
            target = self.new_name()
            if (target + "/").startswith(folder + "/"):
                return
            try:
                os.rename(MOUNT + folder, MOUNT + target)
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                self.refusals += 1
                return

            def moved(path: str) -> str:
                inside = path == folder or path.startswith(folder + "/")
                return target + path[len(folder) :] if inside else path

            self.files = {moved(path): content for path, content in self.files.items()}
            self.folders = {moved(path) for path in self.folders}

    def difference(self, mount: str) -> str:
        """Return what a mount has that it should not have, and the other way round."""
        files, folders = {}, set()
        for folder, _, names in os.walk(mount):
            folders.add(folder[len(mount) :])
            for name in names:
                try:
                    with open(f"{folder}/{name}", "rb", buffering=0) as file:
                        files[f"{folder}/{name}"[len(mount) :]] = file.read()
                except FileNotFoundError:
                    return f"{folder}/{name} is listed and not there"
        names_differ = sorted(folders ^ self.folders) + sorted(files.keys() ^ self.files.keys())
        contents = [p for p in files if p in self.files and files[p] != self.files[p]]
        return f"{mount}: {names_differ} {contents}" if names_differ or contents else ""

    def compare(self) -> None:
        """Compare both mounts' trees; names and attributes may be remembered for a second."""
        for mount in (MOUNT, MOUNT2):
            deadline = time.monotonic() + 60
            while difference := self.difference(mount):
                assert time.monotonic() < deadline, difference
                time.sleep(0.2)


def main() -> None:
    """Work as much as is wanted, then compare once more."""
    tree = Tree()
    often = [tree.make] * 5 + [tree.read] * 3 + [tree.rename, tree.append, tree.remove] * 2
    operations = [*often, tree.replace, tree.make_folder, tree.remove_folder, tree.rename_folder]
    deadline = time.monotonic() + SECONDS
    number = 0
    operation = tree.make
    try:
        while time.monotonic() < deadline if SECONDS else number < OPERATIONS:
            operation = tree.random.choice(operations)
            operation()
            number += 1
            if number % COMPARED == 0:
                tree.compare()
        if number % COMPARED:
            tree.compare()
    except (AssertionError, OSError) as error:
        sys.exit(f"operation {number}, {operation.__name__}: {error}")
    print(f"{number} operations, {tree.refusals} refused directories", file=sys.stderr)


if __name__ == "__main__":
    main()
