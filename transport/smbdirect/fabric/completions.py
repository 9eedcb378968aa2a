"""The completion queue of a fabric's queue pair, with an eventfd as its channel."""

import os
from collections import deque
from contextlib import suppress

from usmbd.transport.smbdirect.provider import Completion

_Entry = tuple[Completion, int, int]
"""A completion, and how many send and receive slots are free when it has been polled."""


class FabricCompletions:
    """Completions in order, the slots that they keep busy, and those that are withheld."""

    def __init__(self) -> None:
        """Begin empty, telling nobody."""
        self.sends_used = 0
        self.receives_used = 0
        self._unsignaled = 0
        self._ready: deque[_Entry] = deque()
        self._held: deque[_Entry] | None = None
        self._armed = False
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the eventfd."""
        return self._event

    def arm(self) -> None:
        """Take the event, and ask for one when the next completion comes."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)
        self._armed = True

    def poll(self, limit: int) -> list[Completion]:
        """Return up to `limit` completions; each frees its slots."""
        completions = []
        for _ in range(min(limit, len(self._ready))):
            completion, sends, receives = self._ready.popleft()
            self.sends_used -= sends
            self.receives_used -= receives
            completions.append(completion)
        return completions

    def skip_send(self) -> None:
        """Count a send that succeeded unsignaled: the next completion frees its slot."""
        self._unsignaled += 1

    def add_send(self, completion: Completion) -> None:
        """Add the completion of something of the send queue."""
        self._add((completion, 1 + self._unsignaled, 0))
        self._unsignaled = 0

    def add_receive(self, completion: Completion) -> None:
        """Add the completion of a receive."""
        self._add((completion, 0, 1))

    def withhold(self) -> None:
        """Keep what comes back until `release`."""
        if self._held is None:
            self._held = deque()

    def release(self, limit: int | None = None) -> None:
        """Hand out what was withheld; with `limit` so many, and go on withholding."""
        held = self._held or deque()
        for _ in range(len(held) if limit is None else min(limit, len(held))):
            self._deliver(held.popleft())
        if limit is None:
            self._held = None

    def close(self) -> None:
        """Drop everything, and close the eventfd."""
        self._ready.clear()
        self._held = None
        os.close(self._event)

    def _add(self, entry: _Entry) -> None:
        if self._held is not None:
            self._held.append(entry)
        else:
            self._deliver(entry)

    def _deliver(self, entry: _Entry) -> None:
        self._ready.append(entry)
        if self._armed:
            self._armed = False
            os.eventfd_write(self._event, 1)
