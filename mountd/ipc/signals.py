"""Signals for an asyncio loop, and for the process when the loop has ended.

A loop gives the signals that it handles itself back to their defaults at its end. A second SIGTERM
(the service manager's, after the parent's) would then cut off what the process does last: write
the rest of its log.

They are ignored by a handler that does nothing. With SIG_IGN, a signal in the moment of the change
is told as an error: Python has noted it for a handler, and finds none when it gets to it.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def handled(calls: Mapping[int, Callable[[], object]]) -> Iterator[None]:
    """Call on the running loop what belongs to a signal; afterwards ignore these signals for good.

    On the main thread only.
    """
    loop = asyncio.get_running_loop()

    def handle(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(calls[number])

    for number in calls:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in calls:
            signal.signal(number, lambda *_: None)
