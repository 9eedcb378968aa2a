"""Open: a file, directory, stream or pipe that a client holds open ([MS-SMB2] 3.3.1.10)."""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from usmbd.protocol.state.fair_share import Place
from usmbd.protocol.state.notify.change import (
    REMOVED_STREAM,
    WRITTEN,
    DirectoryChange,
    at,
    gone,
    modified,
    of_stream,
)
from usmbd.protocol.state.store.base import RemoveOpenResult, Store
from usmbd.protocol.state.store.records import (
    NO_ID,
    OPEN_DELETE_ON_CLOSE,
    base_key,
)
from usmbd.protocol.state.tree import WRITING
from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.kept_times import KeptWriteTime
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.streams import Stream
from usmbd.protocol.wire.access import DELETE
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_ARCHIVE
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.caching.leases import Lease
    from usmbd.protocol.state.connection import Connection
    from usmbd.protocol.state.durable import Durable
    from usmbd.protocol.state.enumeration import Enumeration
    from usmbd.protocol.state.local_locks import LocalLocks
    from usmbd.protocol.state.notify.watch import Watch
    from usmbd.protocol.state.pipe import Pipe
    from usmbd.protocol.state.replays import CreateGuid
    from usmbd.protocol.state.server import Server
    from usmbd.protocol.state.session import Session
    from usmbd.protocol.state.tree import TreeConnect

log = logging.getLogger("usmbd.vfs")

LARGE_FILE = 64 << 20
"""Bytes from which on giving blocks back, or taking them, is for a thread: ext4 needs 1 ms and more
for so much that lies in pieces."""

MODE = 0x3E
"""The create options that are the open's mode ([MS-FSA] 2.1.5.12.15, FileModeInformation)."""

OpenData = Node | Stream
"""What an open of a file stands on: the file itself or one of its streams."""


