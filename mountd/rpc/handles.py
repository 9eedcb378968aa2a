"""Context handles: what a client holds open on a pipe (C706 14.2.16.6, [MS-RPCE] 3.3.1.4)."""

import os
from typing import TypeVar

from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.pdu import Fault

T = TypeVar("T")

MAX_HANDLES = 1024
"""Handles of one pipe: tools hold three or four, and each takes some hundred bytes."""

NO_HANDLE = bytes(20)
"""What a closed handle becomes."""


class Handles:
    """The handles of one pipe; they end with it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[bytes, object] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, what: object) -> bytes:
        """Return a new handle; CallError(REMOTE_NO_MEMORY) when there are too many."""
        if len(self._open) >= MAX_HANDLES:
            raise CallError(Fault.REMOTE_NO_MEMORY)
        handle = bytes(4) + os.urandom(16)
        self._open[handle] = what
        return handle

    def get(self, handle: bytes, kind: type[T]) -> T:
        """Return what a handle stands for; CallError(CONTEXT_MISMATCH) when that is no `kind`."""
        found = self._open.get(handle)
        if found is None or not isinstance(found, kind):
            raise CallError(Fault.CONTEXT_MISMATCH)
        return found

    def all(self, kind: type[T]) -> list[T]:
        """Return all that is open of a kind."""
        return [each for each in self._open.values() if isinstance(each, kind)]

    def close(self, handle: bytes) -> bytes:
        """Forget a handle; CallError(CONTEXT_MISMATCH) when there is none."""
        if self._open.pop(handle, None) is None:
            raise CallError(Fault.CONTEXT_MISMATCH)
        return NO_HANDLE
