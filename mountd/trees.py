"""Who uses which share now, for `max connections`."""

from collections import Counter
from collections.abc import Hashable

from usmbd.mountd.config.source import share_key

Tree = tuple[int, int]
"""A session's id and a tree's id."""


class TreeTable:
    """The tree connects by the worker that holds them, counted by share."""

    def __init__(self) -> None:
        """Start with none."""
        self._by_worker: dict[Hashable, dict[Tree, str]] = {}
        self._counts: Counter[str] = Counter()

    def count(self, share: str) -> int:
        """Return how often the share is connected."""
        return self._counts[share_key(share)]

    def holds(self, worker: Hashable, tree: Tree, share: str) -> bool:
        """Return whether this tree connect of the share is counted already."""
        return self._by_worker.get(worker, {}).get(tree) == share_key(share)

    def add(self, worker: Hashable, tree: Tree, share: str) -> None:
        """Count a tree connect; one of the same ids is replaced."""
        self.remove(worker, tree)
        key = share_key(share)
        self._by_worker.setdefault(worker, {})[tree] = key
        self._counts[key] += 1

    def remove(self, worker: Hashable, tree: Tree) -> None:
        """Forget a tree connect, known or not."""
        key = self._by_worker.get(worker, {}).pop(tree, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

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
