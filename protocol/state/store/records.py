"""The records of the state store: opens, byte-range locks, sessions.

Opens and locks are packed with a fixed size, because every change of a file rewrites the list
it stands in; sessions change seldom and are msgspec messages. Fields have the
names of [MS-SMB2] 3.3.1; those of oplocks, leases and durable handles are kept for their owner
and not interpreted here.
"""

import struct
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import astuple

from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.wire.base import bytes16, layout_of, u8, u16, u32, u64
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH, SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.create_contexts import SMB2_LEASE_HANDLE_CACHING

NO_ID: Final = bytes(16)
"""The GUID or lease key that is not set."""

OPEN_DELETE_ON_CLOSE: Final = 0x01
"""The file becomes delete pending when this open closes (CreateOptions.FILE_DELETE_ON_CLOSE)."""
OPEN_DIRECTORY: Final = 0x02
"""The open is of a directory."""
OPEN_DURABLE: Final = 0x04
"""It may outlive its connection and its worker ([MS-SMB2] 3.3.1.10, Open.IsDurable and more)."""
OPEN_RESILIENT: Final = 0x08
"""Open.IsResilient; OPEN_DURABLE is set, too."""
OPEN_PERSISTENT: Final = 0x10
"""Open.IsPersistent; OPEN_DURABLE is set, too."""
OPEN_LASTING: Final = OPEN_RESILIENT | OPEN_PERSISTENT
"""It waits for its client whatever that caches, and gives way to nobody."""
OPEN_DISCONNECTED: Final = 0x20
"""Open.Connection is NULL: the durable open waits to be claimed."""

OPEN_FORK_BESIDE: Final = 0x80
"""Its file has its resource fork in another, which goes with it (`fruit:resource = file`)."""

OPEN_INSTANCE_VERSION: Final = 0x40
"""Open.ApplicationInstanceVersion is given."""

BASE_KEY_SIZE: Final = 16
"""The bytes of a FileKey that name the file; what follows names the stream."""

DIRECTORIES: Final = b"directories"
"""No FileKey: under it `oplock_count` counts the leases on directories, of all together."""

DEVICE_SIZE: Final = 8
"""The bytes of a FileKey that name the file system."""

_STREAM_KEY_MAX: Final = 255
# LMDB takes keys of 511 bytes. A stream's name has up to 255 characters, which may be more bytes:
# longer names stand in the key as a digest behind 0xFF, which never begins UTF-8 text.

_FILE_ID = struct.Struct("<QQ")


def file_key(dev: int, ino: int, stream: str = "", *, exact: bool = False) -> bytes:
    """Return the FileKey of a file (`stream` empty) or of one of its named streams.

    Keys of the streams begin with their file's key, so that one range of keys holds them all;
    `exact` where case counts in their names.
    """
    base = _FILE_ID.pack(dev, ino)
    if not stream:
        return base
    name = (stream if exact else fold(stream)).encode("utf-8", "surrogatepass")
    if exact:
        name = b"\xfe" + name  # no UTF-8: another key than that of any folded name
    if len(name) > _STREAM_KEY_MAX:
        name = b"\xff" + blake2b(name, digest_size=32).digest()
    return base + name


def base_key(key: bytes) -> bytes:
    """Return the FileKey of the file that `key`, perhaps a stream's, belongs to."""
    return key[:BASE_KEY_SIZE]


class OpenRecord(msgspec.Struct, gc=False):
    """What every worker may know of an open ([MS-SMB2] 3.3.1.10).

    Its fields, in order, are its layout. No `Wire`: an open makes one, and reads one of each other
    open of its file, in two thirds of the time.
    `granted_access` is the access mask after MAXIMUM_ALLOWED and generic rights are resolved.
    `worker` is set by the store. Times are FILETIMEs, timeouts are milliseconds.
    """

    open_id: u64
    granted_access: u32
    share_access: u32
    flags: u32 = 0
    worker: u16 = 0
    oplock_level: u8 = 0
    oplock_state: u8 = 0
    session_id: u64 = 0
    tree_id: u32 = 0
    create_options: u32 = 0
    client_guid: bytes16 = NO_ID
    lease_key: bytes16 = NO_ID
    parent_lease_key: bytes16 = NO_ID
    lease_state: u32 = 0
    break_to_lease_state: u16 = 0
    required_lease_state: u16 = 0
    lease_epoch: u16 = 0
    lease_version: u16 = 0
    durable_open_timeout: u32 = 0
    create_guid: bytes16 = NO_ID
    app_instance_id: bytes16 = NO_ID
    durable_owner: bytes16 = NO_ID
    durable_open_scavenger_timeout: u64 = 0
    app_instance_version_high: u64 = 0
    app_instance_version_low: u64 = 0
    # Room, so that a later worker can read the records of an earlier one.
    reserved_0: bytes16 = bytes(16)

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return _pack_open(*astuple(self))

    @staticmethod
    def parse(packed: bytes, offset: int = 0) -> "OpenRecord":
        """Read the record at `offset`."""
        return OpenRecord(*_unpack_open(packed, offset))


