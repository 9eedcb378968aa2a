"""Names: what a client may write, and how it is split.

A path on the wire has backslashes and may end in a stream ([MS-SMB2] 2.2.13, [MS-FSCC] 2.1.5);
a path in this package is a `str` relative to the share's root with slashes, the root being "".
"""

import os
import re
from typing import Final

from usmbd.protocol.wire.status import NtStatus, SmbError

#: The longest component, in UTF-16 units ([MS-FSCC] 2.1.5.2).
COMPONENT_MAX: Final = 255

# What no component may hold ([MS-FSCC] 2.1.5.2); a slash would be a separator on disk.
_INVALID = re.compile(r'[\x00-\x1f"*/<>?|]')
# A stream's name may hold more ([MS-FSCC] 2.1.5.3).
_INVALID_IN_STREAM = re.compile(r"[\x00/\\:]")
# Names that stand on disk but cannot be said in SMB; a trailing space or dot can.
_UNSPEAKABLE = re.compile(r'[\x00-\x1f"*\\:<>?|]')


def parse_path(path: str) -> tuple[str, str | None]:
    r"""Split a client's path into (path below the share with slashes, stream name or None).

    The unnamed data stream (`name::$DATA`) is None. SmbError OBJECT_NAME_INVALID,
    OBJECT_PATH_SYNTAX_BAD for a path that would climb, INVALID_PARAMETER for one that begins
    with a backslash ([MS-SMB2] 3.3.5.9). One backslash at the end is dropped: `dir\` is `dir`.
    """
    if not path:
        return "", None
    if path[0] == "\\":
        raise SmbError(NtStatus.INVALID_PARAMETER)
    stream = None
    if ":" in path:
        directory, separator, last = path.rpartition("\\")
        name, _, rest = last.partition(":")
        path = directory + separator + name
        stream = parse_stream(rest)
    if path.endswith("\\"):
        path = path[:-1]
    if _INVALID.search(path) or ":" in path:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if "\\" in path or path.startswith(".") or len(path) > COMPONENT_MAX // 2:
        for component in path.split("\\"):
            _check_component(component)
    if not path.isascii():
        check_encodable(path)
    return path.replace("\\", "/"), stream


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


def _check_component(component: str) -> None:
    """Refuse a component that is empty, "." or "..", or too long."""
    if component == "..":
        raise SmbError(NtStatus.OBJECT_PATH_SYNTAX_BAD)
    if component in ("", ".") or utf16_units(component) > COMPONENT_MAX:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)


def check_encodable(name: str) -> None:
    """Refuse a name that has no form on disk: a lone surrogate that stands for no byte."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID) from None


def utf16_units(name: str) -> int:
    """Return the length of `name` in UTF-16 units."""
    return len(name) if name.isascii() else len(name.encode("utf-16-le", "surrogatepass")) // 2


def is_speakable(name: str) -> bool:
    """Whether a client can name the file that is called `name` on disk."""
    return _UNSPEAKABLE.search(name) is None
