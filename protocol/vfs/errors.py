"""What the kernel's error numbers mean in SMB: the one table, used by the one place that maps."""

import errno

from usmbd.protocol.wire.status import NtStatus

#: errno -> NTSTATUS, as Windows would call the same refusal.
STATUS_OF_ERRNO: dict[int, NtStatus] = {
    errno.EPERM: NtStatus.ACCESS_DENIED,
    errno.EACCES: NtStatus.ACCESS_DENIED,
    errno.ENOENT: NtStatus.OBJECT_NAME_NOT_FOUND,
    errno.ENOTDIR: NtStatus.OBJECT_PATH_NOT_FOUND,
    errno.EEXIST: NtStatus.OBJECT_NAME_COLLISION,
    errno.EISDIR: NtStatus.FILE_IS_A_DIRECTORY,
    errno.ENOTEMPTY: NtStatus.DIRECTORY_NOT_EMPTY,
    errno.ENAMETOOLONG: NtStatus.OBJECT_NAME_INVALID,
    errno.EILSEQ: NtStatus.OBJECT_NAME_INVALID,
    # A symbolic link that may not be followed, or that leaves the share: it exists, but not
    # for this client. "Not found" would send an open-or-create round in circles.
    errno.ELOOP: NtStatus.ACCESS_DENIED,
    errno.EXDEV: NtStatus.NOT_SAME_DEVICE,
    errno.EROFS: NtStatus.MEDIA_WRITE_PROTECTED,
    errno.ENOSPC: NtStatus.DISK_FULL,
    errno.EDQUOT: NtStatus.DISK_FULL,
    errno.EFBIG: NtStatus.DISK_FULL,
    errno.EMLINK: NtStatus.TOO_MANY_LINKS,
    errno.ENOMEM: NtStatus.NO_MEMORY,
    # The system's own tables are full: of buffers, locks, threads or processes.
    errno.ENOBUFS: NtStatus.INSUFFICIENT_RESOURCES,
    errno.ENOLCK: NtStatus.INSUFFICIENT_RESOURCES,
    errno.EUSERS: NtStatus.INSUFFICIENT_RESOURCES,
    errno.EMFILE: NtStatus.TOO_MANY_OPENED_FILES,
    errno.ENFILE: NtStatus.TOO_MANY_OPENED_FILES,
    errno.EINVAL: NtStatus.INVALID_PARAMETER,
    errno.E2BIG: NtStatus.EA_TOO_LARGE,
    errno.ENODATA: NtStatus.NONEXISTENT_EA_ENTRY,
    errno.ENOTSUP: NtStatus.NOT_SUPPORTED,
    errno.ENOSYS: NtStatus.NOT_SUPPORTED,
    errno.ENOTTY: NtStatus.NOT_SUPPORTED,
    errno.EBUSY: NtStatus.SHARING_VIOLATION,
    errno.ETXTBSY: NtStatus.SHARING_VIOLATION,
    # A local process or another file server holds a kernel lease on the file (O_NONBLOCK).
    errno.EAGAIN: NtStatus.SHARING_VIOLATION,
    errno.EDEADLK: NtStatus.LOCK_NOT_GRANTED,
    errno.ESTALE: NtStatus.FILE_CLOSED,
    errno.ENXIO: NtStatus.NO_SUCH_DEVICE,
    errno.ENODEV: NtStatus.NO_SUCH_DEVICE,
    errno.ESPIPE: NtStatus.INVALID_DEVICE_REQUEST,
    errno.EIO: NtStatus.UNEXPECTED_IO_ERROR,
    errno.ETIMEDOUT: NtStatus.IO_TIMEOUT,
}


_WRONG_CALLS = (errno.EBADF, errno.EFAULT)
"""What no client can cause: a descriptor that is none, an address that is none."""


def status_of_errno(number: int | None) -> NtStatus:
    """Map an error number; one that nobody foresaw is UNSUCCESSFUL."""
    return STATUS_OF_ERRNO.get(number or 0, NtStatus.UNSUCCESSFUL)


def is_refusal(error: OSError) -> bool:
    """Whether a kernel, disk or network refused what was asked; else the call itself was wrong."""
    return error.errno not in _WRONG_CALLS


def status_of(error: OSError) -> NtStatus:
    """Map an exception of a file operation to the status that the client gets."""
    return status_of_errno(error.errno)
