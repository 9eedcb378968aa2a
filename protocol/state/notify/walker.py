"""Takes the slices of walks, on the loop or on threads, and of what undoes them."""

import logging
from collections.abc import Callable
from functools import partial

from usmbd.protocol.state.notify.directories import Directories, Directory
from usmbd.protocol.state.notify.walk import AT_ONCE, Walk
from usmbd.protocol.state.notify.watch import Watch
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.threads import Threads
from usmbd.protocol.state.turns import Loop, in_turns
from usmbd.protocol.vfs.identity import become
from usmbd.protocol.vfs.new_descriptor import LOOK_SECONDS
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.vfs")


class Walker:
    """The walks of a worker that are under way."""

    def __init__(
        self,
        host: Loop,
        threads: Threads,
        directories: Directories,
        end: Callable[[Watch, NtStatus], None],
        clock: Clock,
    ) -> None:
        """`end` ends a watch that does not get what it needs."""
        self._host = host
        self._threads = threads
        self._directories = directories
        self._end = end
        self._clock = clock
        self.fresh: list[Directory] = []
        """Those whose entries were told by reading them, until the kernel's queue is empty."""

    def start(self, walk: Walk, *, first: bool = False) -> None:
        """Take a slice of a walk, on the loop or on a thread; then the next one."""
        watch = walk.watch
        if not walk.places:
            walk.places = self._take(watch)
        if not walk.places and not watch.ended:
            self._failed(walk, NtStatus.INSUFFICIENT_RESOURCES)
            return
        speed = watch.tree.speed
        if self._host.pinned or not speed.fast():
            ended = partial(self._walked, walk)
            lane = Walk, speed
            self._threads.submit(_slice, (walk,), watch.tree.identity, ended, lane, 1)
            return
        over = partial(_small, [AT_ONCE * 4], self._host.turns.over) if first else None
        try:
            become(watch.tree.identity)
            walk.slice(over or self._host.turns.over)
        except Exception as error:
            self._walked(walk, None, error)
        else:
            self._walked(walk, None, None)

    def _walked(self, walk: Walk, _value: object, error: BaseException | None) -> None:
        """Go on after a slice."""
        watch = walk.watch
        for directory, change in walk.found:
            self.fresh.append(directory)
            path = directory.below(watch.directory)
            if path is not None:
                watch.tell(path, (change,))
        walk.found.clear()
        if error is not None:
            log.info("a folder cannot be watched: %s", error, extra={"path": watch.node.path})
            self._failed(walk, NtStatus.INSUFFICIENT_RESOURCES)
        elif walk.done or watch.ended:
            self._end_walk(walk)
            if walk.missed:
                watch.lose()
        elif walk.waits:
            self._clock.call_later(LOOK_SECONDS, partial(self.start, walk))
        else:
            self._host.turns.later(watch, partial(self.start, walk))

    def _take(self, watch: Watch) -> int:
        """Take places for some directories, or for one."""
        for count in (AT_ONCE, 1):
            try:
                watch.directories.take(count)
            except SmbError:
                continue
            return count
        return 0

    def _end_walk(self, walk: Walk) -> None:
        """Give back what a walk did not need."""
        walk.close()
        watch = walk.watch
        if not watch.ended:
            watch.directories.give_back(walk.places)
        else:
            self.give_up(watch.directory, watch)

    def _failed(self, walk: Walk, status: NtStatus) -> None:
        """End a watch that does not get what it needs."""
        self._end(walk.watch, status)
        self._end_walk(walk)

    def give_up(self, directory: Directory | None, *watches: Watch) -> None:
        """Take a directory and what is below from watches, in slices."""
        if directory is not None:
            in_turns(self._host.turns, self, self._directories.give_up(directory, watches))


def _slice(walk: Walk) -> None:
    """Take a slice on a thread: as many directories as there are places for."""
    walk.slice(lambda: False)


def _small(left: list[int], over: Callable[[], bool]) -> bool:
    """Tell whether a first slice is over: not as long as it is small."""
    left[0] -= 1
    return left[0] < 0 and over()
