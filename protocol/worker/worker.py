"""The worker's composition: the supervisor's socket, the server's state, the transports."""

import gc
import logging
import os
import signal
import socket
import time
from contextlib import suppress
from logging import INFO, WARNING
from pathlib import Path

from usmbd.mountd import log as logs
from usmbd.mountd.confine.hide import hide
from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import WORKER
from usmbd.mountd.ipc.codec import mountd_client, rpc_client
from usmbd.mountd.ipc.messages import (
    MAX_ROWS,
    MOUNTD_SOCKET,
    RPC_SOCKET,
    ConfigReloaded,
    DebugAreas,
    HeldTree,
    ListKind,
    Message,
    TreesHeld,
)
from usmbd.mountd.ipc.outbox import Outbox
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.dispatch.dispatcher import Dispatcher
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.interfaces import parse_addresses
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.lmdb_persistent import PersistentPlaces
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.vfs.pace import this_is_the_loop
from usmbd.protocol.worker import messages, rdma_connections
from usmbd.protocol.worker.allocator import keep_buffers
from usmbd.protocol.worker.ipc_client import IpcClient
from usmbd.protocol.worker.limits import limits
from usmbd.protocol.worker.mounts import Mounts
from usmbd.protocol.worker.peers import WorkerPeers
from usmbd.protocol.worker.rdma_connections import RdmaConnections
from usmbd.protocol.worker.recheck import Recheck
from usmbd.protocol.worker.reclaim import Reclaim
from usmbd.protocol.worker.tables import tables
from usmbd.protocol.worker.threads import ThreadPool
from usmbd.transport import keepalive
from usmbd.transport.loop import EpollLoop, EventLoop
from usmbd.transport.tcp import TcpTransport
from usmbd.transport.turns import Turns

log = logging.getLogger("usmbd.conn")

LOGIN_SECONDS = 90.0
"""A connection without a session is closed then: mountd may delay a login by 15 s, and people
type passwords before their clients connect."""

TICK_SECONDS = 1.0
"""Between two publications of this worker's numbers."""

END_SECONDS = 2.0
"""Until a worker ends without the deletions that threads still make, for which the supervisor makes
up, who waits for it; and with RDMA clients that have not gone."""

MAXIMUM_DESCRIPTORS = 2
"""A message of the supervisor brings one socket at most."""