_OPEN: Final = struct.Struct("<" + "".join(layout_of(OpenRecord).values()))
_pack_open: Final = _OPEN.pack
_unpack_open: Final = _OPEN.unpack_from

OPEN_SIZE: Final = _OPEN.size

OPEN_HEAD: Final = struct.Struct("<QIII")
"""The first fields of an OpenRecord: open_id, granted_access, share_access, flags."""

OPEN_ID: Final = struct.Struct("<Q")
"""An open's or a session's identifier."""
WORKER: Final = struct.Struct("<H")
"""A worker's number."""

OPEN_WORKER_OFFSET: Final = OPEN_HEAD.size
"""Where `worker` stands in a packed OpenRecord."""
OPEN_OPLOCK_OFFSET: Final = OPEN_WORKER_OFFSET + WORKER.size
"""Where `oplock_level` stands, and `oplock_state` behind it."""

OPEN_LEASE_OFFSET: Final = OPEN_OPLOCK_OFFSET + 18
"""Where `client_guid` stands, and `lease_key` behind it: together they name a lease."""
LEASE_ID_SIZE: Final = 32

LEASE_STATE: Final = struct.Struct("<IHHHH")
"""The fields of a LeaseState in an OpenRecord, from `lease_state` on."""
OPEN_LEASE_STATE_OFFSET: Final = OPEN_LEASE_OFFSET + LEASE_ID_SIZE + 16
"""Where they stand: behind `parent_lease_key`."""

OPEN_GUIDS: Final = struct.Struct("<40x16s48x16s")
"""By what an OpenRecord is found beside its id: `client_guid`, `create_guid`."""

OPLOCK_HELD: Final = 0
"""`oplock_state`: nothing is going on."""
OPLOCK_BREAKING: Final = 1
"""`oplock_state`: the client has been told and has not answered ([MS-SMB2] 3.3.1.10)."""


class LeaseState(NamedTuple):
    """What all opens of a lease say of it ([MS-SMB2] 3.3.1.12).

    While it is `breaking`, the client holds `state`, was asked to keep at most `break_to`, and may
    keep no more than `required` in the end. `version` is that of the open that began it.
    """

    state: int
    version: int
    epoch: int
    breaking: bool = False
    break_to: int = 0
    required: int = 0

    @classmethod
    def of(cls, record: OpenRecord) -> "LeaseState":
        """Return the state of a record's lease."""
        return cls(
            record.lease_state,
            record.lease_version,
            record.lease_epoch,
            record.oplock_state == OPLOCK_BREAKING,
            record.break_to_lease_state,
            record.required_lease_state,
        )

    def put(self, record: OpenRecord) -> None:
        """Write it into a record."""
        record.lease_state = self.state
        record.lease_version = self.version
        record.lease_epoch = self.epoch
        record.oplock_state = OPLOCK_BREAKING if self.breaking else OPLOCK_HELD
        record.break_to_lease_state = self.break_to
        record.required_lease_state = self.required


def may_wait(record: OpenRecord) -> bool:
    """Tell whether a durable open can be kept without its client, by what that caches.

    Nobody may have asked for it yet, unless it lasts ([MS-SMB2] 3.3.5.9.6, 3.3.7.1).
    """
    if not record.flags & OPEN_DURABLE:
        return False
    return bool(record.flags & OPEN_LASTING) or (
        record.oplock_state == OPLOCK_HELD and caches_handle(record)
    )


def counted_with(flags: int) -> bytes:
    """Return under what `oplock_count` counts an open beside its file; empty: nothing."""
    return DIRECTORIES if flags & OPEN_DIRECTORY else b""


def caches_handle(record: OpenRecord) -> bool:
    """Tell whether the client is told before another open, by a batch oplock or a lease with H."""
    if record.oplock_level == SMB2_OPLOCK_LEVEL_LEASE:
        return bool(record.lease_state & SMB2_LEASE_HANDLE_CACHING)
    return record.oplock_level == SMB2_OPLOCK_LEVEL_BATCH


