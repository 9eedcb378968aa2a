"""The user on whose behalf a thread acts: the kernel checks every file operation against it.

Each thread of a worker carries its own file system identity; the raw system calls cost 6 us
together, so `become` does nothing when the thread already has it. Without root there is
one identity, that of the user who started the server, and nothing ever changes.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from usmbd.protocol.vfs import kernel

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as the kernel knows one: uid, primary gid, supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class _Current(threading.local):
    """The identity that this thread has now; None is the process's own."""

    identity: Identity | None = None


_current = _Current()
_is_root = os.geteuid() == 0
_process = Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def become(identity: Identity | None) -> None:
    """Act as `identity` in this thread from now on; None is the process's own; OSError EPERM."""
    current = _current.identity
    if identity is current or not _is_root or identity == current:
        return
    wanted = identity or _process
    try:
        kernel.set_thread_identity(wanted.uid, wanted.gid, wanted.groups)
    except OSError:
        # Half changed is worse than not: back to what the process is, and let the call fail.
        kernel.set_thread_identity(_process.uid, _process.gid, _process.groups)
        _current.identity = None
        raise
    _current.identity = identity


def current_uid() -> int:
    """Return the uid that the kernel checks this thread's file operations against."""
    return (_current.identity or _process).uid


@contextmanager
def as_process() -> Iterator[bool]:
    """Act as the process itself for a few calls whose permission is checked by other means.

    Yields whether that gives more rights than the thread had.
    """
    before = _current.identity
    become(None)
    try:
        yield _is_root and before is not None and before.uid != 0
    finally:
        become(before)


def retry_as_process(call: Callable[[], _Result]) -> _Result:
    """Make a call whose permission is checked by other means, again as the process if refused."""
    try:
        return call()
    except PermissionError:
        with as_process() as privileged:
            if not privileged:
                raise
            return call()
