"""The supervisor: ksmbd's forker. It owns the port and the children, and serves no file."""

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Never

import msgspec

from usmbd.mountd import log as logs
from usmbd.mountd.ipc.codec import mountd_client
from usmbd.mountd.ipc.directory import prepare_directories
from usmbd.mountd.ipc.messages import (
    MOUNTD_SOCKET,
    ControlDone,
    ControlError,
    LimitRow,
    ShareConfigRequest,
)
from usmbd.mountd.ipc.probe import is_stopped, silence
from usmbd.mountd.ipc.settings import Rdma as Wanted
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.mountd.ipc.signals import handled
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.state.store.base import SUPERVISOR
from usmbd.protocol.state.store.bus import Bus, WakeFile
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.supervisor import state_place
from usmbd.protocol.supervisor.addresses import AddressWatch
from usmbd.protocol.supervisor.check import CheckError, read_again
from usmbd.protocol.supervisor.children import (
    RESTART_SECONDS,
    Child,
    Kept,
    WorkerChild,
    start_keeper,
    start_mountd,
    start_worker,
)
from usmbd.protocol.supervisor.clients import Clients
from usmbd.protocol.supervisor.control import ControlService
from usmbd.protocol.supervisor.discovery import Discovery
from usmbd.protocol.supervisor.door import Door
from usmbd.protocol.supervisor.hanging import what_hangs
from usmbd.protocol.supervisor.limits import limits
from usmbd.protocol.supervisor.listeners import Listeners
from usmbd.protocol.supervisor.persistent import bring_back, places_of
from usmbd.protocol.supervisor.processes import Processes
from usmbd.protocol.supervisor.rdma_service import RdmaService
from usmbd.protocol.supervisor.watchdog import Watchdog
from usmbd.protocol.worker import messages

log = logging.getLogger("usmbd.conn")

START_SECONDS = 180.0
"""Until children that do not get ready make the start fail: in the lab's emulated guest they need
up to 40 s, and twice as long on a busy machine."""

MOUNTD_SECONDS = 4
"""Until a mountd that does not answer is replaced: it decides from memory, in milliseconds, and
clients give up a login after 15 s and more."""

LASTING = (
    "workers",
    "state_directory",
    "data_directory",
    "tcp_port",
    "rdma",
    "interfaces",
    "bind_interfaces_only",
)
"""Parameters that keep their value until the next start; the addresses that the last two mean are
followed all the time."""


ReloadOutcome = ControlDone | ControlError


class StartError(Exception):
    """The server could not start; the text says what to do."""


