"""What a command tells of its own changes to those who watch the directory ([MS-FSA] 2.1.4.1).

Nothing is looked up while nobody watches anything.
"""

from collections.abc import Iterable

from usmbd.protocol.effects import Blocking, Waiting
from usmbd.protocol.state.notify.change import Change, DirectoryChange
from usmbd.protocol.state.server import Server
from usmbd.protocol.vfs.node import Node


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
