"""Persistent opens of one worker: when what they are is written down ([MS-SMB2] 3.3.1.10).

    CREATE, LOCK, rename, CLOSE     before they are answered: `kept`, `tried`
    all else that changes one       soon: `later`
    what could not be written       tried again until it is

The store says how; its call may take as long as a disk does, so it is always on a thread.
"""

import logging
from itertools import islice
from typing import Final, Protocol

from usmbd.protocol.effects import Slow, Waiting
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.store.base import Store
from usmbd.protocol.state.threads import Threads
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.conn")

LANE: Final = "persistent opens"
"""Of the threads: one that waits for the disk is enough, as those that come meanwhile share."""

AT_ONCE: Final = 64
"""Files of one write where nobody waits for it: 4 ms of the interpreter, and then the disk's."""

RETRY_SECONDS: Final = 5.0
"""Until what could not be written is tried again: a disk that is full stays so for a while."""

MAX_RETRIES: Final = 16384
"""Files that wait for that, of some 100 bytes each: what a broken disk makes this worker remember.
Of others a restart finds what was written last, and the clients' time-outs end it."""


class Durable(Protocol):
    """What an open has because it survives."""

    persistent: bool


class Persistence:
    """What is written of persistent opens, where any share has such."""

    def __init__(self, store: Store, threads: Threads, clock: Clock) -> None:
        """Do nothing until `prepare` is called."""
        self._store = store
        self._threads = threads
        self._clock = clock
        self.ready = False
        """Whether opens may be persistent."""
        self._due: set[bytes] = set()
        self._failed: set[bytes] = set()
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
        try:
            yield Slow(self._store.persist, key, lane=LANE)
        except SmbError as error:
            if is_full(error):
                self._again({key})
            raise

    def tried(self, key: bytes) -> Waiting[None]:
        """Do so once for what is done and cannot be undone: where there is no room now, later."""
        try:
            yield from self.written(key)
        except SmbError as error:
            if not is_full(error):
                raise

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

    def _write(self, keys: set[bytes]) -> set[bytes]:
        """Write what can be; return what cannot."""
        failed = set()
        rest = iter(keys)
        while some := list(islice(rest, AT_ONCE)):
            try:
                self._store.persist(*some)
            except SmbError:  # the store has said why; nobody waits for it
                failed |= self._write_each(some)
        return failed

    def _write_each(self, keys: list[bytes]) -> set[bytes]:
        """Do so one by one: a file that needs room leaves those unwritten that need none."""
        failed = set()
        for key in keys:
            try:
                self._store.persist(key)
            except SmbError:
                failed.add(key)
        return failed

    def _written(self, failed: object, error: BaseException | None) -> None:
        """Go on with what came meanwhile, and a little later with what failed."""
        self._busy = False
        if error is not None:
            log.error("persistent opens cannot be kept", exc_info=error)
        elif failed:
            assert isinstance(failed, set)
            self._again(failed)
        self._go_on()

    def _again(self, keys: set[bytes]) -> None:
        """Have files tried again, as many as may wait for it."""
        if not self._failed:
            self._clock.call_later(RETRY_SECONDS, self._retry)
        self._failed.update(islice(keys, max(MAX_RETRIES - len(self._failed), 0)))

    def _retry(self) -> None:
        """Try again what could not be written."""
        self._due |= self._failed
        self._failed = set()
        self._go_on()


def is_full(error: SmbError) -> bool:
    """Tell whether an error is that of `Store.persist`: others say that the request is over."""
    return error.status is NtStatus.INSUFFICIENT_RESOURCES
