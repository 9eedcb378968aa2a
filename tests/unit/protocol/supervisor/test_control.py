"""What `usmbd.control` is answered: by a supervisor that is a stand-in, over the real socket."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from usmbd.mountd.ipc.client import BlockingClient
from usmbd.mountd.ipc.codec import control_client
from usmbd.mountd.ipc.messages import (
    CONTROL_SOCKET,
    MAX_ROWS,
    ControlClose,
    ControlDebug,
    ControlDone,
    ControlError,
    ControlList,
    ControlReload,
    ControlRows,
    ControlShutdown,
    ControlVersion,
    ControlVersionInfo,
    LimitRow,
    ListKind,
    WorkerRow,
)
from usmbd.protocol.supervisor.control import ControlService
from usmbd.protocol.worker import messages

LIMIT = LimitRow("usmbd", "connections", 5, 1)


class Worker:
    """A worker that remembers what it is sent."""

    def __init__(self, number: int) -> None:
        """Serve."""
        self.number = number
        self.process = SimpleNamespace(pid=1000 + number)
        self.clients = {1: ("192.0.2.1", b"")}
        self.serves = True
        self.silent = False
        self.hangs_in = ""
        self.beats = 0
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        """Take a message."""
        self.sent.append(message)

    @property
    def cookie(self) -> int:
        """Return the number of the list that it was asked for last."""
        return int(self.sent[-1].cookie)


class Supervisor:
    """What the service needs of a supervisor."""

    def __init__(self, *numbers: int) -> None:
        """Begin with workers."""
        self.workers = {number: Worker(number) for number in numbers}
        self.started = time.monotonic() - 100
        self.stopped = False
        self.reloads: list[Callable[[bool, str], None]] = []
        self.rdma_rows: list[Any] = []
        self.rdma = SimpleNamespace(rows=lambda: self.rdma_rows)
        self.door_told = 0
        self.door = SimpleNamespace(tell_log=self._tell_door)

    def _tell_door(self) -> None:
        self.door_told += 1

    def stop(self) -> None:
        """Note that the server is to end."""
        self.stopped = True

    def reload(self, done: Callable[[bool, str], None]) -> None:
        """Note who wants to know of the reload's end."""
        self.reloads.append(done)

    def limits(self) -> list[LimitRow]:
        """Return the rows of limits."""
        return [LIMIT]


class Served:
    """The service and one tool."""

    def __init__(self, state: Path, loop: asyncio.AbstractEventLoop) -> None:
        """Listen, with two workers."""
        self.supervisor = Supervisor(0, 1)
        self._loop = loop
        self._state = state

        async def serve() -> ControlService:
            return ControlService(self.supervisor, state)  # type: ignore[arg-type]

        self.service = loop.run_until_complete(serve())
        self.tool = self.another()

    def another(self) -> BlockingClient[Any]:
        """Return one more tool."""
        tool = BlockingClient(self._state / CONTROL_SOCKET, control_client())
        tool._socket.settimeout(0)
        return tool

    def settle(self) -> None:
        """Let the service do what there is to do."""
        for _ in range(6):
            self._loop.run_until_complete(asyncio.sleep(0))

    def ask(self, message: Any, tool: BlockingClient[Any] | None = None) -> list[Any]:
        """Ask and return what is answered at once."""
        (tool or self.tool).send(message)
        self.settle()
        return self.heard(tool)

    def heard(self, tool: BlockingClient[Any] | None = None) -> list[Any]:
        """Return what a tool was answered since."""
        tool = tool or self.tool
        found = []
        try:
            while data := tool._socket.recv(1 << 20):
                handle, answer = control_client().decode(data)
                assert handle == tool._handle
                found.append(answer)
        except BlockingIOError:
            pass
        return found


@pytest.fixture
def served(state: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Served]:
    made = Served(state, loop)
    yield made
    made.tool.close()
    made.service._server.close()


def test_a_shutdown_is_confirmed_first(served: Served) -> None:
    assert served.ask(ControlShutdown()) == [ControlDone()]
    assert served.supervisor.stopped


def test_a_worker_may_not_administrate(served: Served) -> None:
    """Its uid is the server's, and what it was sent may have taken it over."""
    served.supervisor.workers[1].process.pid = os.getpid()
    tool = served.another()
    with pytest.raises(ConnectionResetError):
        served.ask(ControlShutdown(), tool)
    assert not served.supervisor.stopped
    tool.close()
    served.supervisor.workers[1].process.pid = 1001
    assert served.ask(ControlShutdown(), served.another()) == [ControlDone()]


def test_the_version(served: Served) -> None:
    (answer,) = served.ask(ControlVersion())
    assert isinstance(answer, ControlVersionInfo)
    assert (answer.pid, answer.workers) == (os.getpid(), 2)
    assert 100 <= answer.uptime < 200
    assert answer.version
    assert not served.supervisor.stopped


@pytest.mark.parametrize(
    "outcome",
    [
        ControlDone(),
        ControlDone("only a new start changes: workers", "warning: no users"),
        ControlError("line 7: no such share"),
    ],
)
def test_a_reload_is_answered_at_its_end(
    served: Served, outcome: ControlDone | ControlError
) -> None:
    assert served.ask(ControlReload()) == []
    (tell,) = served.supervisor.reloads
    tell(outcome)
    assert served.heard() == [outcome]


