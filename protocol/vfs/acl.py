"""NT security descriptors of files: stored as Samba stores them, or made from POSIX permissions.

The stored descriptor is `security.NTACL`; only root may write there, so a server of another user
keeps it in `user.NTACL` (what Samba's `acl_xattr:security_acl_name` does). The kernel checks every
call with the user's identity, whatever the descriptor says. So what a DACL says is carried to the
POSIX permissions too, and where none is stored they are all that is kept of it (acl_mapping.py).
A stored descriptor counts as long as the permissions are those that it was stored with.
"""

import errno
import os
import time
from collections.abc import Container
from typing import Final

from usmbd.protocol.vfs import directory_entry, kernel, ntacl, posix_acl, xattrs
from usmbd.protocol.vfs.acl_mapping import EVERYBODY, describe, to_posix
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.vfs.identity import Identity, as_process, retry_as_process
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.options import InheritOwner
from usmbd.protocol.vfs.pace import SHORT_DATA, long_call
from usmbd.protocol.vfs.posix_acl import PosixAcl
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_DELETE_CHILD,
    FILE_LIST_DIRECTORY,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_READ_EA,
    MAXIMUM_ALLOWED,
    READ_CONTROL,
)
from usmbd.protocol.wire.access_check import access_check
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.ntacl import build_ntacl, parse_ntacl, posix_acl_hash
from usmbd.protocol.wire.query_info import (
    DACL_SECURITY_INFORMATION,
    SACL_SECURITY_INFORMATION,
)
from usmbd.protocol.wire.security import (
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import Sid, unix_gid, unix_group, unix_uid, unix_user
from usmbd.protocol.wire.status import NtStatus, SmbError

_is_root = os.geteuid() == 0
XATTR: Final = ntacl.XATTR if _is_root else "user.NTACL"

_SEEN = FILE_READ_DATA | FILE_READ_EA | FILE_READ_ATTRIBUTES | READ_CONTROL


def token(identity: Identity) -> frozenset[Sid]:
    """Return the SIDs that a user stands for."""
    return frozenset(
        (
            unix_user(identity.uid),
            unix_group(identity.gid),
            *map(unix_group, identity.groups),
            *EVERYBODY,
        )
    )


def load(node: Node, stored: bool, *, at_once: bool = False) -> SecurityDescriptor:
    """Return the file's descriptor; one made from its permissions where none is stored.

    With `at_once` a long one is read here, too.
    """
    if not stored:
        return from_posix(node)
    found, present = load_stored(node, at_once=at_once)
    return from_posix(node, stored=True, present=present) if found is None else found


def load_stored(
    node: Node, *, at_once: bool = False
) -> tuple[SecurityDescriptor | None, Container[str]]:
    """Return the descriptor that is stored with the file, and the attributes that it may have.

    None where the permissions were changed since, by somebody who knows nothing of it, as with
    Samba.
    """
    if not node.has_xattrs:
        return None, xattrs.ANY
    present = xattrs.present(node)
    if XATTR not in present:
        return None, present
    target = node.xattr_target()
    try:
        # Linux lets anybody read it; to become the process, and the user again, takes ten calls.
        value = retry_as_process(lambda: os.getxattr(target, XATTR))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
        return None, xattrs.ANY
    if len(value) > SHORT_DATA and not at_once:
        long_call()
    found = parse_ntacl(value)
    # What was listed is older than the descriptor, whose permissions may have come with it.
    with as_process():
        statx = kernel.statx_fd(node.fd)
        current = found.version < 4 or found.is_current(_posix_hash(node, *statx[3:6]))
        if not current:
            node.stat()  # by which the permissions are told
    return found.descriptor if current else None, xattrs.ANY


def from_posix(
    node: Node,
    *,
    stored: bool = False,
    access: PosixAcl | None = None,
    present: Container[str] = xattrs.ANY,
) -> SecurityDescriptor:
    """Describe owner, group and permissions as they are in force, or will be with `access`.

    `present`: the attributes that the file has.

    Where descriptors are stored, a directory hands down what the share's masks give: an entry that
    somebody adds to it would else be all that new files inherit. Samba tells the same.
    """
    stat = node.last_stat
    default = posix_acl.read_default(node, present)
    if stored and node.is_directory and default is None:
        mode = node.volume.options.new_mode
        default = PosixAcl(mode >> 6 & 7, mode >> 3 & 7, mode & 7)
    if access is None:
        access = posix_acl.read_access(node, None, present)
    return describe(stat.uid, stat.gid, access, default, directory=node.is_directory)


def store(node: Node, descriptor: SecurityDescriptor, *, always: bool = False) -> None:
    """Store a descriptor; the right to change it was checked when the file was opened.

    With `always` it counts whatever the permissions are.
    """
    with as_process():
        hash_ = None
        if not always:
            stat = node.stat()
            hash_ = _posix_hash(node, stat.uid, stat.gid, stat.mode)
        value = build_ntacl(descriptor, from_ns(time.time_ns()), hash_)
        if _is_root:
            ntacl.store(node.fd, value)
        else:
            os.setxattr(node.xattr_target(), XATTR, value)


def _posix_hash(node: Node, uid: int, gid: int, mode: int) -> bytes:
    """Return the hash by which a later reader knows that the mode was changed behind the ACL."""
    return posix_acl_hash(
        uid,
        gid,
        mode,
        _xattr(node, posix_acl.ACCESS),
        _xattr(node, posix_acl.DEFAULT) if node.is_directory else None,
        is_directory=node.is_directory,
    )


def _xattr(node: Node, name: str) -> bytes | None:
    """Return an extended attribute, None when it is not there."""
    try:
        return os.getxattr(node.xattr_target(), name)
    except OSError:
        return None


def change(
    node: Node,
    new: SecurityDescriptor,
    information: int,
    stored: bool,
    identity: Identity | None = None,
) -> None:
    """Set parts of the descriptor, in POSIX and where it is stored.

    Not stored, what POSIX cannot say is refused: SmbError INVALID_OWNER, INVALID_PRIMARY_GROUP,
    NOT_SUPPORTED. Nothing is changed then. Stored, the user `identity` may become the owner.
    """
    node.volume.check_writable()
    node.stat()
    if not stored and information & SACL_SECURITY_INFORMATION and new.sacl and new.sacl.aces:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    descriptor = load(node, stored).with_parts(new, information)
    stat = node.last_stat
    uid = unix_uid(descriptor.owner) if descriptor.owner else None
    gid = unix_gid(descriptor.group) if descriptor.group else None
    if not stored and uid is None:
        raise SmbError(NtStatus.INVALID_OWNER)
    if not stored and gid is None:
        raise SmbError(NtStatus.INVALID_PRIMARY_GROUP)
    if node.volume.options.inherit_owner is InheritOwner.UNIX_ONLY:
        uid = stat.uid  # what clients take for the owner is none of the system's
    owner, group = stat.uid if uid is None else uid, stat.gid if gid is None else gid
    moved = (owner, group) != (stat.uid, stat.gid)
    permissions = None
    # Of one that is stored, the permissions of the owner and the group are now another's.
    if information & DACL_SECURITY_INFORMATION or (stored and moved):
        permissions = _permissions(node, descriptor, owner, group, exact=not stored)
    if moved:
        set_owner(node, owner, group, identity if stored else None)
    if permissions is not None:
        _set_permissions(node, *permissions, stored=stored)
    if stored:
        store(node, descriptor)
    node.forget_change_time()


def set_owner(node: Node, uid: int, gid: int, identity: Identity | None) -> None:
    """Give the file its owner and its group.

    Only root gives files away: SmbError INVALID_OWNER, INVALID_PRIMARY_GROUP, and ACCESS_DENIED to
    a client with POSIX extensions, for Linux makes EIO of the others. Whoever may write the owner
    by a stored descriptor, which was checked when the file was opened, may take it for himself,
    and for his groups, where POSIX wants the owner.
    """
    stat = node.last_stat
    new_uid, new_gid = -1 if uid == stat.uid else uid, -1 if gid == stat.gid else gid
    try:
        node.set_owner(new_uid, new_gid)
    except PermissionError as error:
        own = Identity(-1, -1) if identity is None else identity
        posix = NtStatus.ACCESS_DENIED if node.volume.options.posix else None
        if new_uid not in (-1, own.uid):
            raise SmbError(posix or NtStatus.INVALID_OWNER) from error
        if new_gid not in (-1, own.gid, *own.groups):
            raise SmbError(posix or NtStatus.INVALID_PRIMARY_GROUP) from error
        with as_process():
            node.set_owner(new_uid, new_gid)


def _permissions(
    node: Node, descriptor: SecurityDescriptor, uid: int, gid: int, *, exact: bool
) -> tuple[PosixAcl, PosixAcl | None]:
    """Return the permissions that the descriptor means for the file, owned so."""
    before = posix_acl.read_access(node)
    return to_posix(descriptor, uid, gid, before, directory=node.is_directory, exact=exact)


def _set_permissions(
    node: Node, access: PosixAcl, default: PosixAcl | None, *, stored: bool
) -> None:
    """Set permissions; a file system without ACLs has the mode alone where the rest is stored."""
    try:
        posix_acl.write_access(node, access)
        if node.is_directory:
            posix_acl.write_default(node, default)
    except SmbError as error:
        if not stored or error.status is not NtStatus.NOT_SUPPORTED:
            raise


def maximal_access(node: Node, identity: Identity, wanted: int = FILE_ALL_ACCESS) -> int:
    """Return what the stored descriptor allows the user; what POSIX allows where none is.

    Rights that are not `wanted` may be left out, for which the directory would have to be asked.
    Who may list the directory may read the attributes of what is in it, and who may delete
    its children may delete this one ([MS-FSA] 2.1.5.1.2.1).
    """
    granted = allowed(node, identity)
    if (DELETE | FILE_READ_ATTRIBUTES) & wanted & ~granted and node.path:
        with directory_entry.parent(node) as parent:
            above = allowed(parent, identity)
        granted |= FILE_READ_ATTRIBUTES if above & FILE_LIST_DIRECTORY else 0
        granted |= DELETE if above & FILE_DELETE_CHILD else 0
    return granted


def overrides(identity: Identity) -> bool:
    """Whether no descriptor keeps a user from anything: root, who `admin users` are (smb.conf(5)).

    The kernel asks him for nothing either.
    """
    return identity.uid == 0


def allowed(node: Node, identity: Identity, *, at_once: bool = False) -> int:
    """Return what the file's own descriptor allows the user."""
    if overrides(identity):
        return FILE_ALL_ACCESS
    try:
        return allowed_by(node, *load_stored(node, at_once=at_once), identity)
    except SmbError:
        return 0


def allowed_by(
    node: Node,
    descriptor: SecurityDescriptor | None,
    present: Container[str],
    identity: Identity,
) -> int:
    """Return what the descriptor that is stored with the file allows the user; SmbError.

    Without one its permissions do; `present`: the attributes that the file has.
    """
    if overrides(identity):
        return FILE_ALL_ACCESS
    if descriptor is None:
        descriptor = from_posix(node, stored=True, present=present)
    return access_check(descriptor, token(identity), MAXIMUM_ALLOWED)


def may_see(identity: Identity, volume: VolumeBase, fd: int, path: str) -> bool:
    """Whether a listing that hides what the user may not read shows an entry; takes over `fd`.

    The rights are those that smbd asks for (`hide unreadable`).
    """
    try:
        with Node(volume, fd, path, False, False) as node:
            return allowed(node, identity, at_once=True) & _SEEN == _SEEN
    except OSError:  # it has gone meanwhile
        return False
