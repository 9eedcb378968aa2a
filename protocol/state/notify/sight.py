"""Who may see a directory: of the names in others nobody is told, for no listing shows them.

Where the kernel is asked a walk finds that out once, when it comes to a directory. Where the engine
tells all (`kernel change notify = no`) it is asked for each change below a watched directory: on
the loop, or in its turn on a thread where that may not wait for the volume, or may be nobody else.
"""

import errno
import os
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from usmbd.protocol.state.notify.change import Change
from usmbd.protocol.state.notify.watch import Watch
from usmbd.protocol.state.threads import Threads
from usmbd.protocol.state.turns import Loop
from usmbd.protocol.vfs import acl, kernel
from usmbd.protocol.vfs.identity import become
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.resolve import encode, join
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY
from usmbd.protocol.wire.status import SmbError

LONGEST_QUEUE: Final = 1024
"""Changes that wait for one watch until a thread has looked; then its client has to list. At 0.1 ms
a look it is a tenth of a second's, and no client keeps more names in a buffer of 64 KiB."""

_GONE: Final = (errno.ENOENT, errno.ENOTDIR)
_PATH: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


class Sight:
    """Tells watches what changes below them, each in the order of the changes."""

    def __init__(self, host: Loop, threads: Threads) -> None:
        """Begin with nothing that waits."""
        self._host = host
        self._threads = threads
        self._waiting: dict[Watch, deque[tuple[str, Sequence[Change]]]] = {}

    def tell(self, watch: Watch, path: str, changes: Sequence[Change]) -> None:
        """Tell of changes in the directory `path` below the watched one ("": itself)."""
        queue = self._waiting.get(watch)
        if queue is not None:
            if len(queue) < LONGEST_QUEUE:
                queue.append((path, changes))
            else:
                watch.lose()
        elif not path:
            watch.tell(path, changes)
        elif self._host.pinned or not watch.tree.speed.fast():
            self._waiting[watch] = deque([(path, changes)])
            self._ask(watch)
        else:
            become(watch.tree.identity)
            _answer(watch, path, changes, may_see(watch, watch.node.fd, path))

    def _ask(self, watch: Watch) -> None:
        """Have a thread look for the first that waits."""
        path, speed = self._waiting[watch][0][0], watch.tree.speed
        top = os.dup(watch.node.fd)  # the open may end meanwhile
        ended = partial(self._seen, watch)
        identity = watch.tree.identity
        self._threads.submit(_look, (watch, top, path), identity, ended, (Sight, speed), 1)

    def _seen(self, watch: Watch, seen: object, _error: BaseException | None) -> None:
        """Tell the first, and what needs no look behind it; look for the next."""
        queue = self._waiting[watch]
        path, changes = queue.popleft()
        _answer(watch, path, changes, seen)
        while queue and not (watch.ended or queue[0][0]):
            watch.tell(*queue.popleft())
        if queue and not watch.ended:
            self._ask(watch)
        else:
            del self._waiting[watch]


def _answer(watch: Watch, path: str, changes: Sequence[Change], seen: object) -> None:
    """Tell what is seen; have the client list where nobody can say (any more)."""
    if seen:
        watch.tell(path, changes)
    elif seen is None:
        watch.lose()


def _look(watch: Watch, top: int, path: str) -> bool | None:
    """Look on a thread, which acts as the user; `top` is given back."""
    try:
        return may_see(watch, top, path)
    finally:
        os.close(top)


def may_see(watch: Watch, top: int, path: str) -> bool | None:
    """Whether a user may list a directory below the one he watches, open as `top`.

    None: it is gone, or another kind of thing. The caller acts as the user.
    """
    resolve = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS
    if not watch.node.volume.options.cross_mounts:
        resolve |= kernel.RESOLVE_NO_XDEV
    above, _, name = path.rpartition("/")
    how = kernel.How(_PATH, resolve)
    parent = how.open(top, encode(above)) if above else os.dup(top)
    if parent < 0:
        return None if -parent in _GONE else False
    try:
        child = how.open(parent, encode(name))
        if child < 0:
            return None if -child in _GONE else False
        try:
            return may_list(watch, parent, child, path)
        finally:
            os.close(child)
    except (OSError, SmbError):
        return None
    finally:
        os.close(parent)


def may_list(watch: Watch, parent: int, child: int, path: str) -> bool:
    """Whether the user of a watch may list a directory and enter it, as file system and share say.

    `parent` and `child` are open, `path` is below the watched one; the caller acts as the user.
    OSError, SmbError.
    """
    if not kernel.access(child, os.R_OK | os.X_OK):
        return False
    tree = watch.tree
    if not tree.share.acl_xattr:
        return True
    name = path.rpartition("/")[2]
    with Node.at(watch.node.volume, parent, encode(name), join(watch.node.path, path)) as node:
        return bool(acl.maximal_access(node, tree.identity) & FILE_LIST_DIRECTORY)
