"""Persistent opens: what of them outlives the store, in LMDB environments of their own.

K + FileKey      PersistentFile: the persistent opens of a file, and their locks
I                which store writes here: the one that has the same record

The store on tmpfs stays the truth while there is one, and nothing here is read but at a start. So
what is written is always the whole state of a file, as it is once this process may write: however
late a call comes, it never puts an older state over a newer one. One commit serves all who wait.

There are two: in the state directory for opens that outlive the processes alone, and in the data
directory, where a commit is on the disk when it returns.
"""

import logging
import os
import shutil
import struct
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple

import lmdb
import msgspec

from usmbd.protocol.state.store import sharing
from usmbd.protocol.state.store.lmdb_dooms import FILE_HAS_PATH, FILE_ONE_NAME, FILE_PENDING
from usmbd.protocol.state.store.lmdb_environment import (
    FILE_HEADER,
    GENERATION_SHIFT,
    MAX_READERS,
    WORKER_SHIFT,
    LmdbEnvironment,
    with_prefix,
    writes,
)
from usmbd.protocol.state.store.lmdb_locks import locks_of, put_locks
from usmbd.protocol.state.store.lmdb_probe import ends_its_reader
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.records import (
    NO_ID,
    OPEN_DISCONNECTED,
    OPEN_HEAD,
    OPEN_ID,
    OPEN_PERSISTENT,
    OPEN_SIZE,
    WORKER,
    DurableRecord,
    OpenRecord,
    PersistentFile,
    PersistentOpen,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.conn")

DISK_MAP_SIZE: Final = 256 << 20
"""Bytes of addresses, not of the disk: 300,000 files with a persistent open each."""

MS: Final = 10_000
"""Units of a FILETIME in a millisecond."""

START_SECONDS: Final = 120
"""Seconds that an open that was brought back waits beside its time-out.

Nobody can come back to it before the server serves: on a busy machine that took two minutes.
"""

TELL_SECONDS: Final = 60.0
"""Between two lines of a disk that keeps nothing: every open and every retry meets it."""

LOST: Final = "persistent opens are lost, their files are damaged: %s (%s)"

_IDENTITY: Final = b"I"

_DAMAGES: Final = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PersistentFile).decode
_encode_durable = msgspec.msgpack.Encoder().encode
_decode_durable = msgspec.msgpack.Decoder(DurableRecord).decode

Locate = Callable[[DurableRecord], bytes | None]
"""Returns the FileKey that an open's file has now, by its path; None when it is gone."""


class DamagedError(OSError):
    """The files of persistent opens cannot be read by anybody."""


class PersistentPlaces(NamedTuple):
    """Directories for what outlives the processes, and for what outlives the machine."""

    memory: Path
    disk: Path

    @classmethod
    def below(cls, state: Path, data: Path) -> "PersistentPlaces":
        """Return those of a server with a state and a data directory."""
        return cls(state / "persistent" / "memory", data / "persistent" / "disk")

    def clear(self) -> None:
        """Forget all persistent opens; no process may have these places open."""
        for place in self:
            shutil.rmtree(place, ignore_errors=True)

    def set_aside(self) -> str:
        """Begin anew and leave what there was to be looked at; return where it is."""
        return ", ".join(str(_set_aside(place)) for place in self if place.exists())


class _Batch:
    """Files that one commit writes."""

    def __init__(self) -> None:
        """Begin with none."""
        self.keys: set[bytes] = set()
        self.begun = False
        self.error: lmdb.Error | None = None


class _Kept:
    """One environment."""

    def __init__(self, path: Path, *, synced: bool) -> None:
        """Open it; made where it is not there. OSError."""
        self.synced = synced
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.env = lmdb.open(
                str(path),
                map_size=DISK_MAP_SIZE,
                mode=0o600,
                sync=synced,
                metasync=synced,
                max_readers=MAX_READERS,
                max_spare_txns=1,
            )
        except lmdb.Error as error:
            raise OSError(f"{path}: {error}") from error

    def has(self, record: OpenRecord, durable: DurableRecord) -> bool:
        """Tell whether an open belongs here."""
        return bool(record.flags & OPEN_PERSISTENT) and durable.synced == self.synced


