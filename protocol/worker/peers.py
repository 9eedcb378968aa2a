"""The other workers, reached by the bus of the state store."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from usmbd.protocol.state.below import NOTHING, Below, tell
from usmbd.protocol.state.caching.leases import LeaseName
from usmbd.protocol.state.notify.change import Change, DirectoryChange
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.bus import (
    BreakCaching,
    Bus,
    Changed,
    ChangesLost,
    CloseOpen,
    CloseSession,
    DirectoryDoomed,
    FindBelow,
    ForgetOpen,
    FoundBelow,
    MarkAgain,
    Message,
    RootOpened,
    SessionClosed,
    WakeAll,
    WakeFile,
)
from usmbd.protocol.vfs.identity import call_as_process
from usmbd.transport.loop import EventLoop

FLUSH_SECONDS = 0.002
"""Until queued messages are tried again."""

ANSWER_SECONDS = 5.0
"""A worker that has not answered by then is not waited for any longer."""

Gone = Callable[[], None]
Found = Callable[[Below], None]


@dataclass(slots=True)
class _Question:
    """What is open below a directory, and how many workers have not told."""

    found: Found
    left: int
    below: Below = NOTHING


class WorkerPeers:
    """Sends and takes the messages between workers."""

    def __init__(self, directory: Path, worker: int, loop: EventLoop) -> None:
        """Open this worker's socket."""
        self._bus = Bus(directory, worker)
        self._loop = loop
        self._cookies = itertools.count(1)
        self._waiting: dict[int, Gone] = {}
        self._asking: dict[int, _Question] = {}
        self._flushing = False  # a flush is due
        self._server: Server | None = None

    def serve(self, server: Server) -> None:
        """Begin to take messages."""
        self._server = server
        self._loop.add_reader(self._bus.fileno(), self._readable)

    def close(self) -> None:
        """End."""
        self._loop.remove_reader(self._bus.fileno())
        call_as_process(self._bus.close)

    def wake(self, worker: int, key: bytes) -> None:
        """Tell `worker` that an open or a lock of the file `key` went away."""
        self._send(worker, WakeFile(key))

    def break_caching(
        self, worker: int, key: bytes, open_id: int, left: int, lease: LeaseName | None
    ) -> None:
        """Have `worker` break the oplock or lease of one of its opens, so that `left` may stay."""
        self._send(worker, BreakCaching(key, open_id, left, lease))

    def close_open(self, worker: int, session_id: int, open_id: int) -> None:
        """Have `worker` close an open of one of its sessions."""
        self._send(worker, CloseOpen(session_id, open_id))

    def mark_again(self, worker: int, session_id: int, open_id: int) -> None:
        """Have an open of `worker` mark its file as changed with its next change.

        Not where messages wait already: this is no reason to leave out one that must come.
        """
        if not self._bus.pending:
            self._send(worker, MarkAgain(session_id, open_id))

    def forget_open(self, worker: int, open_id: int) -> None:
        """Tell `worker` that an open whose time it keeps has been claimed or has ended."""
        self._send(worker, ForgetOpen(open_id))

    def is_there(self, worker: int) -> bool:
        """Tell whether a worker runs; False also until its successor does."""
        return call_as_process(self._bus.is_there, worker)

    def close_session(self, worker: int, session_id: int, gone: Gone) -> None:
        """Have `worker` close a session; `gone()` follows, also when it does not answer."""
        cookie = next(self._cookies)
        self._waiting[cookie] = gone
        assert self._server is not None
        if not self._send(worker, CloseSession(session_id, self._server.worker, cookie)):
            self._closed(cookie)
        else:
            self._loop.call_later(ANSWER_SECONDS, self._closed, cookie)

    def find_below(self, path: str, key: bytes, found: Found) -> None:
        """Ask all which files they have open below a directory; none who does not answer."""
        assert self._server is not None
        cookie, own = next(self._cookies), self._server.worker
        question = FindBelow(os.fsencode(path), key, own, cookie)
        asked = sum(self._send(other, question) for other in self._others())
        if not asked:
            found(NOTHING)
            return
        self._asking[cookie] = _Question(found, asked)
        self._loop.call_later(ANSWER_SECONDS, self._found, cookie, NOTHING, True)

    def changed(self, worker: int, change: DirectoryChange) -> None:
        """Tell `worker`, some of whose clients watch directories, of a change."""
        message = Changed(
            next(self._cookies),
            tuple((key, os.fsencode(name)) for key, name in change.ancestors),
            tuple((c.action, c.matches, os.fsencode(c.name)) for c in change.changes),
            change.by_kernel,
        )
        self._send(worker, message)

    def doomed(self, worker: int, key: bytes) -> None:
        """Tell `worker` that a directory is going to be deleted."""
        self._send(worker, DirectoryDoomed(key))

    def root_opened(self, path: str) -> None:
        """Tell all that a share's folder was opened here that was not in use."""
        for other in self._others():
            self._send(other, RootOpened(os.fsencode(path)))

    def _others(self) -> list[int]:
        """Return the numbers of all workers but this one."""
        assert self._server is not None
        own = self._server.worker
        return [other for other in range(self._server.config.workers) if other != own]

    def _send(self, worker: int, message: Message) -> bool:
        """Send a message; False when the worker is gone."""
        sent = call_as_process(self._bus.send, worker, message)
        self._flush_later()
        return sent

    def _flush_later(self) -> None:
        """Have `_flush` called, once, if messages had to wait."""
        if self._bus.pending and not self._flushing:
            self._flushing = True
            self._loop.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        """Send what had to wait."""
        self._flushing = False
        call_as_process(self._bus.flush)
        self._flush_later()

    def _closed(self, cookie: int) -> None:
        """Go on: the session that was to be closed is."""
        gone = self._waiting.pop(cookie, None)
        if gone is not None:
            gone()

    def _found(self, cookie: int, below: Below, enough: bool = False) -> None:
        """Note what a worker has open below a directory; go on when all have told or it is late."""
        question = self._asking.get(cookie)
        if question is None:
            return
        keys, more = question.below
        question.below = Below(keys + below.keys, more or below.more)
        question.left -= 1
        if enough or not question.left:
            del self._asking[cookie]
            question.found(question.below)

    def _answer(self, message: FindBelow) -> None:
        """Tell another worker what is open here below a directory."""

        def found(below: Below) -> None:
            self._send(message.reply_to, FoundBelow(message.cookie, *below))

        assert self._server is not None
        tell(self._server, os.fsdecode(message.path), message.key, found)

    def _readable(self) -> None:
        """Act on what the other workers say."""
        server = self._server
        assert server is not None
        for message in self._bus.receive():
            if isinstance(message, WakeFile):
                server.wake(message.key)
            elif isinstance(message, WakeAll):
                for key in list(server.waiters):
                    server.wake(key)
            elif isinstance(message, BreakCaching):
                server.caching.break_own(message.open_id, message.left, message.lease)
            elif isinstance(message, CloseOpen):
                server.close_own_open(message.session_id, message.open_id)
            elif isinstance(message, MarkAgain):
                server.mark_again(message.session_id, message.open_id)
            elif isinstance(message, ForgetOpen):
                server.durable.forget(message.open_id)
            elif isinstance(message, CloseSession):
                closed = SessionClosed(message.cookie)
                server.end_session(
                    message.session_id, partial(self._send, message.reply_to, closed)
                )
            elif isinstance(message, SessionClosed):
                self._closed(message.cookie)
            elif isinstance(message, DirectoryDoomed):
                server.notifier.is_doomed(message.key)
            elif isinstance(message, FindBelow):
                self._answer(message)
            elif isinstance(message, FoundBelow):
                self._found(message.cookie, Below(message.keys, message.more))
            elif isinstance(message, RootOpened):
                server.roots.opened_elsewhere(os.fsdecode(message.path))
            elif isinstance(message, ChangesLost):
                server.notifier.all_lost()
            else:
                server.notifier.receive(_directory_change(message))


def _directory_change(message: Changed) -> DirectoryChange:
    """Read a change that another worker tells."""
    return DirectoryChange(
        tuple((key, os.fsdecode(name)) for key, name in message.ancestors),
        tuple(
            Change(action, matches, os.fsdecode(name)) for action, matches, name in message.changes
        ),
        message.by_kernel,
    )
