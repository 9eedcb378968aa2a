"""How a command changes the data of an open: by which thread, and whether its write time stays."""

from collections.abc import Callable
from typing import TypeVarTuple

from usmbd.protocol.effects import Blocking, OnDescriptor, Slow
from usmbd.protocol.state.open import Open

Ts = TypeVarTuple("Ts")


def changing(
    open_: Open, call: Callable[[*Ts], object], *args: *Ts, long: bool = False
) -> Blocking[object]:
    """Return the effect that calls `call(*args)`, which changes the data of `open_`.

    With `long` on a thread: the file system has much to do.

    What was opened for writing is changed by the descriptor, which needs nobody's rights; to put
    the write time back takes the user's, or the process's.
    """
    if open_.kept_write_time is not None:
        kind = Slow if long else Blocking
        return kind(open_.kept_write_time.during, call, *args)
    if long:
        return Slow(call, *args)
    if open_.stream is not None or open_.node.writable:
        return OnDescriptor(call, *args)
    return Blocking(call, *args)


def moving(open_: Open, call: Callable[[*Ts], object], *args: *Ts) -> Blocking[object]:
    """Return the same for a call that moves much data, on one of the share's threads for those."""
    kept = open_.kept_write_time
    if kept is not None:
        return Slow(kept.during, call, *args, bulk=True)
    return Slow(call, *args, bulk=True)
