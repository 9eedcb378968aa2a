"""Another user of this machine: what he does is done in a process of his own."""

import os
import traceback
from collections.abc import Callable

UID = 65534


def as_stranger(action: Callable[[], object]) -> None:
    """Run `action` as a user who owns nothing; AssertionError when it raises (see its output)."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(UID, UID, UID)
            os.setresuid(UID, UID, UID)
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
