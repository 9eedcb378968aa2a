"""How a command changes the data of an open: by which thread, and whether its write time stays."""

from collections.abc import Callable
from typing import Any

from usmbd.protocol.commands.request import Blocking, OnDescriptor, Slow
from usmbd.protocol.state.open import Open


def changing(open_: Open, call: Callable[..., Any], *args: Any, long: bool = False) -> Blocking:
    """Return the effect that calls `call(*args)`, which changes the data of `open_`.

    With `long` on a thread: the file system has much to do.

    What was opened for writing is changed by the descriptor, which needs nobody's rights; to put
    the write time back takes the user's, or the process's.
    """
    if open_.kept_write_time is not None:
        call, args = open_.kept_write_time.during, (call, *args)
        return Slow(call, *args) if long else Blocking(call, *args)
    if long:
        return Slow(call, *args)
    if open_.stream is not None or open_.node.writable:
        return OnDescriptor(call, *args)
    return Blocking(call, *args)