class Open(msgspec.Struct, eq=False, weakref=True):
    """One open; names as in [MS-SMB2] 3.3.1.10. A structure of C: to set its fields takes long.

    `key` is the file's in the store. A named stream is in `stream`, with its file in `node`;
    a named pipe is in `pipe`, and has neither.
    """

    session: "Session"
    tree: "TreeConnect"
    connection: "Connection"
    persistent_id: int
    granted_access: int
    held: Node | None = None  # what `node` returns
    stream: Stream | None = None
    pipe: "Pipe | None" = None
    key: bytes = b""
    path: str = ""  # as the client opened it; the file's present name is asked from the node
    place: Place | None = None  # among those that the worker has for opens
    volatile_id: int = 0
    share_access: int = 7
    create_options: int = 0
    data: OpenData | None = None
    short_path: str = ""  # where the client said the file's 8.3 name
    delete_on_close: bool = False
    taken_back: int | None = None  # its CREATE is refused; Found.made_at
    deletes_name: bool = False  # at its close, whoever else has the file open
    to_wake: tuple[bytes, tuple[int, ...]] | None = None  # who waited for a deletion
    kept_change_time: int = 0  # what SET_INFO of this open leaves as it is; 0: nothing
    kept_write_time: KeptWriteTime | None = None
    archived: bool = False  # its file is marked as changed, by this open or before
    modified: bool = False  # by a WRITE: its directory is told at the close
    position: int = 0  # FilePositionInformation; kept, never used by READ or WRITE
    mode: int = 0
    local_locks: "LocalLocks | None" = None  # with `posix locking`
    lock_place: Place | None = None  # with the ranges that it has locked
    lock_sequence: dict[int, int] = {}
    enumeration: "Enumeration | None" = None  # of QUERY_DIRECTORY
    next_quota: int = 0  # the uid at which a list of quotas goes on
    waiting: set[Callable[[SmbError], None]] = set()  # ends requests that wait on it
    waits_again: float = 0.0  # for others to let go of what it has changed: `let_go`
    watch: "Watch | None" = None  # of CHANGE_NOTIFY
    told_at_close: int = 0  # FILE_NOTIFY_CHANGE_*: see `last_words`
    write_time: int = 0  # at the CREATE, where the engine tells of what is written
    oplock_level: int = 0
    lease: "Lease | None" = None  # with the level LEASE
    parent_lease_key: bytes = NO_ID  # the client's, on the directory
    oplock_break_to: int | None = None  # while the client has not answered a break
    durable: "Durable | None" = None  # Open.IsDurable
    replay: "tuple[CreateGuid, int] | None" = None  # Open.IsReplayEligible; CreateAction
    closed: bool = False
    channel_sequence: int = 0  # see `dispatch/channel_sequence`, with the counts below
    outstanding: int = 0
    outstanding_pre: int = 0
    in_use: int = 0  # calls on threads that use its descriptor
    idle: list[Callable[[], None]] = []  # called when there are none any more

    def __post_init__(self) -> None:
        """Enter it into its session; the share may have become read only during the CREATE."""
        if not self.tree.writable:
            self.granted_access &= ~WRITING
        self.data = self.held if self.stream is None else self.stream
        self.volatile_id = self.persistent_id
        self.session.open_table[self.persistent_id] = self
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "open %#x: %s of share %s by %s, access %#x",
                self.persistent_id, self.path or ".", self.tree.share.name,
                self.session.user or "anonymous", self.granted_access,
            )  # fmt: skip

    @property
    def node(self) -> Node:
        """The file; SmbError(INVALID_DEVICE_REQUEST) on a pipe."""
        if self.held is None:
            raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
        return self.held

    @property
    def lock_count(self) -> int:
        """How many ranges it has locked."""
        return 0 if self.lock_place is None else self.lock_place.count

    def file_data(self) -> OpenData:
        """Return what READ and WRITE act on; SmbError(INVALID_DEVICE_REQUEST) without such."""
        data = self.data
        if data is None or data.is_directory:
            raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
        return data

    def may_access(self, store: Store, offset: int, length: int, *, write: bool) -> bool:
        """Tell whether the locks of others, clients and local programs, permit the I/O."""
        if not store.check_io(self.key, self.persistent_id, offset, length, write):
            return False
        return self.local_locks is None or self.local_locks.admit(offset, length, write)

    def require(self, access: int) -> None:
        """Refuse what the open was not granted; SmbError(ACCESS_DENIED) unless one bit is there."""
        if not self.granted_access & access:
            raise SmbError(NtStatus.ACCESS_DENIED)

    def mark_again(self) -> None:
        """Have the next change set FILE_ATTRIBUTE_ARCHIVE, which somebody has taken away."""
        self.archived = False
        self.node.last_stat.attributes &= ~FILE_ATTRIBUTE_ARCHIVE

    def set_delete_on_close(self, server: "Server", delete: bool) -> None:
        """Change whether the file is deleted because this open ends."""
        self.delete_on_close = delete
        record = server.store.look(self.key).with_id(self.persistent_id)
        if record is not None:
            flags = record.flags & ~OPEN_DELETE_ON_CLOSE
            record.flags = flags | (OPEN_DELETE_ON_CLOSE if delete else 0)
            server.store.update_open(self.key, record)

    def lose_writing(self, server: "Server") -> None:
        """Take the rights away that change something: the share is read only from now on.

        Nothing is deleted any more because this open asked for it.
        """
        deletes = self.granted_access & DELETE
        self.granted_access &= ~WRITING
        self.delete_on_close = False
        if not deletes or self.held is None:
            return
        record = server.store.look(self.key).with_id(self.persistent_id)
        if record is not None:
            record.granted_access = self.granted_access
            record.flags &= ~OPEN_DELETE_ON_CLOSE
            server.store.update_open(self.key, record)
            path = self.tree.disk_path(self.path)
            server.store.set_delete_pending(self.key, self.persistent_id, False, path)

    def hold(self, node: Node, key: bytes) -> None:
        """Have another descriptor, and the key under which the store has this open already."""
        old, self.held, self.data, self.key = self.held, node, node, key
        if old is not None and self.in_use:
            self.idle.append(old.close)
        elif old is not None:
            old.close()

    def close(self, server: "Server") -> None:
        """End the open at once, or as soon as no thread uses it any more."""
        if not self.begin_close():
            return
        if self.in_use:
            self.idle.append(lambda: server.end_open(self))
        else:
            server.end_open(self)

    def begin_close(self) -> bool:
        """Let no request find the open any more and end those that wait on it.

        True when `leave` has to follow, once no thread uses the descriptor: its number
        would soon be another file's.
        """
        if self.closed:
            return False
        self.closed = True
        log.debug("open %#x: closed", self.persistent_id)
        self.session.open_table.pop(self.volatile_id, None)
        for end in list(self.waiting):
            end(SmbError(NtStatus.RANGE_NOT_LOCKED))
        if self.replay is not None:
            self.connection.server.replays.forget(self, self.replay[0])
        if self.watch is not None:
            self.watch.stop()
        if self.pipe is not None:
            self.pipe.close()
            self._give_places_back()
            return False
        server = self.connection.server
        server.caching.closed(self)
        if self.lease is not None and self.held is not None and self.held.is_directory:
            server.notifier.unfollow(self.persistent_id)
        return True

    def last_words(self, server: "Server") -> list[DirectoryChange]:
        """Return what is told when the open ends, once for all of it; comes before `leave`.

        That a file has been renamed, as Windows does, beside its names; and that it was written: to
        those who watch where the kernel is not asked, to those who cache a listing in any case.
        """
        matches, node, notifier = self.told_at_close, self.node, server.notifier
        if matches & WRITTEN and node.stat().last_write_time == self.write_time:
            matches &= ~WRITTEN
        told = notifier.of_file(node, (modified(matches),), None) if matches else []
        if self._closes_written(server):
            by = self.parent_lease_key if self.modified else None
            changes = (modified(WRITTEN),) if notifier.asks_kernel else ()
            told += notifier.of_file(node, changes, by, by_kernel=True)
        return told

    def has_last_words(self, server: "Server") -> bool:
        """Tell whether `last_words` has to be asked."""
        return bool(self.told_at_close) or self._closes_written(server)

    def _closes_written(self, server: "Server") -> bool:
        """Tell whether the kernel says IN_CLOSE_WRITE of it, or might, to one who has a lease."""
        node = self.held
        writable = self.modified or (node is not None and node.writable)
        return writable and server.caching.directories_cached

    def release(self) -> None:
        """Count one call on a thread less."""
        self.in_use -= 1
        if not self.in_use:
            idle, self.idle = self.idle, []
            for call in idle:
                call()

    def remove_name(self, server: "Server") -> list[DirectoryChange]:
        """Delete the file's name although others have it open; the caller acts as the tree's user.

        Their opens go on with a file without a name (FILE_DISPOSITION_POSIX_SEMANTICS), or with its
        other names: of several only that goes which was to be deleted ([MS-FSA] 2.1.5.5), as who
        closes the file last may have it by another. The only name is left to him. Comes before
        `leave`. A name that cannot be removed stays for the last close to delete. Returns what the
        engine has to tell.
        """
        if not self.deletes_name and not self._has_other_names():
            return []
        path = self.tree.disk_path(self.path)
        if not self.delete_on_close and not server.store.is_delete_pending(self.key, path):
            return []  # somebody has taken it back
        place = server.notifier.place(self.node)
        try:
            directory_entry.unlink(self.node)
        except (OSError, SmbError) as error:
            log.info("could not be deleted: %s", error, extra={"path": self.path})
            return []
        self.tunnel(server)
        if self.delete_on_close:
            self.set_delete_on_close(server, False)
        else:
            server.store.set_delete_pending(self.key, self.persistent_id, False, path)
        change = gone("", is_directory=self.node.is_directory)
        return at(place, change, by=self.parent_lease_key)

    @property
    def stays(self) -> bool:
        """Whether it is to be left to its record when it ends, until its client is back."""
        return self.durable is not None and self.durable.place is not None

    def keeps_name(self) -> bool:
        """Whether its end leaves the file its name as long as somebody has it open."""
        if self.deletes_name:
            return False
        return not self.delete_on_close or not self._has_other_names()

    def may_remove_name(self) -> bool:
        """Tell whether `remove_name` has to be asked."""
        return self.deletes_name or self.delete_on_close

    def _has_other_names(self) -> bool:
        """Tell whether the file has names beside that by which it was opened."""
        node = self.node
        return self.stream is None and node.is_regular and os.fstat(node.fd).st_nlink > 1

    def leave(self, server: "Server") -> RemoveOpenResult:
        """Give up locks, share mode and descriptor; any thread may call this, as anybody.

        Where the result `deletes`, the descriptor stays for `delete`, which has to follow. Its
        `waiters` are the workers that wait for a change of the file's opens or locks.
        """
        deletes = False
        if self.local_locks is not None:
            self.local_locks.end()
        if self.durable is not None and self.durable.place is not None:
            waiters = server.durable.leave(self)
            if waiters is not None:
                self._let_go()
                return RemoveOpenResult(last=False, waiters=waiters)
        try:
            result = server.store.remove_open(self.key, self.persistent_id)
            deletes = result.deletes
            return result
        finally:
            if not deletes:
                self._let_go()

    def is_large(self) -> bool:
        """Whether to delete it may take long, or to cut it; asks only what answers at once.

        For its blocks, which may lie behind its end, or for what is vetoed in a directory.
        """
        if not self.tree.speed.fast():
            return True
        if self.stream is None and self.node.is_directory:
            return self.node.volume.options.deletes_vetoed
        if self.stream is not None or not self.node.is_regular:
            return False
        stat = os.fstat(self.node.fd)
        return max(stat.st_size, stat.st_blocks * 512) > LARGE_FILE

    def delete(self, server: "Server", result: RemoveOpenResult) -> list[DirectoryChange]:
        """Delete what only waited for this open's end; the caller acts as the tree's user.

        Returns what the engine has to tell.
        """
        log.debug("open %#x: %s is deleted", self.persistent_id, self.path)
        # Only who both asked for it and closes last knows of it (Samba's smb2.dirlease.unlink_*).
        by = self.parent_lease_key if self.parent_lease_key == result.by else NO_ID
        node, stream = self.node, self.stream
        try:
            if self.taken_back is not None and not self._is_as_made(self.taken_back):
                return []
            if stream is not None and not result.delete_base and not self._made_alone(server):
                stream.delete()
                change = of_stream(REMOVED_STREAM, stream.name)
                return server.notifier.of_file(node, (change,), by)
            place = server.notifier.place(node)
            directory_entry.unlink(node, self._doomed_name(result))
            self.tunnel(server)
            return at(place, gone("", is_directory=node.is_directory), by=by)
        except (OSError, SmbError) as error:
            log.info("could not be deleted on close: %s", error, extra={"path": self.path})
            return []
        finally:
            try:
                key = base_key(self.key) if result.delete_base else self.key
                self.to_wake = key, server.store.deleted(key)
            finally:
                self._let_go()

    def _is_as_made(self, made_at: int) -> bool:
        """Whether nobody has written what a CREATE has made that is refused."""
        if not made_at:  # a stream alone
            return self.stream is not None and not self.stream.stat().size
        found = self.node.stat()
        return found.change_time == made_at and not found.size

    def _made_alone(self, server: "Server") -> bool:
        """Whether the file was made with its stream, by a CREATE that is refused, for it alone."""
        base, store = base_key(self.key), server.store
        return bool(self.taken_back) and not (store.count_opens(base) or store.stream_opens(base))

    def tunnel(self, server: "Server") -> None:
        """Note that the name is gone, if the file was opened by the 8.3 name that stands for it."""
        if self.short_path:
            created = self.node.last_stat.creation_time
            server.tunnel.add(self.tree.share.path, self.short_path, self.path, created)
            self.short_path = ""

    def _doomed_name(self, result: RemoveOpenResult) -> str | None:
        """Return which name is to be deleted where that need not be this open's; None: this one's.

        Of several names the one that an open was to delete whose worker died.
        """
        if not result.path or self.delete_on_close or not self._has_other_names():
            return None
        return os.path.relpath(result.path, self.tree.share.path)

    def _let_go(self) -> None:
        """Give the descriptor back."""
        self.data = self.enumeration = None
        if self.stream is not None:
            self.stream.close()
        self.node.close()
        self._give_places_back()

    def _give_places_back(self) -> None:
        """Let others have what this open had."""
        if self.place is not None:
            self.place.give_back()
        waits = self.durable is not None and self.durable.deadline
        if self.lock_place is not None and not waits:  # whose locks stay
            self.lock_place.give_back()
