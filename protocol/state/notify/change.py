"""What changed in a directory, in the words of [MS-FSCC] 2.7.1, and what the kernel's events say.

The kernel tells of names and data whoever changed them, in order, so nobody else does. Of
attributes, times, owners, permissions, EAs and streams it says IN_ATTRIB for all alike: what the
engine changes of these it tells itself, with the right filter, and IN_ATTRIB counts for what other
programs do.
"""

from typing import Final, NamedTuple

from usmbd.protocol.state.notify.place import Place
from usmbd.protocol.vfs import inotify
from usmbd.protocol.vfs.inotify import Event
from usmbd.protocol.wire import change_notify as wire
from usmbd.protocol.wire.change_notify import (
    FILE_NOTIFY_CHANGE_ATTRIBUTES,
    FILE_NOTIFY_CHANGE_CREATION,
    FILE_NOTIFY_CHANGE_DIR_NAME,
    FILE_NOTIFY_CHANGE_EA,
    FILE_NOTIFY_CHANGE_FILE_NAME,
    FILE_NOTIFY_CHANGE_LAST_ACCESS,
    FILE_NOTIFY_CHANGE_LAST_WRITE,
    FILE_NOTIFY_CHANGE_SECURITY,
    FILE_NOTIFY_CHANGE_SIZE,
    FILE_NOTIFY_CHANGE_STREAM_NAME,
    FILE_NOTIFY_CHANGE_STREAM_SIZE,
    FILE_NOTIFY_CHANGE_STREAM_WRITE,
)

NAMES: Final = FILE_NOTIFY_CHANGE_FILE_NAME | FILE_NOTIFY_CHANGE_DIR_NAME
WRITTEN: Final = FILE_NOTIFY_CHANGE_SIZE | FILE_NOTIFY_CHANGE_LAST_WRITE
RENAMED: Final = FILE_NOTIFY_CHANGE_ATTRIBUTES | FILE_NOTIFY_CHANGE_CREATION
"""What is said of a file, not of a directory, when the open that has renamed it is closed: Samba's
tests saw that with Windows. smbd says it at once."""

ANY_ATTRIBUTE: Final = (
    FILE_NOTIFY_CHANGE_ATTRIBUTES
    | FILE_NOTIFY_CHANGE_LAST_WRITE
    | FILE_NOTIFY_CHANGE_LAST_ACCESS
    | FILE_NOTIFY_CHANGE_EA
    | FILE_NOTIFY_CHANGE_SECURITY
)
"""What IN_ATTRIB may be about: chmod, chown, touch, setfattr. As Samba has it."""

ADDED_STREAM: Final = wire.FILE_ACTION_ADDED_STREAM, FILE_NOTIFY_CHANGE_STREAM_NAME
REMOVED_STREAM: Final = wire.FILE_ACTION_REMOVED_STREAM, FILE_NOTIFY_CHANGE_STREAM_NAME
MODIFIED_STREAM: Final = (
    wire.FILE_ACTION_MODIFIED_STREAM,
    FILE_NOTIFY_CHANGE_STREAM_SIZE | FILE_NOTIFY_CHANGE_STREAM_WRITE,
)
"""What is said of a stream: the action and the filters that it matches."""

_CREATED = inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED_FROM | inotify.IN_MOVED_TO


class Change(NamedTuple):
    """One change: a FILE_ACTION_*, the FILE_NOTIFY_CHANGE_* that it matches, the name on disk.

    A stream's name comes behind its file's and a NUL.
    """

    action: int
    matches: int
    name: str


class DirectoryChange(NamedTuple):
    """What the engine changed in one directory, told to every worker.

    `ancestors` are the directory and those above it as (key, name within the next one); the first
    alone where the kernel is asked. `by_kernel`: the kernel tells of it too, to who asks it.
    Without `changes` those who watch learn it from the kernel or at the close. `by` is the key of
    the lease that who made it has on the directory, None for what no listing shows.
    """

    ancestors: tuple[tuple[bytes, str], ...]
    changes: tuple[Change, ...]
    by_kernel: bool
    by: bytes | None = None


def at(
    place: Place | None, *changes: Change, by: bytes | None, by_kernel: bool = True
) -> list[DirectoryChange]:
    """Return changes of the entry at a place, whose name they leave out; none without a place."""
    if place is None:
        return []
    named = tuple(Change(c.action, c.matches, place.name + c.name) for c in changes)
    return [DirectoryChange(place.ancestors, named, by_kernel, by)]


def moved(
    before: Place | None, after: Place | None, *, is_directory: bool, by: bytes
) -> list[DirectoryChange]:
    """Return the changes of a rename; none without places."""
    if before is None or after is None:
        return []
    if before.ancestors == after.ancestors:
        changes = renamed(before.name, after.name, is_directory=is_directory)
        return [DirectoryChange(after.ancestors, tuple(changes), True, by)]
    return [
        *at(before, gone("", is_directory=is_directory), by=by),
        *at(after, came("", is_directory=is_directory), by=by),
    ]


def mask_for(completion_filter: int, *, watch_tree: bool) -> int:
    """Return the events by which a directory is watched for a filter."""
    mask = inotify.IN_ONLYDIR | inotify.IN_MASK_ADD
    if watch_tree or completion_filter & NAMES:
        mask |= _CREATED
    if completion_filter & WRITTEN:
        mask |= inotify.IN_MODIFY
    # Always: it also tells that the directory itself is gone.
    return mask | inotify.IN_ATTRIB


def name_filter(*, is_directory: bool) -> int:
    """Return the filter that a change of such a name matches."""
    return FILE_NOTIFY_CHANGE_DIR_NAME if is_directory else FILE_NOTIFY_CHANGE_FILE_NAME


def from_event(event: Event) -> list[Change]:
    """Translate an event about an entry; a half of a rename counts as its coming or going."""
    mask, name = event.mask, event.name
    is_directory = bool(mask & inotify.IN_ISDIR)
    if mask & (inotify.IN_CREATE | inotify.IN_MOVED_TO):
        return [came(name, is_directory=is_directory)]
    if mask & (inotify.IN_DELETE | inotify.IN_MOVED_FROM):
        return [gone(name, is_directory=is_directory)]
    if mask & inotify.IN_MODIFY:
        return [modified(WRITTEN, name)]
    if mask & inotify.IN_ATTRIB:
        return [modified(ANY_ATTRIBUTE, name)]
    return []


def modified(matches: int, name: str = "") -> Change:
    """Say that an entry is otherwise than it was."""
    return Change(wire.FILE_ACTION_MODIFIED, matches, name)


def of_stream(what: tuple[int, int], stream: str) -> Change:
    """Say something of a stream of the file at a place."""
    return Change(*what, f"\0{stream}")


def gone(name: str, *, is_directory: bool) -> Change:
    """Say that a directory has an entry no more."""
    return Change(wire.FILE_ACTION_REMOVED, name_filter(is_directory=is_directory), name)


def came(name: str, *, is_directory: bool) -> Change:
    """Say that a directory has a new entry: a new file, or one from another directory."""
    return Change(wire.FILE_ACTION_ADDED, name_filter(is_directory=is_directory), name)


def renamed(old: str, new: str, *, is_directory: bool) -> list[Change]:
    """Say that an entry of a directory has another name in it."""
    matches = name_filter(is_directory=is_directory)
    return [
        Change(wire.FILE_ACTION_RENAMED_OLD_NAME, matches, old),
        Change(wire.FILE_ACTION_RENAMED_NEW_NAME, matches, new),
    ]
