"""The contract of the state store: what the workers share, whoever keeps it.

Everything outside this package sees only this interface, so that a distributed engine can stand
behind it one day. Calls are synchronous, atomic and safe from several threads of a worker. Errors
are `SmbError` with the status that the request gets; INSUFFICIENT_RESOURCES when the store is full.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple, Protocol

from usmbd.protocol.state.store.others import Others
from usmbd.protocol.state.store.records import (
    DurableRecord,
    LeaseState,
    LockRange,
    LockRecord,
    LockSequence,
    OpenRecord,
    SessionRecord,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

SUPERVISOR: Final = 0xFFFF
"""The worker number by which the supervisor attaches; it never owns an open."""

MAX_OPENS_PER_FILE: Final = 16_384
"""The list of opens is rewritten with every change: that many are 3 MiB, about a millisecond."""

MAX_LOCKS_PER_FILE: Final = 16_384
"""A lock is checked against all others of its file, 0.1 us each, while other writers wait."""


class SharingViolation(SmbError):
    """An open was refused because of its share modes; `others` are the opens of the file `key`.

    The caller needs them to break handle caching and try again ([MS-SMB2] 3.3.5.9, [MS-FSA]
    2.1.5.1.2). Of a base file opened with DELETE the culprit may be an open of a stream.
    """

    def __init__(self, key: bytes = b"", packed_others: bytes = b"") -> None:
        """Keep the packed OpenRecords of `key`."""
        super().__init__(NtStatus.SHARING_VIOLATION)
        self.key = key
        self.others = Others(packed_others)


class Admit(Protocol):
    """Decides, within the transaction of `add_open`, about an open that sharing admits."""

    def __call__(self, record: OpenRecord, others: Others, locked: int | None) -> None:
        """Set oplock or lease of `record` beside the `others`; what it raises refuses the open.

        `locked` is the lowest offset of the file's byte-range locks; None: it has none. It changes
        nothing but the record, as a transaction may be tried again.
        """


class LeaseChange(NamedTuple):
    """What became of a lease: the file's key, before, after, and the workers to wake."""

    key: bytes
    before: LeaseState
    after: LeaseState
    waiters: tuple[int, ...] = ()


class RemoveOpenResult(NamedTuple):
    """What a closed open leaves to do.

    `last`: the file or stream has no other open. `delete_now`: the caller must delete the file
    (or stream) of the key, then call `deleted(key)`. `delete_base`: the open was of a stream, its
    file is delete pending and only waited for it: the caller must delete the file and call
    `deleted(base_key(key))`; `delete_now` is then false, as the stream goes with its file. The
    caller keeps its descriptor until then, so that the inode number cannot be another file's. Who
    waits for the key is woken by what `deleted` returns.
    `path` is the one that was to be deleted, if it was told with `delete_now`: the caller may have
    the file open by another of its names; and `by` the ParentLeaseKey of the open that asked for
    the deletion. `waiters`: workers to send a WakeFile, perhaps this one.
    """

    last: bool
    delete_now: bool = False
    delete_base: bool = False
    waiters: tuple[int, ...] = ()
    path: str = ""
    by: bytes = b""

    @property
    def deletes(self) -> bool:
        """Whether something has to be deleted."""
        return self.delete_now or self.delete_base


class LockConflict(NamedTuple):
    """A refused lock request: the index of the refused range and the lock in its way."""

    range_index: int
    lock: LockRecord


class DurableOpen(NamedTuple):
    """A durable open: its record as it is now, and what it is made anew from."""

    record: OpenRecord
    durable: DurableRecord


class UnlockResult(NamedTuple):
    """`unlocked` ranges were unlocked, in order; fewer than asked for means RANGE_NOT_LOCKED."""

    unlocked: int
    waiters: tuple[int, ...] = ()


class Doomed(NamedTuple):
    """A delete-pending file whose last open ended without its client; `path` as given, or empty.

    `birth` and `seen` as in DurableRecord, where they are known; `fork_beside` as OPEN_FORK_BESIDE;
    `user`: who deletes it (uid, gid and groups), where that is known; `others`: more names of the
    same file that go with this one.
    """

    key: bytes
    path: str
    birth: tuple[int, int] | None = None
    seen: tuple[int, ...] = ()
    fork_beside: bool = False
    user: tuple[int, ...] = ()
    others: tuple["Doomed", ...] = ()


