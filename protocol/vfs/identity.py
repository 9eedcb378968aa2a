"""The user on whose behalf a thread acts: the kernel checks every file operation against it.

Each thread of a worker carries its own file system identity; the raw system calls cost 6 us
together, so `become` does nothing when the thread already has it. Without root there is
one identity, that of the user who started the server, and nothing ever changes.

The thread that drives an RDMA device cannot do so: the kernel refuses it the device for good once
its credentials are others than those with which it opened it. It is pinned before, and not to root
but to nobody: what is called there by mistake gets a stranger's rights, by the kernel's own
check, and what asks for another identity an exception. Calls for users go to other threads.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
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

    @property
    def ids(self) -> tuple[int, ...]:
        """All of it as one row of numbers."""
        return (self.uid, self.gid, *self.groups)


NOBODY = Identity(65534, 65534)
"""Whom a pinned thread acts as: without rights, and without root's share of a full disk, which ext4
keeps for uid 0 whatever its capabilities."""


class IdentityNeededError(RuntimeError):
    """A pinned thread was to act as somebody else: the call belongs on another thread."""


class _Current(threading.local):
    """The identity that this thread has now; None is the process's own."""

    def __init__(self) -> None:
        """Ask the kernel: a thread begins as whoever started it."""
        self.pinned = False
        self.identity: Identity | None = None
        if _is_root:
            found = Identity(*kernel.thread_identity(), tuple(os.getgroups()))
            self.identity = None if found == _process else found


_is_root = os.geteuid() == 0
_process = Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()))
_current = _Current()


def become(identity: Identity | None) -> None:
    """Act as `identity` in this thread from now on; None is the process's own.

    OSError EPERM; IdentityNeededError in a pinned thread, which stays what it is.
    """
    current = _current.identity
    if identity is current or not _is_root or identity == current:
        return
    if _current.pinned:
        raise IdentityNeededError(f"a pinned thread cannot become {identity or _process}")
    wanted = identity or _process
    try:
        kernel.set_thread_identity(wanted.uid, wanted.gid, wanted.groups)
    except OSError:
        # Half changed is worse than not: back to what the process is, and let the call fail.
        kernel.set_thread_identity(_process.uid, _process.gid, _process.groups)
        _current.identity = None
        raise
    _current.identity = identity


def pin() -> bool:
    """Make this thread NOBODY for good; False without root, where it has its one identity anyway.

    Call it before the thread opens an RDMA device, and after all that needs the process's rights.
    Root's capabilities for files (CAP_FSETID is one) go with the uid. OSError where a container
    does not know the uid; the thread is then as it was.
    """
    if not _is_root:
        return False
    obey_quotas()
    become(NOBODY)
    _current.pinned = True
    return True


def obey_quotas() -> None:
    """Let quotas hold for this thread and those that it starts, whomever they act as.

    CAP_SYS_RESOURCE, which exempts from them, stays when a thread becomes a user.
    """
    if _is_root:
        kernel.drop_capability(kernel.CAP_SYS_RESOURCE)


def call_as_process(function: Callable[..., _Result], *args: object) -> _Result:
    """Call with the rights of the process; from a pinned thread on another one, 0.1 ms more.

    For the seldom calls by a path of the server's own: its sockets.
    """
    return call_as(None, function, *args)


def call_as(identity: Identity | None, function: Callable[..., _Result], *args: object) -> _Result:
    """Call as somebody, who this thread then is; from a pinned thread on another one, 0.1 ms more.

    For calls that answer at once.
    """
    if not _current.pinned:
        become(identity)
        return function(*args)
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            become(identity)
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="usmbd-process", daemon=True).start()
    return future.result()


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