def test_debugging_is_every_worker_s(served: Served) -> None:
    assert served.ask(ControlDebug(["vfs", "smb"])) == [ControlDone()]
    for worker in served.supervisor.workers.values():
        assert worker.sent == [messages.Debug(areas=["vfs", "smb"], enable=True)]
    assert served.supervisor.door_told == 1
    served.ask(ControlDebug(["vfs", "smb"], enable=False))
    for worker in served.supervisor.workers.values():
        assert worker.sent[1:] == [messages.Debug(areas=["vfs", "smb"], enable=False)]


def test_a_list_is_whole_when_the_last_worker_has_answered(served: Served) -> None:
    first, second = served.supervisor.workers.values()
    assert served.ask(ControlList([ListKind.SESSIONS])) == []
    assert first.sent == second.sent
    assert first.sent == [messages.List(cookie=first.cookie, kinds=[ListKind.SESSIONS])]
    rows = [LIMIT]
    served.service.rows(first, messages.Rows(first.cookie, rows, more=True))  # type: ignore[arg-type]
    assert served.heard() == [ControlRows(rows, more=True)]
    served.service.rows(second, messages.Rows(first.cookie, rows, more=False))  # type: ignore[arg-type]
    assert served.heard() == [ControlRows(rows, more=True)]
    served.service.rows(first, messages.Rows(first.cookie, [], more=False))  # type: ignore[arg-type]
    assert served.heard() == [ControlRows([], more=False)]
    served.service.rows(first, messages.Rows(first.cookie, rows, more=False))  # type: ignore[arg-type]
    assert served.heard() == []  # too late
    assert served.service._lists == {}


def test_lists_do_not_mix(served: Served) -> None:
    first, second = served.supervisor.workers.values()
    other = served.another()
    served.ask(ControlList([ListKind.SESSIONS]))
    one = first.cookie
    served.ask(ControlList([ListKind.OPENS]), other)
    two = first.cookie
    assert one != two
    for worker in (first, second):
        served.service.rows(worker, messages.Rows(two, [LIMIT], more=False))  # type: ignore[arg-type]
    assert served.heard() == []
    assert [answer.more for answer in served.heard(other)] == [True, False]
    other.close()


def test_a_worker_that_dies_or_hangs_ends_no_list(served: Served) -> None:
    first, second = served.supervisor.workers.values()
    served.ask(ControlList([ListKind.SESSIONS]))
    served.service.rows(first, messages.Rows(first.cookie, [LIMIT], more=False))  # type: ignore[arg-type]
    assert [answer.more for answer in served.heard()] == [True]
    served.service.worker_gone(first)  # type: ignore[arg-type]
    assert served.heard() == []
    served.service.worker_gone(second)  # type: ignore[arg-type]
    assert served.heard() == [ControlRows([], more=False)]


def test_a_worker_that_does_not_serve_is_not_waited_for(served: Served) -> None:
    first, second = served.supervisor.workers.values()
    second.serves = False
    served.ask(ControlList([ListKind.SESSIONS]))
    assert second.sent == []
    served.service.rows(first, messages.Rows(first.cookie, [], more=False))  # type: ignore[arg-type]
    assert served.heard() == [ControlRows([], more=False)]
    first.serves = False
    assert served.ask(ControlList([ListKind.SESSIONS])) == [ControlRows([], more=False)]


def test_a_tool_that_goes_is_forgotten(served: Served) -> None:
    first, _ = served.supervisor.workers.values()
    other = served.another()
    served.ask(ControlList([ListKind.SESSIONS]), other)
    gone = first.cookie
    served.ask(ControlList([ListKind.SESSIONS]))
    other.close()
    served.settle()
    assert list(served.service._lists) == [first.cookie]
    served.service.rows(first, messages.Rows(gone, [LIMIT], more=False))  # type: ignore[arg-type]
    assert served.heard() == []


def test_the_workers_themselves(served: Served) -> None:
    first, second = served.supervisor.workers.values()
    second.silent, second.hangs_in, second.beats, second.clients = True, "openat", 5, {}
    (answer,) = served.ask(ControlList([ListKind.WORKERS]))
    assert answer == ControlRows(
        [WorkerRow(0, 1000, 1, 0.0, ""), WorkerRow(1, 1001, 0, 2.0, "openat")], more=True
    )
    assert first.sent[-1].kinds == [ListKind.WORKERS]


def test_the_supervisor_s_own_rows_come_in_parts_that_fit(served: Served) -> None:
    for worker in served.supervisor.workers.values():
        worker.serves = False
    served.supervisor.rdma_rows = [LIMIT] * (MAX_ROWS + 3)
    answers = served.ask(ControlList([ListKind.RDMA, ListKind.LIMITS]))
    assert [len(answer.rows) for answer in answers] == [MAX_ROWS, 3, 1, 0]
    assert [answer.more for answer in answers] == [True, True, True, False]
    for number in range(2, MAX_ROWS + 2):
        served.supervisor.workers[number] = Worker(number)
        served.supervisor.workers[number].serves = False
    answers = served.ask(ControlList([ListKind.WORKERS]))
    assert [len(answer.rows) for answer in answers] == [MAX_ROWS, 2, 0]
    assert [row.worker for answer in answers for row in answer.rows] == [*range(MAX_ROWS + 2)]


def test_what_is_to_be_closed_goes_to_every_worker(served: Served) -> None:
    closing = ControlClose([7], [(7, 9), (8, 10)])
    assert served.ask(closing) == [ControlDone()]
    for worker in served.supervisor.workers.values():
        assert worker.sent == [messages.Close(sessions=[7], opens=[(7, 9), (8, 10)])]
