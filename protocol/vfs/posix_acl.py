"""POSIX ACLs as the kernel keeps them: `system.posix_acl_access` and `system.posix_acl_default`.

A file without an ACL of its own has the three entries that its mode is ([acl(5)]); a directory
without a default ACL hands nothing down.
"""

import errno
import os
import stat
import struct
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.identity import as_process, retry_as_process
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.xattrs import ANY
from usmbd.protocol.wire.status import NtStatus, SmbError

ACCESS: Final = "system.posix_acl_access"
DEFAULT: Final = "system.posix_acl_default"

READ: Final = 4
WRITE: Final = 2
EXECUTE: Final = 1

_VERSION: Final = 2
_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID: Final = 0xFFFFFFFF
_NONE: Final = (errno.ENODATA, errno.ENOTSUP)


@dataclass(frozen=True, slots=True)
class PosixAcl:
    """Who has which of READ, WRITE and EXECUTE; the mask is applied, and follows from the rest."""

    owner: int
    group: int
    other: int
    users: dict[int, int] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)

    @property
    def extended(self) -> bool:
        """Whether there is more than a mode can say."""
        return bool(self.users or self.groups)

    @property
    def mode(self) -> int:
        """The nine permission bits, where there is nothing more."""
        return self.owner << 6 | self.group << 3 | self.other

    def pack(self) -> bytes:
        """Return the attribute's value: entries by tag, then id, as the kernel wants them."""
        entries = [(_USER_OBJ, self.owner, _NO_ID)]
        entries += [(_USER, bits, uid) for uid, bits in sorted(self.users.items())]
        entries.append((_GROUP_OBJ, self.group, _NO_ID))
        entries += [(_GROUP, bits, gid) for gid, bits in sorted(self.groups.items())]
        if self.extended:
            mask = self.group
            for bits in (*self.users.values(), *self.groups.values()):
                mask |= bits
            entries.append((_MASK, mask, _NO_ID))
        entries.append((_OTHER, self.other, _NO_ID))
        return _HEAD.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)

    @classmethod
    def parse(cls, value: bytes, mode: int | None = None) -> "PosixAcl":
        """Read an attribute's value, which the kernel has checked; ValueError.

        With `mode` as after chmod(2).
        """
        if _HEAD.unpack_from(value) != (_VERSION,):
            raise ValueError("a POSIX ACL of another version")
        single, group_class = {_USER_OBJ: 0, _GROUP_OBJ: 0, _OTHER: 0, _MASK: 7}, _GROUP_OBJ
        users: dict[int, int] = {}
        groups: dict[int, int] = {}
        for tag, bits, number in _ENTRY.iter_unpack(value[_HEAD.size :]):
            if tag == _USER:
                users[number] = bits
            elif tag == _GROUP:
                groups[number] = bits
            else:
                single[tag] = bits
                if tag == _MASK:
                    group_class = _MASK
        if mode is not None:
            single |= {_USER_OBJ: mode >> 6 & 7, group_class: mode >> 3 & 7, _OTHER: mode & 7}
        mask = single[_MASK]
        return cls(
            single[_USER_OBJ],
            single[_GROUP_OBJ] & mask,
            single[_OTHER],
            {uid: bits & mask for uid, bits in users.items()},
            {gid: bits & mask for gid, bits in groups.items()},
        )


def read_access(node: Node, mode: int | None = None, present: Container[str] = ANY) -> PosixAcl:
    """Return what the file's permissions are, by ACL or mode, or would be by `mode`; OSError.

    `present`: the attributes that it has.
    """
    value = _read(node, ACCESS) if ACCESS in present else None
    if value is not None:
        return PosixAcl.parse(value, mode)
    if mode is None:
        mode = node.last_stat.mode
    return PosixAcl(mode >> 6 & 7, mode >> 3 & 7, mode & 7)


def read_default(node: Node, present: Container[str] = ANY) -> PosixAcl | None:
    """Return what the directory hands down; None when nothing; OSError."""
    value = _read(node, DEFAULT) if node.is_directory and DEFAULT in present else None
    return None if value is None else PosixAcl.parse(value)


def inherited_mode(directory: Node, mode: int) -> int:
    """Return the mode of what is made in a directory with `mode`, umask 0 ([acl(5)]); OSError."""
    value = _read(directory, DEFAULT)
    if value is None:
        return mode
    bits: dict[int, int] = {tag: bits for tag, bits, _ in _ENTRY.iter_unpack(value[_HEAD.size :])}
    group = bits.get(_MASK, bits[_GROUP_OBJ])
    return mode & ~0o777 | mode & (bits[_USER_OBJ] << 6 | group << 3 | bits[_OTHER])


def _read(node: Node, name: str) -> bytes | None:
    """Read an ACL, which all may who reach the file; None when there is none."""
    try:
        return os.getxattr(node.xattr_target(), name)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise


def write_access(node: Node, acl: PosixAcl) -> None:
    """Give the file these permissions; whether the user may was decided when it was opened.

    SmbError(NOT_SUPPORTED) where the file system has no ACLs and the mode cannot say it; OSError.
    """
    node.volume.check_writable()
    if acl.extended:
        _write(node, ACCESS, acl)
        return
    remove_access(node)
    path = kernel.fd_path(node.fd)
    special = stat.S_IMODE(os.stat(path).st_mode) & ~0o777
    retry_as_process(lambda: os.chmod(path, special | acl.mode))


def remove_access(node: Node) -> None:
    """Leave the file its mode alone; OSError."""
    _remove(node, ACCESS)


def write_default(node: Node, acl: PosixAcl | None) -> None:
    """Have the directory hand these permissions down, or none; errors as `write_access`."""
    node.volume.check_writable()
    if acl is None:
        _remove(node, DEFAULT)
    else:
        _write(node, DEFAULT, acl)


def _write(node: Node, name: str, acl: PosixAcl) -> None:
    """Write an ACL."""
    value = acl.pack()
    try:
        retry_as_process(lambda: os.setxattr(node.xattr_target(), name, value))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            raise SmbError(NtStatus.NOT_SUPPORTED) from error
        raise


def _remove(node: Node, name: str) -> None:
    """Remove an ACL, if there is one."""
    try:
        with as_process():
            os.removexattr(node.xattr_target(), name)
    except OSError as error:
        if error.errno not in _NONE:
            raise
