"""The rows of `usmbd.control --limits` that one worker fills: each limit, its origin, its use.

A limit that is added has its row here: who meets it has to find out what it is.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sized
from functools import partial
from typing import Protocol

from usmbd.mountd import log as logs
from usmbd.mountd.ipc.messages import CONSTANT, LimitRow
from usmbd.protocol.commands.binding import MAXIMUM_CHANNELS
from usmbd.protocol.commands.lock import MAXIMUM_LOCKS
from usmbd.protocol.commands.session_setup import MAXIMUM_SESSIONS
from usmbd.protocol.commands.tree_connect import MAXIMUM_TREES
from usmbd.protocol.dispatch.dispatcher import MAXIMUM_ASYNC
from usmbd.protocol.state import memory
from usmbd.protocol.state.fair_share import STRANGERS, FairShare
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.state.store.base import MAX_LOCKS_PER_FILE, MAX_OPENS_PER_FILE
from usmbd.protocol.vfs.directory_names import (
    BYTES_MAX,
    DIRECTORIES_MAX,
    NAMES_MAX,
    directory_names,
)
from usmbd.protocol.worker.ipc_client import MAXIMUM_PENDING
from usmbd.protocol.worker.threads import LANE_THREADS, MAXIMUM_THREADS, ThreadPool


class Asks(Protocol):
    """A client of mountd or of its RPC process."""

    @property
    def pending(self) -> int:
        """How many requests have no answer yet."""


def limits(server: Server, mountd: Asks, rpc: Asks, pool: ThreadPool) -> list[LimitRow]:
    """Return all rows of a worker."""
    process = f"worker {server.worker}"
    row = partial(LimitRow, process)
    config, sessions = server.config, list(server.session_table.values())
    opens = [open_ for session in sessions for open_ in session.open_table.values()]
    of_files = Counter(open_.key for open_ in opens if open_.key)
    locks_of_files: Counter[bytes] = Counter()
    for open_ in opens:
        locks_of_files[open_.key] += open_.lock_count
    room = "room in the state directory"
    part = f", one of {config.workers} workers' parts" if config.workers > 1 else ""
    limit, waiting, lost = logs.queue_state()
    names = directory_names()
    return [
        descriptors_row(process, server.descriptor_limit),
        *_shared(
            process,
            "open files",
            server.descriptors,
            f"machine: descriptors, {room}{part}",
        ),
        *_shared(
            process,
            "lost opens",
            server.durable.places,
            f"machine: {room}{part}",
        ),
        row(
            "opens of a session",
            config.max_open_files,
            _most(session.open_table for session in sessions),
            "parameter: max open files",
        ),
        *_shared(process, "locks", server.locks, f"machine: {room}{part}"),
        row("opens of a file", MAX_OPENS_PER_FILE, max(of_files.values(), default=0)),
        row("locks of a file", MAX_LOCKS_PER_FILE, max(locks_of_files.values(), default=0)),
        row("locks of an open", MAXIMUM_LOCKS, max((o.lock_count for o in opens), default=0)),
        *_shared(process, "pipes", server.pipes, CONSTANT),
        *_shared(process, "tree connects", server.trees, CONSTANT),
        *_shared(
            process,
            "watched folders",
            server.notifier.directories,
            f"machine: fs.inotify.max_user_watches{part}",
        ),
        *_shared(process, "bytes of changes that wait", server.notifier.buffers, CONSTANT),
        row(
            "bytes of the store",
            server.store.room,
            server.store.used(),
            f"machine: {room}",
        ),
        row(
            "sessions of all workers",
            config.max_active_sessions or None,
            server.store.user_sessions(),
            "parameter: max active sessions, else the machine",
        ),
        row(
            "sessions of a connection",
            MAXIMUM_SESSIONS,
            _most(connection.session_table for connection in server.connections),
        ),
        row(
            "connections of a session",
            MAXIMUM_CHANNELS,
            _most(session.channel_list for session in sessions),
        ),
        row(
            "trees of a session",
            MAXIMUM_TREES,
            _most(session.tree_connect_table for session in sessions),
        ),
        row(
            "waiting requests of a connection",
            MAXIMUM_ASYNC,
            _most(connection.async_command_list for connection in server.connections),
        ),
        row(
            "credits of a connection",
            config.smb2_max_credits,
            max((c.credit_window.available for c in server.connections), default=0),
            "parameter: smb2 max credits",
        ),
        *_memory(process, server),
        row("threads", MAXIMUM_THREADS, pool.threads),
        row("threads of a share that may hang", LANE_THREADS, pool.busiest),
        row("requests to mountd", MAXIMUM_PENDING, mountd.pending),
        row("requests to the RPC process", MAXIMUM_PENDING, rpc.pending),
        row("folders whose names are held", DIRECTORIES_MAX, names.watched),
        row("names held", NAMES_MAX, names.held),
        row("bytes of names held", BYTES_MAX, names.size),
        row("bytes of log lines that wait", limit, waiting, CONSTANT, lost),
    ]


def _memory(process: str, server: Server) -> list[LimitRow]:
    """Return the rows of what clients keep of a worker's memory: under way, and waiting."""
    kept, rows = server.memory, []
    for standing, whose, origin, of_connection in (
        (Standing.USER, "users", "machine: memory", memory.CONNECTION_LIMIT),
        (Standing.GUEST, "guests", "machine: memory", memory.CONNECTION_LIMIT),
        (Standing.STRANGER, "strangers", CONSTANT, memory.STRANGER_LIMIT),
    ):
        pool = kept.pools[standing]
        pools = [client for (known, _), client in kept.clients.items() if known is standing]
        connections = [c.memory for c in server.connections if c.standing is standing]
        for what, limit, used in (
            (f"bytes under way of all {whose}", pool.limit, pool.used),
            (
                f"bytes under way of an address of {whose}",
                pool.limit // memory.CLIENT_SHARE,
                max((client.used for client in pools), default=0),
            ),
            (
                f"bytes under way of a connection of {whose}",
                of_connection,
                max((connection.used for connection in connections), default=0),
            ),
            (f"bytes of requests of {whose} that wait", pool.waiting_limit, pool.waiting),
        ):
            rows.append(LimitRow(process, what, limit, used, origin))
    waiting = max((c.memory.waiting for c in server.connections), default=0)
    what = "bytes of requests of a connection that wait"
    rows.append(LimitRow(process, what, memory.CONNECTION_WAITING, waiting))
    return rows


def descriptors_row(process: str, limit: int) -> LimitRow:
    """Return the row of a process' descriptors."""
    used = len(os.listdir("/proc/self/fd")) - 1  # without the one that lists
    return LimitRow(process, "descriptors", limit, used, "machine: RLIMIT_NOFILE")


def _shared(process: str, what: str, share: FairShare, origin: str) -> list[LimitRow]:
    """Return the rows of places that are divided."""
    capacity = share.capacity
    return [
        LimitRow(process, what, capacity, share.used, origin, share.refused),
        LimitRow(
            process,
            f"{what} of a user or an address",
            max(capacity - share.used, 0),
            share.most,
            "what is left to the others",
        ),
        LimitRow(
            process,
            f"{what} of all guests and anonymous users",
            capacity // STRANGERS,
            share.strangers,
            origin,
        ),
    ]


def _most(tables: Iterable[Sized]) -> int:
    """Return the size of the largest table."""
    return max(map(len, tables), default=0)
