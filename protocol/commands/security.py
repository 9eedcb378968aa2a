"""Security descriptors and the access that they give ([MS-SMB2] 3.3.5.20.3, 3.3.5.21.3)."""

from contextlib import suppress

from usmbd.protocol.commands import nfs_aces
from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.commands.telling import tell
from usmbd.protocol.effects import Blocking
from usmbd.protocol.state.notify.change import modified
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.session import SessionState
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.vfs import acl, apple_fork, new_descriptor, rights
from usmbd.protocol.vfs.identity import retry_as_process
from usmbd.protocol.vfs.machine_domain import MachineDomain
from usmbd.protocol.vfs.name_rights import PosixNameRights, StoredNameRights
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.pace import SHORT_DATA, long_call
from usmbd.protocol.wire.access import (
    ACCESS_SYSTEM_SECURITY,
    READ_CONTROL,
    WRITE_DAC,
    WRITE_OWNER,
)
from usmbd.protocol.wire.change_notify import FILE_NOTIFY_CHANGE_SECURITY
from usmbd.protocol.wire.query_info import (
    ATTRIBUTE_SECURITY_INFORMATION,
    BACKUP_SECURITY_INFORMATION,
    DACL_SECURITY_INFORMATION,
    GROUP_SECURITY_INFORMATION,
    LABEL_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION,
    SACL_SECURITY_INFORMATION,
    SCOPE_SECURITY_INFORMATION,
)
from usmbd.protocol.wire.security import SecurityDescriptor
from usmbd.protocol.wire.set_info import SetInfoResponse
from usmbd.protocol.wire.sid import nfs_mode, unix_uid
from usmbd.protocol.wire.status import NtStatus, SmbError

_RESPONSE = SetInfoResponse().pack()
_POSIX = PosixNameRights()
_PARTS = (
    OWNER_SECURITY_INFORMATION
    | GROUP_SECURITY_INFORMATION
    | DACL_SECURITY_INFORMATION
    | SACL_SECURITY_INFORMATION
)
"""The parts of a descriptor that can be set; each has its right."""

_OTHER_PARTS = (
    LABEL_SECURITY_INFORMATION
    | ATTRIBUTE_SECURITY_INFORMATION
    | SCOPE_SECURITY_INFORMATION
    | BACKUP_SECURITY_INFORMATION
)
"""Parts that nothing here would enforce."""


def parse(data: memoryview, domain: MachineDomain | None) -> SecurityDescriptor:
    """Read a descriptor that a client sent; SmbError(INVALID_SECURITY_DESCR, INVALID_ACL)."""
    if len(data) > SHORT_DATA:
        long_call()
    descriptor = SecurityDescriptor.parse(data)
    return descriptor if domain is None else domain.meant(descriptor)


def parse_new(request: Request, data: memoryview) -> SecurityDescriptor:
    """Read the descriptor that comes with a CREATE.

    SmbError(PRIVILEGE_NOT_HELD) for a SACL of who may not set one ([MS-DTYP] 2.5.3.4.1).
    """
    descriptor = parse(data, request.tree.domain)
    if descriptor.sacl is not None and descriptor.sacl.aces and not request.tree.audits:
        raise SmbError(NtStatus.PRIVILEGE_NOT_HELD)
    return descriptor


def require_for_query(open_: Open, information: int) -> None:
    """Refuse a query that the open was not granted ([MS-FSA] 2.1.5.14)."""
    if information & SACL_SECURITY_INFORMATION:
        open_.require(ACCESS_SYSTEM_SECURITY)
    if information & ~SACL_SECURITY_INFORMATION:
        open_.require(READ_CONTROL)


def query(node: Node, information: int, tree: TreeConnect) -> bytes:
    """Return the parts of the file's descriptor that the client asks for.

    None of them without `nt acl support`, as smbd.
    """
    if not tree.share.nt_acl_support:
        return SecurityDescriptor().pack()
    descriptor = acl.load(node, tree.share.acl_xattr).select(information)
    if tree.domain is not None:
        descriptor = tree.domain.shown(descriptor)
    if tree.nfs_aces and information & DACL_SECURITY_INFORMATION:
        descriptor = nfs_aces.told(descriptor, node.stat())
    return descriptor.pack()


