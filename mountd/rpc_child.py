"""The RPC process' first module: ties its life to mountd's and hands over to `rpc.service`.

mountd holds the other end of standard input. Its end of file is the one sign of mountd's death
that survives the change to another user (the kernel clears PR_SET_PDEATHSIG there).
"""

import os
import signal
import sys
import threading


def end_with_mountd() -> None:
    """Wait for the end of standard input, then end this process as SIGTERM does."""
    while os.read(0, 1):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Run the service with this process' arguments; return its exit code."""
    # Until the service listens to it, a reload has nothing to do: the configuration is read later.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=end_with_mountd, daemon=True).start()
    # Imported here: whoever parses DCE/RPC needs modules that take seconds to import.
    from usmbd.mountd.rpc import service

    return service.main()


if __name__ == "__main__":
    sys.exit(main())
