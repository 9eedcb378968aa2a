"""How a process of the server ends."""

import contextlib
import logging
import os
import sys
from typing import Never


def leave(status: int) -> Never:
    """End this process at once, when all that it does is over and closed.

    The log and the standard streams get what waits for them. What was imported stays as it is: to
    take it apart copies each page that a forked process has in common with the others, 0.1 s of
    CPU for the processes of a server, and 0.8 s on the lab's machines.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
