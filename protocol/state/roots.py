"""Whether the paths of shares still lead to where their trees are.

A disk may be mounted over a folder that clients are connected to, or the folder be replaced: what
they save from then on would lie beneath the disk. So a path is looked at anew, on a thread, and
trees whose root is another are closed; their clients connect again. That happens at a reload, when
something is mounted or unmounted, when anybody, in any worker, has a share's folder opened, and
when somebody finds that it was removed.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.state.turns import in_turns
from usmbd.protocol.vfs import kernel

if TYPE_CHECKING:
    from usmbd.protocol.state.server import Server

log = logging.getLogger("usmbd.conn")

AT_A_TIME: Final = 64
"""Paths that are looked at together: `homes` has one for each user."""

_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_GONE = FileNotFoundError, NotADirectoryError


class Roots:
    """Looks at the paths that a worker's trees have come by."""

    def __init__(self, server: "Server") -> None:
        """Begin with nothing to look at."""
        self._server = server
        self._waiting: dict[str, list[TreeConnect]] = {}
        self._under_way: set[str] = set()

    def opened(self, path: str) -> None:
        """Look at a path where a folder was opened that was not in use, in all workers."""
        self.check(path)
        self._server.peers.root_opened(path)

    def opened_elsewhere(self, path: str) -> None:
        """Look at a path where another worker has opened a folder."""
        if self._server.volumes.has(path):
            self.check(path)

    def check(self, path: str | None = None) -> None:
        """Look at a path, or at all that trees have; close those whose root is another."""
        trees: dict[str, list[TreeConnect]] = {}

        def go_on() -> None:
            self._waiting.update(trees)
            self._go_on()

        in_turns(self._server.turns, self, self._find(path, trees), go_on)

    def _find(self, path: str | None, trees: dict[str, list[TreeConnect]]) -> Iterator[None]:
        """Find the trees of a path, or all, by their paths; one session in each step."""
        for number, session in enumerate(list(self._server.session_table.values())):
            if number:
                yield
            for tree in session.tree_connect_table.values():
                if tree.volume is not None and path in (None, tree.share.path):
                    trees.setdefault(tree.share.path, []).append(tree)

    def _go_on(self) -> None:
        """Look at as many paths as may be under way, at each once at a time: it may hang."""
        while len(self._under_way) < AT_A_TIME:
            path = next((path for path in self._waiting if path not in self._under_way), None)
            if path is None:
                return
            trees = self._waiting.pop(path)
            self._under_way.add(path)
            seen = partial(self._seen, path, trees)
            self._server.threads.submit(_look, (path,), None, seen, trees[0].share.name)

    def _seen(
        self, path: str, trees: Iterable[TreeConnect], found: object, error: BaseException | None
    ) -> None:
        """Close the trees whose root is not what the path leads to now."""
        self._under_way.discard(path)
        if error is not None:
            log.warning("it cannot be looked at: %s", error, extra={"path": path})
        else:
            in_turns(self._server.turns, self, self._close_others(path, trees, found))
        self._go_on()

    def _close_others(
        self, path: str, trees: Iterable[TreeConnect], found: object
    ) -> Iterator[None]:
        """Close one tree in each step whose root is not what was found."""
        for tree in trees:
            volume = tree.volume
            if volume is not None and tree.share.path == path and volume.root_identity != found:
                self.close(tree)
                yield

    def close(self, tree: TreeConnect) -> None:
        """Close a tree whose path leads elsewhere now."""
        if not tree.closed:
            user = tree.session.user or "anonymous"
            log.info(
                "share is closed: another folder is at its path now, or none",
                extra={"share": tree.share.name, "path": tree.share.path, "user": user},
            )
            self._server.close_tree(tree)


def _look(path: str) -> tuple[int, int, int] | None:
    """Return device, inode and mount of the folder at a path, None if there is none; OSError."""
    try:
        fd = os.open(path, _ROOT)
    except _GONE:
        return None
    try:
        return kernel.directory_identity(fd)
    finally:
        os.close(fd)
