"""The room that the store has for one file's opens and locks, divided like all that is few.

A file that everybody uses (a mailbox, a database) is of no use to the others when one client has
taken its whole list. As in `fair_share`, whoever has as many as are left gets no more: a user over
all sessions and an address over all users. A worker knows its own alone, and compares them with its
part of what is left, so that all workers together keep to it. Who has proved nothing counts apart,
and all of them together get a quarter. Only what is crowded is counted: once by going through all
opens of the worker, and from then on as each comes and goes (`crowds`).
"""

from collections.abc import Callable

from usmbd.protocol.state.crowds import Crowd, PlaceInFile
from usmbd.protocol.state.fair_share import Place
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session
from usmbd.protocol.state.store.base import MAX_LOCKS_PER_FILE, MAX_OPENS_PER_FILE

CROWD = 4
"""A worker, and a file, with less than one of so many of the places is not crowded."""


def check_opens(server: Server, session: Session, network: str, key: bytes) -> Crowd | None:
    """Check that one more open of a file leaves room; SmbError(INSUFFICIENT_RESOURCES).

    Returns where it is to be entered; None: nowhere.
    """
    used, crowds = server.descriptors.used, server.crowds.opens
    if used < MAX_OPENS_PER_FILE // CROWD and (
        not crowds or _are_few(crowds, MAX_OPENS_PER_FILE, used)
    ):
        return None  # far below it: a comparison
    there = server.store.count_opens(key)
    crowd = _look(server, crowds, MAX_OPENS_PER_FILE, key, there, Crowd.enter_open)
    if crowd is not None:
        crowd.check(session.proven_user, network)
    return crowd


def enter_again(server: Server, open_: Open) -> None:
    """Count an open whose client is back, if its file is counted."""
    crowd = server.crowds.opens.get(open_.key)
    if crowd is not None:
        crowd.enter_open(open_)


def place_for_locks(server: Server, session: Session, network: str, open_: Open) -> Place:
    """Return the place of an open's locks, also among those of its file if that has many."""
    place = open_.lock_place
    if place is None:
        place = open_.lock_place = server.locks.place(session.proven_user, network)
    used, crowds = server.locks.used, server.crowds.locks
    if used < MAX_LOCKS_PER_FILE // CROWD and _are_few(crowds, MAX_LOCKS_PER_FILE, used):
        return place
    there = server.store.count_locks(open_.key)
    crowd = _look(server, crowds, MAX_LOCKS_PER_FILE, open_.key, there, Crowd.enter_locks)
    place = open_.lock_place
    if crowd is not None and not (
        isinstance(place, PlaceInFile) and place.of_file.share is crowd.share
    ):
        crowd.enter_locks(open_)
    assert open_.lock_place is not None
    return open_.lock_place


def _are_few(crowds: dict[bytes, Crowd], most: int, used: int) -> bool:
    """Tell whether a worker has less than half of a crowd of all; then none is counted."""
    if used < most // CROWD // 2:
        crowds.clear()
    return not crowds


def _look(
    server: Server,
    crowds: dict[bytes, Crowd],
    most: int,
    key: bytes,
    there: int,
    enter: Callable[[Crowd, Open], None],
) -> Crowd | None:
    """Return what is counted of a file, if it is crowded.

    It is counted until half of a crowd has gone, or who comes and goes would have that begun again.
    """
    crowd = crowds.get(key)
    if there < most // CROWD:
        if crowd is not None and there < most // CROWD // 2:
            del crowds[key]
            crowd = None
        if crowd is None:
            return None
    if crowd is None:
        for empty in [key for key, crowd in crowds.items() if not crowd.share.used]:
            del crowds[empty]
        crowd = crowds[key] = Crowd(most)
        for other in server.session_table.values():
            for open_ in other.open_table.values():
                if open_.key == key:
                    enter(crowd, open_)
    crowd.now(there, server.config.workers)
    return crowd
