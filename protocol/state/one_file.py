"""The room that the store has for one file's opens and locks, divided like all that is few.

A file that everybody uses (a mailbox, a database) is of no use to the others when one client has
taken its whole list. As in `fair_share`, whoever has as many as are left gets no more: a user over
all sessions and an address over all users. A worker knows its own alone, and compares them with its
part of what is left, so that all workers together keep to it. Who has proved nothing counts apart,
and all of them together get a quarter. Only what is crowded is counted.
"""

from collections.abc import Callable

from usmbd.protocol.state.fair_share import STRANGERS
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session
from usmbd.protocol.state.store.base import MAX_LOCKS_PER_FILE, MAX_OPENS_PER_FILE
from usmbd.protocol.wire.status import NtStatus, SmbError

CROWD = 4
"""A worker, and a file, with less than one of so many of the places is not crowded."""


def check_opens(server: Server, session: Session, network: str, key: bytes) -> None:
    """Check that one more open of a file leaves room; SmbError(INSUFFICIENT_RESOURCES)."""
    crowd = MAX_OPENS_PER_FILE // CROWD
    if server.descriptors.used < crowd:  # far below it: a comparison
        return
    there = server.store.count_opens(key)
    if there >= crowd:
        _check(server, session, network, key, lambda open_: 1, 1, MAX_OPENS_PER_FILE, there)


def check_locks(server: Server, session: Session, network: str, key: bytes, more: int) -> None:
    """Check that so many locks more of a file leave room; SmbError(INSUFFICIENT_RESOURCES)."""
    crowd = MAX_LOCKS_PER_FILE // CROWD
    if server.locks.used < crowd:
        return
    there = server.store.count_locks(key)
    if there >= crowd:
        _check(server, session, network, key, _locks, more, MAX_LOCKS_PER_FILE, there)


def _locks(open_: Open) -> int:
    """Weigh an open by its locks."""
    return open_.lock_count


def _check(
    server: Server,
    session: Session,
    network: str,
    key: bytes,
    weigh: Callable[[Open], int],
    more: int,
    most: int,
    there: int,
) -> None:
    """Refuse who, with so many `more`, has more than is left of `most`, of which `there` are."""
    user, proven = session.proven_user, bool(session.proven_user)
    of_user = of_address = of_strangers = 0
    for other in server.session_table.values():
        if bool(other.proven_user) is not proven:
            continue
        count = sum(weigh(open_) for open_ in other.open_table.values() if open_.key == key)
        if count:
            if not proven:
                of_strangers += count
            elif other.proven_user == user:
                of_user += count
            if any(channel.network == network for channel in other.channel_list):
                of_address += count
    workers = max(server.config.workers, 1)
    left = (most - there) // workers
    if not proven:
        left = min(left, most // STRANGERS // workers - of_strangers)
    if max(of_user, of_address) + more > left - more + 1:
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
