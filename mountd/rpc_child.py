"""The RPC process' first module: ties its life to mountd's and hands over to `rpc.service`.

mountd holds the other end of standard input, whose end means mountd's. Until the service reads
there, while it imports, a signal does (the kernel forgets it at the change to another user).
"""

import signal
from typing import Never

from usmbd.mountd.confine.kernel import set_death_signal
from usmbd.mountd.ipc.ending import leave


def main(arguments: list[str] | None = None) -> Never:
    """Run the service with these arguments, or this process' own, and end."""
    set_death_signal(signal.SIGTERM)
    # Imported here: whoever parses DCE/RPC needs modules that take seconds to import.
    from usmbd.mountd.rpc import service

    leave(service.main(arguments))


if __name__ == "__main__":
    main()
