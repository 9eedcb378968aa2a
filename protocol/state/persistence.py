"""Persistent opens of one worker: when what they are is written down ([MS-SMB2] 3.3.1.10).

    CREATE, LOCK, rename, CLOSE     before they are answered: `kept`
    all else that changes one       soon: `later`

The store says how; its call may take as long as a disk does, so it is always on a thread.
"""

import logging
from typing import Final, Protocol

from usmbd.protocol.effects import Slow, Waiting
from usmbd.protocol.state.store.base import Store
from usmbd.protocol.state.threads import Threads
from usmbd.protocol.wire.status import SmbError

log = logging.getLogger("usmbd.conn")

LANE: Final = "persistent opens"
"""Of the threads: one that waits for the disk is enough, as those that come meanwhile share."""


class Durable(Protocol):
    """What an open has because it survives."""

    persistent: bool


class Persistence:
    """What is written of persistent opens, where any share has such."""

    def __init__(self, store: Store, threads: Threads) -> None:
        """Do nothing until `prepare` is called."""
        self._store = store
        self._threads = threads
        self.ready = False
        """Whether opens may be persistent."""
        self._due: set[bytes] = set()
        self._busy = False

    def prepare(self, wanted: bool) -> None:
        """Follow the configuration: whether any share has persistent opens."""
        if wanted:
            try:
                self._store.prepare_persistent()
            except OSError as error:
                log.error("no open can be persistent: %s", error)
                return
        # What there is goes on being kept where no share wants any more.
        self.ready = wanted or self.ready

    def kept(self, key: bytes, durable: Durable | None) -> Waiting[None]:
        """Wait until the state of a persistent open is written; others wait for nothing.

        SmbError(INSUFFICIENT_RESOURCES) when it cannot be.
        """
        if durable is not None and durable.persistent:
            yield from self.written(key)

    def written(self, key: bytes) -> Waiting[None]:
        """Wait until the state of a file's persistent opens is written; errors as with `kept`."""
        yield Slow(self._store.persist, key, lane=LANE)

    def later(self, key: bytes) -> None:
        """Have the state of a file's persistent opens written soon."""
        if self.ready:
            self._due.add(key)
            self._go_on()

    def _go_on(self) -> None:
        """Write what is due, one batch at a time."""
        if self._due and not self._busy:
            self._busy = True
            keys, self._due = self._due, set()
            self._threads.submit(self._write, (keys,), None, self._written, LANE)

    def _write(self, keys: set[bytes]) -> None:
        for key in keys:
            try:
                self._store.persist(key)
            except SmbError:
                return  # the store has said why; nobody waits for it

    def _written(self, _value: object, error: BaseException | None) -> None:
        """Go on with what came meanwhile."""
        self._busy = False
        if error is not None:
            log.error("persistent opens cannot be kept", exc_info=error)
        self._go_on()
