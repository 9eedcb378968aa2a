"""The socket of `usmbd.control`: shutdown, reload, debug areas, and the tables of all workers."""

import itertools
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from usmbd.mountd import log as logs
from usmbd.mountd.ipc.codec import control_server
from usmbd.mountd.ipc.messages import (
    CONTROL_SOCKET,
    MAX_ROWS,
    ControlClose,
    ControlDebug,
    ControlDone,
    ControlList,
    ControlReload,
    ControlRequest,
    ControlRows,
    ControlShutdown,
    ControlVersionInfo,
    ListKind,
    Row,
    WorkerRow,
)
from usmbd.mountd.ipc.server import Client, Server, listen
from usmbd.mountd.ipc.version import version
from usmbd.protocol.supervisor.watchdog import silence
from usmbd.protocol.worker import messages

if TYPE_CHECKING:
    from usmbd.protocol.supervisor.children import WorkerChild
    from usmbd.protocol.supervisor.supervisor import Supervisor


class ControlService:
    """Serves the administrator's tool."""

    def __init__(self, supervisor: "Supervisor", state: Path) -> None:
        """Listen in the state directory, which only its owner may enter."""
        self._supervisor = supervisor
        self._cookies = itertools.count(1)
        self._lists: dict[int, tuple[Client[ControlRequest], int, set[int]]] = {}
        self._server: Server[ControlRequest] = Server(
            listen(state / CONTROL_SOCKET),
            control_server(),
            self._on_message,
            self._on_close,
            lambda pid: all(pid != worker.process.pid for worker in supervisor.workers.values()),
        )

    def _on_message(
        self, client: Client[ControlRequest], handle: int, message: ControlRequest
    ) -> None:
        """Do what the tool asks for."""
        supervisor = self._supervisor
        if isinstance(message, ControlShutdown):
            client.send(handle, ControlDone())
            supervisor.stop()
        elif isinstance(message, ControlReload):
            supervisor.reload(partial(client.send, handle))
        elif isinstance(message, ControlList):
            self._list(client, handle, message)
        elif isinstance(message, ControlClose):
            for worker in supervisor.workers.values():
                if worker.serves:
                    worker.send(messages.Close(sessions=message.sessions, opens=message.opens))
            client.send(handle, ControlDone())
        elif isinstance(message, ControlDebug):
            logs.debug(message.areas, message.enable)
            supervisor.door.tell_log()
            for worker in supervisor.workers.values():
                worker.send(messages.Debug(areas=message.areas, enable=message.enable))
            client.send(handle, ControlDone())
        else:
            client.send(
                handle,
                ControlVersionInfo(
                    version=version(),
                    pid=os.getpid(),
                    workers=len(supervisor.workers),
                    uptime=int(time.monotonic() - supervisor.started),
                ),
            )

    def _on_close(self, client: Client[ControlRequest], reason: str) -> None:
        """Forget a tool that went away."""
        for cookie, (waiting, _, _) in list(self._lists.items()):
            if waiting is client:
                del self._lists[cookie]

    def _list(self, client: Client[ControlRequest], handle: int, message: ControlList) -> None:
        """Ask all workers for their tables; the interfaces of RDMA are known here."""
        cookie = next(self._cookies)
        workers = [w for w in self._supervisor.workers.values() if w.serves]
        if ListKind.WORKERS in message.kinds:
            rows: list[Row] = [_worker(w) for w in self._supervisor.workers.values()]
            for start in range(0, len(rows), MAX_ROWS):
                client.send(handle, ControlRows(rows[start : start + MAX_ROWS], more=True))
        if ListKind.RDMA in message.kinds:
            interfaces: list[Row] = [*self._supervisor.rdma.rows()]
            for start in range(0, len(interfaces), MAX_ROWS):
                client.send(handle, ControlRows(interfaces[start : start + MAX_ROWS], more=True))
        if ListKind.LIMITS in message.kinds:
            client.send(handle, ControlRows([*self._supervisor.limits()], more=True))
        if not workers:
            client.send(handle, ControlRows(rows=[]))
            return
        self._lists[cookie] = client, handle, {worker.number for worker in workers}
        for worker in workers:
            worker.send(messages.List(cookie=cookie, kinds=message.kinds))

    def rows(self, worker: "WorkerChild", message: messages.Rows) -> None:
        """Pass rows on; the last worker's last ones end the answer."""
        waiting = self._lists.get(message.cookie)
        if waiting is None:
            return
        client, handle, missing = waiting
        if not message.more:
            missing.discard(worker.number)
        client.send(handle, ControlRows(rows=message.rows, more=bool(missing)))
        if not missing:
            del self._lists[message.cookie]

    def worker_gone(self, worker: "WorkerChild") -> None:
        """End the answers that wait for the rows of a worker that died or does not answer."""
        for cookie, (_, _, missing) in list(self._lists.items()):
            if worker.number in missing:
                self.rows(worker, messages.Rows(cookie=cookie, rows=[], more=False))


def _worker(worker: "WorkerChild") -> WorkerRow:
    """Describe a worker."""
    return WorkerRow(
        worker=worker.number,
        pid=worker.process.pid,
        clients=len(worker.clients),
        silent=silence(worker),
        hangs_in=worker.hangs_in,
    )
