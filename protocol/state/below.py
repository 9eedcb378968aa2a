"""What is open below a directory, in whatever worker: then it is not renamed ([MS-FSA] 2.1.4.2).

The store knows opens by their inodes; their names only the worker that has them open. So each is
asked for its own, by a message.
"""

from bisect import bisect
from collections.abc import Callable, Generator
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from usmbd.protocol.state.open import Open
from usmbd.protocol.state.store.records import base_key
from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.wire.status import SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.server import Server

ROOM: Final = 8_000
"""Bytes of keys that a worker tells, for a message to hold: 300 files."""


AT_ONCE: Final = 32
"""Opens of which is looked where they are, 10 us each, before others have their turn."""


class Below(NamedTuple):
    """The keys of the files that are open below a directory; `more` than could be told."""

    keys: tuple[bytes, ...] = ()
    more: bool = False


NOTHING: Final = Below()


def opens_about(server: "Server", path: str) -> list[Open]:
    """Return the opens of this worker by shares that hold `path`: a thread may look at them."""
    return [
        open_
        for session in server.session_table.values()
        for open_ in session.open_table.values()
        if open_.pipe is None and path.startswith(f"{open_.tree.share.path}/")
    ]


def opens_below(path: str, key: bytes, opens: list[Open]) -> Generator[None, None, list[Open]]:
    """Return, in steps, which opens are below the directory at `path`, whose FileKey is `key`."""
    below = []
    for count, open_ in enumerate(opens, 1):
        if not count % AT_ONCE:
            yield
        try:
            name = directory_entry.current_path(open_.node)
        except (OSError, SmbError):
            continue  # closed meanwhile, or deleted on the server: it is nowhere
        if f"{open_.tree.share.path}/{name}/".startswith(f"{path}/") and base_key(open_.key) != key:
            below.append(open_)
    return below


def tell(server: "Server", path: str, key: bytes, found: Callable[[Below], object]) -> None:
    """Call `found` with what this worker has open below a directory."""
    opens = opens_about(server, path)
    if not opens:
        found(NOTHING)
        return

    def looked(below: list[Open] | None, error: BaseException | None) -> None:
        keys = tuple(dict.fromkeys(open_.key for open_ in below or ()))
        ends = accumulate(len(key) + 4 for key in keys)
        told = bisect(list(ends), ROOM)
        found(Below(keys[:told], told < len(keys)))

    look = partial(_to_end, opens_below(path, key, opens))
    server.as_user(opens[0].tree, look, looked, slow=len(opens) > AT_ONCE)


def _to_end(steps: Generator[None, None, list[Open]]) -> list[Open]:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            found: list[Open] = ended.value
            return found
