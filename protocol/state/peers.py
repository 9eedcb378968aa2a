"""The way to other workers: what one asks of another, as messages."""

from collections.abc import Callable
from typing import Protocol

from usmbd.protocol.state.below import Below
from usmbd.protocol.state.caching.leases import LeaseName
from usmbd.protocol.state.notify.change import DirectoryChange


class Peers(Protocol):
    """The messages to other workers."""

    def wake(self, worker: int, key: bytes) -> None:
        """Tell `worker` that an open or a lock of the file `key` went away."""

    def break_caching(
        self, worker: int, key: bytes, open_id: int, left: int, lease: LeaseName | None
    ) -> None:
        """Have `worker` break the oplock or lease of one of its opens, so that `left` may stay."""

    def close_open(self, worker: int, session_id: int, open_id: int) -> None:
        """Have `worker` close an open of one of its sessions."""

    def mark_again(self, worker: int, session_id: int, open_id: int) -> None:
        """Have an open of `worker` mark its file as changed with its next change."""

    def forget_open(self, worker: int, open_id: int) -> None:
        """Tell `worker` that an open whose time it keeps has been claimed or has ended."""

    def is_there(self, worker: int) -> bool:
        """Tell whether a worker runs; False also until its successor does."""

    def changed(self, worker: int, change: DirectoryChange) -> None:
        """Tell `worker` of a change in a directory."""

    def doomed(self, worker: int, key: bytes) -> None:
        """Tell `worker` that a directory is going to be deleted."""

    def root_opened(self, path: str) -> None:
        """Tell all that a share's folder was opened here that was not in use."""

    def close_session(self, worker: int, session_id: int, gone: Callable[[], None]) -> None:
        """Have `worker` close a session; call `gone()` when it is gone."""

    def find_below(self, path: str, key: bytes, found: Callable[[Below], None]) -> None:
        """Ask all for what they have open below a directory: see `below`."""
