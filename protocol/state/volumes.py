"""The volumes in use: a share's directory as it is found at each tree connect.

A path may lead elsewhere tomorrow: a disk is mounted over it, or the folder is replaced. So every
tree connect opens it anew, and what it finds is compared with what is served already by device,
inode and mount; `roots` does the same for who is connected. A root is held by its trees and opens
alone: with the last of them its file system can be unmounted.
"""

import logging
import weakref
from collections.abc import Callable, Collection

import msgspec

from usmbd.mountd.confine.mountinfo import Mount
from usmbd.mountd.ipc.settings import (
    MangledNames,
    ResourceForks,
    ShareConfig,
    Slow,
    SnapshotConfig,
)
from usmbd.protocol.state.speed import VolumeSpeed
from usmbd.protocol.vfs import file_systems
from usmbd.protocol.vfs.file_systems import is_below, is_remote
from usmbd.protocol.vfs.identity import Identity, call_as
from usmbd.protocol.vfs.options import FinderInfo, InheritOwner, SnapshotOptions
from usmbd.protocol.vfs.volume import Volume, VolumeOptions
from usmbd.protocol.vfs.wildcard import Pattern

log = logging.getLogger("usmbd.vfs")


def open_volume(share: ShareConfig) -> Volume:
    """Open what is at a share's path now; may block. OSError when it is no directory."""
    volume = Volume(share.path, _options(share))
    volume.may_hang = share.slow is Slow.YES
    if share.slow is Slow.AUTO:
        try:
            root, path = volume.resolver.root, volume.resolver.root_path
            volume.may_hang = file_systems.may_hang(root, path, cross_mounts=share.crossmnt)
        except BaseException:
            volume.close()
            raise
    return volume


def open_for(share: ShareConfig, identity: Identity) -> Volume:
    """Open what is at a share's path now; may block. OSError where it is no directory.

    A usershare is opened as who connects, for its path may lead by now where only root gets.
    """
    if share.usershare:
        return call_as(identity, open_volume, share)
    return open_volume(share)


class Volumes:
    """The volumes that trees use, one for a configuration and a root."""

    def __init__(self, opened: Callable[[str], None]) -> None:
        """Begin without any; `opened(path)` is called for each that is not in use yet."""
        self._opened = opened
        self._known: weakref.WeakValueDictionary[tuple[bytes, tuple[int, ...]], Volume]
        self._known = weakref.WeakValueDictionary()
        self._paths: dict[str, weakref.WeakSet[Volume]] = {}
        self._finding_out: weakref.WeakSet[Volume] = weakref.WeakSet()
        self._speeds: weakref.WeakKeyDictionary[Volume, VolumeSpeed] = weakref.WeakKeyDictionary()

    def has(self, path: str) -> bool:
        """Whether a volume was opened by this path that may be in use still."""
        if not self._paths.get(path):
            self._paths.pop(path, None)
            return False
        return True

    def mounted(self, changed: Collection[Mount]) -> list[str]:
        """Follow what has come and gone below roots in use; return the points of those mounts.

        Other file systems can other things, and calls may hang where they are remote.
        """
        points: set[str] = set()
        for volume, speed in self._speeds.items():
            below = [m for m in changed if is_below(m.point, volume.resolver.root_path)]
            if below:
                volume.forget_abilities()
                points.update(mount.point for mount in below)
            if volume in self._finding_out and any(map(is_remote, below)):
                speed.may_hang = True
        return sorted(points)

    def admit(self, share: ShareConfig, found: Volume) -> tuple[Volume, VolumeSpeed]:
        """Return the volume to use for what was `found`: one that is in use already, if it can be.

        Then `found` is closed. Whether calls may hang is as it was found last: something else may
        have been mounted beneath.
        """
        key = msgspec.msgpack.encode(share), found.root_identity
        volume = self._known.get(key)
        if volume is None:
            volume = self._known[key] = found
            self._paths.setdefault(share.path, weakref.WeakSet()).add(volume)
            if share.slow is Slow.AUTO and share.crossmnt:
                self._finding_out.add(volume)
            self._speeds[volume] = VolumeSpeed()
            log.debug("share %s: %s, device and inode %s", share.name, share.path, key[1])
            self._opened(share.path)
        else:
            found.close()
        speed = self._speeds[volume]
        speed.may_hang = found.may_hang
        return volume, speed


def _options(share: ShareConfig) -> VolumeOptions:
    """Return a share's options as the file system layer knows them."""
    exact = share.case_sensitive
    veto, hidden = (
        [Pattern(text, case_sensitive=exact) for text in texts]
        for texts in (share.veto_files, share.hide_files)
    )
    fruit = share.fruit
    return VolumeOptions(
        follow_symlinks=share.follow_symlinks,
        cross_mounts=share.crossmnt,
        store_dos_attributes=share.store_dos_attributes,
        hide_dot_files=share.hide_dot_files,
        hide_unreadable=share.hide_unreadable,
        hide_special_files=share.hide_special_files,
        hidden=(lambda name: any(p.matches(name) for p in hidden)) if hidden else None,
        create_mask=share.create_mask,
        directory_mask=share.directory_mask,
        force_create_mode=share.force_create_mode,
        force_directory_mode=share.force_directory_mode,
        inherit_permissions=share.inherit_permissions,
        inherit_owner=InheritOwner[share.inherit_owner.name],
        case_sensitive=share.case_sensitive,
        veto=(lambda name: any(p.matches(name) for p in veto)) if veto else None,
        deletes_vetoed=share.delete_veto_files,
        ea_support=share.ea_support,
        made_names=share.mangled_names is not MangledNames.NO,
        lists_short_names=share.mangled_names is MangledNames.YES,
        finder_info=None if fruit is None else FinderInfo[fruit.metadata.name],
        forks_in_files=fruit is not None and fruit.resource is ResourceForks.FILE,
        converts_doubles=fruit is not None and fruit.convert_adouble,
        wipes_blank_forks=fruit is not None and fruit.wipe_intentionally_left_blank_rfork,
        deletes_empty_doubles=fruit is not None and fruit.delete_empty_adfiles,
        msdfs=share.msdfs_root,
        snapshots=None if share.snapshots is None else _snapshots(share.snapshots),
    )


def _snapshots(config: SnapshotConfig) -> SnapshotOptions:
    """Return where a share's previous versions are, as the file system layer knows it."""
    return SnapshotOptions(
        directory=config.directory,
        mount_point=config.mount_point,
        base_directory=config.base_directory,
        share_path=config.share_path,
        format=config.format,
        local_time=config.local_time,
        sort=config.sort,
        fix_inodes=config.fix_inodes,
    )
