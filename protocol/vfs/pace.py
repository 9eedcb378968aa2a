"""Calls that turn out to be long: on the event loop they stop, and are made again on a thread.

Whoever finds, before anything is changed, that the rest grows with what is there (a directory of
50,000 names, an ACL of 3,000 entries) says so by `long_call`.
"""

import threading
from typing import Final

SHORT_DATA: Final = 4096
"""Bytes of an ACL or a list of EAs up to which its work, 50 us for an entry of 20, is short."""


class LongCallError(RuntimeError):
    """The call has changed nothing, and would hold the loop for too long."""


class _Loop:
    """Which thread is the event loop's; 0: none, nobody waits."""

    thread = 0


def this_is_the_loop() -> None:
    """Note that others wait for this thread."""
    _Loop.thread = threading.get_ident()


def long_call() -> None:
    """Raise LongCallError on the event loop; do nothing elsewhere."""
    if threading.get_ident() == _Loop.thread:
        raise LongCallError("this takes long: it belongs on another thread")