def parse_opens(packed: bytes) -> list[OpenRecord]:
    """Return the records of `packed`, a whole number of them."""
    return [OpenRecord.parse(packed, offset) for offset in range(0, len(packed), OPEN_SIZE)]


class Absent(msgspec.Struct, array_like=True, frozen=True):
    """By what mountd tells what the user of an open may do whose client is gone.

    Fields as in `AbsentUserRequest`.
    """

    share: str = ""
    user: str = ""
    ticket: bytes = b""
    client_address: str = ""
    server_address: str = ""


class DurableRecord(msgspec.Struct, array_like=True, frozen=True):
    """What a durable open is made anew from when its client comes back, beside its OpenRecord.

    `path` is on disk, below the root of the share that lies at `share_path`; `granted_access` is
    the client's own. `birth` is the file's creation by the file system's clock (s and ns). The rest
    is known once the client is gone: `seen` is size, write time and change time (s and ns: as one
    number a time of the year 2600 would be too long) that the file had then, empty where nobody was
    left to look.
    """

    key: bytes
    share: str
    share_path: str
    path: bytes
    granted_access: int
    birth: tuple[int, int]
    action: int
    """CreateAction, which a replay of its CREATE is told."""
    seen: tuple[int, ...] = ()
    position: int = 0
    mode: int = 0
    locks: int = 0
    reserved: int = 0
    """Bytes of allocation that were asked for."""
    keeps_write_time: bool = False
    synced: bool = False
    """Of a persistent open: it outlives the machine."""
    write_through: bool = False
    """Of a persistent open: so does what is written through it, once that is answered."""
    posix: bool = False
    """It was made by the POSIX extensions, which look `path` up as it is."""
    kept_change_time: int = 0
    """FILETIME that SET_INFO of it leaves as it is; 0: nothing."""
    who: Absent | None = None
    """Whose open it is; while he has it, known of one that is to delete its file, or lasts."""

    @property
    def beside_path(self) -> int:
        """How many bytes of it, beside the path, may be many."""
        return 0 if self.who is None else len(self.who.ticket)


class PersistentOpen(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of a persistent open: its packed OpenRecord, and its LockSequenceArray."""

    record: bytes
    durable: DurableRecord
    sequences: bytes


class PersistentFile(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of a file: its persistent opens, and the packed locks that they have."""

    opens: list[PersistentOpen]
    locks: bytes
    pending: bool = False
    """It is to be deleted."""
    one_name: bool = False
    """Only by the names in `doom`, of several that it has."""
    doom: bytes = b""
    """By which names, and for whom: the D record of `lmdb_dooms`, where there is one."""


class LockSequence(NamedTuple):
    """LockSequenceIndex (1 to 64) and LockSequenceNumber of a LOCK ([MS-SMB2] 3.3.5.14)."""

    entry: int
    number: int


LOCK_SEQUENCES: Final = 64
"""Entries of Open.LockSequenceArray ([MS-SMB2] 3.3.1.10), one byte each where they are kept."""

NO_SEQUENCE: Final = 0xFF
"""An entry that is not valid: LockSequenceNumber has four bits."""


class LockRange(NamedTuple):
    """One range of a LOCK request ([MS-SMB2] 2.2.26.1); `exclusive` is ignored by an unlock."""

    offset: int
    length: int
    exclusive: bool = False


class LockRecord(NamedTuple):
    """A ByteRangeLock of [MS-FSA] 2.1.1.6; the LockKey is always 0 in SMB2."""

    offset: int
    length: int
    open_id: int
    exclusive: int


LOCK: Final = struct.Struct("<QQQI4x")
"""A packed LockRecord: offset, length, open_id, exclusive (0 or 1), and room."""


class SessionRecord(msgspec.Struct, array_like=True, frozen=True):
    """What every worker may know of a session ([MS-SMB2] 3.3.1.8), Session.SessionGlobalId first.

    `user` is the key by which two sessions are of the same user (PreviousSessionId, 3.3.5.5.3);
    `creation_time` is a FILETIME. With `signing_key` any worker can refuse a
    binding in a way that the client believes; the store is readable by the server's user alone.
    """

    session_id: int
    worker: int
    user: str
    client_guid: bytes = NO_ID
    client_address: str = ""
    dialect: int = 0
    creation_time: int = 0
    signing_algorithm_id: int = 0
    cipher_id: int = 0
    signing_key: bytes = b""
    ends: bool = False  # its opens are being closed
    ticket: bytes = b""
    """As of `Absent`, with `user` and `client_address`: for its opens, if its worker dies."""
    server_address: str = ""
