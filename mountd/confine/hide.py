"""Folders that a process does not see: it gets mounts of its own, and theirs are empty there.

CAP_DAC_OVERRIDE, or acting as root, opens every file that has a name; so the names go. What is
mounted later is handed on to these mounts and seen (mount_namespaces(7): the host's are shared,
as systemd makes them; ours follow them, MS_SLAVE). Devices cannot be opened there, or the disk
that the files lie on would be read around its file system.

Others' /proc/PID/root would lead to what is hidden: Landlock keeps a process out of those.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from usmbd.mountd.confine import kernel
from usmbd.mountd.confine.kernel import Capability, MountFlag
from usmbd.mountd.confine.mountinfo import Mount, mounts

_OPTIONS: Final = "mode=0755,size=64k"
_FLAGS: Final = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC

_OURS: Final = (sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2]))
"""Where our programs lie, and what they need."""

_DEVICES: Final = ("/dev/null", "/dev/urandom", "/dev/infiniband")
"""What may be opened of the devices: RDMA's, and what can do no harm."""


def hide(folders: Mapping[str, Iterable[str]]) -> list[str]:
    """Have each folder empty but for what is to be seen in it; return what could not be, and why.

    A process that is not root opens what its user may: nothing is hidden from it. Call it before
    there is a second thread, and before capabilities are given up.
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
    """Mount something empty on each folder, the outer ones first, wherever its disk shows it."""
    for folder in sorted(folders):
        shown = {*folders[folder], *_OURS}
        shown |= {os.path.realpath(each) for each in shown}
        for place in _places(folder, there):
            try:
                _empty(place, shown)
            except OSError as error:
                yield f"hiding {place} from itself: {error.strerror}"


def _places(folder: str, there: list[Mount]) -> Iterator[str]:
    """Yield where a folder is seen: once more where its file system is mounted once more."""
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        return
    around = [mount for mount in there if _inside(folder, mount.point) is not None]
    home = max(around, key=lambda mount: len(mount.point))
    inner = os.path.join(home.root, _inside(folder, home.point) or "").rstrip("/")
    found = {folder}
    for mount in there:
        rest = _inside(inner or "/", mount.root) if mount.device == home.device else None
        if rest is not None:
            place = os.path.join(mount.point, rest).rstrip("/")
            with suppress(OSError):  # something else is mounted over it
                if os.path.samestat(os.lstat(place), status):
                    found.add(place)
    yield from sorted(found)


def _inside(path: str, folder: str) -> str | None:
    """Return the rest of a path beneath a folder, "" for the folder itself; None: it is not."""
    if path == folder:
        return ""
    prefix = folder.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _empty(place: str, shown: Iterable[str]) -> None:
    """Mount an empty file system there, and what is to be seen into it; all or nothing."""
    if not os.path.isdir(place):
        kernel.mount("/dev/null", place, None, MountFlag.BIND)
        return
    kept: dict[str, int] = {}
    try:
        for path in sorted(shown):
            if _inside(path, place) and not any(_inside(path, outer) for outer in kept):
                with suppress(FileNotFoundError):
                    kept[path] = os.open(path, os.O_PATH | os.O_CLOEXEC)
        kernel.mount("usmbd", place, "tmpfs", _FLAGS, _OPTIONS)
        try:
            for path, descriptor in kept.items():
                source = f"/proc/self/fd/{descriptor}"
                _make_place(path, directory=os.path.isdir(source))
                kernel.mount(source, path, None, MountFlag.BIND | MountFlag.REC)
            change = MountFlag.REMOUNT | MountFlag.BIND | MountFlag.RDONLY
            kernel.mount(None, place, None, change | _FLAGS)
        except OSError:
            kernel.unmount(place)
            raise
    finally:
        for descriptor in kept.values():
            os.close(descriptor)


def _make_place(path: str, *, directory: bool) -> None:
    """Make what something can be mounted on."""
    os.makedirs(path if directory else os.path.dirname(path), mode=0o755, exist_ok=True)
    if not directory:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


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
