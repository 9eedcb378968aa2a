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

from usmbd.protocol.vfs import acl, kernel, rights
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ADD_FILE,
    FILE_ADD_SUBDIRECTORY,
    FILE_WRITE_ATTRIBUTES,
)
from usmbd.protocol.wire.status import NtStatus, SmbError


class PosixNameRights:
    """Where permissions are all there is: the kernel decides, but about links of others' files."""

    asks_names = False

    def check_add(self, directory: Node, *, is_directory: bool) -> None:
        """Leave it to the kernel."""

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

    def __init__(self, identity: Identity) -> None:
        """Ask for the user `identity`."""
        self._identity = identity

    def check_add(self, directory: Node, *, is_directory: bool) -> None:
        """Ask the directory's descriptor for the right to add; SmbError(ACCESS_DENIED)."""
        needed = FILE_ADD_SUBDIRECTORY if is_directory else FILE_ADD_FILE
        _require(acl.allowed(directory, self._identity), needed)

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