class Worker:
    """One worker process."""

    def __init__(self, control: socket.socket, loop: EventLoop, *, pinned: bool = False) -> None:
        """Serve the supervisor behind `control`; the first message must be `Start`.

        A `pinned` worker, or one that shall open RDMA devices, never changes the identity of this
        thread, the loop's (see `Server.pin`).
        """
        self._control = control
        self._outbox = Outbox(control, loop, self._sent)
        self._loop = loop
        self._numbers: dict[Connection, int] = {}
        self._connections: dict[int, Connection] = {}
        """By the numbers that the supervisor knows them by; those by TCP."""
        self._stopped = False
        data = control.recv(messages.MESSAGE_LIMIT)
        start = messages.decode_to_worker(data)
        if not isinstance(start, messages.Start):
            raise ValueError("the supervisor did not begin with Start")
        config = start.config
        _set_up_log(start.worker, config)
        state = Path(config.state_directory)
        places = PersistentPlaces.below(state, Path(config.data_directory))
        self._store = LmdbStore.attach(state / messages.STORE_DIRECTORY, start.worker, places)
        self._mountd = IpcClient(
            state / MOUNTD_SOCKET,
            mountd_client(),
            loop,
            timeout=config.ipc_timeout,
            on_message=self._mountd_says,
            on_connect=self._mountd_connected,
        )
        self._rpc = IpcClient(state / RPC_SOCKET, rpc_client(), loop, timeout=config.ipc_timeout)
        self._peers = WorkerPeers(state, start.worker, loop)
        self._pool = ThreadPool(loop)
        self.server = Server(
            config,
            start.worker,
            start.guid,
            self._store,
            self._mountd,
            self._rpc,
            self._pool,
            self._peers,
            loop,
        )
        self._turns = self.server.turns = Turns(loop)
        self._recheck = Recheck(self.server, loop)
        self._reclaim = Reclaim(self.server)
        self._mounts = Mounts(self.server, loop)
        self.server.connection_ended = self._connection_ended
        self.server.connection_admitted = self._connection_admitted
        self._peers.serve(self.server)
        self.server.durable.take_over()
        if self.server.durable.waiting():  # a reload may have come while nobody kept their time
            self._recheck.begin()
        self.server.persistence.prepare(config.persistent_handles)
        self.server.notifier.listen = self._listen
        self.server.caching.kernel.listen = self._listen_to_leases
        self.rdma = RdmaConnections(self.server, loop, self._send, turns=self._turns)
        self.server.rdma_interfaces = self.rdma.interfaces
        refusals = self._open_devices(start.rdma)
        if pinned:
            self.server.pin()
        control.setblocking(False)
        loop.add_reader(control.fileno(), self._supervisor_says)
        self._tick()
        control.send(messages.encode(messages.Ready(rdma=refusals)))

    def _open_devices(self, names: list[str]) -> dict[str, str]:
        """Open RDMA devices; return of each why it cannot be used, or nothing."""
        if not names:
            return {}
        # What lies in a directory that only root may read is root's to import.
        rdma_connections.load()
        try:
            self.server.pin()
        except OSError as error:
            return dict.fromkeys(names, f"the worker cannot be pinned: {error.strerror}")
        return self.rdma.open(names)

    # -- the supervisor ------------------------------------------------------------------

    def _supervisor_says(self) -> None:
        """Take messages from the supervisor; its end is ours."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(
                    self._control, messages.MESSAGE_LIMIT, MAXIMUM_DESCRIPTORS
                )
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self.stop("the supervisor is gone")
                return
            self._do(messages.decode_to_worker(data), descriptors)

    def _do(self, message: messages.ToWorker, descriptors: list[int]) -> None:
        """Do what the supervisor says."""
        if isinstance(message, messages.Adopt):
            self._adopt(message, descriptors)
        elif isinstance(message, messages.Dismiss):
            self._dismiss(message)
        elif isinstance(message, messages.Configure):
            asked = self.server.notifier.asks_kernel
            self.server.config = message.config
            self.server.persistence.prepare(message.config.persistent_handles)
            if self.server.notifier.asks_kernel is not asked:
                self.server.notifier.settings_changed()
            self._recheck.settings_changed(message.config)
            _set_up_log(self.server.worker, message.config)
        elif isinstance(message, messages.Ping):
            self._send(messages.Pong())
        elif isinstance(message, messages.Listening):
            self.server.addresses = parse_addresses(message.addresses)
        elif isinstance(message, messages.Debug):
            logs.debug(message.areas, message.enable)
            self._mountd.tell(DebugAreas(areas=message.areas, enable=message.enable))
        elif isinstance(message, messages.List):
            self._list(message)
        elif isinstance(message, messages.Close):
            self._close(message)
        elif isinstance(message, messages.Drain):
            self.stop("the server is shut down")
        else:
            self._do_rdma(message)

    def _do_rdma(self, message: messages.RdmaToWorker | messages.Start) -> None:
        """Do what the supervisor says of RDMA."""
        if isinstance(message, messages.RdmaOffer):
            self.rdma.offered(message)
        elif isinstance(message, messages.RdmaClaimed):
            self.rdma.claimed(message)
        elif isinstance(message, messages.RdmaDisconnected):
            self.rdma.disconnected(message)
        elif isinstance(message, messages.RdmaServed):
            self.rdma.serve(message)

    def _adopt(self, message: messages.Adopt, descriptors: list[int]) -> None:
        """Take over a client."""
        if not descriptors:  # the kernel drops what this process has no room for
            log.error("a client is lost: there are too many open files")
            self._send(messages.Ended(connection=message.connection))
            return
        sock = socket.socket(fileno=descriptors[0])
        keepalive.watch(sock, self.server.config.keepalive)
        transport = TcpTransport(sock, self._loop, message.first, self._turns)
        dispatcher = Dispatcher(self.server, transport)
        self._numbers[dispatcher.connection] = message.connection
        self._connections[message.connection] = dispatcher.connection
        log.debug("connected", extra={"client": transport.peer})
        transport.start(dispatcher)

    def _connection_ended(self, connection: Connection) -> None:
        """Tell the supervisor that a client is gone."""
        number = self._numbers.pop(connection, None)
        if number is not None:
            del self._connections[number]
            self._send(messages.Ended(connection=number))

    def _connection_admitted(self, connection: Connection) -> None:
        """Tell the supervisor that a client is a stranger no more."""
        number = self._numbers.get(connection) or self.rdma.number(connection)
        if number is not None:
            self._send(messages.Admitted(connection=number, standing=connection.standing))

    def _dismiss(self, message: messages.Dismiss) -> None:
        """Close a connection for which there is no place."""
        connection = self._connections.get(message.connection)
        if connection is None:
            self.rdma.dismiss(message)
        elif connection.standing <= message.standing:
            log.info("closed: %s", message.reason, extra=connection.facts)
            connection.transport.close(message.reason)

    def _list(self, message: messages.List) -> None:
        """Send the tables in parts."""
        rows = tables(self.server, message.kinds, self.rdma.reason)
        if ListKind.LIMITS in message.kinds:
            rows += [
                *limits(self.server, self._mountd, self._rpc, self._pool),
                *self.rdma.limits(),
            ]
        for start in range(0, max(len(rows), 1), messages.ROWS):
            part = rows[start : start + messages.ROWS]
            more = start + messages.ROWS < len(rows)
            self._send(messages.Rows(cookie=message.cookie, rows=part, more=more))

    def _close(self, message: messages.Close) -> None:
        """Close what administrators want closed, if it is here ([MS-SMB2] 3.3.4.12, .17)."""
        for session_id, open_id in message.opens:
            self.server.close_own_open(session_id, open_id)
        for session_id in message.sessions:
            session = self.server.session_table.get(session_id)
            if session is not None:
                log.info("session ended by an administrator", extra={"user": session.user})
                self.server.close_session(session)

    def _send(self, message: messages.FromWorker) -> None:
        """Send a message to the supervisor, behind those that it has not taken yet."""
        self._outbox.put(messages.encode(message))

    def _sent(self, error: OSError | None) -> None:
        """End with the supervisor."""
        if error is not None:
            self.stop("the supervisor is gone")

    def _listen(self, fd: int) -> None:
        """Take the kernel's events about directories when they come."""
        self._loop.add_reader(fd, self.server.notifier.read)

    def _listen_to_leases(self, fd: int) -> None:
        """Take the kernel's wishes for its leases when they come."""
        self._loop.add_reader(fd, self.server.caching.kernel.read)

    # -- mountd --------------------------------------------------------------------------

    def _mountd_says(self, message: Message) -> None:
        """Mountd has a new configuration: what is connected has to stand up to it."""
        if isinstance(message, ConfigReloaded):
            self._recheck.begin()

    def _mountd_connected(self, client: IpcClient) -> None:
        """Tell a restarted mountd which tree connects there are; it may have read other files."""
        if not hasattr(self, "_recheck"):
            return
        held = [
            HeldTree(session.session_id, tree.tree_id, tree.share.name, bool(session.proven_user))
            for session in self.server.session_table.values()
            for tree in session.tree_connect_table.values()
        ]
        if areas := logs.debugged():
            client.tell(DebugAreas(areas=areas))
        for start in range(0, len(held), MAX_ROWS):
            client.tell(TreesHeld(trees=held[start : start + MAX_ROWS]))
        self._recheck.begin()

    # -- life ----------------------------------------------------------------------------

    def _tick(self) -> None:
        """Note who was active, close who is idle, and take room back; now and ever again."""
        self._loop.call_later(TICK_SECONDS, self._tick)
        for connection in self.server.connections:
            connection.note_activity()
        self._close_idle()
        self._reclaim.tick()

    def _close_idle(self) -> None:
        """Close who does not log in, and connections without opens that are idle for `deadtime`."""
        deadtime = self.server.config.deadtime
        now = time.time()
        for connection in list(self.server.connections):
            if not connection.admitted and connection.created < now - LOGIN_SECONDS:
                connection.transport.close("no login")
            elif (
                deadtime
                and connection.last_request < now - deadtime
                and not any(s.open_table for s in connection.session_table.values())
            ):
                connection.transport.close("idle")

    def stop(self, reason: str) -> None:
        """Close everything and end, whatever goes wrong on the way.

        Told twice when the supervisor's message and a SIGTERM to all processes coincide.
        """
        if self._stopped:
            return
        self._stopped = True
        try:
            for connection in list(self.server.connections):
                connection.transport.close(reason)
            self.rdma.end(reason)
        finally:
            self._end(self._loop.time() + END_SECONDS)

    def _end(self, deadline: float) -> None:
        """End the loop when threads have deleted what the last opens leave, and RDMA is over."""
        if (self.server.closing or self.rdma.busy) and self._loop.time() < deadline:
            self._loop.call_later(0.01, self._end, deadline)
            return
        try:
            self._mountd.close()
            self._rpc.close()
            self._peers.close()
            self._mounts.close()
            self.rdma.close()
            self._pool.close()
        finally:
            self._loop.stop()


