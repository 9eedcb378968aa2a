"""Telling those who cache a directory that something in it has changed ([MS-FSA] 2.1.4.12).

Nobody waits for it. All of it is skipped, by one look at a counter in shared memory, while nobody
has a lease on any directory.
"""

from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.effects import Blocking, Waiting
from usmbd.protocol.state.open import Open


def directory_changed(request: Request, open_: Open, path: str = "") -> Waiting[None]:
    """Break the leases of others on the directory in which an open's file is, or a name `path`."""
    server = request.connection.server
    if server.caching.directories_cached:
        yield Blocking(open_.note_directory, server, path)
        server.caching.tell_directory(open_)


def renaming(request: Request, handling: Handling) -> Handling:
    """Break the leases on the directory that loses a name, and on the one that gets it."""
    server, open_ = request.connection.server, request.open
    cached = server.caching.directories_cached
    if cached:
        yield Blocking(open_.note_directory, server)
    old, open_.changed_directory = open_.changed_directory, b""
    answer = yield from changing_entry(request, handling)
    if old:
        open_.changed_directory = old
        server.caching.tell_directory(open_)
    return answer


def changing_entry(request: Request, handling: Handling) -> Handling:
    """Do what changes the entry of a file in its directory, then tell who caches that."""
    answer = yield from handling
    yield from directory_changed(request, request.open)
    return answer
