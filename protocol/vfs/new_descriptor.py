"""How something new gets its stored descriptor before others see it ([MS-FSA] 2.1.5.1.1).

    check_add         of the directory (name_rights.py): what it hands down
    create_file, ...  made with the mode CLOSED, where it gets a descriptor
    give              the descriptor, counting whatever the permissions are; then the permissions

Linux makes nothing with an extended attribute. A name that is made elsewhere and renamed shows as
RENAMED to who watches, and O_TMPFILE with linkat(2) is not there for directories. So the mode says
it, which mkdir(2) and open(2) set with the name: CLOSED lets nobody in, no local program, nor the
owner, whom the ACL may deny, and stays so if the worker dies. Clients who come between wait
(`is_closed`, `is_being_made`), and so do their watches of trees: they would be denied what they may
have in a moment.
"""

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from usmbd.protocol.vfs import acl, kernel, posix_acl
from usmbd.protocol.vfs.acl_mapping import to_posix
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.vfs.identity import Identity, as_process
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.options import InheritOwner
from usmbd.protocol.vfs.posix_acl import PosixAcl
from usmbd.protocol.wire.access_check import inherit
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.query_info import DACL_SECURITY_INFORMATION
from usmbd.protocol.wire.security import (
    CONTAINER_INHERIT_ACE,
    OBJECT_INHERIT_ACE,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import Sid, unix_gid, unix_group, unix_uid, unix_user
from usmbd.protocol.wire.status import NtStatus, SmbError

CLOSED: Final = stat.S_ISVTX | (0 if os.geteuid() == 0 else 0o700)
"""Nobody makes files so. A server without root needs its own permission to store the descriptor."""

_OF_MODE: Final = stat.S_ISVTX | 0o777

MAKING_SECONDS: Final = 2.0
"""Long enough for a keeper that is busy, not for one that is started anew; what is older is what a
worker has left that died."""

LOOK_SECONDS: Final = 0.005
"""Until who waits looks again; another worker needs a millisecond."""


@dataclass(frozen=True, slots=True)
class Birth:
    """What becomes of a file that is made CLOSED."""

    above: SecurityDescriptor | None
    """The stored descriptor of its directory."""
    mode: int
    """What open(2) or mkdir(2) would have given it, with the directory's default ACL."""


def is_closed(found: FileStat) -> bool:
    """Whether another is about to give the file its descriptor."""
    if found.mode & _OF_MODE != CLOSED:
        return False
    return from_ns(time.time_ns()) - found.change_time < MAKING_SECONDS * 10_000_000


def open_left(node: Node, identity: Identity) -> None:
    """Let the owner in where a worker died before it had given a file its permissions.

    Him alone: what the descriptor would have said of others is not known.
    """
    found = node.last_stat
    if found.mode & _OF_MODE == CLOSED and found.uid == identity.uid and not is_closed(found):
        with as_process():
            os.chmod(kernel.fd_path(node.fd), 0o700 if node.is_directory else 0o600)
        node.stat()


def is_held_closed(fd: int) -> bool:
    """Whether another is about to give an open file (O_PATH or not) its descriptor; OSError."""
    found = os.stat(fd)
    if found.st_mode & _OF_MODE != CLOSED:
        return False
    return time.time_ns() - found.st_ctime_ns < MAKING_SECONDS * 1_000_000_000


def is_being_made(volume: VolumeBase, path: str) -> bool:
    """Whether access was denied because the file or the folder on the way is CLOSED: one more look.

    A closed folder has nothing in it, so that it is the last one that can be opened.
    """
    while path:
        try:
            fd, found = volume.resolver.open(path, link=True)
        except SmbError:
            path = path.rpartition("/")[0]
            continue
        with Node(volume, fd, found, False, False) as node:
            return is_closed(node.last_stat)
    return False


def give(
    node: Node, identity: Identity, descriptor: SecurityDescriptor | None, birth: Birth
) -> None:
    """Give a new file its descriptor: what its directory hands down, but the client's parts.

    Below a directory that has none stored, or hands nothing down, the share's masks make the
    permissions.
    """
    above = birth.above
    if above is None and descriptor is None:
        _set_mode(node, birth.mode)
        node.stat()
        return
    if above is not None:
        _set_group(node, above.group)
    if descriptor is not None:
        _set_owner(node, descriptor, identity)
    found, before = node.last_stat, posix_acl.read_access(node, birth.mode)
    own = acl.from_posix(node, stored=True, access=before)
    new = own if above is None else _inherited(above, own, identity, node)
    handed_down = (
        above is not None
        and above.dacl is not None
        and any(ace.flags & (OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE) for ace in above.dacl.aces)
    )
    if descriptor is not None:
        new = new.with_parts(descriptor, descriptor.parts)
    acl.store(node, new, always=True)  # now the permissions may become others than these
    if handed_down or (descriptor is not None and descriptor.parts & DACL_SECURITY_INFORMATION):
        is_directory = node.is_directory
        access, default = to_posix(
            new, found.uid, found.gid, before, directory=is_directory, exact=False
        )
        _set_permissions(node, access, default, birth.mode)
    else:
        _set_mode(node, birth.mode)
    acl.store(node, new)


def _set_group(node: Node, group: Sid | None) -> None:
    """Give a new file the group of its directory, where it has its owner, too, as smbd does."""
    gid = unix_gid(group) if group is not None else None
    if gid is None or node.volume.options.inherit_owner is not InheritOwner.WINDOWS_AND_UNIX:
        return
    with as_process(), suppress(OSError):  # its owner could not be given either, and that was told
        os.chown(kernel.fd_path(node.fd), -1, gid)
    node.stat()


def _set_owner(node: Node, descriptor: SecurityDescriptor, identity: Identity) -> None:
    """Give a new file the owner and the group that its client says, if he may ([MS-DTYP] 2.5.3.4).

    SmbError INVALID_OWNER, INVALID_PRIMARY_GROUP, as where they are set later.
    """
    found, rule = node.last_stat, node.volume.options.inherit_owner
    uid = unix_uid(descriptor.owner) if descriptor.owner else None
    gid = unix_gid(descriptor.group) if descriptor.group else None
    if uid is None or rule is InheritOwner.UNIX_ONLY:
        uid = found.uid
    gid = found.gid if gid is None else gid
    if (uid, gid) != (found.uid, found.gid):
        acl.set_owner(node, uid, gid, identity)
        node.stat()


def _inherited(
    above: SecurityDescriptor, own: SecurityDescriptor, identity: Identity, node: Node
) -> SecurityDescriptor:
    """Return what a descriptor hands down to a new file: its owner too, if the share says so.

    With `unix only` the file is its maker's to clients, whosever it is to the system.
    """
    rule = node.volume.options.inherit_owner
    owner, group = own.owner or unix_user(identity.uid), own.group or unix_group(identity.gid)
    if rule is InheritOwner.WINDOWS_AND_UNIX:
        owner, group = above.owner or owner, above.group or group
    elif rule is InheritOwner.UNIX_ONLY:
        owner = unix_user(identity.uid)
    return inherit(above, owner=owner, group=group, is_directory=node.is_directory)


def _set_permissions(node: Node, access: PosixAcl, default: PosixAcl | None, mode: int) -> None:
    """Set the permissions of the descriptor; `mode` where the file system cannot say them."""
    try:
        if node.is_directory:
            posix_acl.write_default(node, default)
        if access.extended:
            posix_acl.write_access(node, access)
            permissions = os.stat(kernel.fd_path(node.fd)).st_mode & 0o777
        else:
            posix_acl.remove_access(node)
            permissions = access.mode
    except SmbError as error:
        if error.status is not NtStatus.NOT_SUPPORTED:
            raise
        permissions = access.mode if not access.extended else mode & 0o777
    _set_mode(node, permissions | mode & ~0o777)


def _set_mode(node: Node, mode: int) -> None:
    """Set the mode, which opens the file; a set-gid that it was made with stays.

    Root sets it, for a user who is not in the file's group would lose that. What a client with
    POSIX extensions asks for beyond it he sets himself: the kernel gives no set-gid of others'
    groups.
    """
    path = kernel.fd_path(node.fd)
    made_with = os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID)
    permissions = made_with | mode & _OF_MODE
    try:
        with as_process():
            os.chmod(path, permissions)
    except PermissionError:  # NFS, where root is nobody
        os.chmod(path, permissions)
    if asked := mode & (stat.S_ISUID | stat.S_ISGID) & ~made_with:
        os.chmod(path, permissions | asked)
