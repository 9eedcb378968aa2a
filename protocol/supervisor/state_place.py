"""Whether the state directory is fit for what all processes share: the store, read by mmap(2)."""

import contextlib
import logging
import os
from pathlib import Path

from usmbd.protocol.vfs.file_systems import REMOTE, magic

log = logging.getLogger("usmbd.conn")


def look(state: Path) -> None:
    """Warn of a file system that another machine or process answers for, as a home may be on.

    Workers wait for it at each open, and its end takes all of them.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(state, os.O_PATH | os.O_CLOEXEC)
        try:
            is_remote = magic(descriptor) in REMOTE
        finally:
            os.close(descriptor)
        if is_remote:
            log.warning(
                "the state directory %s is on a file system of a network or of another program: all"
                " clients wait when that does; set `state directory`, or XDG_RUNTIME_DIR",
                state,
            )
