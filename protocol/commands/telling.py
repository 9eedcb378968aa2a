"""What a command tells of its own changes in a directory.

To those who watch it ([MS-FSA] 2.1.4.1), and to those who have a lease on it, which is broken
(2.1.4.12) unless it is by them. Nothing is looked up while nobody does either.
"""

from collections.abc import Iterable
from functools import partial

from usmbd.protocol.commands.request import Request
from usmbd.protocol.effects import Blocking, Waiting
from usmbd.protocol.state.notify.change import Change, DirectoryChange, at, came
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.wire.status import SmbError


def tell(open_: Open, *changes: Change, by_kernel: bool = False) -> Waiting[None]:
    """Tell of an open's file what the kernel does not, or not so well.

    `by_kernel`: it tells the same, so that this only says who did it. Without `changes`: who
    watches knows it from the kernel, or at the close.
    """
    server = open_.connection.server
    if server.notifier.wanted if changes else server.caching.directories_cached:
        call = partial(server.notifier.of_file, by_kernel=by_kernel)
        by = open_.parent_lease_key
        tell_all(server, (yield from Blocking(call, open_.node, changes, by)))


def tell_all(server: Server, changes: Iterable[DirectoryChange]) -> None:
    """Tell what was noted while the change was made."""
    for change in changes:
        server.notifier.changed(change)


def link_told(request: Request, path: str) -> list[DirectoryChange]:
    """Return what the engine has to tell of a new name."""
    notifier, volume = request.connection.server.notifier, request.tree.volume
    assert volume is not None
    if not notifier.wanted:
        return []
    try:
        with volume.lookup(path) as node:
            new = came("", is_directory=False)
            return at(notifier.place(node), new, by=request.open.parent_lease_key)
    except SmbError:
        return []  # it has gone already
