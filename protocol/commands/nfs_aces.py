"""Entries S-1-5-88 of a DACL, by which macOS sees and sets a file's mode (Samba's vfs_fruit)."""

from dataclasses import replace

from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.security import ACCESS_DENIED_ACE_TYPE, Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import is_nfs, nfs_mode, nfs_sids


def told(descriptor: SecurityDescriptor, stat: FileStat) -> SecurityDescriptor:
    """Return a descriptor that tells mode, owner and group, too, each once and denying nothing."""
    dacl = descriptor.dacl or Acl()
    aces = [ace for ace in dacl.aces if not is_nfs(ace.sid)]
    aces += [
        Ace(ACCESS_DENIED_ACE_TYPE, 0, 0, sid) for sid in nfs_sids(stat.uid, stat.gid, stat.mode)
    ]
    return replace(descriptor, dacl=replace(dacl, aces=tuple(aces)))


def taken(descriptor: SecurityDescriptor) -> tuple[SecurityDescriptor, int | None]:
    """Return a client's descriptor without them, and the mode that they say.

    Where nothing else was in the DACL there is none: what was there before stays.
    """
    dacl = descriptor.dacl
    if dacl is None:
        return descriptor, None
    modes = (nfs_mode(ace.sid) for ace in dacl.aces)
    mode = next((mode for mode in modes if mode is not None), None)
    aces = tuple(ace for ace in dacl.aces if not is_nfs(ace.sid))
    left = None if dacl.aces and not aces else replace(dacl, aces=aces)
    return replace(descriptor, dacl=left), mode
