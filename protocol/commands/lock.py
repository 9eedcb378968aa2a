"""SMB2 LOCK ([MS-SMB2] 3.3.5.14)."""

from collections.abc import Callable
from functools import partial
from types import GeneratorType

from usmbd.protocol.commands.request import Answer, Handling, Request
from usmbd.protocol.effects import Resume, Wait
from usmbd.protocol.state import one_file
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import SessionState
from usmbd.protocol.state.store.records import LOCK_SEQUENCES, LockRange, LockSequence
from usmbd.protocol.wire.access import (
    FILE_APPEND_DATA,
    FILE_EXECUTE,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK,
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY,
    SMB2_LOCKFLAG_SHARED_LOCK,
    SMB2_LOCKFLAG_UNLOCK,
    LockElement,
    LockRequest,
    LockResponse,
    parse_locks,
)
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300, SMB2_GLOBAL_CAP_MULTI_CHANNEL
from usmbd.protocol.wire.status import NtStatus, SmbError

MAXIMUM_LOCKS = 65536
"""Ranges that one open may hold; a client that wants more gets INSUFFICIENT_RESOURCES."""

LOOK_SECONDS = 0.1
"""The kernel does not say when a local program has unlocked, but to a thread that waits; smbd looks
once a second or more often."""

_RESPONSE = LockResponse().pack()
_ONE_KIND = {
    SMB2_LOCKFLAG_SHARED_LOCK: False,
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK: True,
}

MAX_RANGES = 512
"""Ranges of one request; more are beyond what the store compares for one. Linux sends 170."""


def lock(request: Request) -> Answer | Handling:
    """Lock or unlock ranges of a file; waits for the first range if the client wants to wait."""
    body = parse_body(LockRequest, request.message)
    if body.lock_count > MAX_RANGES:  # before 65,535 of them are read for nothing
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
    elements = parse_locks(request.message, body)
    open_ = request.open
    if open_.pipe is not None:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    if open_.node.is_directory and open_.stream is None:  # [MS-FSA] 2.1.5.8, 2.1.5.9
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if _has_sequence(request.connection, open_, body):
        return _in_sequence(request, body, elements)
    return _perform(request, elements)


def _perform(
    request: Request, elements: list[LockElement], sequence: LockSequence | None = None
) -> Answer | Handling:
    """Unlock or lock, as the first element says; `sequence` is for the store to keep."""
    if elements[0].flags & SMB2_LOCKFLAG_UNLOCK:
        durable = request.open.durable
        if durable is not None and durable.persistent:
            return _unlock_persistently(request, elements, sequence)
        return _unlock(request, elements, sequence)
    if request.session.state is SessionState.EXPIRED:
        # [MS-SMB2] 3.3.5.2.9 lets LOCK go on; Windows and Samba let what is locked be unlocked.
        raise SmbError(NtStatus.NETWORK_SESSION_EXPIRED)
    return _lock(request, elements, sequence)


def _has_sequence(connection: Connection, open_: Open, body: LockRequest) -> bool:
    """Tell whether the request may be a replay ([MS-SMB2] 3.3.5.14).

    Where a session can have several channels, or an open several connections one after the other,
    so that an answer may be lost with one of them.
    """
    return 1 <= body.lock_sequence_index <= LOCK_SEQUENCES and (
        open_.durable is not None
        or (
            connection.dialect >= SMB2_DIALECT_300
            and bool(connection.server_capabilities & SMB2_GLOBAL_CAP_MULTI_CHANNEL)
        )
    )


def _in_sequence(request: Request, body: LockRequest, elements: list[LockElement]) -> Handling:
    """Do what is asked unless the open's sequence says that it is done ([MS-SMB2] 3.3.5.14).

    What is under way, or has failed, is not done.
    """
    done, index = request.open.lock_sequence, body.lock_sequence_index
    if done.get(index) == body.lock_sequence_number:
        return _RESPONSE
    done.pop(index, None)
    sequence = LockSequence(index, body.lock_sequence_number)
    answer = _perform(request, elements, sequence if request.open.durable is not None else None)
    if isinstance(answer, GeneratorType):
        answer = yield from answer
    done[index] = body.lock_sequence_number
    return answer  # type: ignore[return-value]


def _unlock(request: Request, elements: list[LockElement], sequence: LockSequence | None) -> Answer:
    """Unlock ranges in order, until one is not locked ([MS-SMB2] 3.3.5.14.1)."""
    open_, server = request.open, request.connection.server
    failure = None
    ranges = []
    for element in elements:
        if element.flags != SMB2_LOCKFLAG_UNLOCK:
            failure = NtStatus.INVALID_PARAMETER
            break
        ranges.append(LockRange(element.offset, element.length))
    if open_.local_locks is not None:
        open_.local_locks.give_up(ranges)
    kept = sequence if failure is None else None
    result = server.store.unlock(open_.key, open_.persistent_id, ranges, kept)
    if open_.lock_place is not None:
        open_.lock_place.give_back(result.unlocked)
    if result.waiters:
        server.wake_workers(open_.key, result.waiters)
    if result.unlocked < len(ranges):
        failure = NtStatus.RANGE_NOT_LOCKED
    if failure is not None:
        raise SmbError(failure)
    return _RESPONSE


