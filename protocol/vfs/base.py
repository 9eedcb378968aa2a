"""What a volume and its nodes have in common: the options, the resolver, how SMB sees a file."""

from typing import TYPE_CHECKING, Final, Protocol

from usmbd.protocol.vfs import kernel
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

    Each raises SmbError(ACCESS_DENIED) if not. Without `asks_names` the kernel knows all of names,
    and the first two are not asked.
    """

    asks_names: bool

    def check_add(self, directory: "Node", *, is_directory: bool) -> None:
        """Whether the open directory may get a new entry."""

    def check_replace(self, target: "Node") -> None:
        """Whether the file may lose its name to another."""

    def check_link(self, node: "Node") -> None:
        """Whether the file may get another name."""


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
        self._abilities: Abilities | None = None

    def close(self) -> None:
        """Give the root's descriptor back; open nodes stay usable for data."""
        self.resolver.close()

    def abilities(self) -> Abilities:
        """Return what the root's file system can do; the first call may write to it, unseen."""
        if self._abilities is None:
            self._abilities = find_abilities(self.resolver.root, self.options.store_dos_attributes)
        stored = self.options.store_dos_attributes
        return self._abilities or Abilities(holes=stored, attributes=stored)

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
