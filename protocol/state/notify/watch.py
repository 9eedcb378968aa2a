"""What one open watches, and what it has not told its client yet ([MS-FSA] 2.1.1.8, 2.1.1.9)."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from usmbd.protocol.effects import Resume
from usmbd.protocol.state.fair_share import Place
from usmbd.protocol.state.notify.change import Change, mask_for
from usmbd.protocol.vfs.resolve import join
from usmbd.protocol.vfs.spelling import is_odd, is_speakable, shown
from usmbd.protocol.wire import change_notify as wire
from usmbd.protocol.wire.change_notify import NotifyInformation
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.notify.directories import Directory
    from usmbd.protocol.state.tree import TreeConnect
    from usmbd.protocol.vfs.node import Node

LARGEST_BUFFER: Final = 65536
"""Bytes that are kept for one open between two requests, as Windows does over the network; a client
that asks for less in its first request gets so much."""

_ALONE = {
    wire.FILE_ACTION_RENAMED_OLD_NAME: wire.FILE_ACTION_REMOVED,
    wire.FILE_ACTION_RENAMED_NEW_NAME: wire.FILE_ACTION_ADDED,
}
"""What half a rename is to who sees one of the names alone."""


class Watch:
    """One open's ChangeNotifyEntry; the first request's filter and flag hold for its life.

    `directory` is what the kernel watches for it, if it is asked. `directories` has the places that
    its watches take, `buffer` those of the bytes that wait for its client.
    """

    __slots__ = (
        "_buffer",
        "_capacity",
        "_changes",
        "_last",
        "_lost",
        "_stop",
        "_waiting",
        "completion_filter",
        "directories",
        "directory",
        "ended",
        "key",
        "node",
        "status",
        "tree",
        "watch_tree",
    )

    def __init__(
        self,
        node: "Node",
        tree: "TreeConnect",
        key: bytes,
        completion_filter: int,
        watch_tree: bool,
        length: int,
        directories: Place,
        buffer: Place,
        stop: "Callable[[Watch, NtStatus], None]",
    ) -> None:
        """Watch the directory `node`; `length` is the OutputBufferLength of the first request.

        `stop` ends it where it is known.
        """
        self.node = node
        self.tree = tree
        self.key = key
        self.completion_filter = completion_filter
        self.watch_tree = watch_tree
        self._stop = stop
        self.directories = directories
        self._buffer = buffer
        # Where names are hidden from some there are no names: the client has to list.
        hides = node.volume.options.hide_unreadable
        self._capacity = 0 if hides else min(length, LARGEST_BUFFER)
        self._changes = NotifyInformation()  # packed: objects would take four times as much
        self._last: tuple[int, str] | None = None
        self._lost = False
        self._waiting: deque[Resume[None]] = deque()
        self.directory: Directory | None = None
        self.status: NtStatus | None = None
        """Why it tells nothing any more."""
        self.ended = False

    @property
    def mask(self) -> int:
        """The kernel's events that it needs of each directory."""
        return mask_for(self.completion_filter, watch_tree=self.watch_tree)

    @property
    def ready(self) -> bool:
        """Whether there is something to tell now."""
        return self._lost or bool(self._changes)

    def wait(self, resume: Resume[None]) -> Callable[[], None]:
        """Have a request go on when there is something to tell, after those that came before it."""
        self._waiting.append(resume)

        def give_up() -> None:
            if resume in self._waiting:
                self._waiting.remove(resume)

        return give_up

    def tell(self, path: str, changes: Sequence[Change]) -> None:
        """Keep what matches of the changes in the directory `path` below this one ("": itself)."""
        wanted = [c for c in changes if c.matches & self.completion_filter]
        if not wanted or self.ended or self._lost:
            return
        for action, name in self._shown(path, wanted):
            self._keep(action, name)
        self._answer()

    def lose(self) -> None:
        """Have the client list the directory: more has changed than can be told."""
        if not self.ended:
            self._clear()
            self._lost = True
            self._answer()

    def stop(self) -> None:
        """End with the open, its tree or its session ([MS-SMB2] 3.3.4.4)."""
        self._stop(self, NtStatus.NOTIFY_CLEANUP)

    def end(self, status: NtStatus) -> None:
        """Answer all that waits with `status`, and every request to come."""
        if self.status is None:
            self.status = status
        self.ended = True
        self._clear()
        waiting, self._waiting = self._waiting, deque()
        for resume in waiting:
            resume(None, SmbError(status))
        self.directories.give_back()
        self._buffer.give_back()

    def take(self, length: int) -> bytes | None:
        """Return what has changed, for a client that takes `length` bytes; None: it has to list."""
        lost = self._lost
        data = bytes(self._changes)
        self._clear()
        return None if lost or len(data) > min(length, self._capacity) else data

    def _answer(self) -> None:
        """Let the request go on that waits for the longest."""
        if self._waiting and self.ready:
            self._waiting.popleft()()

    def _keep(self, action: int, name: str) -> None:
        """Keep one event, unless it says what the last one said; too many are lost together."""
        event = action, name.replace("/", "\\")
        if self._lost or self._last == event:
            return
        before = len(self._changes)
        try:
            if not self._changes.add(*event, self._capacity):
                raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
            self._buffer.take(len(self._changes) - before)
        except SmbError:
            self._clear()
            self._lost = True
            return
        self._last = event

    def _clear(self) -> None:
        """Forget what was kept."""
        self._buffer.give_back(self._buffer.count)
        self._changes = NotifyInformation()
        self._last = None
        self._lost = False

    def _shown(self, path: str, changes: Iterable[Change]) -> list[tuple[int, str]]:
        """Return (action, name) as the client may see them, as QUERY_DIRECTORY would list them."""
        resolver = self.node.volume.resolver
        above = self._spelled("", path)
        if above is None:
            return []
        seen = []
        for action, _, name in changes:
            base, nul, stream = name.partition("\0")
            said = None if resolver.is_vetoed(base) else self._spell(path, base)
            if said is not None:
                seen.append((action, join(above, said) + (":" + stream if nul else "")))
        actions = {action for action, _ in seen}
        if len(actions & _ALONE.keys()) == 1:
            seen = [(_ALONE.get(action, action), name) for action, name in seen]
        return seen

    def _spelled(self, directory: str, path: str) -> str | None:
        """Spell a path; None if a component is not to be seen."""
        if not path:
            return ""
        resolver = self.node.volume.resolver
        spelled = []
        for name in path.split("/"):
            said = None if resolver.is_vetoed(name) else self._spell(directory, name)
            if said is None:
                return None
            spelled.append(said)
            directory = join(directory, name)
        return "/".join(spelled)

    def _spell(self, directory: str, name: str) -> str | None:
        """Spell a name as a listing does; None if SMB cannot say it."""
        if not is_odd(name):
            return name
        volume = self.node.volume
        if volume.options.made_names:
            return shown(name, volume.resolver.others_in(join(self.node.path, directory)))
        return name if is_speakable(name) else None
