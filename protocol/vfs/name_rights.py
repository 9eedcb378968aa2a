"""Who may add, replace or link a name: the one check of CREATE, rename and link ([MS-FSA] 2.1.5).

    to add a name           FILE_ADD_FILE or FILE_ADD_SUBDIRECTORY of the directory that gets it
    to replace a file       DELETE of it, or FILE_DELETE_CHILD of its directory
    to link a file          FILE_WRITE_ATTRIBUTES of it

Removing a name, and renaming it away, take DELETE, which the open was granted by the same rule. The
kernel asks for the POSIX permissions itself, at the call; what it cannot know of, a stored
descriptor, is asked before it, of the very directory and file that the call is about. [MS-FSA]
2.1.5.15.6 wants no right of a file that is linked; but who may link what he only sees keeps it when
its owner deletes it, and Linux forbids that itself (fs.protected_hardlinks). Its clients open what
they link with FILE_READ_ATTRIBUTES alone, so that the user is asked about and not the open.
"""

from collections.abc import Container

from usmbd.protocol.vfs import acl, kernel, posix_acl, rights
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.new_descriptor import CLOSED, Birth, is_closed
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.options import InheritOwner
from usmbd.protocol.vfs.xattrs import ANY
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ADD_FILE,
    FILE_ADD_SUBDIRECTORY,
    FILE_WRITE_ATTRIBUTES,
)
from usmbd.protocol.wire.security import SecurityDescriptor
from usmbd.protocol.wire.status import NtStatus, SmbError


class PosixNameRights:
    """Where permissions are all there is: the kernel decides, but about links of others' files."""

    asks_names = False

    def check_add(self, directory: Node, *, is_directory: bool) -> None:
        """Leave it to the kernel."""

    def making(self, directory: Node, mode: int) -> int:
        """Return the same mode: permissions are all that it gets."""
        return mode

    def check_replace(self, target: Node) -> None:
        """Leave it to the kernel."""

    def check_link(self, node: Node) -> None:
        """Refuse to link what the user may not write and does not own; SmbError(ACCESS_DENIED)."""
        wanted = FILE_WRITE_ATTRIBUTES
        owner = kernel.statx_fd(node.fd)[3]
        granted = rights.own_rights(node.fd, owner, is_directory=node.is_directory, wanted=wanted)
        _require(granted, wanted)


class StoredNameRights:
    """Where descriptors are stored: what they say, beside the kernel."""

    asks_names = True

    def __init__(self, identity: Identity, *, described: bool = False) -> None:
        """Ask for the user `identity`; `described`: what is made gets a descriptor of its own."""
        self._identity = identity
        self._described = described
        self._above: SecurityDescriptor | None = None
        self._present: Container[str] = ANY
        self.birth: Birth | None = None
        """Of what was made, if it is to get a descriptor."""

    def check_add(self, directory: Node, *, is_directory: bool) -> None:
        """Ask the directory's descriptor for the right to add; SmbError(ACCESS_DENIED)."""
        needed = FILE_ADD_SUBDIRECTORY if is_directory else FILE_ADD_FILE
        above, self._present = acl.load_stored(directory)
        self._above = above
        if above is None and is_closed(directory.last_stat):
            raise SmbError(NtStatus.ACCESS_DENIED)
        _require(acl.allowed_by(directory, above, self._present, self._identity), needed)

    def making(self, directory: Node, mode: int) -> int:
        """Return CLOSED for what will have a descriptor, of the directory's or its own."""
        if self._above is None and directory.volume.options.inherit_owner is not InheritOwner.NO:
            self._above = acl.from_posix(directory, stored=True, present=self._present)
        if self._above is None and not self._described:
            return mode
        self.birth = Birth(self._above, posix_acl.inherited_mode(directory, mode))
        return CLOSED

    def check_replace(self, target: Node) -> None:
        """Ask for the right to delete what is replaced; SmbError(ACCESS_DENIED)."""
        _require(acl.maximal_access(target, self._identity), DELETE)

    def check_link(self, node: Node) -> None:
        """Ask for the right to change the file's attributes; SmbError(ACCESS_DENIED)."""
        _require(acl.allowed(node, self._identity), FILE_WRITE_ATTRIBUTES)


def _require(granted: int, needed: int) -> None:
    """Refuse what is not granted."""
    if not granted & needed:
        raise SmbError(NtStatus.ACCESS_DENIED)
