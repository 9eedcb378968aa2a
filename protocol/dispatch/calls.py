"""Calls for a user: on the loop or on a thread, and as whom.

The one place that decides as whom files are touched. A handler touches none itself: it yields
calls, and all of them are made here.
"""

from collections.abc import Callable, Hashable
from time import perf_counter
from typing import TypeVar

from usmbd.protocol.state.server import Server
from usmbd.protocol.state.threads import Ended
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.vfs.identity import become

R = TypeVar("R")


def on_loop(
    server: Server, tree: TreeConnect | None, function: Callable[..., R], args: tuple[object, ...]
) -> R:
    """Call `function(*args)` here as the tree's user; a pinned loop stays nobody.

    Not once for a whole request: what was done on the loop meanwhile (a message to another worker,
    say) may have left the thread another identity.
    """
    if tree is None:
        if not server.pinned:
            become(None)
        return function(*args)
    if not server.pinned:
        become(tree.identity)
    speed = tree.speed
    if not speed.noted:
        server.pulse.note(speed)
    if not speed.measured:
        return function(*args)
    began = perf_counter()
    try:
        return function(*args)
    finally:
        speed.took(perf_counter() - began)


def on_thread(
    server: Server,
    tree: TreeConnect | None,
    function: Callable[..., object],
    args: tuple[object, ...],
    ended: Ended,
    lane: Hashable,
    places: int = 0,
) -> None:
    """Call `function(*args)` on a thread as the tree's user; `ended(value, error)` follows.

    `lane` and `places` say whose part of the threads it takes: see `Threads.submit`.
    """
    identity = tree.identity if tree is not None else None
    server.threads.submit(function, args, identity, ended, lane, places)
