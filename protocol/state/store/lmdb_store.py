"""The state store of one machine: an LMDB environment on tmpfs, shared by all workers.

One unnamed database holds everything; the first byte of a key says what (a named database would
cost 15 % more per transaction). Writers are serialized by LMDB's robust mutex, which the kernel
hands on when its holder is killed; what the dead writer had not committed never happened.

    F + FileKey      header and the OpenRecords, in the order of the opens
    L + FileKey      waiting workers and the byte-range locks, while there are any
    D + FileKey      who asks for the deletion of a file, and its path
    G + ClientGuid + LeaseKey    FileKey of the file that a client's lease is on
    P + open_id      what a durable open is made anew from
    C + ClientGuid + CreateGuid    open_id of a durable open without its client, or persistent
    Q + open_id      LockSequenceArray of a durable open
    S + SessionId    SessionRecord
    A + worker       how often this worker number was attached
"""

import os
from collections.abc import Collection

from usmbd.protocol.state.store.base import SUPERVISOR, SweepResult, Waiters
from usmbd.protocol.state.store.lmdb_deaths import LmdbDeaths
from usmbd.protocol.state.store.lmdb_durable import LmdbDurable
from usmbd.protocol.state.store.lmdb_environment import MAP_SIZE, LmdbEnvironment
from usmbd.protocol.state.store.lmdb_leases import LmdbLeases
from usmbd.protocol.state.store.lmdb_locks import LmdbLocks
from usmbd.protocol.state.store.lmdb_moves import LmdbMoves
from usmbd.protocol.state.store.lmdb_opens import LmdbOpens
from usmbd.protocol.state.store.lmdb_orphans import LmdbOrphans
from usmbd.protocol.state.store.lmdb_persistent import LmdbPersistent, Locate, PersistentPlaces
from usmbd.protocol.state.store.lmdb_sessions import LmdbSessions


class LmdbStore:
    """A `Store` of four tables in one environment: what each can do is called by its name here.

    The calls are bound once: a READ asks for locks without a call more than it takes.
    """

    def __init__(self, environment: LmdbEnvironment, places: PersistentPlaces | None) -> None:
        """Put the tables together; use `attach`."""
        self._environment = environment
        self.worker = environment.worker
        self.new_open_id = environment.new_open_id
        self.recount_hints = environment.recount_hints

        self._locks = locks = LmdbLocks(environment)
        self.lock = locks.lock
        self.unlock = locks.unlock
        self.check_io = locks.check_io
        self.add_waiter = locks.add_waiter
        self.count_locks = locks.count_locks
        self.lock_sequences = locks.lock_sequences

        self.room = environment.room
        self.used = environment.used

        leases = LmdbLeases(environment, locks)
        self.change_lease = leases.change_lease
        self.lease_file = leases.lease_file

        self._opens = opens = LmdbOpens(environment, locks, leases)
        self.add_open = opens.add_open
        self.remove_open = opens.remove_open
        self.update_open = opens.update_open
        self.set_oplock = opens.set_oplock
        self.oplock_count = opens.oplock_count
        self.opens = opens.opens
        self.look = opens.look
        self.holders = opens.holders
        self.count_opens = opens.count_opens
        self.stream_opens = opens.stream_opens
        self.set_delete_pending = opens.set_delete_pending
        self.is_delete_pending = opens.is_delete_pending
        self.pending_names = opens.pending_names
        self.is_being_deleted = opens.is_being_deleted
        self.deleted = opens.deleted

        self._deaths = deaths = LmdbDeaths(environment, opens, locks)
        self.left_to_delete = deaths.left_to_delete

        self.move_stream = LmdbMoves(environment).move_stream

        durable = LmdbDurable(environment, opens, locks)
        self.make_resilient = durable.make_resilient
        self.find_durable = durable.find_durable
        self.find_create_guid = durable.find_create_guid
        self.move_durable = durable.move_durable
        self.disconnect_open = durable.disconnect_open
        self.claim_open = durable.claim_open
        self.end_persistence = durable.end_persistence
        self.end_disconnected = durable.end_disconnected
        self.disconnected = durable.disconnected

        self._persistent = persistent = LmdbPersistent(environment, places)
        self.prepare_persistent = persistent.prepare_persistent
        self.persist = persistent.persist

        self._orphans = LmdbOrphans(environment, locks)
        self._sessions = sessions = LmdbSessions(environment)
        self.put_session = sessions.put_session
        self.get_session = sessions.get_session
        self.session_ends = sessions.session_ends
        self.remove_session = sessions.remove_session
        self.sessions = sessions.sessions

        self._session_counts = environment.session_counts
        self.user_sessions = environment.session_counts.total
        self._watchers = environment.watchers
        self.anybody_watches = environment.watchers.any
        self.watching = environment.watchers.all

    @staticmethod
    def create(path: str | os.PathLike[str], map_size: int = MAP_SIZE) -> None:
        """Make a fresh, empty store: see `LmdbEnvironment.create`."""
        LmdbEnvironment.create(path, map_size)

    @classmethod
    def attach(
        cls, path: str | os.PathLike[str], worker: int, places: PersistentPlaces | None = None
    ) -> "LmdbStore":
        """Open the store that `create` made, as `worker`: see `LmdbEnvironment`.

        Persistent opens are kept in `places`.
        """
        return cls(LmdbEnvironment(path, worker), places)

    def close(self) -> None:
        """Detach: see `Store.close`."""
        self._persistent.close()
        self._environment.close()

    def restore(self, workers: int, locate: Locate) -> int:
        """Bring persistent opens back: see `Store.restore`."""
        restored = self._persistent.restore(workers, locate)
        self._environment.recount_hints()
        return restored

    def set_watching(self, watches: bool) -> None:
        """Say whether this worker has watches: see `Store.set_watching`."""
        self._watchers.put(self.worker, watches)

    def set_user_sessions(self, count: int) -> None:
        """Say how many sessions users have in this worker: see `Store.set_user_sessions`."""
        self._session_counts.put(self.worker, count)

    def drop_worker(self, worker: int, heir: int | None = None) -> Waiters:
        """Remove all that a dead worker left: see `Store.drop_worker`.

        `heir` deletes what it was to delete, if that is not its successor.
        """
        self._watchers.put(worker, watches=False)
        self._session_counts.put(worker, 0)
        self._environment.drop_dead_readers()
        waiters = self._deaths.drop_worker(worker, worker if heir is None else heir)
        self._locks.drop_worker(worker)
        self._sessions.drop_worker(worker)
        self._environment.recount_hints()
        self._persistent.forget_ended()
        return waiters

    def sweep(self, living: Collection[int], heir: int) -> SweepResult:
        """Remove what belongs to nobody: see `Store.sweep`."""
        waiters: Waiters = []
        dead = self._orphans.workers() - {*living, SUPERVISOR}
        for worker in sorted(dead):
            waiters += self.drop_worker(worker, heir)
        found = self._orphans.remove(self._orphans.find(), heir, waiters)
        return SweepResult(len(dead) + found, waiters)
