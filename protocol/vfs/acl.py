"""NT security descriptors of files: stored as Samba stores them, or made from POSIX modes.

The stored descriptor is `security.NTACL`; only root may write there, so a server of another user
keeps it in `user.NTACL` (what Samba's `acl_xattr:security_acl_name` does). POSIX permissions
stay in force beneath: the kernel checks every call with the user's identity, whatever the
descriptor says.
"""

import errno
import os
import stat
import time
from typing import Final

from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.identity import Identity, as_process
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_DELETE_CHILD,
    FILE_EXECUTE,
    FILE_LIST_DIRECTORY,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_READ_EA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    FILE_WRITE_EA,
    MAXIMUM_ALLOWED,
    READ_CONTROL,
    SYNCHRONIZE,
)
from usmbd.protocol.wire.access_check import access_check, inherit
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.ntacl import build_ntacl, parse_ntacl, posix_acl_hash
from usmbd.protocol.wire.query_info import (
    DACL_SECURITY_INFORMATION,
    GROUP_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION,
)
from usmbd.protocol.wire.security import (
    ACCESS_ALLOWED_ACE_TYPE,
    SE_DACL_PRESENT,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import (
    AUTHENTICATED_USERS,
    EVERYONE,
    LOCAL_SYSTEM,
    NETWORK,
    Sid,
    unix_gid,
    unix_group,
    unix_uid,
    unix_user,
)
from usmbd.protocol.wire.status import SmbError

_is_root = os.geteuid() == 0
XATTR: Final = "security.NTACL" if _is_root else "user.NTACL"

_ALL_PARTS = OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION
_READ = FILE_READ_DATA | FILE_READ_EA | FILE_READ_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE
_WRITE = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_EA | FILE_WRITE_ATTRIBUTES
_ALWAYS = FILE_READ_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE


def token(identity: Identity) -> frozenset[Sid]:
    """Return the SIDs that a user stands for."""
    return frozenset(
        (
            unix_user(identity.uid),
            unix_group(identity.gid),
            *map(unix_group, identity.groups),
            EVERYONE,
            AUTHENTICATED_USERS,
            NETWORK,
        )
    )


def load(node: Node, stored: bool) -> SecurityDescriptor:
    """Return the file's descriptor; one made from its mode where none is stored."""
    if stored and node.has_xattrs:
        with as_process():
            try:
                found = parse_ntacl(os.getxattr(node.xattr_target(), XATTR))
                return found.descriptor
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                    raise
    return from_mode(node)


def from_mode(node: Node) -> SecurityDescriptor:
    """Describe owner, group and mode as Samba does: allow entries, and full access for SYSTEM."""
    facts = node.last_stat
    mode = facts.mode
    directory = stat.S_ISDIR(mode)
    owner = _rights(mode >> 6, directory) | _READ | _WRITE | DELETE
    if mode & 0o700 == 0o700 or (not directory and mode & 0o600 == 0o600):
        owner = FILE_ALL_ACCESS
    entries = (
        (unix_user(facts.uid), owner),
        (unix_group(facts.gid), _rights(mode >> 3, directory)),
        (EVERYONE, _rights(mode, directory)),
        (LOCAL_SYSTEM, FILE_ALL_ACCESS),
    )
    aces = tuple(Ace(ACCESS_ALLOWED_ACE_TYPE, 0, mask, sid) for sid, mask in entries)
    return SecurityDescriptor(
        owner=unix_user(facts.uid),
        group=unix_group(facts.gid),
        dacl=Acl(aces),
        control=SE_DACL_PRESENT,
    )


def _rights(bits: int, directory: bool) -> int:
    """Return the access that three mode bits mean."""
    mask = _ALWAYS
    if bits & 4:
        mask |= _READ
    if bits & 2:
        mask |= _WRITE | (FILE_DELETE_CHILD if directory else 0)
    if bits & 1:
        mask |= FILE_EXECUTE
    return mask


def store(node: Node, descriptor: SecurityDescriptor) -> None:
    """Store a descriptor; the right to change it was checked when the file was opened."""
    with as_process():
        value = build_ntacl(descriptor, from_ns(time.time_ns()), _posix_hash(node))
        os.setxattr(node.xattr_target(), XATTR, value)


def _posix_hash(node: Node) -> bytes:
    """Return the hash by which a later reader knows that the mode was changed behind the ACL."""
    facts = node.stat()
    return posix_acl_hash(
        facts.uid,
        facts.gid,
        facts.mode,
        _xattr(node, "system.posix_acl_access"),
        _xattr(node, "system.posix_acl_default") if node.is_directory else None,
        is_directory=node.is_directory,
    )


def _xattr(node: Node, name: str) -> bytes | None:
    """Return an extended attribute, None when it is not there."""
    try:
        return os.getxattr(node.xattr_target(), name)
    except OSError:
        return None


def change(node: Node, new: SecurityDescriptor, information: int, stored: bool) -> None:
    """Set parts of the descriptor: owner and group in POSIX too, the DACL where it is stored."""
    node.volume.check_writable()
    descriptor = load(node, stored).with_parts(new, information)
    facts = node.stat()
    uid = unix_uid(descriptor.owner) if descriptor.owner else None
    gid = unix_gid(descriptor.group) if descriptor.group else None
    if (uid is not None and uid != facts.uid) or (gid is not None and gid != facts.gid):
        node.set_owner(-1 if uid is None else uid, -1 if gid is None else gid)
    if stored:
        store(node, descriptor)


def maximal_access(node: Node, identity: Identity) -> int:
    """Return what the stored descriptor allows the user; what POSIX allows where none is.

    Who may list the directory may read the attributes of what is in it, and who may delete
    its children may delete this one ([MS-FSA] 2.1.5.1.2.1).
    """
    granted = _allowed(node, identity)
    if (DELETE | FILE_READ_ATTRIBUTES) & ~granted and node.path:
        with directory_entry.parent(node) as parent:
            above = _allowed(parent, identity)
        granted |= FILE_READ_ATTRIBUTES if above & FILE_LIST_DIRECTORY else 0
        granted |= DELETE if above & FILE_DELETE_CHILD else 0
    return granted


def _allowed(node: Node, identity: Identity) -> int:
    """Return what the file's own descriptor allows the user."""
    try:
        return access_check(load(node, True), token(identity), MAXIMUM_ALLOWED)
    except SmbError:
        return 0


def set_new(node: Node, identity: Identity, descriptor: SecurityDescriptor | None) -> None:
    """Store a new file's descriptor: what its directory hands down, but the client's parts."""
    own = from_mode(node)
    with directory_entry.parent(node) as parent:
        new = inherit(
            load(parent, True),
            owner=own.owner or unix_user(identity.uid),
            group=own.group or unix_group(identity.gid),
            is_directory=node.is_directory,
        )
    if descriptor is not None:
        new = new.with_parts(descriptor, descriptor.parts & _ALL_PARTS)
    store(node, new)
