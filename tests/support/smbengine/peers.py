"""What others do for an engine in its turns, and the other workers among them."""

from collections import deque
from collections.abc import Callable
from functools import partial

from usmbd.protocol.state.below import Below, tell
from usmbd.protocol.state.caching.leases import LeaseName
from usmbd.protocol.state.notify.change import DirectoryChange
from usmbd.protocol.state.server import Server

Resume = Callable[..., None]


class Turns:
    """Work that waits for `settle`, or for a test while it is held."""

    def __init__(self) -> None:
        """Begin with nothing, not held."""
        self.waiting: deque[Callable[[], None]] = deque()
        self.held = False

    def later(self, call: Callable[[], None]) -> None:
        """Queue a call."""
        self.waiting.append(call)

    def run(self) -> int:
        """Make all calls that wait; return how many."""
        count = 0
        while self.waiting:
            self.waiting.popleft()()
            count += 1
        return count


class FakePeers(Turns):
    """The other workers, which are engines of the same test or not there at all."""

    def __init__(self) -> None:
        """Begin alone."""
        super().__init__()
        self.servers: dict[int, Server] = {}
        self.woken: list[tuple[int, bytes]] = []

    def wake(self, worker: int, key: bytes) -> None:
        """Wake who waits for `key` in another worker."""
        self.woken.append((worker, key))
        if worker in self.servers:
            self.later(lambda: self.servers[worker].wake(key))

    def break_caching(
        self, worker: int, key: bytes, open_id: int, left: int, lease: LeaseName | None
    ) -> None:
        """Break what an open of another worker caches."""
        self.later(lambda: self.servers[worker].caching.break_own(open_id, left, lease))

    def close_open(self, worker: int, session_id: int, open_id: int) -> None:
        """Close an open of another worker."""
        self.later(lambda: self.servers[worker].close_own_open(session_id, open_id))

    def mark_again(self, worker: int, session_id: int, open_id: int) -> None:
        """Have an open of another worker mark its file again."""
        self.later(lambda: self.servers[worker].mark_again(session_id, open_id))

    def forget_open(self, worker: int, open_id: int) -> None:
        """Tell another worker that an open whose time it keeps is claimed or over."""
        if worker in self.servers:
            self.later(lambda: self.servers[worker].durable.forget(open_id))

    def is_there(self, worker: int) -> bool:
        """Tell whether there is such a worker."""
        return worker in self.servers

    def changed(self, worker: int, change: DirectoryChange) -> None:
        """Tell another worker of a change."""
        self.later(lambda: self.servers[worker].notifier.receive(change))

    def doomed(self, worker: int, key: bytes) -> None:
        """Tell another worker that a directory is going to be deleted."""
        self.later(lambda: self.servers[worker].notifier.is_doomed(key))

    def root_opened(self, path: str) -> None:
        """Tell all workers, where there are several, of a share's folder."""
        if len(self.servers) > 1:
            for server in self.servers.values():
                self.later(partial(server.roots.opened_elsewhere, path))

    def close_session(self, worker: int, session_id: int, resume: Resume) -> None:
        """Close a session of another worker."""
        self.later(lambda: self.servers[worker].end_session(session_id, resume))

    def find_below(self, path: str, key: bytes, found: Callable[[Below], None]) -> None:
        """Ask the other workers, one after the other, what they have open below a directory."""
        left = list(self.servers.values())

        def ask(before: Below) -> None:
            if not left:
                found(before)
                return

            def told(new: Below) -> None:
                ask(Below(before.keys + new.keys, before.more or new.more))

            self.later(lambda: tell(left.pop(), path, key, told))

        ask(Below())
