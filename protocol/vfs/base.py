"""What a volume and its nodes have in common: the options, the resolver, the view of facts."""

from typing import Final

from usmbd.protocol.vfs.facts import facts_for
from usmbd.protocol.vfs.options import VolumeOptions
from usmbd.protocol.vfs.resolve import Resolver
from usmbd.protocol.vfs.short_names import short_name
from usmbd.protocol.wire.status import NtStatus, SmbError


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
            short_names=self.options.mangled_names,
        )
        self.facts: Final = facts_for(self.options)

    def close(self) -> None:
        """Give the root's descriptor back; open nodes stay usable for data."""
        self.resolver.close()

    def check_veto(self, path: str) -> None:
        """Refuse a path with a vetoed component; SmbError(OBJECT_NAME_NOT_FOUND)."""
        veto = self.options.veto
        if veto is not None and path and any(map(veto, path.split("/"))):
            raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)

    def check_writable(self) -> None:
        """Refuse a change on a read-only share; SmbError(ACCESS_DENIED)."""
        if self.options.read_only:
            raise SmbError(NtStatus.ACCESS_DENIED)

    def short_name(self, name: str) -> str:
        """Return the 8.3 name of `name` for a listing, "" when it has or needs none."""
        return short_name(name) if self.options.mangled_names else ""
