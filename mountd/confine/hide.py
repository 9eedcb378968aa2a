"""Folders that a process does not see: it gets mounts of its own, and theirs are empty there.

CAP_DAC_OVERRIDE, or acting as root, opens every file that has a name; so the names go. What is
mounted later is handed on to these mounts and seen (mount_namespaces(7): the host's are shared,
as systemd makes them; ours follow them, MS_SLAVE). Devices cannot be opened there, or the disk
that the files lie on would be read around its file system.

What is hidden is a mount on a mount: a disk that is unmounted stays for this process while it has
one. So nothing is hidden on a disk that may go. Nor is a folder that has folders in it: one of
them may become a share.

Others' /proc/PID/root would lead to what is hidden: Landlock keeps a process out of those.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from usmbd.mountd.confine import kernel
from usmbd.mountd.confine.kernel import Capability, MountFlag
from usmbd.mountd.confine.mountinfo import Mount, mounts

_OPTIONS: Final = "mode=0755,size=64k"
_FLAGS: Final = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC

_LASTING: Final = frozenset(
    {
        *("/", "/etc", "/etc/usmbd", "/run", "/run/usmbd", "/sysroot", "/tmp", "/usr"),
        *("/var", "/var/lib", "/var/lib/usmbd", "/var/tmp"),
    }
)
"""Mount points, with those that systemd makes for a service, whose disk nobody unmounts."""

_DEVICES: Final = ("/dev/null", "/dev/urandom", "/dev/infiniband")
"""What may be opened of the devices: RDMA's, and what can do no harm."""


def hide(folders: Mapping[str, Iterable[str]]) -> list[str]:
    """Have each folder, or file, empty; return what could not be, and why.

    Of a folder that may not be hidden the files are that are named with it. A process that is not
    root opens what its user may: nothing is hidden from it. Call it before there is a second
    thread, and before capabilities are given up.
    """
    if not folders or os.geteuid() != 0:
        return []
    what = f"hiding {', '.join(sorted(folders))} from itself: "
    if not kernel.may(Capability.SYS_ADMIN):
        return [what + "it takes CAP_SYS_ADMIN"]
    try:
        there = [*mounts()]
        if not any(mount.point == "/" and mount.is_handed_on for mount in there):
            return [what + "what is mounted later would be hidden, too (mount --make-rshared /)"]
        kernel.leave_mounts()
        kernel.mount(None, "/", None, MountFlag.REC | MountFlag.SLAVE)
    except OSError as error:
        return [what + (error.strerror or str(error))]
    os.chdir("/")  # which may have been one of them
    return [*_cover(folders, there), *_forbid_devices()]


def _cover(folders: Mapping[str, Iterable[str]], there: list[Mount]) -> Iterator[str]:
    """Mount something empty on each folder, wherever its disk shows it."""
    for folder, files in sorted(folders.items()):
        try:
            whole = not os.path.isdir(folder) or not _has_folders(folder)
        except OSError as error:
            yield f"hiding {folder} from itself: {error.strerror}"
            continue
        if not whole:
            what = ", ".join(sorted(files))
            yield f"hiding {folder} from itself: there are folders in it" + (
                f"; {what} alone is hidden, until it is replaced" if what else ""
            )
        for path in [folder] if whole else files:
            yield from _cover_places(path, there)


def _has_folders(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_dir() for entry in entries)


def _cover_places(path: str, there: list[Mount]) -> Iterator[str]:
    """Mount something empty on a folder or a file, wherever its disk shows it."""
    try:
        for place, point in _places(path, there):
            if point in _LASTING:
                _empty(place)
            else:
                yield f"hiding {place} from itself: the disk at {point} may be unmounted"
    except OSError as error:
        yield f"hiding {path} from itself: {error.strerror}"


def _places(path: str, there: list[Mount]) -> Iterator[tuple[str, str]]:
    """Yield where something is seen, and where that file system is mounted: perhaps more often."""
    status = os.stat(path)
    around = [mount for mount in there if _inside(path, mount.point) is not None]
    home = max(reversed(around), key=lambda mount: len(mount.point))
    inner = os.path.join(home.root, _inside(path, home.point) or "").rstrip("/")
    found = {path: home.point}
    for mount in there:
        rest = _inside(inner or "/", mount.root) if mount.device == home.device else None
        if rest is not None:
            place = os.path.join(mount.point, rest).rstrip("/")
            with suppress(OSError):  # something else is mounted over it
                if os.path.samestat(os.lstat(place), status):
                    found.setdefault(place, mount.point)
    yield from sorted(found.items())


def _inside(path: str, folder: str) -> str | None:
    """Return the rest of a path beneath a folder, "" for the folder itself; None: it is not."""
    if path == folder:
        return ""
    prefix = folder.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _empty(place: str) -> None:
    """Mount an empty file system there, which cannot be changed, or an empty file."""
    if os.path.isdir(place):
        kernel.mount("usmbd", place, "tmpfs", _FLAGS | MountFlag.RDONLY, _OPTIONS)
    else:
        kernel.mount("/dev/null", place, None, MountFlag.BIND)


def _forbid_devices() -> Iterator[str]:
    """Let no device be opened but those that are needed."""
    try:
        devices = [device for device in _DEVICES if os.path.exists(device)]
        for device in devices:
            kernel.mount(device, device, None, MountFlag.BIND | MountFlag.REC)
        kernel.change_mounts("/", add=MountFlag.NODEV)
        for device in devices:
            kernel.change_mounts(device, remove=MountFlag.NODEV)
    except OSError as error:
        yield f"keeping devices from itself: {error.strerror}"