def change(request: Request, information: int, data: memoryview) -> Handling:
    """Set the parts of the file's descriptor that the client names ([MS-FSA] 2.1.5.17)."""
    open_ = request.open
    if information & (OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION):
        open_.require(WRITE_OWNER)
    if information & DACL_SECURITY_INFORMATION:
        open_.require(WRITE_DAC)
    if information & SACL_SECURITY_INFORMATION:
        open_.require(ACCESS_SYSTEM_SECURITY)
        if not request.tree.writable:
            raise SmbError(NtStatus.ACCESS_DENIED)
    if information & _OTHER_PARTS and not information & _PARTS:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    information &= _PARTS
    if not information or not request.tree.share.nt_acl_support:
        # Nothing was asked for, so no right was checked: nothing is stored either. Nor is it where
        # the share says so, without an error, for Windows would not copy files there (smbd).
        return _RESPONSE
    yield Blocking(_change, open_.node, data, information, request.tree)
    change = modified(FILE_NOTIFY_CHANGE_SECURITY)
    yield from tell(open_, change)
    return _RESPONSE


def _change(node: Node, data: memoryview, information: int, tree: TreeConnect) -> None:
    """Read the client's descriptor, which may be long, and set the parts.

    By the POSIX extensions permissions come as an entry S-1-5-88-3-mode: a chmod(2).
    """
    new = parse(data, tree.domain)
    if tree.nfs_aces and information & DACL_SECURITY_INFORMATION:
        new, said = nfs_aces.taken(new)
        if said is not None and said != node.stat().mode & 0o7777:
            node.set_mode(said)
        if new.dacl is None and said is not None:
            information &= ~DACL_SECURITY_INFORMATION
    mode = _mode(node, new) if information & DACL_SECURITY_INFORMATION else None
    if mode is not None:
        node.set_mode(mode)
        information &= ~DACL_SECURITY_INFORMATION
    if information:
        acl.change(node, new, information, tree.share.acl_xattr, tree.identity)
    if new.dacl is not None or mode is not None:
        apple_fork.follow_mode(node)


def _mode(node: Node, descriptor: SecurityDescriptor) -> int | None:
    """Return the permissions that a client of the POSIX extensions puts into a DACL; else None."""
    if not node.volume.options.posix or descriptor.dacl is None:
        return None
    modes = (nfs_mode(ace.sid) for ace in descriptor.dacl.aces)
    return next((mode for mode in modes if mode is not None), None)


def maximal_access(request: Request, node: Node, wanted: int) -> int:
    """Return what the session's user may do with the file at most, of the rights in `wanted`."""
    if not request.tree.share.acl_xattr:
        return rights.maximal_access(node, wanted, node.last_stat.uid)
    return acl.maximal_access(node, request.tree.identity, wanted)


def name_rights(request: Request, *, described: bool = False) -> PosixNameRights | StoredNameRights:
    """Return who decides about names that the request adds, replaces or links.

    `described`: it gives what it makes a descriptor.

    SmbError(ACCESS_DENIED) where nothing may be changed: on a share that is read only for the user,
    or while the session is suspended.
    """
    tree = request.tree
    if not tree.writable or request.session.state is SessionState.SUSPENDED:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if not tree.share.acl_xattr:
        return _POSIX
    return StoredNameRights(tree.identity, described=described)


def lists_new(request: Request, descriptor: SecurityDescriptor | None) -> bool:
    """Whether the creator of a directory may list it, whatever it inherits."""
    return request.tree.share.acl_xattr or descriptor is not None


def set_new(
    request: Request,
    node: Node,
    descriptor: SecurityDescriptor | None,
    names: PosixNameRights | StoredNameRights,
) -> None:
    """Give a new file its descriptor: the client's, or what its directory hands down.

    `names` have let it be made. Where none are stored the kernel hands a default ACL down.
    """
    if descriptor is not None and _mode(node, descriptor) is not None:
        # Linux says so (idsfromsid) beside the mode of the POSIX extensions, which counts. It names
        # its own user as the owner: only root gives files away, everybody else's stay his.
        uid = unix_uid(descriptor.owner) if descriptor.owner else None
        if uid is not None:
            with suppress(PermissionError):
                node.set_owner(uid, -1)
        descriptor = None
    birth = names.birth if isinstance(names, StoredNameRights) else None
    if node.is_directory and not node.readable and lists_new(request, descriptor):
        retry_as_process(lambda: node.open_data(read=True, write=False))
    if birth is not None:
        new_descriptor.give(node, request.tree.identity, descriptor, birth)
    elif descriptor is not None:
        acl.change(node, descriptor, descriptor.parts & _PARTS, stored=False)
