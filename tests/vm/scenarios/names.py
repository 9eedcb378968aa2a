#!/usr/bin/python3 -IS
"""Rename, unlink, mkdir, rmdir, links and listings do what POSIX says, also for unusual names.

Where SMB or the Linux client cannot, the case says which outcomes are right.
"""

import errno
import os
import sys
import time
from collections.abc import Callable

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


def write(path: str, text: str) -> None:
    """Replace the file by `text`."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(path: str) -> str:
    """Return the file's text."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def equal(found: object, expected: object) -> None:
    """Fail unless both are the same."""
    assert found == expected, f"{found!r} instead of {expected!r}"


def refused(allowed: tuple[int, ...], call: Callable[..., object], *arguments: object) -> None:
    """Fail unless the call is refused with one of these errors."""
    try:
        call(*arguments)
    except OSError as error:
        if error.errno in allowed:
            return
        raise AssertionError(f"{call.__name__} was refused by {error}") from error
    raise AssertionError(f"{call.__name__}{arguments} went through")


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds, at most 60 s."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"not in 60 s: {what}"
        time.sleep(0.05)


def files(at: str) -> None:
    """Rename files, also to another directory and over another file; unlink them."""
    write(f"{at}/one", "1")
    os.rename(f"{at}/one", f"{at}/two")
    equal((os.listdir(at), read(f"{at}/two")), (["two"], "1"))
    write(f"{at}/three", "3")
    os.rename(f"{at}/two", f"{at}/three")
    equal((os.listdir(at), read(f"{at}/three")), (["three"], "1"))
    os.mkdir(f"{at}/other")
    os.rename(f"{at}/three", f"{at}/other/three")
    equal((os.listdir(at), read(f"{at}/other/three")), (["other"], "1"))
    refused((errno.ENOENT,), os.rename, f"{at}/three", f"{at}/four")
    os.unlink(f"{at}/other/three")
    refused((errno.ENOENT,), os.unlink, f"{at}/other/three")
    refused((errno.ENOENT,), os.stat, f"{at}/other/three")


def directories(at: str) -> None:
    """Move directories with what is in them, never into themselves; they go only when empty."""
    os.makedirs(f"{at}/one/two")
    os.mkdir(f"{at}/other")
    write(f"{at}/one/two/file", "deep")  # the client may still hold it open: it closes late
    os.rename(f"{at}/one", f"{at}/other/moved")
    equal(read(f"{at}/other/moved/two/file"), "deep")
    refused((errno.EINVAL,), os.rename, f"{at}/other", f"{at}/other/moved/two/self")
    refused((errno.EEXIST,), os.mkdir, f"{at}/other")
    refused((errno.ENOENT,), os.mkdir, f"{at}/missing/new")
    refused(NOT_EMPTY, os.rmdir, f"{at}/other")
    refused((errno.ENOTDIR,), os.rmdir, f"{at}/other/moved/two/file")
    refused((errno.EISDIR, errno.EPERM), os.unlink, f"{at}/other")

    os.mkdir(f"{at}/empty")
    os.rename(f"{at}/other/moved/two", f"{at}/empty")  # replaces an empty directory
    equal(read(f"{at}/empty/file"), "deep")
    # SMB has no such error for a rename, so that EACCES may be what the server says.
    refused((*NOT_EMPTY, errno.EACCES), os.rename, f"{at}/other", f"{at}/empty")
    equal(sorted(os.listdir(at)), ["empty", "other"])
    os.rmdir(f"{at}/other/moved")
    os.rmdir(f"{at}/other")
    equal(os.listdir(at), ["empty"])


def open_files(at: str) -> None:
    """Rename and unlink an open file, which lives on until it is closed.

    SMB keeps the name of an unlinked file reserved until then: it cannot be opened any more, it may
    still be listed, and a new file of this name may be refused.
    """
    with open(f"{at}/file", "wb+", buffering=0) as file:
        file.write(b"first")
        os.fsync(file.fileno())
        os.rename(f"{at}/file", f"{at}/renamed")
        file.write(b", second")
        os.fsync(file.fileno())
        os.unlink(f"{at}/renamed")
        refused((errno.ENOENT,), open, f"{at}/renamed")
        file.write(b", third")
        os.fsync(file.fileno())
        equal(os.pread(file.fileno(), 100, 0), b"first, second, third")
    eventually(lambda: os.listdir(at) == [], "the closed file's name is gone")
    write(f"{at}/renamed", "another")
    equal(read(f"{at}/renamed"), "another")

    # Over a file that is open elsewhere a rename may be refused, but never loses the source.
    write(f"{at}/source", "source")
    with open(f"{MOUNT2}/{os.path.basename(at)}/renamed", encoding="utf-8"):
        try:
            os.rename(f"{at}/source", f"{at}/renamed")
        except OSError as error:
            print(f"open_files: a rename over an open file: {error.strerror}", file=sys.stderr)
            equal(read(f"{at}/source"), "source")
            return
    eventually(lambda: read(f"{at}/renamed") == "source", "the new content")


