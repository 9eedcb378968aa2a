"""What is known for a while of files deleted by their 8.3 names ([MS-FSA] 2.1.1.2).

A program of old replaces a file by deleting it and making it anew by the name that it knows. The
new one gets the long name back, and the creation time. The document leaves that to the server; here
each worker does it for what it has deleted, and for 8.3 names alone (KeyByShortName).
"""

from collections import OrderedDict
from typing import Final

from usmbd.protocol.state.speed import Clock
from usmbd.protocol.vfs.folding import fold

TUNNEL_SECONDS: Final = 15.0
"""For so long an entry counts."""

TUNNEL_MAX: Final = 1024
"""Entries that are kept, of at most 8 KiB each: the oldest goes."""


class Tunnel:
    """The TunnelCacheList of all shares, with KeyByShortName; any thread may use it."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing."""
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], tuple[float, str, int]] = OrderedDict()

    def __len__(self) -> int:
        """Count the entries, those that are over included."""
        return len(self._entries)

    def add(self, share: str, short: str, path: str, creation_time: int) -> None:
        """Note that `path` on the share at `share` was deleted by the path `short`."""
        key = share, fold(short)
        self._entries.pop(key, None)
        self._entries[key] = self._clock.time() + TUNNEL_SECONDS, path, creation_time
        while len(self._entries) > TUNNEL_MAX:
            self._entries.popitem(last=False)

    def find(self, share: str, path: str, posix: bool) -> tuple[str, int]:
        """Return the path that a new file gets, and CreationTime if it is another's.

        Whoever makes it, as on NTFS. By the POSIX extensions each name is meant as it is.
        """
        if not self._entries or posix:
            return path, 0
        end, gone, creation_time = self._entries.get((share, fold(path)), (0.0, "", 0))
        return (gone, creation_time) if end > self._clock.time() else (path, 0)

    def forget(self, share: str, path: str) -> None:
        """Note that the new file is there: the next one by its name is another."""
        self._entries.pop((share, fold(path)), None)
