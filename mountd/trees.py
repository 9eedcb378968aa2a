"""Who uses which share now, for `max connections`."""

from collections import Counter
from collections.abc import Hashable, Iterable

from usmbd.mountd.config.source import share_key
from usmbd.mountd.ipc.messages import LimitRow
from usmbd.mountd.ipc.settings import ShareConfig
from usmbd.mountd.shares import Share

UNPROVEN = 2
"""Guests and anonymous users get no more than this part of a share's places: one of so many. Users
would be locked out by who cannot be told apart."""

SHARE_ROWS = 128
"""Shares whose use is shown, the busiest: a message has room for twice as many rows."""

Tree = tuple[int, int]
"""A session's id and a tree's id."""


class TreeTable:
    """The tree connects by the worker that holds them; of each share the sessions are counted.

    A session may connect a share as often as it likes: it counts once, so that no user takes all
    places of a share by himself. Of the sessions that have proved nothing it is known how many.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._by_worker: dict[Hashable, dict[Tree, str]] = {}
        self._sessions: dict[str, Counter[tuple[Hashable, int]]] = {}
        """Share -> (worker, session) -> its tree connects."""
        self._unproven: dict[str, set[tuple[Hashable, int]]] = {}
        """Share -> (worker, session), of guests and anonymous users."""

    def count(self, share: str) -> int:
        """Return how many sessions are connected to the share."""
        return len(self._sessions.get(share_key(share), ()))

    def counts(self) -> dict[str, int]:
        """Return how many sessions are connected to each share that is in use, by its key."""
        return {share: len(sessions) for share, sessions in self._sessions.items()}

    def rows(self, shares: Iterable[Share], process: str) -> list[LimitRow]:
        """Return how many sessions the busiest of some shares have, and may have."""
        counts = self.counts()

        def used_of(share: Share) -> int:
            return counts.get(share_key(share.config.name), 0)

        return [
            LimitRow(
                process,
                f"sessions of the share {share.config.name}",
                share.config.max_connections or None,
                used_of(share),
                "parameter: max connections",
            )
            for share in sorted(shares, key=used_of, reverse=True)[:SHARE_ROWS]
        ]

    def unproven(self, share: str) -> int:
        """Return how many of them are guests' or anonymous."""
        return len(self._unproven.get(share_key(share), ()))

    def is_full(self, share: ShareConfig, *, proven: bool) -> bool:
        """Tell whether a share has no place left, for who has `proven` an account or for others."""
        most = share.max_connections
        if most and not proven and self.unproven(share.name) >= max(most // UNPROVEN, 1):
            return True
        return bool(most) and self.count(share.name) >= most

    def connected(self, worker: Hashable, session_id: int, share: str) -> bool:
        """Return whether this session is counted for the share already."""
        return (worker, session_id) in self._sessions.get(share_key(share), ())

    def add(self, worker: Hashable, tree: Tree, share: str, *, proven: bool) -> None:
        """Count a tree connect; one of the same ids is replaced."""
        self.remove(worker, tree)
        key = share_key(share)
        self._by_worker.setdefault(worker, {})[tree] = key
        self._sessions.setdefault(key, Counter())[worker, tree[0]] += 1
        if not proven:
            self._unproven.setdefault(key, set()).add((worker, tree[0]))

    def remove(self, worker: Hashable, tree: Tree) -> None:
        """Forget a tree connect, known or not."""
        key = self._by_worker.get(worker, {}).pop(tree, None)
        if key is None:
            return
        sessions = self._sessions[key]
        sessions[worker, tree[0]] -= 1
        if not sessions[worker, tree[0]]:
            del sessions[worker, tree[0]]
            self._unproven.get(key, set()).discard((worker, tree[0]))
        if not sessions:
            del self._sessions[key]
            self._unproven.pop(key, None)

    def remove_session(self, worker: Hashable, session_id: int) -> None:
        """Forget all tree connects of a session."""
        held = self._by_worker.get(worker, {})
        for tree in [tree for tree in held if tree[0] == session_id]:
            self.remove(worker, tree)

    def remove_worker(self, worker: Hashable) -> None:
        """Forget all tree connects of a worker that is gone."""
        for tree in list(self._by_worker.get(worker, {})):
            self.remove(worker, tree)
        self._by_worker.pop(worker, None)