def listing(at: str) -> None:
    """List names with spaces, reserved characters and from all of Unicode as they were made."""
    names = {
        *(" leading space", "trailing space ", "trailing dot.", ".hidden", "-dash", "~tilde$1"),
        *(
            "Grüße",
            "e\u0301 combining",
            "日本語",
            "emoji 🙂",
            "a:b",
            "c*?",
            '"<|>',
            "semi;colon,+=[]",
        ),
        *("n" * 255, "ü" * 127),
    }
    for name in names:
        write(f"{at}/{name}", name)
    equal(set(os.listdir(at)), names)
    equal(len(os.listdir(at)), len(names))
    other = f"{MOUNT2}/{os.path.basename(at)}"
    equal(set(os.listdir(other)), names)
    for name in names:
        equal(read(f"{other}/{name}"), name)
    refused((errno.ENAMETOOLONG,), write, f"{at}/{'n' * 256}", "")


def case(at: str) -> None:
    """Keep the case of a name; whether it distinguishes files is the same for every call."""
    write(f"{at}/Read Me", "text")
    equal(os.listdir(at), ["Read Me"])
    if os.path.exists(f"{at}/READ ME"):
        equal(read(f"{at}/READ ME"), "text")
        refused((errno.EEXIST,), os.open, f"{at}/read me", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        refused((errno.EEXIST,), os.mkdir, f"{at}/read ME")
        # Linux takes this for one file under both names, where nothing is to be done.
        os.rename(f"{at}/Read Me", f"{at}/READ ME")
        names = os.listdir(at)
        assert names in (["Read Me"], ["READ ME"]), names
        equal(read(f"{at}/{names[0]}"), "text")
    else:
        write(f"{at}/READ ME", "other")
        equal(read(f"{at}/Read Me"), "text")
        equal(sorted(os.listdir(at)), ["READ ME", "Read Me"])


def links(at: str) -> None:
    """Make hard links, which share a file, and symbolic links, unless the server has none."""
    write(f"{at}/file", "text")
    try:
        os.link(f"{at}/file", f"{at}/hard")
        equal(read(f"{at}/hard"), "text")
        eventually(lambda: os.stat(f"{at}/file").st_nlink == 2, "two links are counted")
        write(f"{at}/hard", "changed")
        eventually(lambda: read(f"{at}/file") == "changed", "the change is seen by both names")
        os.unlink(f"{at}/file")
        # Where Linux keeps a handle of the other name for a second, it hides this one meanwhile.
        eventually(lambda: os.listdir(at) == ["hard"], "the name's end")
        equal(read(f"{at}/hard"), "changed")
        os.rename(f"{at}/hard", f"{at}/file")
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        print("links: no hard links", file=sys.stderr)
    try:
        os.symlink("file", f"{at}/soft")
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        print("links: no symbolic links", file=sys.stderr)
        equal(os.listdir(at), ["file"])  # nothing of the attempt is left
        return
    os.symlink("nowhere", f"{at}/dangling")
    equal((os.readlink(f"{at}/soft"), os.readlink(f"{at}/dangling")), ("file", "nowhere"))
    equal(read(f"{at}/soft"), read(f"{at}/file"))
    refused((errno.ENOENT,), read, f"{at}/dangling")
    os.unlink(f"{at}/soft")
    equal(sorted(os.listdir(at)), ["dangling", "file"])


def main() -> None:
    """Run each case in a directory of its name; tell all that fail."""
    failed = False
    for run in (files, directories, open_files, listing, case, links):
        at = f"{MOUNT}/{run.__name__}"
        os.mkdir(at)
        try:
            run(at)
        except (AssertionError, OSError) as error:
            failed = True
            frame = error.__traceback__ and error.__traceback__.tb_next
            line = frame.tb_lineno if frame else 0
            print(f"{run.__name__}, line {line}: {error}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
