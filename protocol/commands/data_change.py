"""How a command changes the data of an open: by which thread, and whether its write time stays."""

from collections.abc import Callable
from typing import Any

from usmbd.protocol.commands.request import Blocking, OnDescriptor
from usmbd.protocol.state.open import Open


def changing(open_: Open, call: Callable[..., Any], *args: Any) -> Blocking:
    """Return the effect that calls `call(*args)`, which changes the data of `open_`.

    What was opened for writing is changed by the descriptor, which needs nobody's rights; to put
    the write time back takes the user's, or the process's.
    """
    if open_.kept_write_time is not None:
        return Blocking(open_.kept_write_time.during, call, *args)
    if open_.stream is not None or open_.node.writable:
        return OnDescriptor(call, *args)
    return Blocking(call, *args)
