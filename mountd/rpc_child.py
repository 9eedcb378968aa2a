"""The RPC process' first module: ties its life to mountd's and hands over to `rpc.service`.

mountd holds the other end of standard input, whose end means mountd's. Until the service reads
there, while it imports, a signal does (the kernel forgets it at the change to another user).
"""

import logging
import os
import signal
import sys

from usmbd.mountd.confine.kernel import set_death_signal


def main() -> int:
    """Run the service with this process' arguments; return its exit code."""
    set_death_signal(signal.SIGTERM)
    # Imported here: whoever parses DCE/RPC needs modules that take seconds to import.
    from usmbd.mountd.rpc import service

    status = service.main()
    # What was imported takes a busy machine seconds to take apart, for which mountd would wait.
    logging.shutdown()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