class EndResult(NamedTuple):
    """What a disconnected open leaves that has ended: workers to wake, and a file to delete.

    The caller deletes it and calls `deleted(doomed.key)`. Or it has not ended: it `asks` for a word
    on whether it may delete its file.
    """

    waiters: tuple[int, ...] = ()
    doomed: Doomed | None = None
    asks: DurableOpen | None = None


Waiters = list[tuple[int, bytes]]
"""Whom to wake because a worker is dead: workers, with the keys that they wait for."""


class SweepResult(NamedTuple):
    """What belonged to nobody: how many such records, and whom to wake because they are removed."""

    found: int
    waiters: Waiters


class Store(Protocol):
    """The shared state of all workers, seen by one of them."""

    @property
    def worker(self) -> int:
        """The worker that this store was attached for."""

    @property
    def room(self) -> int:
        """Bytes that the records of all workers may take."""

    def used(self) -> int:
        """Return how many bytes they take."""

    def close(self) -> None:
        """Detach; records stay until `drop_worker`."""

    def new_open_id(self) -> int:
        """Return an identifier that no open of any worker has had (Open.DurableFileId)."""

    # -- opens -------------------------------------------------------------------------------

    def add_open(
        self,
        key: bytes,
        record: OpenRecord,
        path: str = "",
        admit: Admit | None = None,
        durable: DurableRecord | None = None,
        *,
        keeps: int | None = None,
        user: tuple[int, ...] = (),
    ) -> None:
        """Add an open if sharing admits it; SharingViolation or SmbError(DELETE_PENDING) if not.

        [MS-FSA] 2.1.5.1.2 and 2.1.5.1.2.2. `record.worker` is set. `path` matters for an open with
        OPEN_DELETE_ON_CLOSE, and of a file with several names: see `set_delete_pending`, `user`,
        too.

        `keeps` is its access from then on, where it has more for this check alone.

        Where there are other opens and anybody caches or wants to, `admit` decides. An open with
        the level LEASE has the lease of `client_guid` and `lease_key`: SmbError(INVALID_PARAMETER)
        if that is of another file ([MS-SMB2] 3.3.5.9.8). The other opens of a lease follow it.

        With `durable` an open that caches its handle becomes durable, with the time-out, owner and
        CreateGuid of its record, which then has OPEN_DURABLE: it survives its worker, as
        `drop_worker` leaves it, disconnected. Long paths are kept while there is much room, else
        the open is not durable, nor persistent. It is found by its open_id and by ClientGuid and
        CreateGuid (NO_ID: it has none), by one look-up each.
        """

    def remove_open(self, key: bytes, open_id: int) -> RemoveOpenResult:
        """Remove an open and its locks ([MS-FSA] 2.1.5.5); unknown opens are no error."""

    def update_open(self, key: bytes, record: OpenRecord) -> None:
        """Replace the record with this open_id (oplock, lease, durable data, delete on close).

        SmbError(FILE_CLOSED) when there is none.
        """

    def set_oplock(self, key: bytes, open_id: int, level: int, state: int) -> tuple[int, ...]:
        """Change OplockLevel and OplockState of an open; return the workers to wake.

        None are woken when a break begins (OPLOCK_BREAKING): they wait for its end.
        Unknown opens are no error: the open was closed meanwhile, which woke them.
        """

    def change_lease(
        self, client_guid: bytes, lease_key: bytes, change: Callable[[LeaseState], LeaseState]
    ) -> LeaseChange | None:
        """Change a lease for all its opens by `change(state)`, a pure function.

        None: there is no such lease. What `change` raises leaves the lease as it is. Who waits is
        woken by the end of a break and by each answer to one.
        """

    def lease_file(self, client_guid: bytes, lease_key: bytes) -> bytes | None:
        """Return the key of the file that a lease is on, or None."""

    def oplock_count(self, key: bytes) -> int:
        """Return how many opens of the file cache or last (OPEN_LASTING), or a higher number.

        Cheap enough for every write.
        """

    def opens(self, key: bytes) -> list[OpenRecord]:
        """Return the opens of a file or stream."""

    def look(self, key: bytes) -> Others:
        """Return them unread, as there may be thousands of which few matter."""

    def holders(self, key: bytes) -> list[OpenRecord]:
        """Return those of them whose clients cache something: cheap where few of many do."""

    def count_opens(self, key: bytes) -> int:
        """Return how many opens a file or stream has, of MAX_OPENS_PER_FILE."""

    def stream_opens(self, key: bytes) -> list[OpenRecord]:
        """Return the opens of all named streams of a file (needed to rename or delete it)."""

    def move_stream(self, key: bytes, new: bytes, open_id: int) -> bool:
        """Give a stream's open, with its locks and what it caches, the key of another name.

        False, and nothing is moved, where others have the one or the other open or wait for it, and
        where it is to be deleted or outlives its connection: what is kept for that has its name.
        """

    def set_delete_pending(
        self,
        key: bytes,
        open_id: int,
        pending: bool,
        path: str = "",
        user: tuple[int, ...] = (),
        *,
        one_name: bool = False,
    ) -> None:
        """Set or clear delete pending (FileDispositionInformation, [MS-FSA] 2.1.5.15.3).

        `path` and `user` (uid, gid, groups) are kept so that the file can be deleted as he may if
        its worker dies. With `one_name` it is only this name of several (Link.IsDeleted); others
        may be, too.
        SmbError(FILE_CLOSED) when the open is not there, INSUFFICIENT_RESOURCES for a name more
        than can be kept.
        """

    def is_delete_pending(self, key: bytes, path: str = "") -> bool:
        """Tell whether the file, or the file of the stream, is delete pending.

        Without a `path` also if only one of its names is.
        """

    def pending_names(self, key: bytes, path: str) -> tuple[int, bool]:
        """Return how many names of the file are delete pending, and whether it is by this path.

        Of a stream also whether the stream is.
        """

    def is_being_deleted(self, key: bytes) -> bool:
        """Tell whether a worker deletes the file now, as nobody has it open any more.

        Who waits for that is woken by what `deleted` returns.
        """

    def deleted(self, key: bytes) -> tuple[int, ...]:
        """End the deletion that `remove_open` or `left_to_delete` asked for: opens are free again.

        Returns the workers to wake.
        """

    def left_to_delete(self) -> list[Doomed]:
        """Return what this worker's predecessor was to delete.

        The caller deletes it and calls `deleted(key)` for each key.
        """

    # -- durable opens ([MS-SMB2] 3.3.1.10, IsDurable) ------------------------------------------

    def make_resilient(
        self, key: bytes, open_id: int, durable: DurableRecord, timeout: int, owner: bytes
    ) -> None:
        """Have an open outlive its connection, whatever it caches (OPEN_RESILIENT).

        `timeout` (ms) and `owner` become its record's; done again it changes them. It counts in
        `oplock_count` from now on. SmbError(FILE_CLOSED) when there is no such open.
        """

    def find_durable(self, open_id: int) -> DurableOpen | None:
        """Return a durable open of any worker, connected or not."""

    def find_create_guid(self, client_guid: bytes, create_guid: bytes) -> DurableOpen | None:
        """Return the open that this client's CREATE with this CreateGuid made.

        Of one that waits for its client, or is persistent: others the worker knows that has them.
        """

    def move_durable(self, key: bytes, path: bytes) -> None:
        """Have the durable opens of a file made anew from another path: it was renamed.

        Those of them for which there is room: the others are not found any more once they are
        disconnected.
        """

    def disconnect_open(
        self, open_id: int, durable: DurableRecord, deadline: int
    ) -> tuple[int, ...] | None:
        """Keep an open without a client until `deadline` (FILETIME), with its locks.

        The workers to wake; None when it is not kept: it is not durable, somebody has its file
        deleted, or what it caches is being broken. The caller closes it then. One that lasts is
        kept; what it caches is broken then as if its client had answered. One that is to delete its
        file does so when it ends.
        """

    def claim_open(self, open_id: int, session_id: int, tree_id: int) -> OpenRecord | None:
        """Make a disconnected open this worker's, for a session; None unless it is disconnected.

        One of several claimants gets it. Other disconnected opens of the file may change from now
        on by that client's doing: what was seen of it is forgotten.
        """

    def end_disconnected(
        self, key: bytes, open_id: int, deadline: int = 0, deletes: bool | None = True
    ) -> EndResult:
        """Remove an open if it is disconnected, and was until `deadline` if that is given.

        With `deletes` None one that deletes its file, or might, stays as it is, and the result
        `asks`. With False nothing is deleted because of it.
        """

    def disconnected(self) -> list[tuple[bytes, OpenRecord]]:
        """Return the disconnected opens that are this worker's, with their FileKeys."""

    # -- persistent opens ([MS-SMB2] 3.3.1.10, IsPersistent) ------------------------------------

    def prepare_persistent(self) -> None:
        """Be ready to `persist`, which may come with any identity; OSError.

        A second call does nothing. Before it nothing of this costs anything.
        """

    def persist(self, *keys: bytes) -> None:
        """Have what persistent opens of some files are by now outlive the store.

        Opens with OPEN_PERSISTENT, what they are made anew from, their leases, locks and
        LockSequences, or that there are none any more. When it returns that has happened: if
        `DurableRecord.synced`, so that the end of the machine does not undo it, else that of all
        processes. It may take as long as a disk does; calls at once share the work.
        SmbError(INSUFFICIENT_RESOURCES) when it cannot be kept.
        """

    def end_persistence(self, key: bytes, open_id: int) -> bool:
        """Have an open be persistent no more, as it cannot be kept; tell whether it is durable.

        That it stays where it caches its handle. Unknown opens are no error: the open was closed
        meanwhile.
        """

    def restore(self, workers: int, locate: Callable[[DurableRecord], bytes | None]) -> int:
        """Bring back into a fresh store what persistent opens were; return how many.

        They wait for their clients, from now on for the whole of their time-outs, and belong to
        workers below `workers`; no open gets one of their ids again. Comes before any worker
        attaches. `locate` says which FileKey a file has now, or None for one that is gone; it is
        asked where that may have changed since.
        """

    # -- byte-range locks --------------------------------------------------------------------

    def lock(
        self,
        key: bytes,
        open_id: int,
        ranges: Sequence[LockRange],
        wait: bool = False,
        sequence: LockSequence | None = None,
    ) -> LockConflict | None:
        """Take all ranges or none ([MS-SMB2] 3.3.5.14.2, [MS-FSA] 2.1.5.8).

        With `wait` a conflict registers this worker as a waiter in the same transaction. The
        caller has checked offset + length against 2^64. With the locks of a durable open their
        `sequence` is entered, for `lock_sequences`.
        """

    def unlock(
        self,
        key: bytes,
        open_id: int,
        ranges: Sequence[LockRange],
        sequence: LockSequence | None = None,
    ) -> UnlockResult:
        """Unlock ranges in order, until one is not locked by this open ([MS-SMB2] 3.3.5.14.1).

        `sequence` as with `lock`, if all were unlocked.
        """

    def lock_sequences(self, open_id: int) -> dict[int, int]:
        """Return what is known of Open.LockSequenceArray: numbers by index."""

    def count_locks(self, key: bytes) -> int:
        """Return how many locks a file or stream has, of MAX_LOCKS_PER_FILE."""

    def check_io(self, key: bytes, open_id: int, offset: int, length: int, write: bool) -> bool:
        """Tell whether locks permit the I/O ([MS-FSA] 2.1.4.10); nothing forbids I/O of 0 bytes."""

    def add_waiter(self, key: bytes) -> None:
        """Have this worker woken by the next unlock or close of the file, once.

        Try again after the call: what is waited for may have happened just before it.
        """

    # -- change notification -----------------------------------------------------------------

    def set_watching(self, watches: bool) -> None:
        """Say whether clients of this worker watch directories; `drop_worker` says no."""

    def anybody_watches(self) -> bool:
        """Tell whether clients of any worker do; cheap enough for every change."""

    def watching(self) -> list[int]:
        """Return the workers whose clients do."""

    # -- sessions, statistics, workers -------------------------------------------------------

    def put_session(self, record: SessionRecord) -> None:
        """Add or replace a session (GlobalSessionTable, [MS-SMB2] 3.3.1.5)."""

    def get_session(self, session_id: int) -> SessionRecord | None:
        """Return a session of any worker."""

    def session_ends(self, session_id: int) -> None:
        """Note that a session's opens are being closed; unknown ones are no error."""

    def remove_session(self, session_id: int) -> None:
        """Remove a session; unknown ones are no error."""

    def set_user_sessions(self, count: int) -> None:
        """Say how many sessions users have in this worker."""

    def user_sessions(self) -> int:
        """Return how many they have in all; cheap enough for every login."""

    def sessions(self) -> list[SessionRecord]:
        """Return all sessions."""

    def drop_worker(self, worker: int) -> Waiters:
        """Remove all that a dead worker left; called by the supervisor, before it starts anew.

        What it was to delete waits for its successor: see `left_to_delete`.
        """

    def sweep(self, living: Collection[int], heir: int) -> SweepResult:
        """Check the store against the `living` workers and remove what belongs to none of them.

        What has to be deleted then is left to `heir`, a worker that is about to start.

        There is nothing to find unless something is wrong: `drop_worker` removes what is a dead
        worker's. So whatever is found is worth an error in the log.
        """
