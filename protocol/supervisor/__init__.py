"""`usmbd`: binds the port, starts and watches mountd and the workers, hands clients to workers."""

import gc
import signal
from typing import Never


def main() -> Never:
    """Run the command `usmbd`."""
    # ^C ends it at once, and without a traceback, until the event loop has taken over the signal:
    # the imports alone take seconds on a busy machine. Its children end with it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Nothing of what is imported is garbage, and to look for some takes a fourth of the time. The
    # fork server's `import_all` has the collector begin again.
    gc.disable()
    from usmbd.protocol.supervisor.command import command

    command()
