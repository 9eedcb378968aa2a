"""Which workers answer: all are asked each BEAT, and one that never answers again is ended.

A worker's loop makes no call for a share that is known to hang; but a disk may fail, a fault may
loop, and somebody may stop a process. That worker's clients wait; no other shall come to it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from usmbd.protocol.supervisor.children import WorkerChild
from usmbd.protocol.supervisor.hanging import what_hangs
from usmbd.protocol.worker.messages import Ping

log = logging.getLogger("usmbd.conn")

BEAT: Final = 0.5
"""Seconds between two questions, which cost a worker 20 us each."""

SILENT_BEATS: Final = 2
"""Beats without an answer, a second, after which a worker is silent. They are counted, not
measured: when this process itself was stopped, no worker is to blame."""


class Watchdog:
    """Asks the workers of a supervisor."""

    def __init__(
        self,
        workers: Mapping[int, WorkerChild],
        timeout: Callable[[], int],
        silenced: Callable[[WorkerChild], None],
        end: Callable[[WorkerChild], None],
    ) -> None:
        """Watch `workers`; `end` one that is silent for `timeout()` seconds (0: never).

        `silenced` learns of each that does not answer any more.
        """
        self._workers = workers
        self._timeout = timeout
        self._silenced = silenced
        self._end = end

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(BEAT)
            for worker in list(self._workers.values()):
                if worker.ready.is_set():
                    self.beat(worker)

    def beat(self, worker: WorkerChild) -> None:
        """Ask a worker, or note that it has not answered."""
        if not worker.beats:
            worker.send(Ping())
        worker.beats += 1
        silent = worker.beats - 1
        if silent == SILENT_BEATS:
            worker.hangs_in = what_hangs(worker.process.pid)
            log.warning(
                "worker %d does not answer: %s; new clients go to others",
                worker.number, worker.hangs_in, extra={"pid": worker.process.pid},
            )  # fmt: skip
            self._silenced(worker)
        timeout = self._timeout()
        if not timeout or silent < max(timeout / BEAT, SILENT_BEATS) or worker.ending:
            return
        worker.ending = True
        worker.hangs_in = what_hangs(worker.process.pid)
        log.error(
            "worker %d has not answered for %d s and is ended: %s",
            worker.number, timeout, worker.hangs_in, extra={"pid": worker.process.pid},
        )  # fmt: skip
        self._end(worker)

    @staticmethod
    def answered(worker: WorkerChild) -> None:
        """Note that a worker has answered."""
        if worker.silent:
            log.warning("worker %d answers again, after %.1f s", worker.number, silence(worker))
        worker.beats = 0
        worker.hangs_in = ""


def silence(worker: WorkerChild) -> float:
    """Return for how many seconds a worker has not answered; 0 while it does."""
    return max(worker.beats - 1, 0) * BEAT if worker.silent else 0.0
