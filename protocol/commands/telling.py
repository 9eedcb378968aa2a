"""What a command tells of its own changes to those who watch the directory ([MS-FSA] 2.1.4.1).

Nothing is looked up while nobody watches anything.
"""

from collections.abc import Iterable

from usmbd.protocol.commands.request import Request
from usmbd.protocol.effects import Blocking, Waiting
from usmbd.protocol.state.notify.change import Change, DirectoryChange, at, came
from usmbd.protocol.state.server import Server
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.status import SmbError


def tell(server: Server, node: Node, *changes: Change, by_kernel: bool = False) -> Waiting[None]:
    """Tell of a file what the kernel does not, or not so well.

    `by_kernel`: it tells the same, so that this only says who did it.
    """
    notifier = server.notifier
    if notifier.wanted:
        tell_all(server, (yield from Blocking(notifier.of_file, node, changes, by_kernel)))


def tell_all(server: Server, changes: Iterable[DirectoryChange]) -> None:
    """Tell what was noted while the change was made."""
    for change in changes:
        server.notifier.changed(change)


def link_told(request: Request, path: str) -> list[DirectoryChange]:
    """Return what the engine has to tell of a new name."""
    notifier, volume = request.connection.server.notifier, request.tree.volume
    assert volume is not None
    if notifier.asks_kernel:
        return []
    try:
        with volume.lookup(path) as node:
            return at(notifier.place(node), came("", is_directory=False))
    except SmbError:
        return []  # it has gone already