def _unlock_persistently(
    request: Request, elements: list[LockElement], sequence: LockSequence | None
) -> Handling:
    """Unlock ranges of a persistent open, also those before one that is not locked."""
    try:
        return _unlock(request, elements, sequence)
    finally:
        yield from request.connection.server.persistence.tried(request.open.key)


def _lock(request: Request, elements: list[LockElement], sequence: LockSequence | None) -> Handling:
    """Take all ranges or none ([MS-SMB2] 3.3.5.14.2)."""
    open_, server = request.open, request.connection.server
    wait = not elements[0].flags & SMB2_LOCKFLAG_FAIL_IMMEDIATELY
    if len(elements) > 1 and not all(e.flags & SMB2_LOCKFLAG_FAIL_IMMEDIATELY for e in elements):
        # Several ranges at once cannot wait ([MS-SMB2] 3.3.5.14.2).
        raise SmbError(NtStatus.INVALID_PARAMETER)
    ranges = [_range(element) for element in elements]
    if open_.lock_count + len(ranges) > MAXIMUM_LOCKS:
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
    # Who may only look at a file does not keep others from it.
    open_.require(FILE_READ_DATA | FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_EXECUTE)
    session, network = request.session, request.connection.network
    place = one_file.place_for_locks(server, session, network, open_)
    place.take(len(ranges))
    try:
        lock, open_id = server.store.lock, open_.persistent_id
        # What the kernel may refuse after the store is not done yet.
        kept = sequence if open_.local_locks is None else None
        while True:
            looks = False
            if lock(open_.key, open_id, ranges, wait, kept) is None:
                if open_.local_locks is None or _take_locally(server, open_, ranges):
                    break
                looks = True
            if not wait:
                raise SmbError(NtStatus.LOCK_NOT_GRANTED)
            yield Wait(partial(_wait, server, open_, looks), interim=True)
    except BaseException:
        place.give_back(len(ranges))
        raise
    server.caching.changes.changed(open_)
    try:
        yield from server.persistence.kept(open_.key, open_.durable)
    except SmbError:
        if open_.local_locks is not None:
            open_.local_locks.give_up(ranges)
        server.store.unlock(open_.key, open_id, ranges)
        place.give_back(len(ranges))
        raise
    return _RESPONSE


def _take_locally(server: Server, open_: Open, ranges: list[LockRange]) -> bool:
    """Lock in the kernel what the store has granted; else the store has it no more."""
    assert open_.local_locks is not None
    taken = False
    try:
        taken = open_.local_locks.take(ranges)
    finally:
        if not taken:
            result = server.store.unlock(open_.key, open_.persistent_id, ranges)
            server.wake_workers(open_.key, result.waiters)
    return taken


def _wait(server: Server, open_: Open, looks: bool, resume: Resume[None]) -> Callable[[], None]:
    """Wait for a change of a file's locks; with `looks` try again a little later in any case."""
    unlocking = _Unlocking(server, open_, resume)
    if looks:
        server.clock.call_later(LOOK_SECONDS, unlocking.retry)
    return unlocking.undo


def _range(element: LockElement) -> LockRange:
    """Check one element; SmbError(INVALID_PARAMETER or INVALID_LOCK_RANGE)."""
    kind = _ONE_KIND.get(element.flags & ~SMB2_LOCKFLAG_FAIL_IMMEDIATELY)
    if kind is None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if element.length and element.offset + element.length - 1 >= 1 << 64:
        raise SmbError(NtStatus.INVALID_LOCK_RANGE)
    return LockRange(element.offset, element.length, kind)


class _Unlocking:
    """The wait for a change of a file's locks, for CANCEL, or for the end of the open."""

    __slots__ = ("_give_up", "_open", "_resume")

    def __init__(self, server: Server, open_: Open, resume: Resume[None]) -> None:
        """Wait until one of them comes."""
        self._open = open_
        self._resume = resume
        self._give_up: Callable[[], None] | None = server.wait_for(open_.key, self.retry)
        open_.waiting.add(self._end)

    def undo(self) -> None:
        """Wait no more; who waits here refers to this and this to him, which ends as well."""
        give_up, self._give_up = self._give_up, None
        if give_up is not None:
            give_up()
        self._open.waiting.discard(self._end)

    def retry(self) -> None:
        """Have the request try again, unless it waits no more."""
        if self._give_up is not None:
            self.undo()
            self._resume()

    def _end(self, error: SmbError) -> None:
        self.undo()
        self._resume(None, error)
