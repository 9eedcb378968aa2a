r"""The links of DFS in the roots of the configuration: listed, made and removed for administrators.

They are symbolic links to `msdfs:server\share,...`, as Samba keeps them and the engine reads them.
Names go component by component from the root's folder, without following any link.
"""

import contextlib
import errno
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath

from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.ipc.administration import Result
from usmbd.mountd.ipc.dfs import (
    LINK_PREFIX,
    MAX_PATH,
    MAX_TARGETS,
    AddTarget,
    DfsLink,
    RemoveTarget,
    parse_link,
)
from usmbd.mountd.shares import Share

log = logging.getLogger("usmbd.auth")

MAX_ENTRIES = 20_000
"""Names of a root that are looked at for a list: others wait meanwhile, 5 us each."""

MAX_DEPTH = 8
"""Folders within folders in which links are looked for."""

_Change = Callable[[list[str] | None], list[str] | Result]
"""From a link's targets, None where there is no link, to those that it gets; none: it goes."""

_BAD_NAMES = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def list_links(configuration: Configuration, share: str = "") -> list[DfsLink]:
    """Return all roots with their links, or those of one root; what cannot be read is not there."""
    found: list[DfsLink] = []
    for root in _roots(configuration):
        if share and root.config.name.casefold() != share.casefold():
            continue
        found.append(DfsLink(root.config.name, "", list(root.config.msdfs_proxy)))
        if not root.config.msdfs_proxy:
            found += (DfsLink(root.config.name, path, targets) for path, targets in _walk(root))
    return found


def change_link(configuration: Configuration, wish: AddTarget | RemoveTarget) -> Result:
    """Add a target to a link, which is made where there is none, or remove one or the link."""
    if isinstance(wish, AddTarget):
        return _change(configuration, wish, partial(_added, wish))
    return _change(configuration, wish, partial(_removed, wish))


def _roots(configuration: Configuration) -> Iterator[Share]:
    """Yield the shares that are roots, where there is DFS at all.

    Not those of users (net usershare), whose folders anybody may have made: this process works as
    root in them. Their links are their users' to make.
    """
    if configuration.server.dfs:
        for share in configuration.shares.values():
            if share.config.msdfs_root and not share.config.usershare:
                yield share


def _walk(root: Share) -> Iterator[tuple[str, list[str]]]:
    """Yield the links in a root's folder and below: path with backslashes, and targets."""
    left = MAX_ENTRIES
    waiting = [PurePosixPath()]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(PurePosixPath(root.config.path) / folder),
                             key=lambda entry: entry.name)  # fmt: skip
        except OSError:
            continue
        for entry in entries:
            left -= 1
            if left < 0:
                log.warning("%s has too many names: some links are not listed", root.config.path)
                return
            path = folder / entry.name
            if entry.is_symlink():
                with contextlib.suppress(OSError):
                    targets = parse_link(os.readlink(entry.path))
                    wide = str(path).replace("/", "\\")
                    if targets and len(wide) <= MAX_PATH and wide.isprintable():
                        yield wide, targets
            elif entry.is_dir(follow_symlinks=False) and len(path.parts) < MAX_DEPTH:
                waiting.append(path)


def _change(
    configuration: Configuration, wish: AddTarget | RemoveTarget, change: _Change
) -> Result:
    """Put another link in the place of one, in one step."""
    root = next(
        (r for r in _roots(configuration) if r.config.name.casefold() == wish.share.casefold()),
        None,
    )
    names = [name for name in wish.path.replace("/", "\\").split("\\") if name]
    if root is None or root.config.msdfs_proxy:
        return Result.NOT_FOUND
    if not names or any(name in (".", "..") or not name.isprintable() for name in names):
        return Result.INVALID
    try:
        directory = _open_folder(root.config.path, names[:-1])
    except OSError:
        return Result.NOT_FOUND
    try:
        return _change_at(directory, names[-1], change)
    except FileExistsError:  # somebody has made it meanwhile
        return Result.EXISTS
    except OSError as error:
        log.error("a link of DFS cannot be changed: %s", error, extra={"share": wish.share})
        return Result.INVALID if error.errno in _BAD_NAMES else Result.FAILED
    finally:
        os.close(directory)


def _change_at(directory: int, name: str, change: _Change) -> Result:
    """Change the link of this name in an open folder; OSError."""
    try:
        before = os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        targets = None
    else:
        targets = (
            parse_link(os.readlink(name, dir_fd=directory)) if stat.S_ISLNK(before.st_mode) else []
        )
        if not targets:
            return Result.EXISTS  # something else has the name
    after = change(targets)
    if isinstance(after, Result):
        return after
    if not after:
        os.unlink(name, dir_fd=directory)
        return Result.DONE
    temporary = f".usmbd-dfs-{secrets.token_hex(8)}"
    os.symlink(LINK_PREFIX + ",".join(each[1:] for each in after), temporary, dir_fd=directory)
    try:
        if targets is None:
            os.link(
                temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False
            )
            os.unlink(temporary, dir_fd=directory)
        else:
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    return Result.DONE


def _added(wish: AddTarget, targets: list[str] | None) -> list[str] | Result:
    """Return a link's targets with one more."""
    if targets is not None and wish.new:
        return Result.EXISTS
    target = parse_link(f"{LINK_PREFIX}{wish.target}")
    if len(target) != 1 or not target[0].isprintable():
        return Result.INVALID
    known = targets or []
    if target[0].casefold() in map(str.casefold, known) or len(known) >= MAX_TARGETS:
        return Result.EXISTS
    return [*known, *target]


def _removed(wish: RemoveTarget, targets: list[str] | None) -> list[str] | Result:
    """Return a link's targets without one."""
    if targets is None:
        return Result.NOT_FOUND
    if not wish.target:
        return []
    left = [each for each in targets if each.casefold() != wish.target.casefold()]
    return left if len(left) < len(targets) else Result.NOT_FOUND


def _open_folder(path: str, names: list[str]) -> int:
    """Open a folder of a root, following no link; OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in names:
        try:
            inner = os.open(name, _FOLDER, dir_fd=directory)
        finally:
            os.close(directory)
        directory = inner
    return directory
