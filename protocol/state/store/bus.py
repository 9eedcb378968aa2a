"""Messages between workers, over Unix datagram sockets in the state directory.

The store says what is; the bus only tells another worker to look again or to act on its own
sessions. Nothing blocks: what a peer cannot take now waits in a bounded queue, and `flush` sends
it, many messages to a datagram (the kernel queues few datagrams a socket, often 10).

A message to come is a new tagged struct in `Message`. What another worker's client caches is broken
by BreakCaching, sent to the `worker` of the OpenRecord that stands in the way; the waiting open has
called `Store.add_waiter` before, and is woken by WakeFile when the holder's worker has written the
new level with `Store.set_oplock`, or the new state with `Store.change_lease`.
"""

import errno
import logging
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from usmbd.mountd.ipc.peer import CREDENTIALS_SPACE, is_ours, sender_uid

DATAGRAM_MAX: Final = 32_768
# Half of what the smallest default socket buffer (net.core.wmem_default) surely takes.
MESSAGE_MAX: Final = 1_024
# The largest is WakeFile with a FileKey of 271 bytes, but for Changed.
LARGE_MAX: Final = 8_192
# Of FindBelow, with a path below 4,096 bytes, and its answer; of RootOpened, with the same; of
# Changed: names below that and a key for each of 100 folders. In place of a larger one of these
# goes ChangesLost.
QUEUE_MAX: Final = 1_024
# Messages that wait for one peer. Past it wake-ups become one WakeAll, others are refused.
RECEIVE_MAX: Final = 16
# Datagrams read in one call, so that other work of the loop gets its turn.

_log = logging.getLogger("usmbd.ipc")


class WakeFile(msgspec.Struct, tag=True, frozen=True):
    """Locks or opens of the file `key` went away: try again what waits for it."""

    key: bytes


class WakeAll(msgspec.Struct, tag=True, frozen=True):
    """Try again everything that waits: takes the place of too many WakeFile."""


class CloseSession(msgspec.Struct, tag=True, frozen=True):
    """Close a session of the receiver (PreviousSessionId, [MS-SMB2] 3.3.5.5.3).

    The receiver answers the worker `reply_to` by SessionClosed with the same cookie when the
    session's opens are closed, or when it knows no such session.
    """

    session_id: int
    reply_to: int
    cookie: int


class SessionClosed(msgspec.Struct, tag=True, frozen=True):
    """The session of the CloseSession with this cookie is gone."""

    cookie: int


class BreakCaching(msgspec.Struct, tag=True, frozen=True):
    """Break the oplock or lease of an open of the receiver's ([MS-SMB2] 3.3.4.6, 3.3.4.7).

    `left` is the state of caching that may stay, SMB2_LEASE_*; `lease` the ClientGuid and LeaseKey
    of a lease, which may live on by other opens when this one has just been closed.
    """

    key: bytes
    open_id: int
    left: int
    lease: tuple[bytes, bytes] | None


class CloseOpen(msgspec.Struct, tag=True, frozen=True):
    """Close an open of a session of the receiver's ([MS-SMB2] 3.3.5.9.13)."""

    session_id: int
    open_id: int


class MarkAgain(msgspec.Struct, tag=True, frozen=True):
    """FILE_ATTRIBUTE_ARCHIVE was taken away: an open of the receiver's sets it again."""

    session_id: int
    open_id: int


class ForgetOpen(msgspec.Struct, tag=True, frozen=True):
    """An open that waits for its client, and whose time the receiver keeps, is claimed or over."""

    open_id: int


class Changed(msgspec.Struct, tag=True, frozen=True):
    """A worker changed something in a directory: see `notify.change.DirectoryChange`."""

    serial: int
    """Makes two changes of one kind two messages."""
    ancestors: tuple[tuple[bytes, bytes], ...]
    """(key, name) of the directory and those above it; names as bytes, for some are no text."""
    changes: tuple[tuple[int, int, bytes], ...]
    by_kernel: bool


class ChangesLost(msgspec.Struct, tag=True, frozen=True):
    """More was changed than can be told: whoever watches has to list."""


class FindBelow(msgspec.Struct, tag=True, frozen=True):
    """Which files has the receiver open below a directory? Answered by FoundBelow.

    `path` is the directory's, as bytes, `key` its FileKey, `reply_to` the worker that asks.
    """

    path: bytes
    key: bytes
    reply_to: int
    cookie: int


class FoundBelow(msgspec.Struct, tag=True, frozen=True):
    """The files that the FindBelow with this cookie has asked for; `more` than could be told."""

    cookie: int
    keys: tuple[bytes, ...]
    more: bool


class DirectoryDoomed(msgspec.Struct, tag=True, frozen=True):
    """A directory is delete pending: who watches it is answered ([MS-SMB2] 3.3.4.4)."""

    key: bytes


