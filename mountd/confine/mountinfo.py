"""What is mounted where this process looks, as /proc/self/mountinfo tells it (proc(5))."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

MOUNTS: Final = "/proc/self/mountinfo"
"""poll(2) tells of changes by POLLPRI."""

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")  # a blank, a tab, a new line, a backslash


class Mount(NamedTuple):
    """One line: what of a device is mounted, where, and as what."""

    number: str
    """Used again when it is free."""
    device: str
    root: str
    point: str
    kind: str
    is_handed_on: bool
    """Whether what is mounted below is seen by others as well, or is theirs that is seen here."""


def mounts(table: str = MOUNTS) -> Iterator[Mount]:
    """Yield what is mounted, without a question to any file system; OSError.

    A name may have any character: users mount what they like (fusermount(1)). Only what the kernel
    escapes parts fields and lines, and a line that is none is passed over.
    """
    for line in Path(table).read_bytes().decode(errors="surrogateescape").split("\n"):
        first, _, last = line.partition(" - ")
        fields = first.split(" ")
        if len(fields) < 6:
            continue
        number, _, device, root, point, _, *optional = fields
        handed_on = any(each.startswith(("shared:", "master:")) for each in optional)
        kind = last.partition(" ")[0]
        yield Mount(number, device, _unescaped(root), _unescaped(point), kind, handed_on)


def _unescaped(name: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), name) if "\\" in name else name