class LmdbPersistent:
    """What of persistent opens outlives the store."""

    def __init__(self, environment: LmdbEnvironment, places: PersistentPlaces | None) -> None:
        """Be able to keep what an environment has; `open` comes before anything is kept."""
        self.environment = environment
        self._begin = environment.begin
        self._write = environment.write
        self._places = places
        self._kept: list[_Kept] = []
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        self._batch = _Batch()
        self._identity = b""
        self._silent_until = 0.0

    def prepare_persistent(self) -> None:
        """Open both environments: see `Store.prepare_persistent`."""
        if self._places is None:
            raise OSError("there is no place for persistent opens")
        if not self._kept:
            memory = _Kept(self._places.memory, synced=False)
            self._kept = [memory, _Kept(self._places.disk, synced=True)]
        with self._begin() as txn:
            self._identity = txn.get(_IDENTITY, b"")

    def close(self) -> None:
        """Close the environments."""
        for kept in self._kept:
            kept.env.close()
        self._kept = []

    # -- writing ---------------------------------------------------------------------------

    def persist(self, *keys: bytes) -> None:
        """Write what outlives the store of some files: see `Store.persist`."""
        with self._guard:
            batch = self._batch
            batch.keys.update(keys)
        with self._turn:
            if not batch.begun:
                batch.begun = True
                with self._guard:
                    self._batch = _Batch()
                try:
                    self._put(batch.keys)
                except lmdb.Error as error:
                    self._tell(error)
                    batch.error = error
        if batch.error is not None:
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)

    def _tell(self, error: lmdb.Error) -> None:
        """Say that persistent opens cannot be kept, unless that was said lately."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + TELL_SECONDS
            log.error("persistent opens cannot be kept: %s", error)

    def forget_ended(self) -> None:
        """Remove from the disk what a dead worker has ended and not written.

        Where there is no room for it, that is told: what is there too much ends by its time-out.
        """
        keys: set[bytes] = set()
        try:
            for kept in self._kept:
                with kept.env.begin() as txn:
                    keys.update(name[1:] for name, _ in with_prefix(txn, b"K"))
            if keys:
                self._put(keys)
        except lmdb.Error as error:
            log.error("what a dead worker has ended stays on the disk: %s", error)

    def _put(self, keys: Collection[bytes]) -> None:
        """Write some files, where there is anything to change."""
        for kept in self._kept:
            with kept.env.begin() as txn:
                stale = [key for key in keys if txn.get(b"K" + key) != self._packed(kept, key)]
            if stale:
                with kept.env.begin(write=True) as txn:
                    if txn.get(_IDENTITY, b"") != self._identity:
                        # The server has been started again and this process ends; or that
                        # start found no room to say so.
                        raise lmdb.Error("these are another start's")
                    for key in stale:
                        _replace(txn, key, self._packed(kept, key))

    def _packed(self, kept: _Kept, key: bytes) -> bytes | None:
        """Return what is to be kept of a file as it is now; None: nothing."""
        with self._begin() as txn:
            value = txn.get(b"F" + key, b"")
            opens = []
            for at in range(FILE_HEADER.size, len(value), OPEN_SIZE):
                open_id, _, _, flags = OPEN_HEAD.unpack_from(value, at)
                packed = OPEN_ID.pack(open_id)
                durable = txn.get(b"P" + packed) if flags & OPEN_PERSISTENT else None
                if durable is None:
                    continue
                fields = _decode_durable(durable)
                if kept.has(OpenRecord.parse(value, at), fields):
                    sequences = txn.get(b"Q" + packed, b"")
                    record = value[at : at + OPEN_SIZE]
                    opens.append(PersistentOpen(record, fields, sequences))
            if not opens:
                return None
            ids = {OPEN_ID.unpack_from(one.record)[0] for one in opens}
            flags = FILE_HEADER.unpack_from(value)[2]
            file = PersistentFile(
                opens,
                locks_of(txn, key, ids),
                bool(flags & FILE_PENDING),
                bool(flags & FILE_ONE_NAME),
                bytes(txn.get(b"D" + key, b"")) if flags & FILE_HAS_PATH else b"",
            )
            return _encode(file)

    # -- a start ---------------------------------------------------------------------------

    @writes
    def restore(self, workers: int, locate: Locate) -> int:
        """Bring back what was kept: see `Store.restore`."""
        if self._places is None:
            return 0
        for place in self._places:
            if end := ends_its_reader(place):
                log.error(LOST, end, _set_aside(place))
        try:
            return self._attempt(self._places, workers, locate)
        except DamagedError as error:
            where = self._places.set_aside()
            log.error(LOST, error, where)
        return self._attempt(self._places, workers, locate)

    def _attempt(self, places: PersistentPlaces, workers: int, locate: Locate) -> int:
        """Bring back what there is; OSError, DamagedError where another start may do better."""
        try:
            return self._restore_all(places, workers, locate)
        except (OSError, lmdb.Error) as error:
            self.close()
            kind = DamagedError if isinstance(error.__cause__ or error, _DAMAGES) else OSError
            raise kind(str(error)) from error

    def _restore_all(self, places: PersistentPlaces, workers: int, locate: Locate) -> int:
        """Bring back what there is, and forget what cannot be brought back."""
        boot = _boot_id()
        same = {path: _same_boot(path, boot) for path in places}
        if not same[places.memory]:  # not synced: perhaps not whole
            shutil.rmtree(places.memory, ignore_errors=True)
        identity = os.urandom(16)
        with self._write() as txn:
            txn.put(_IDENTITY, identity)
        self.prepare_persistent()
        restored = 0
        kept_keys = set()
        for kept, path in zip(self._kept, places, strict=True):
            with kept.env.begin(write=True) as txn:
                txn.put(_IDENTITY, identity)
                files = [(name[1:], bytes(value)) for name, value in with_prefix(txn, b"K")]
            for key, packed in files:
                kept_keys.add(key)
                try:
                    file = _decode(packed)
                    now_key = key if same[path] else _find_again(file, locate)
                    if now_key is None:
                        log.warning("a file of persistent opens is gone", extra=_facts(file))
                        continue
                    kept_keys.add(now_key)
                    with self._write() as txn:
                        restored += _restore(txn, now_key, file, workers)
                except (ValueError, LookupError, struct.error) as error:
                    log.error("persistent opens of a file cannot be read: %s", error)
                except lmdb.MapFullError:
                    log.error("no room for persistent opens of a file", extra=_facts(file))
            (path / "boot").write_text(boot)
        self._put(kept_keys)
        return restored


def _set_aside(place: Path) -> Path:
    """Move the files of a place to where they can be looked at; return where that is."""
    aside = place.with_name(f"{place.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    return place.rename(aside)


def _replace(txn: Transaction, key: bytes, value: bytes | None) -> None:
    """Put or remove the record of a file."""
    if value is None:
        txn.delete(b"K" + key)
    else:
        txn.put(b"K" + key, value)


def _restore(txn: Transaction, key: bytes, file: PersistentFile, workers: int) -> int:
    """Enter the opens of a file into the store as ones that wait for their clients."""
    value = txn.get(b"F" + key, FILE_HEADER.pack(0, 0, 0, 0))
    holders, deniers, flags, deleting = FILE_HEADER.unpack_from(value)
    flags |= FILE_PENDING if file.pending else 0
    if file.doom:
        flags |= FILE_HAS_PATH | (FILE_ONE_NAME if file.one_name else 0)
        txn.put(b"D" + key, file.doom)
    opens = value[FILE_HEADER.size :]
    now = from_ns(time.time_ns())
    for one in file.opens:
        record = OpenRecord.parse(one.record, 0)
        packed = OPEN_ID.pack(record.open_id)
        own = record.open_id >> WORKER_SHIFT
        record.worker = own if own < workers else own % workers
        record.flags |= OPEN_DISCONNECTED
        record.oplock_state = record.break_to_lease_state = record.required_lease_state = 0
        wait = record.durable_open_timeout + START_SECONDS * 1000
        record.durable_open_scavenger_timeout = now + wait * MS
        profile = sharing.profile(record.granted_access, record.share_access)
        holders, deniers = holders + profile.holds, deniers + profile.denies
        opens += record.pack()
        txn.put(b"P" + packed, _encode_durable(msgspec.structs.replace(one.durable, key=key)))
        if one.sequences:
            txn.put(b"Q" + packed, one.sequences)
        if record.create_guid != NO_ID:
            txn.put(b"C" + record.client_guid + record.create_guid, packed)
        if record.oplock_level == SMB2_OPLOCK_LEVEL_LEASE:
            txn.put(b"G" + record.client_guid + record.lease_key, key)
        _use_up(txn, record.open_id)
    txn.put(b"F" + key, FILE_HEADER.pack(holders, deniers, flags, deleting) + opens)
    put_locks(txn, key, file.locks)
    return len(file.opens)


def _use_up(txn: Transaction, open_id: int) -> None:
    """Have no open get this id again: its worker goes on with the next generation."""
    name = b"A" + WORKER.pack(open_id >> WORKER_SHIFT)
    generation = open_id >> GENERATION_SHIFT & 0xFF
    txn.put(name, max(txn.get(name, b""), bytes([generation])))


def _find_again(file: PersistentFile, locate: Locate) -> bytes | None:
    """Return the FileKey that a file has after a boot, which may number the disks anew."""
    return next((key for one in file.opens if (key := locate(one.durable)) is not None), None)


def _boot_id() -> str:
    """Return what names this boot of the machine."""
    return BOOT_ID.read_text().strip()


def _same_boot(path: Path, boot: str) -> bool:
    """Tell whether an environment was written since the machine was booted."""
    try:
        return (path / "boot").read_text() == boot
    except OSError:
        return False


def _facts(file: PersistentFile) -> dict[str, str]:
    """Return which file it is, for the log."""
    durable = file.opens[0].durable
    return {"share": durable.share, "path": os.fsdecode(durable.path)}
