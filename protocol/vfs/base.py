"""What a volume and its nodes have in common: the options, the resolver, how SMB sees a file."""

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from usmbd.protocol.vfs import file_systems, kernel
from usmbd.protocol.vfs.abilities import Abilities, find_abilities
from usmbd.protocol.vfs.names import parse_path, parse_posix_path
from usmbd.protocol.vfs.options import VolumeOptions
from usmbd.protocol.vfs.resolve import Resolver, join
from usmbd.protocol.vfs.smb_stat import smb_stat_for
from usmbd.protocol.vfs.spelling import is_odd, shown
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.vfs.node import Node


class NameRights(Protocol):
    """Decides beside the kernel whether a user may add, replace or link a name (name_rights.py).

    Each check raises SmbError(ACCESS_DENIED) if not. Without `asks_names` the kernel knows all of
    names, and only the last is asked.
    """

    asks_names: bool

    def check_add(self, directory: "Node", *, is_directory: bool) -> None:
        """Whether the open directory may get a new entry."""

    def making(self, directory: "Node", mode: int) -> int:
        """Return the mode with which what gets `mode` is made in the directory; after check_add."""

    def check_replace(self, target: "Node") -> None:
        """Whether the file may lose its name to another."""

    def check_link(self, node: "Node") -> None:
        """Whether the file may get another name."""


FILE_SYSTEMS_MAX: Final = 256
"""Of which a volume remembers what they can do: those that are mounted below it."""


class VolumeBase:
    """A share's root and rules, without the ways into it."""

    def __init__(self, root: str, options: VolumeOptions | None = None) -> None:
        """Open the root directory with the rights of the process; OSError."""
        self.options: Final = options or VolumeOptions()
        self.resolver: Final = Resolver(
            root,
            follow_symlinks=self.options.follow_symlinks,
            cross_mounts=self.options.cross_mounts,
            case_sensitive=self.options.case_sensitive,
            made_names=self.options.made_names,
            veto=self.options.veto,
        )
        self.smb_stat: Final = smb_stat_for(self.options)
        self.root_identity: Final = kernel.directory_identity(self.resolver.root)
        """Device, inode and mount of the root: what the path led to."""
        self._abilities: dict[int, Abilities] = {}
        self._in_memory = file_systems.magic(self.resolver.root) in file_systems.MEMORY
        self._lists: dict[tuple[int, int], bool] = {}  # by device: every attribute of a file

    def close(self) -> None:
        """Give the root's descriptor back; open nodes stay usable for data."""
        self.resolver.close()

    def abilities(self, node: "Node | None" = None) -> Abilities:
        """Return what the file system of a node can do, or that of the root.

        The first call for each may write to it, unseen.
        """
        device = self.root_identity[0] if node is None else os.makedev(*node.inode[:2])
        found = self._abilities.get(device)
        if found is None:
            found = self._try(node, device)
            if found is None:  # it will be asked again
                stored = self.options.store_dos_attributes
                return Abilities(holes=stored, attributes=stored)
            if len(self._abilities) >= FILE_SYSTEMS_MAX:
                self._abilities.clear()
            self._abilities[device] = found
        return found

    def in_memory(self, node: "Node") -> bool:
        """Whether a node lies in the root's file system, and that has no disk."""
        return self._in_memory and os.makedev(*node.inode[:2]) == self.root_identity[0]

    def lists_attributes(self, node: "Node") -> bool:
        """Whether the file system of a node lists every attribute that a file has."""
        device = node.inode[:2]
        lists = self._lists.get(device)
        if lists is None:
            if len(self._lists) >= FILE_SYSTEMS_MAX:
                self._lists.clear()
            lists = self._lists[device] = file_systems.magic(node.fd) in file_systems.LISTING
        return lists

    def _try(self, node: "Node | None", device: int) -> Abilities | None:
        """Try what a file system can do: in the root, or in the directory of the node."""
        stored = self.options.store_dos_attributes
        if node is None or device == self.root_identity[0]:
            return find_abilities(self.resolver.root, stored)
        if node.is_directory:
            return find_abilities(node.fd, stored)
        with suppress(SmbError, OSError):
            parent, *_ = self.resolver.open_parent(node.path)
            try:
                if os.fstat(parent).st_dev == device:  # it is no file that was mounted alone
                    return find_abilities(parent, stored)
            finally:
                os.close(parent)
        return None

    def parse_path(self, path: str) -> tuple[str, str | None]:
        """Split what a client wrote into (path on disk, stream name or None); SmbError."""
        if self.options.posix:
            return parse_posix_path(path), None
        return parse_path(path, stand_ins=self.options.made_names)

    def wire_path(self, path: str) -> str:
        """Write a path on disk as a client writes it, without a backslash before it."""
        directory = ""
        spelled = []
        for name in path.split("/"):
            if self.options.made_names and is_odd(name):
                spelled.append(shown(name, self.resolver.others_in(directory)))
            else:
                spelled.append(name)
            directory = join(directory, name)
        return "\\".join(spelled)

    def check_veto(self, path: str) -> None:
        """Refuse a path with a vetoed component; SmbError(OBJECT_NAME_NOT_FOUND)."""
        self.resolver.check_veto(path)

    def check_writable(self) -> None:
        """Refuse a change on a read-only share; SmbError(ACCESS_DENIED)."""
        if self.options.read_only:
            raise SmbError(NtStatus.ACCESS_DENIED)
