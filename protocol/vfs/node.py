"""One inode held open: what an Open of [MS-SMB2] 3.3.1.10 stands on.

A node begins as an O_PATH descriptor, which asks no permission of the file and triggers
nothing (no FIFO's writer wakes, no lease breaks, no OPEN goes to an NFS server); `open_data`
turns it into a descriptor for data without going by the name again. Opening for reading at
once would save 1.5 us a stat, not worth those effects.

What is done by its name, its permissions or its extended attributes takes a node and stands in
directory_entry, rights, acl, xattrs, ea and streams.

Calls run with the identity of the calling thread and raise OSError unless they say SmbError;
errors.status_of maps it.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Self

from usmbd.protocol.vfs import dos_attributes, kernel, stored_reparse
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.vfs.identity import retry_as_process
from usmbd.protocol.vfs.scan import Describes, Entry, Shows, scan
from usmbd.protocol.wire.filetime import from_ns, to_ns
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_ATTRIBUTE_SPARSE_FILE,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import NtStatus, SmbError

Buffer = bytes | bytearray | memoryview
OFFSET_MAX = 0x7FFFFFFFFFFFFFFF
"""The largest offset that the kernel takes."""
_CLUSTER = 0x10000
_REFUSED = (errno.EACCES, errno.EPERM)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Node:
    """A file, directory or special file that is held open.

    `fd` is a plain descriptor (O_PATH until `open_data`), `readable` and `writable` say what it
    is open for, `last_stat` is what `stat` said last, `name` the last component on disk,
    `nowait` whether `read_nowait_into` may do more than refuse (tmpfs, for one, always does).
    """

    __slots__ = (
        "_written",
        "born",
        "fd",
        "has_xattrs",
        "inode",
        "inode_flags",
        "is_directory",
        "is_regular",
        "last_stat",
        "nowait",
        "path",
        "readable",
        "reserved",
        "volume",
        "writable",
    )

    def __init__(
        self,
        volume: VolumeBase,
        fd: int,
        path: str,
        readable: bool,
        writable: bool,
        *,
        is_new: bool = False,
        lent: kernel.StatxTuple | None = None,
    ) -> None:
        """Take over `fd` and look at it; on failure the descriptor is closed; OSError.

        `is_new`: it has no attributes yet. A directory that is only `lent`, with what statx(2) says
        of it, is not closed, nor is the node to be; its DOS attributes do not matter.
        """
        self.volume = volume
        self.fd = fd
        self.path = path
        self.readable = readable
        self.writable = writable
        self.nowait = True
        self.reserved = 0
        """Bytes of allocation that were asked for by this node."""
        self._written: bytes | None = None
        try:
            statx = kernel.statx_fd(fd) if lent is None else lent
            kind = statx[5] & 0o170000
            self.is_directory = kind == stat.S_IFDIR
            self.is_regular = kind == stat.S_IFREG
            self.has_xattrs = self.is_directory or self.is_regular
            self.inode = (statx[17], statx[18], statx[6])
            self.inode_flags = statx[1]
            self.born = (statx[11], statx[12])  # by the file system's clock; 0, 0: it has none
            dos = None if is_new or lent is not None else self._read_dos_attributes()
            stat_ = volume.smb_stat(statx, dos, self.name, fd)
            if stat_.attributes & FILE_ATTRIBUTE_REPARSE_POINT and self.has_xattrs:
                stored_reparse.describe(stat_, stored_reparse.read(self.xattr_target()))
            self.last_stat = stat_
        except BaseException:
            if lent is None:
                os.close(fd)
            raise

    @property
    def name(self) -> str:
        """The last component of the path, "" for the root."""
        return self.path[self.path.rfind("/") + 1 :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def at(cls, volume: VolumeBase, directory: int, name: bytes, path: str) -> Self:
        """Open an entry of an open directory, its own `.` too, but what a link leads to; OSError.

        `path` is where it is below the share's root.
        """
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        return cls(volume, os.open(name, flags, dir_fd=directory), path, False, False)

    def close(self) -> None:
        """Give the descriptor back; once is enough, twice is harmless."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def open_data(self, *, read: bool, write: bool) -> None:
        """Reopen the held inode for data, or a directory for listing; OSError, SmbError.

        Special files are refused with ACCESS_DENIED. A kernel lease that somebody else
        holds on the file does not block: EAGAIN.
        """
        if self.is_directory:
            flags = os.O_RDONLY | os.O_DIRECTORY
            write = False
        elif self.is_regular:
            flags = (os.O_RDWR if read else os.O_WRONLY) if write else os.O_RDONLY
        else:
            raise SmbError(NtStatus.ACCESS_DENIED)
        fd = os.open(kernel.fd_path(self.fd), flags | os.O_NONBLOCK | os.O_CLOEXEC)
        old, self.fd = self.fd, fd
        os.close(old)
        self.readable = read or not write
        self.writable = write

    def stat(self, *, as_made: bool = False) -> FileStat:
        """Return the file's stat as it is now; kept in `last_stat`.

        `as_made`: the DOS attributes of a new file are those that this node has just written.
        """
        statx = kernel.statx_fd(self.fd)
        self.inode_flags = statx[1]
        dos = self._written if as_made else None
        if dos is None:
            dos = self._read_dos_attributes()
        self.last_stat = result = self.volume.smb_stat(statx, dos, self.name, self.fd)
        if result.attributes & FILE_ATTRIBUTE_REPARSE_POINT and self.has_xattrs:
            stored_reparse.describe(result, stored_reparse.read(self.xattr_target()))
        if self.reserved > result.size:
            # The blocks also hold what belongs to the file system: extended attributes, extents.
            block = os.fstat(self.fd).st_blksize
            result.allocation = min(statx[8] * 512, -(-self.reserved // block) * block)
        return result

    def size(self) -> int:
        """Ask for the end of file alone, in a quarter of the time of `stat`."""
        return os.fstat(self.fd).st_size

    def xattr_target(self) -> int | str:
        """Return what os.getxattr and its like take: the data descriptor, or a path to O_PATH."""
        return self.fd if self.readable or self.writable else kernel.fd_path(self.fd)

    def _read_dos_attributes(self) -> bytes | None:
        """Read `user.DOSATTRIB`; None when it is not there or not used.

        A file that the user may not read still shows its attributes, as to Samba's users.
        """
        if not self.volume.options.store_dos_attributes or not self.has_xattrs:
            return None
        target = self.xattr_target()
        try:
            return os.getxattr(target, dos_attributes.XATTR_NAME)
        except OSError as error:
            if error.errno not in _REFUSED:
                return None
        try:
            return retry_as_process(lambda: os.getxattr(target, dos_attributes.XATTR_NAME))
        except OSError:
            return None

    def write_dos_attributes(
        self, attributes: int, creation_time: int, change_time: int = 0
    ) -> None:
        """Store FILE_ATTRIBUTE_*, the creation time and a change time, asking for no permission.

        The right to write attributes is checked when the file is opened; POSIX would ask for
        the right to write data. A file system that keeps no extended attributes loses them.
        """
        if not self.has_xattrs:
            return
        try:
            self._keep_dos_attributes(attributes, creation_time, change_time)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise

    def _keep_dos_attributes(
        self, attributes: int, creation_time: int, change_time: int = 0
    ) -> None:
        """Store them; OSError ENOTSUP where none are kept."""
        value = dos_attributes.pack(attributes, creation_time)
        if change_time:
            statx = kernel.statx_fd(self.fd)
            written = from_ns(statx[15] * 1_000_000_000 + statx[16])
            now = from_ns(time.time_ns())
            value = dos_attributes.pack(attributes, creation_time, change_time, now, written)
        target = self.xattr_target()
        retry_as_process(lambda: os.setxattr(target, dos_attributes.XATTR_NAME, value))
        self._written = value

    def forget_change_time(self) -> None:
        """Show the inode's change time again, after a change that its write time does not tell."""
        blob = self._read_dos_attributes()
        if blob is not None and len(blob) == dos_attributes.SIZE_WITH_CHANGE:
            with suppress(OSError):  # what was changed stays so
                self.write_dos_attributes(*dos_attributes.parse(blob))

    def _stored(self) -> tuple[int, int]:
        """Return (attributes as stored, creation time) to change one of them."""
        blob = self._read_dos_attributes()
        attributes, creation = dos_attributes.parse(blob) if blob is not None else (0, 0)
        return attributes, creation or self.stat().creation_time

    def set_attributes(self, attributes: int) -> None:
        """Replace the DOS attributes that a client can set; what FSCTLs set stays as it is.

        Without stored attributes only READONLY is kept, as the absence of write permission.
        """
        self.volume.check_writable()
        if self.volume.options.store_dos_attributes:
            stored, creation = self._stored()
            attributes &= dos_attributes.STORED & ~dos_attributes.BY_FSCTL
            attributes |= stored & dos_attributes.BY_FSCTL
            if self.is_directory:
                attributes |= FILE_ATTRIBUTE_DIRECTORY
            self.write_dos_attributes(attributes, creation)
        elif self.is_regular:
            mode = stat.S_IMODE(kernel.statx_fd(self.fd)[5])
            read_only = bool(attributes & FILE_ATTRIBUTE_READONLY)
            if read_only and mode & 0o200:
                self.set_mode(mode & ~0o222)
            elif not read_only and not mode & 0o200:
                self.set_mode(mode | 0o200 | (0o222 & self.volume.options.create_mask))

    def set_archive(self) -> bool:
        """Set FILE_ATTRIBUTE_ARCHIVE, if attributes are stored; return whether it was not set."""
        if not (self.has_xattrs and self.volume.options.store_dos_attributes):
            return False
        stored, creation = self._stored()
        if stored & FILE_ATTRIBUTE_ARCHIVE:
            return False
        self.write_dos_attributes(stored | FILE_ATTRIBUTE_ARCHIVE, creation)
        return True

    def is_sparse(self) -> bool:
        """Whether the file has FILE_ATTRIBUTE_SPARSE_FILE now."""
        return bool(self.stat().attributes & FILE_ATTRIBUTE_SPARSE_FILE)

    def set_sparse(self, sparse: bool) -> None:
        """Set or clear FILE_ATTRIBUTE_SPARSE_FILE, which tells of intent and not of holes.

        SmbError(INVALID_DEVICE_REQUEST) where it could not be kept ([MS-FSA] 2.1.5.10.37).
        """
        self._set_by_fsctl(FILE_ATTRIBUTE_SPARSE_FILE, sparse)

    def set_reparse_point(self, reparse_point: bool) -> None:
        """Set or clear FILE_ATTRIBUTE_REPARSE_POINT, to go with `user.SmbReparse`; SmbError."""
        self._set_by_fsctl(FILE_ATTRIBUTE_REPARSE_POINT, reparse_point)

    def _set_by_fsctl(self, attribute: int, on: bool) -> None:
        """Set or clear what no client sets among the attributes."""
        self.volume.check_writable()
        attributes, creation = self._stored()
        changed = attributes & ~attribute
        if on:
            changed |= attribute
        if changed == attributes:
            return
        if not self.volume.options.store_dos_attributes:
            raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
        try:
            self._keep_dos_attributes(changed, creation)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            raise SmbError(NtStatus.INVALID_DEVICE_REQUEST) from error

    def set_mode(self, mode: int) -> None:
        """Set the POSIX permission bits."""
        self.volume.check_writable()
        os.chmod(kernel.fd_path(self.fd), mode & 0o7777)
        self.forget_change_time()

    def set_owner(self, uid: int, gid: int) -> None:
        """Set the owner and the group; -1 leaves one."""
        self.volume.check_writable()
        os.chown(kernel.fd_path(self.fd), uid, gid)
        self.forget_change_time()

    def set_times(
        self, creation: int = 0, access: int = 0, write: int = 0, change: int = 0
    ) -> None:
        """Set the times that are not 0, FILETIMEs; the change time until the file is changed.

        Whoever may write attributes may set times, where POSIX wants the owner.
        """
        self.volume.check_writable()
        if access or write:
            access_ns = to_ns(access) if access else None
            if not access:
                # As it is: of a write time alone the kernel tells as if the data had changed.
                statx = kernel.statx_fd(self.fd)
                access_ns = statx[9] * 1_000_000_000 + statx[10]
            write_ns = to_ns(write) if write else None
            retry_as_process(lambda: kernel.set_times(self.fd, access_ns, write_ns))
        if (creation or change) and self.volume.options.store_dos_attributes:
            attributes, created = self._stored()
            self.write_dos_attributes(attributes, creation or created, change)

    def check_end(self, end: int) -> None:
        """Refuse data that would end beyond the end of any file here, or of the disk; OSError.

        SmbError INVALID_PARAMETER; DISK_FULL where the file is not sparse, and so would take all
        blocks up to there. As on NTFS a file has whole clusters of 64 KiB.
        """
        if not self.is_regular or end <= self.size():
            return
        try:
            os.lseek(self.fd, min(-(-end // _CLUSTER) * _CLUSTER, OFFSET_MAX), os.SEEK_SET)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise SmbError(NtStatus.INVALID_PARAMETER) from error
        found = os.fstat(self.fd)
        missing = end - max(found.st_size, found.st_blocks * 512)
        if missing > self._free() and not self.is_sparse():
            raise SmbError(NtStatus.DISK_FULL)

    def _free(self) -> int:
        """Return the bytes that the user may still take; some file systems know no end.

        Such as tmpfs without a limit, which tells that it has no blocks at all.
        """
        space = os.statvfs(kernel.fd_path(self.fd))
        return space.f_bavail * space.f_frsize if space.f_blocks else OFFSET_MAX

    def on_read_only_file_system(self) -> bool:
        """Whether the file lies where nothing can be changed, whoever asks; OSError."""
        return self.volume.options.read_only or bool(
            os.statvfs(kernel.fd_path(self.fd)).f_flag & os.ST_RDONLY
        )

    def know_short_names(self) -> None:
        """Have the 8.3 names of the directory worked out, which may be long, before a listing."""
        self.volume.resolver.know_short_names(self.fd)

    def scan(
        self,
        matches: Callable[[str], bool] | None = None,
        shows: Shows | None = None,
        describes: Describes | None = None,
        skip: int = 0,
        matches_short: Callable[[str], bool] | None = None,
    ) -> Iterator[Entry | None]:
        """List the directory: (name, 8.3 name, stat, number), with pauses; see scan.scan."""
        volume, fd, path = self.volume, self.fd, self.path
        return scan(volume, fd, path, matches, shows, describes, skip, matches_short)

    def read_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        """Read into the buffers: the number of bytes, 0 at the end; may wait for the disk."""
        if offset > OFFSET_MAX:
            return 0
        return os.preadv(self.fd, buffers, offset)

    def read_nowait_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        """Read what memory holds; BlockingIOError when the disk would have to be waited for.

        May give less than is there, when the rest is not in memory. A file system that does
        not know RWF_NOWAIT raises BlockingIOError too.
        """
        if offset > OFFSET_MAX:
            return 0
        try:
            return os.preadv(self.fd, buffers, offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                self.nowait = False
                raise BlockingIOError(errno.EAGAIN, "RWF_NOWAIT is not supported") from error
            raise

    def write(self, buffer: Buffer, offset: int) -> int:
        """Write all of `buffer` at `offset`: the number of bytes; less only when the disk is full.

        OSError when nothing was written; EFBIG beyond what a file can hold.
        """
        size = len(buffer)
        if offset + size > OFFSET_MAX:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        done = os.pwrite(self.fd, buffer, offset)
        while done < size:
            try:
                done += os.pwrite(self.fd, memoryview(buffer)[done:], offset + done)
            except OSError:
                break
        return done

    def truncate(self, size: int) -> None:
        """Set the end of file to `size`; EFBIG beyond what a file can hold."""
        self.volume.check_writable()
        if size > OFFSET_MAX:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        self.reserved = 0  # the kernel gives back what lies beyond the end
        if self.writable:
            os.ftruncate(self.fd, size)
        else:
            os.truncate(kernel.fd_path(self.fd), size)

    def allocate(self, allocation: int, alone: Callable[[], bool] | None = None) -> None:
        """Reserve room for `allocation` bytes, or cut a file that is longer ([MS-FSA] 2.1.5.15.1).

        The end of file never grows by this. A file system that cannot reserve is not asked to, nor
        one that has not so much: ext4 would take all there is before it says so. What a refused
        request got stays, unless `alone` says that nobody else has the file open.
        """
        self.volume.check_writable()
        statx = kernel.statx_fd(self.fd)
        size, blocks = statx[7], statx[8]
        if allocation < size:
            self.truncate(allocation)
        elif allocation > (blocks * 512 if size else 0) and self.writable:
            self.check_room(allocation)
            try:
                kernel.fallocate(self.fd, kernel.FALLOC_FL_KEEP_SIZE, 0, allocation)
                self.reserved = allocation
            except OSError as error:
                if error.errno in _FULL and alone is not None and alone():
                    self._give_room_back(statx)
                if error.errno != errno.ENOTSUP:
                    raise

    def check_room(self, allocation: int) -> None:
        """Refuse more than the file has and the user may still take; OSError(ENOSPC)."""
        missing = allocation - kernel.statx_fd(self.fd)[8] * 512
        if allocation > OFFSET_MAX or missing > self._free():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _give_room_back(self, before: kernel.StatxTuple) -> None:
        """Give back what a refused request for room got: a quota was in the way, or others' writes.

        ext4 and btrfs make no holes beyond the end, so that the file is cut where it ends. What
        somebody else appends meanwhile would be lost. The times stay as they were `before`.
        """
        times = [before[at] * 1_000_000_000 + before[at + 1] for at in (9, 15)]
        with suppress(OSError):
            os.ftruncate(self.fd, self.size())
            if self.reserved:
                kernel.fallocate(self.fd, kernel.FALLOC_FL_KEEP_SIZE, 0, self.reserved)
        with suppress(OSError):
            retry_as_process(lambda: kernel.set_times(self.fd, *times))

    def flush(self) -> None:
        """Wait until the data and what is needed to find it are on the disk.

        What is not open for data is opened for that, by the process if need be: whether the client
        may flush was decided by its access.
        """
        if self.readable or self.writable:
            os.fsync(self.fd)
        elif self.is_directory or self.is_regular:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            fd = retry_as_process(lambda: os.open(kernel.fd_path(self.fd), flags))
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
