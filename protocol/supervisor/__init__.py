"""`usmbd`: binds the port, starts and watches mountd and the workers, hands clients to workers."""

import gc
from typing import Never


def main() -> Never:
    """Run the command `usmbd`."""
    # Nothing of what is imported is garbage, and to look for some takes a fourth of the time. The
    # fork server's `import_all` has the collector begin again.
    gc.disable()
    from usmbd.protocol.supervisor.command import command

    command()
