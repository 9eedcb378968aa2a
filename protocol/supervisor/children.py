"""The child processes: mountd and the workers, started, watched, started again."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine

from usmbd.mountd.ipc.codec import UNREADABLE
from usmbd.protocol.supervisor.channel import Channel
from usmbd.protocol.supervisor.hanging import ticks_computed
from usmbd.protocol.supervisor.processes import Process, Processes, start_controlled
from usmbd.protocol.worker import messages

log = logging.getLogger("usmbd.conn")

RESTART_SECONDS = 1.0
"""A child that died sooner than this after its start is started again only after a pause."""

END_SECONDS = 3.0
"""A child that has not ended so long after SIGTERM, nor had processor time meanwhile, is killed."""

END_TURNS = 10
"""So often it may take END_SECONDS where it computes: a busy machine is slow, and a loop ends."""


class Child:
    """A process of ours."""

    def __init__(self, name: str, process: Process) -> None:
        """Watch over `process`."""
        self.name = name
        self.process = process
        self._given_up = asyncio.Event()

    async def gone(self) -> int | None:
        """Wait for its end and return its status; None when it was killed and still hangs."""
        waits = [
            asyncio.ensure_future(self.process.wait()),
            asyncio.ensure_future(self._given_up.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        return self.process.returncode

    async def end(self) -> None:
        """Tell it to end; kill it when it does not."""
        if self.process.returncode is not None:
            return
        try:
            self.process.terminate()
        except ProcessLookupError:
            return
        before = ticks_computed(self.process.pid)
        for _ in range(END_TURNS):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), END_SECONDS)
                return
            now = ticks_computed(self.process.pid)
            if now == before:
                break
            before = now
        log.error("%s does not end and is killed", self.name)
        await self.kill()

    async def kill(self) -> None:
        """Kill it; give it up when the kernel does not let it go, for a disk that hangs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        try:
            await asyncio.wait_for(self.process.wait(), END_SECONDS)
        except TimeoutError:
            log.error("%s is killed, but hangs in the kernel", self.name)
            self._given_up.set()


class Kept:
    """A child that is started again whenever it dies."""

    def __init__(
        self,
        start: Callable[[], Awaitable[Child]],
        probe: Callable[[Child], Coroutine[None, None, None]] | None = None,
    ) -> None:
        """Remember how to start it; `probe` runs beside it and ends it when it does not answer."""
        self._start = start
        self._probe = probe
        self.child: Child | None = None

    async def start(self) -> None:
        """Start it for the first time."""
        self.child = await self._start()

    async def keep(self, stopping: asyncio.Event) -> None:
        """Start it again whenever it dies, until the server stops."""
        loop = asyncio.get_running_loop()
        while self.child is not None:
            since = loop.time()
            name = self.child.name
            probe = loop.create_task(self._probe(self.child)) if self._probe else None
            status = await self.child.gone()
            if probe is not None:
                probe.cancel()
            if stopping.is_set():
                return
            log.error("%s ended (%s) and is started again", name, status)
            if loop.time() - since < RESTART_SECONDS:
                await asyncio.sleep(RESTART_SECONDS)
            try:
                self.child = await self._start()
            except OSError as error:  # it ended at once, or there is no memory for it
                log.error("%s cannot be started: %s", name, error)

    def signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.child is not None and self.child.process.returncode is None:
            self.child.process.send_signal(number)

    async def end(self) -> None:
        """Tell it to end; kill it when it does not."""
        if self.child is not None:
            await self.child.end()


async def start_mountd(processes: Processes, files: list[str]) -> Child:
    """Start mountd and wait until it serves; ChildProcessError when it does not."""
    reader, writer = os.pipe()
    try:
        process = await processes.start("mountd", ["-n", *files], options={"--ready-fd": writer})
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bytes] = loop.create_future()

    def readable() -> None:
        if not ready.done():
            ready.set_result(os.read(reader, 64))

    loop.add_reader(reader, readable)
    try:
        data = await ready
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()  # nobody else knows it yet
        raise
    finally:
        loop.remove_reader(reader)
        os.close(reader)
    if not data:
        raise ChildProcessError(f"mountd ended with status {await process.wait()}")
    return Child("mountd", process)


class WorkerChild(Child):
    """A worker, and the socket to talk to it."""

    def __init__(
        self,
        number: int,
        process: Process,
        control: socket.socket,
        on_message: Callable[["WorkerChild", messages.FromWorker], None],
    ) -> None:
        """Take messages from the worker."""
        super().__init__(f"worker {number}", process)
        self.number = number
        self.ready = asyncio.Event()
        self.clients: dict[int, tuple[str, bytes]] = {}  # connection -> (address, ClientGuid)
        self.beats = 0  # of the watchdog since the question that is not answered yet
        self.hangs_in = ""  # while it does not answer
        self.ending = False  # for its silence
        self.rdma: dict[str, str] = {}
        """Of each RDMA device why this worker cannot use it; empty when it can."""
        self._on_message = on_message
        loop = asyncio.get_running_loop()
        limit = messages.MESSAGE_LIMIT
        self._channel = Channel(self.name, control, loop, self._said, limit, lost=self._lost)

    @property
    def silent(self) -> bool:
        """Whether it has not answered the watchdog for a second."""
        return bool(self.hangs_in)

    @property
    def serves(self) -> bool:
        """Whether new clients may go to it."""
        return self.ready.is_set() and not self.silent

    def send(self, message: messages.ToWorker, sock: socket.socket | None = None) -> None:
        """Send a message, with a socket that is then closed here."""
        self._channel.send(messages.encode(message), sock)

    def _said(self, data: bytes, _descriptors: list[int]) -> None:
        """Take a message from the worker, which parses what clients sent."""
        try:
            message = messages.decode_from_worker(data)
        except UNREADABLE as error:
            log.error("worker %d says what is no message: %s", self.number, error)
            return
        if isinstance(message, messages.Ready):
            self.rdma = message.rdma
            self.ready.set()
        else:
            self._on_message(self, message)

    def _lost(self, data: bytes) -> None:
        """Give back the place of a client that never came to the worker."""
        message = messages.decode_to_worker(data)
        if isinstance(message, messages.Adopt):
            self._on_message(self, messages.Ended(connection=message.connection))

    def forget(self) -> None:
        """Close the socket of a worker that is gone, and the clients meant for it."""
        self.ready.clear()  # no client is passed to it any more
        self._channel.close()


async def start_keeper(processes: Processes, sock: socket.socket) -> Child:
    """Start the process that stores NT ACLs and asks for quotas, with its end of the socket."""
    process = await processes.start("keeper", options={"--socket-fd": sock.fileno()})
    return Child("the keeper of NT ACLs and quotas", process)


async def start_worker(
    processes: Processes,
    start: messages.Start,
    on_message: Callable[[WorkerChild, messages.FromWorker], None],
    keeper: socket.socket | None = None,
) -> WorkerChild:
    """Start one worker; its `ready` is set when it serves."""
    options = {"--keeper-fd": keeper.fileno()} if keeper is not None else {}
    process, ours = await start_controlled(processes, "worker", options)
    worker = WorkerChild(start.worker, process, ours, on_message)
    worker.send(start)
    return worker
