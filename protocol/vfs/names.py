"""Names: what a client may write, and how it is split.

A path on the wire has backslashes and may end in a stream ([MS-SMB2] 2.2.13, [MS-FSCC] 2.1.5);
a path in this package is a `str` relative to the share's root with slashes, the root being "",
and its components are names as they are on disk (see spelling.py).
"""

import os
import re
from typing import Final

from usmbd.protocol.vfs.spelling import to_disk
from usmbd.protocol.wire.status import NtStatus, SmbError

#: The longest component, in UTF-16 units ([MS-FSCC] 2.1.5.2).
COMPONENT_MAX: Final = 255

#: The longest path: Linux takes no more bytes (PATH_MAX), which are never fewer than characters.
PATH_MAX: Final = 4096

# What no component may hold ([MS-FSCC] 2.1.5.2); a slash would be a separator on disk.
_INVALID = re.compile(r'[\x00-\x1f"*/<>?|]')
# A stream's name may hold more ([MS-FSCC] 2.1.5.3).
_INVALID_IN_STREAM = re.compile(r"[\x00/\\:]")
_INDEX = ":$index_allocation"
_INDICES = frozenset((_INDEX, f"$i30{_INDEX}"))
_SEPARATORS = re.compile(r"\\+")


def parse_path(path: str, *, stand_ins: bool = True) -> tuple[str, str | None]:
    r"""Split a client's path into (path on disk below the share, stream name or None).

    With `stand_ins`, characters that stand for others become those. A slash is taken for a
    backslash, as by smbd and ksmbd: there are programs that send it, which Windows refuses. The
    unnamed data stream (`name::$DATA`) is None. Several separators count as one and those at the
    end for nothing, and `..` takes the name before it away, whatever that is, as with smbd: clients
    put paths together from parts. SmbError OBJECT_NAME_INVALID, OBJECT_PATH_SYNTAX_BAD for a path
    that would climb out of the share, INVALID_PARAMETER for one that begins with a separator
    ([MS-SMB2] 3.3.5.9).
    """
    if not path:
        return "", None
    if "/" in path:
        path = path.replace("/", "\\")
    if path[0] == "\\":
        raise SmbError(NtStatus.INVALID_PARAMETER)
    stream = None
    if ":" in path:
        directory, separator, last = path.rpartition("\\")
        name, _, rest = last.partition(":")
        path = directory + separator + name
        stream = parse_stream(rest)
    if len(path) > PATH_MAX:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if "\\\\" in path:
        path = _SEPARATORS.sub(r"\\", path)
    path = path.removesuffix("\\")
    if _INVALID.search(path) or ":" in path:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if "\\" in path or path.startswith(".") or len(path) > COMPONENT_MAX // 2:
        components = path.split("\\")
        if ".." in components:
            components = _without_climbing(components)
            path = "\\".join(components)
        for component in components:
            _check_component(component)
    if not path.isascii():
        check_encodable(path)
        if stand_ins:
            return "/".join(map(to_disk, path.split("\\"))), stream
    return path.replace("\\", "/"), stream


def without_index(name: str) -> str | None:
    """Return the name of the directory whose entries a client means by their stream, else None.

    `dir::$INDEX_ALLOCATION` and `dir:$I30:$INDEX_ALLOCATION` are `dir` ([MS-FSCC] 2.1.4).
    """
    if not name.lower().endswith(_INDEX):
        return None
    path, separator, last = name.rpartition("\\")
    directory, _, stream = last.partition(":")
    return path + separator + directory if stream.lower() in _INDICES else None


def parse_posix_path(path: str) -> str:
    """Return the path on disk that a client of the POSIX extensions means: with slashes.

    Every other character belongs to a name as it is, and no name has a stream. SmbError
    OBJECT_NAME_INVALID.
    """
    names = [name for name in path.split("/") if name]
    if len(path) > PATH_MAX or "\0" in path or "." in names or ".." in names:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if not path.isascii():
        check_encodable(path)
    return "/".join(names)


def parse_stream(text: str) -> str | None:
    """Read what follows a name's first colon: a stream's name, or None for the file's own data.

    SmbError OBJECT_NAME_INVALID for another type than $DATA or characters that no stream
    name has ([MS-FSCC] 2.1.4).
    """
    name, colon, kind = text.partition(":")
    if (colon and kind.upper() != "$DATA") or _INVALID_IN_STREAM.search(name):
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if not name and not colon:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if len(name) > COMPONENT_MAX:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    check_encodable(name)
    return name or None


def _without_climbing(components: list[str]) -> list[str]:
    """Return a path in which no `..` is left; SmbError(OBJECT_PATH_SYNTAX_BAD)."""
    left: list[str] = []
    for component in components:
        if component != "..":
            left.append(component)
        elif left:
            left.pop()
        else:
            raise SmbError(NtStatus.OBJECT_PATH_SYNTAX_BAD)
    return left


def _check_component(component: str) -> None:
    """Refuse a component that is empty or ".", or too long."""
    if component in ("", ".") or utf16_units(component) > COMPONENT_MAX:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)


def check_encodable(name: str) -> None:
    """Refuse a name that has no form on disk, or one that would read otherwise.

    A lone surrogate may stand for a byte that is not UTF-8; several must not add up to a
    character, whose name would then have been checked in disguise (`veto files`).
    """
    try:
        if os.fsdecode(os.fsencode(name)) == name:
            return
    except UnicodeEncodeError:
        pass
    raise SmbError(NtStatus.OBJECT_NAME_INVALID)


def utf16_units(name: str) -> int:
    """Return the length of `name` in UTF-16 units."""
    return len(name) if name.isascii() else len(name.encode("utf-16-le", "surrogatepass")) // 2
