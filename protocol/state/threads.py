"""The threads for calls that block, as the engine sees them."""

from collections.abc import Callable, Hashable
from typing import Protocol

from usmbd.protocol.vfs.identity import Identity


class Ended(Protocol):
    """Takes the result of a call on a thread."""

    def __call__(self, value: object, error: BaseException | None, /) -> None:
        """Take what the call returned, or None and what it raised."""


class Threads(Protocol):
    """The pool of threads for calls that block."""

    def submit(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        identity: Identity | None,
        ended: Ended,
        lane: Hashable = None,
        places: int = 0,
    ) -> None:
        """Call `function(*args)` as `identity`; then `ended(value, None)` or `(None, error)`.

        Calls of one `lane`, a share, have a part of the threads: `places`, if it is given.
        """