class Supervisor:
    """The parent of all processes."""

    def __init__(
        self, config: ServerConfig, files: list[str], processes: Processes, *, verbose: bool = False
    ) -> None:
        """Serve `config`; `files` are the options by which mountd finds its files.

        `verbose`: debug messages, whatever the configuration says.
        """
        self._verbose = verbose
        self.config = config
        self.started = time.monotonic()
        self.workers: dict[int, WorkerChild] = {}
        self.clients = Clients(self.workers)
        self.rdma = RdmaService(lambda: self.config, self.clients, self.workers)
        self._files = files
        self._processes = processes
        self._state = Path(config.state_directory)
        self._mountd = Kept(
            lambda: start_mountd(self._processes, self._files), self._end_when_silent
        )
        # Both ends are held here, so that neither workers nor keeper have to connect again.
        self._keeper_sockets: tuple[socket.socket, ...] = ()
        self._keeper: Kept | None = None
        self._control: ControlService | None = None
        self._listeners: Listeners | None = None
        self._discovery = Discovery(processes, lambda: self.config, server_guid())
        self._stopping = asyncio.Event()
        self._failed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._checking = asyncio.Lock()

    async def run(self) -> None:
        """Serve until a signal says otherwise."""
        self._loop = asyncio.get_running_loop()
        end = self._stopping.set
        self._processes.watch()
        with handled({signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: self.reload}):
            await self._serve()

    async def _serve(self) -> None:
        """Serve until told to end."""
        self._prepare()
        self.door = Door(self._processes, lambda: self.config, self._pass_on)
        watch: AddressWatch | None = None
        try:
            try:
                self._listeners = Listeners(self.config)
            except OSError as error:
                raise StartError(_explain(error, self.config)) from error
            self.rdma.prepare()
            self._insist_on_rdma(self.rdma.devices)
            if not await self._started():
                return
            self.rdma.serve()
            self._insist_on_rdma(not self.rdma.reason)
            for listener in self._listeners.sockets:
                self.door.serve(listener)
            if not self._listeners.everywhere:
                watch = AddressWatch(self._loop, self._follow_addresses)
            self._discovery.begin()
            self._control = ControlService(self, self._state)
            watchdog = Watchdog(
                self.workers,
                lambda: self.config.worker_timeout,
                self._control.worker_gone,
                lambda worker: self._watch(worker.kill(), vital=False),
            )
            self._watch(watchdog.run())
            where = ", ".join(map(_shown, self._listeners.sockets)) or "no address of `interfaces`"
            count = f"{len(self.workers)} worker{'s' if len(self.workers) > 1 else ''}"
            logs.say(f"usmbd: ready on {where}, {count}")
            _notify("READY=1")
            await self._stopping.wait()
            _notify("STOPPING=1")
            if self._failed:
                raise StartError("it has ended for the fault that the log tells")
        except OSError as error:
            raise StartError(f"it cannot start: {error}") from error
        finally:
            self._stopping.set()
            if watch is not None:
                watch.close()
            if self._listeners is not None:
                self._listeners.close()
            await self._end()

    def _prepare(self) -> None:
        """Make the state directory and the empty store; StartError when another server is there."""
        try:
            prepare_directories(self._state, Path(self.config.data_directory))
            state_place.look(self._state)
            store = self._state / messages.STORE_DIRECTORY
            self._lock = os.open(self._state / "usmbd.lock", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                os.lockf(self._lock, os.F_TLOCK, 0)
            except OSError as error:
                raise StartError(
                    f"{self._state} is in use by another usmbd: stop it, or give this one"
                    " another `state directory`"
                ) from error
            os.truncate(self._lock, 0)
            os.write(self._lock, f"{os.getpid()}\n".encode())
            if store.exists():
                shutil.rmtree(store)
            LmdbStore.create(store)
            self._store = LmdbStore.attach(store, SUPERVISOR, places_of(self.config))
            bring_back(self._store, self.config)
            self._bus = Bus(self._state, SUPERVISOR)
        except OSError as error:
            raise StartError(f"state directory {self._state}: {error.strerror or error}") from error

    def _insist_on_rdma(self, there: object) -> None:
        """End the start when RDMA is demanded and not `there`."""
        if self.config.rdma is Wanted.YES and not there:
            raise StartError(f"rdma = yes, but RDMA cannot be used: {self.rdma.reason}")

    async def _started(self) -> bool:
        """Start the children; False when told to end meanwhile."""
        starting = self._loop.create_task(self._start_children())
        stopping = self._loop.create_task(self._stopping.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            await starting  # raises what went wrong
            return not self._stopping.is_set()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False

    async def _start_children(self) -> None:
        """Start the workers and mountd side by side, and wait until all serve."""
        if os.geteuid() == 0:
            self._keeper_sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._keeper = Kept(lambda: start_keeper(self._processes, self._keeper_sockets[1]))
        kept = [each for each in (self._keeper, self.door.kept, self._mountd) if each is not None]
        starts = [self._start_kept(each) for each in kept]
        starts += [self._start_worker(number) for number in range(self.config.workers)]
        try:
            for each in await asyncio.gather(*starts, return_exceptions=True):  # forked together
                if each is not None:
                    raise each
            await asyncio.wait_for(
                asyncio.gather(
                    self.door.ready(), *(worker.ready.wait() for worker in self.workers.values())
                ),
                START_SECONDS,
            )
        except ChildProcessError as error:
            raise StartError(f"a process did not start: {error}") from error
        except TimeoutError as error:
            raise StartError("a process did not get ready; its messages are above") from error

    async def _start_kept(self, kept: Kept) -> None:
        """Start a process, and start it again whenever it dies."""
        await asyncio.wait_for(kept.start(), START_SECONDS)
        self._watch(kept.keep(self._stopping))

    async def _start_worker(self, number: int) -> None:
        """Start one worker and watch it."""
        start = messages.Start(
            worker=number, guid=server_guid(), config=self.config, rdma=self.rdma.devices
        )
        self.workers[number] = await start_worker(
            self._processes, start, self._worker_says, next(iter(self._keeper_sockets), None)
        )
        self._tell_addresses(self.workers[number])
        self.rdma.tell(self.workers[number])
        self._watch(self._keep_worker(self.workers[number]))

    def _watch(self, coroutine: Coroutine[object, Never, None], *, vital: bool = True) -> None:
        """Run a coroutine until the end; where a `vital` one fails the server ends.

        Without its watchdog, or a worker's keeper, it would only look as if it served; its
        manager starts it again, whole.
        """
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(partial(self._over, vital))

    def _over(self, vital: bool, task: "asyncio.Task[None]") -> None:
        """Forget a task that has ended; tell when it has failed."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            what = "a part of the server has failed, and it ends" if vital else "a task has failed"
            log.critical(what, exc_info=error)
            self._failed = vital
            if vital:
                self._stopping.set()

    async def _end_when_silent(self, mountd: Child) -> None:
        """Kill a mountd that does not answer, without which nobody can log in."""
        question = ShareConfigRequest(name="IPC$")
        pid = mountd.process.pid
        await silence(
            self._state / MOUNTD_SOCKET,
            mountd_client(),
            question,
            MOUNTD_SECONDS,
            stopped=lambda: is_stopped(pid),
        )
        log.error("mountd has not answered and is ended: %s", what_hangs(pid))
        await mountd.kill()

    async def _keep_worker(self, worker: WorkerChild) -> None:
        """Clean up after a worker that died, and start another in its place."""
        since = self._loop.time()
        status = await worker.gone()
        if self._stopping.is_set():
            return
        log.error("worker %d ended (%s): its clients have to reconnect", worker.number, status)
        del self.workers[worker.number]  # or it would get new clients, having so few
        if self._control is not None:
            self._control.worker_gone(worker)
        for connection in list(worker.clients):
            self._client_gone(worker, connection)
        worker.forget()
        self._drop_records(worker.number)
        if self._loop.time() - since < RESTART_SECONDS:
            await asyncio.sleep(RESTART_SECONDS)
        while not self._stopping.is_set():
            try:
                await self._start_worker(worker.number)
                return
            except OSError as error:  # no memory or no descriptors, for now
                log.error("worker %d cannot be started: %s", worker.number, error)
                await asyncio.sleep(RESTART_SECONDS)

    def _drop_records(self, number: int) -> None:
        """Remove what a dead worker left in the store, but what its successor has to end."""
        waiters = self._store.drop_worker(number)
        found, others = self._store.sweep(self.workers, number)
        if found:
            log.error("the store had %d records that belonged to nobody", found)
        for waiter, key in (*waiters, *others):
            if waiter != number:
                self._bus.send(waiter, WakeFile(key))
        self._bus.flush()

    # -- addresses -----------------------------------------------------------------------

    def _follow_addresses(self) -> bool:
        """Listen on the addresses that `interfaces` means now; False when some cannot be yet."""
        assert self._listeners is not None
        before = self._listeners.addresses
        settled = self._listeners.follow(self.door.serve, self.door.leave)
        if self._listeners.addresses != before:
            for worker in self.workers.values():
                self._tell_addresses(worker)
        self.rdma.follow()
        return settled

    def _tell_addresses(self, worker: WorkerChild) -> None:
        """Tell a worker where its clients can come, which it tells them."""
        assert self._listeners is not None
        worker.send(messages.Listening(addresses=self._listeners.addresses))

    # -- clients -------------------------------------------------------------------------

    def _pass_on(self, sock: socket.socket, address: str, guid: bytes, first: bytes) -> None:
        """Hand a client to the worker that has its ClientGuid, or to the least loaded."""
        if not self.clients.admit(self.config, address):
            log.info("refused: too many connections", extra={"client": address})
            sock.close()
            return
        worker = self.clients.by_guid(guid)
        if worker is None:
            sock.close()
            return
        number = self.clients.came(worker, address, guid)
        worker.send(messages.Adopt(connection=number, first=first), sock)
        self.clients.take_place(worker, number)

    def _client_gone(self, worker: WorkerChild, connection: int) -> None:
        """Forget a connection that ended."""
        self.rdma.ended(connection)
        self.clients.gone(worker, connection)

    def _client_admitted(self, worker: WorkerChild, message: messages.Admitted) -> None:
        """Count a connection on which somebody has logged in, if it may be."""
        connection = message.connection
        if message.standing is Standing.GUEST:
            self.clients.guest(self.config, worker, connection)
        elif not self.clients.admitted(self.config, worker, connection):
            reason = "`max connections` or `max ip connections` is reached"
            worker.send(messages.Dismiss(connection=connection, reason=reason))

    def _worker_says(self, worker: WorkerChild, message: messages.FromWorker) -> None:
        """Take a message of a worker."""
        if isinstance(message, messages.Pong):
            Watchdog.answered(worker)
        elif isinstance(message, messages.Ended):
            self._client_gone(worker, message.connection)
        elif isinstance(message, messages.Admitted):
            self._client_admitted(worker, message)
        elif isinstance(message, messages.Rows):
            assert self._control is not None  # who asked for them
            self._control.rows(worker, message)
        elif isinstance(message, messages.RdmaFromWorker):
            self.rdma.says(worker, message)

    # -- control -------------------------------------------------------------------------

    def reload(self, done: Callable[[ReloadOutcome], None] | None = None) -> None:
        """Read the configuration again: mountd at once, the workers when both find it right."""
        self._watch(self._reload(done or _nobody_asked), vital=False)

    async def _reload(self, done: Callable[[ReloadOutcome], None]) -> None:
        """Check the files and tell the workers; what cannot change while serving stays."""
        try:
            async with self._checking:  # of two reloads the later one sees the later files
                fresh, warnings = await read_again(self._processes, self._files, self._state)
        except CheckError as error:
            log.error("the new configuration is not used: %s", error)
            done(ControlError(str(error)[:4096]))
            return
        lasting = {name: getattr(self.config, name) for name in LASTING}
        later = [
            name.replace("_", " ") for name in LASTING if getattr(fresh, name) != lasting[name]
        ]
        note = f"only a new start changes: {', '.join(later)}" if later else ""
        if self._verbose:
            lasting["log_level"] = logs.DEBUG_LEVEL
        self.config = msgspec.structs.replace(fresh, **lasting)
        logs.set_up("usmbd", self.config.log_level, as_json=self.config.log_json)
        self.door.tell_log()
        for worker in self.workers.values():
            worker.send(messages.Configure(config=self.config))
        self._discovery.look()
        log.info("configuration read%s", f"; {note}" if note else "")
        done(ControlDone(note, warnings))

    def limits(self) -> list[LimitRow]:
        """Return what is limited here, and how much of it is in use."""
        rdma = self.rdma
        return limits(self.config, self.clients, self.door.state, rdma.offers, rdma.places)

    def stop(self) -> None:
        """End the server."""
        self._stopping.set()

    async def _end(self) -> None:
        """End all children; clients first, then mountd."""
        self.rdma.stop()
        await self._discovery.end()
        await self.door.kept.end()
        self.door.close()
        for worker in self.workers.values():
            worker.send(messages.Drain())
        await asyncio.gather(*(worker.end() for worker in self.workers.values()))
        self.rdma.close()
        await self._mountd.end()
        if self._keeper is not None:
            await self._keeper.end()
        for sock in self._keeper_sockets:
            sock.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._processes.close()
        self._bus.close()
        self._store.close()
        shutil.rmtree(self._state / messages.STORE_DIRECTORY, ignore_errors=True)
        os.close(self._lock)


def _nobody_asked(_outcome: ReloadOutcome) -> None:
    """Take the end of a reload that a signal asked for: the log says it."""


def server_guid() -> bytes:
    """Return ServerGuid: the same for this machine at every start ([MS-SMB2] 3.3.1.5)."""
    try:
        machine = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        machine = os.uname().nodename.encode()
    return hashlib.sha256(b"usmbd\0" + machine).digest()[:16]


def _shown(listener: socket.socket) -> str:
    """Return a listener's address for people."""
    host, port = listener.getsockname()[:2]
    return f"port {port}" if host in ("::", "0.0.0.0") else f"{host} port {port}"


def _explain(error: OSError, config: ServerConfig) -> str:
    """Say what to do about a port that cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {config.tcp_port} is taken: stop the server that has it (`ss -ltnp`),"
            " or set `tcp port`"
        )
    if error.errno == errno.EACCES:
        return f"port {config.tcp_port} needs root: start as root, or set `tcp port` above 1023"
    return str(error)


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), when it started us with Type=notify."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)