class RootOpened(msgspec.Struct, tag=True, frozen=True):
    """The sender has opened a share's folder that it did not use: look whether it is yours."""

    path: bytes


Message = (
    WakeFile
    | WakeAll
    | CloseSession
    | SessionClosed
    | BreakCaching
    | CloseOpen
    | MarkAgain
    | ForgetOpen
    | Changed
    | ChangesLost
    | DirectoryDoomed
    | FindBelow
    | FoundBelow
    | RootOpened
)

_LARGE = Changed | FindBelow | FoundBelow | RootOpened

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Message]).decode
_NOTHING = _encode([])


class Bus:
    """One worker's socket, and what it could not yet send."""

    def __init__(self, directory: str | os.PathLike[str], worker: int) -> None:
        """Bind `<directory>/worker-N.sock`, in place of one that a dead worker left."""
        self.worker = worker
        self._directory = Path(directory)
        self._path = self._directory / f"worker-{worker}.sock"
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(self._path))
        self._inode = self._path.stat().st_ino
        self._path.chmod(0o600)  # a worker's umask is 0; until now the directory keeps others out
        self._queues: dict[int, dict[Message, None]] = {}  # a dict, as equal messages are one

    def fileno(self) -> int:
        """Return the descriptor that is readable when `receive` has messages."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        """Whether messages wait to be sent: call `flush` again, a few milliseconds later."""
        return bool(self._queues)

    def send(self, worker: int, message: Message) -> bool:
        """Send or queue a message; False when the worker is gone or will not take more.

        ValueError when the message is larger than any should be.
        """
        if isinstance(message, Changed) and len(_encode([message])) > LARGE_MAX:
            message = ChangesLost()
        queue = self._queues.get(worker)
        if queue is None:
            payload = _encode([message])
            if len(payload) > MESSAGE_MAX and not isinstance(message, _LARGE):
                raise ValueError(f"a message of {len(payload)} bytes")
            sent = self._transmit(worker, payload)
            if sent is not None:
                return sent
            queue = self._queues[worker] = {}
        elif WakeAll() in queue and isinstance(message, WakeFile):
            return True
        if len(queue) >= QUEUE_MAX:
            if not isinstance(message, WakeFile | Changed):
                _log.warning("worker %d takes no messages; %r is not sent", worker, message)
                return False
            kind = type(message)
            for one in [queued for queued in queue if isinstance(queued, kind)]:
                del queue[one]
            message = WakeAll() if kind is WakeFile else ChangesLost()
        queue[message] = None
        return True

    def flush(self) -> None:
        """Send what waits, as far as the peers take it now."""
        for worker, queue in list(self._queues.items()):
            while queue:
                batch = _batch(queue)
                sent = self._transmit(worker, _encode(batch))
                if sent is None:
                    break
                if not sent:
                    queue.clear()
                for message in batch:
                    queue.pop(message, None)
            if not queue:
                del self._queues[worker]

    def _transmit(self, worker: int, payload: bytes) -> bool | None:
        """Send a datagram: True sent, False the worker is gone, None it takes no more now."""
        try:
            self._socket.sendto(payload, str(self._directory / f"worker-{worker}.sock"))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                return None
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                return False
            raise
        return True

    def is_there(self, worker: int) -> bool:
        """Tell whether a worker listens, by an empty list of messages."""
        return self._transmit(worker, _NOTHING) is not False

    def receive(self) -> list[Message]:
        """Return the messages that have arrived, perhaps none; broken datagrams are dropped."""
        messages: list[Message] = []
        for _ in range(RECEIVE_MAX):
            try:
                datagram, sender, _, _ = self._socket.recvmsg(DATAGRAM_MAX, CREDENTIALS_SPACE)
            except BlockingIOError:
                break
            if not is_ours(sender_uid(sender)):
                _log.error("a datagram of uid %s is dropped", sender_uid(sender))
                continue
            try:
                messages += _decode(datagram)
            except msgspec.MsgspecError as error:
                _log.warning("a datagram of %d bytes is dropped: %s", len(datagram), error)
        return messages

    def close(self) -> None:
        """Close the socket and remove its name, unless that is another's by now.

        What waits to be sent is lost. An orphan may end when its successor has started.
        """
        self._queues.clear()
        self._socket.close()
        with suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def _batch(queue: Iterable[Message]) -> list[Message]:
    """Return the first messages, as many as a datagram surely holds."""
    batch: list[Message] = []
    room = DATAGRAM_MAX
    for message in queue:
        room -= LARGE_MAX if isinstance(message, _LARGE) else MESSAGE_MAX
        if room < 0:
            break
        batch.append(message)
    return batch