def _set_up_log(worker: int, config: ServerConfig) -> None:
    """Have this process's log say who says it."""
    logs.set_up(f"worker{worker}", config.log_level, as_json=config.log_json)


def run(control: socket.socket) -> None:
    """Run one worker until it is stopped."""
    os.umask(0)  # the share's masks decide
    keep_buffers()
    data = b""
    with suppress(ConnectionResetError):
        data = control.recv(messages.MESSAGE_LIMIT, socket.MSG_PEEK)
    if not data:  # the supervisor is gone already
        return
    first = messages.decode_to_worker(data)
    unhidden = hide(first.config.hidden) if isinstance(first, messages.Start) else []
    missing = confine(WORKER)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is for the supervisor
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Where a message has ended the loop, a SIGTERM to all processes comes too late, and must not
    # cut off what the log still has to write.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    loop = EpollLoop()
    this_is_the_loop()
    worker = Worker(control, loop)
    logs.start()
    for each in missing:
        log.info("this process runs without %s", each)
    for each in unhidden:
        log.log(INFO if worker.server.worker else WARNING, "this process runs without %s", each)
    loop.add_signal_handler(signal.SIGTERM, worker.stop, "told to end")
    # What was made until now stays: the collector need not look at it again. Not even now: the
    # little that is garbage takes less than the 190 pages that it would write to.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    loop.run_forever()
    loop.close()
