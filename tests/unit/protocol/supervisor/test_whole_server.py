"""A whole server of real processes, its supervisor in this one: who is started, and as what.

It listens on no address; clients are handed to it as the doorkeeper hands them on.
"""

import asyncio
import os
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from smbtest.processes import children, command_line

from usmbd.mountd.confine.kernel import become_subreaper
from usmbd.mountd.ipc.client import BlockingClient
from usmbd.mountd.ipc.codec import control_client, mountd_client
from usmbd.mountd.ipc.messages import (
    CONTROL_SOCKET,
    MOUNTD_SOCKET,
    RPC_SOCKET,
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
    Message,
    ShareConfigRequest,
    ShareConfigResponse,
    WorkerRow,
)
from usmbd.protocol.supervisor import supervisor as module
from usmbd.protocol.supervisor.command import check
from usmbd.protocol.supervisor.processes import Processes
from usmbd.protocol.supervisor.supervisor import StartError, Supervisor
from usmbd.protocol.wire.header import Header
from usmbd.protocol.wire.negotiate import NO_GUID, NegotiateRequest

pytestmark = pytest.mark.processes(
    "mountd", "protocol/keeper", "protocol/worker", "protocol/supervisor/fork_server"
)

SECONDS = 120.0
"""A hang; a slow machine needs ten for a start."""

CONFIG = """
[global]
    workers = 2
    state directory = {state}
    interfaces = nosuch0
    bind interfaces only = yes
    rdma = no
    {more}
[data]
    path = {share}
    guest ok = yes
"""


def status(pid: int) -> dict[str, str]:
    """Return what the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def ignored(pid: int) -> set[int]:
    """Return the signals that a process ignores."""
    mask = int(status(pid)["SigIgn"], 16)
    return {number for number in range(1, 65) if mask >> number - 1 & 1}


def is_of(pid: int, module_name: str) -> bool:
    """Whether a process runs a module, as ps shows it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ").split()
    except OSError:
        return False
    return module_name in words


class Executed(Processes):
    """Those of a fork server that is executed: to fork one, a test has too many threads."""

    def __init__(self) -> None:
        become_subreaper()
        self._sock, theirs = socket.socketpair()
        theirs.close()
        self._fork_server = 0
        self._processes = {}
        self._early = {}
        self._starting = asyncio.Lock()
        self._orders = []
        self._replace()

    def run(self, kind: str, arguments: Sequence[str], output: IO[bytes], seconds: float) -> int:
        """Run a child to its end: it is forked elsewhere, too."""

        async def ended() -> int:
            self.watch()
            process = await self.start(kind, arguments, streams=[output.fileno()])
            return await asyncio.wait_for(process.wait(), seconds)

        return asyncio.run(ended())


class Served:
    """A server that runs while a test waits for something."""

    def __init__(self, folder: Path) -> None:
        """Start it and wait until it is ready."""
        self.state = folder / "state"
        self._share = folder / "share"
        self._share.mkdir()
        (folder / "users").write_text("")
        self._file = folder / "usmbd.conf"
        self.files = ["-C", str(self._file), "-P", str(folder / "users")]
        self.configure("")
        self.loop = asyncio.new_event_loop()
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(folder / "notify"))
        self.told.setblocking(False)
        self.said: list[str] = []
        self._patch = pytest.MonkeyPatch()
        self._patch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        self._patch.setattr(module.logs, "say", self.said.append)
        self.others = set(children(os.getpid()))
        """Children that are not its own: servers of other tests of this run."""
        self.processes = Executed()
        self.config = check(self.processes, self.files)
        self.supervisor = Supervisor(self.config, self.files, self.processes)
        self.running = self.loop.create_task(self.supervisor.run())
        self.until(lambda: self.said, "ready")

    def configure(self, more: str) -> None:
        """Write the configuration, with more of its parameters."""
        text = CONFIG.format(state=self.state, share=self._share, more=more)
        self._file.write_text(text)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Serve until something is so."""
        end = self.loop.time() + SECONDS

        async def wait() -> None:
            while not condition():
                if self.running.done():
                    self.running.result()
                    raise AssertionError(f"the server has ended: {what}")
                assert self.loop.time() < end, what
                await asyncio.sleep(0.02)

        self.loop.run_until_complete(wait())

    def ask(self, message: Message) -> list[Any]:
        """Ask as `usmbd.control` does, and return all answers."""
        return self._ask(CONTROL_SOCKET, control_client(), message)

    def ask_mountd(self, message: Message) -> list[Any]:
        """Ask as a worker does."""
        return self._ask(MOUNTD_SOCKET, mountd_client(), message)

    def _ask(self, name: str, codec: Any, message: Message) -> list[Any]:
        def talk() -> list[Any]:
            client = BlockingClient(self.state / name, codec, SECONDS)
            found = []
            for answer in client.answers(message):
                found.append(answer)
                if not getattr(answer, "more", False):
                    break
            client.close()
            return found

        future = self.loop.run_in_executor(None, talk)
        return self.loop.run_until_complete(future)

    def heard(self) -> str:
        """Return what systemd was told since it was asked for last."""
        try:
            return self.told.recv(100).decode()
        except BlockingIOError:
            return ""

    def worker(self, number: int = 0) -> int:
        """Return a worker's process."""
        return self.supervisor.workers[number].process.pid

    def mountd(self) -> int:
        """Return mountd's process."""
        child = self.supervisor._mountd.child
        assert child is not None
        return child.process.pid

    def keeper(self) -> int:
        """Return the process that stores NT ACLs."""
        keeper = self.supervisor._keeper
        assert keeper is not None
        assert keeper.child is not None
        return keeper.child.process.pid

    def rpc(self) -> int:
        """Return the process of DCE/RPC, or 0."""
        return next(
            (pid for pid in children(os.getpid()) if is_of(pid, "usmbd.mountd.rpc_child")), 0
        )

    def negotiate(self) -> tuple[socket.socket, bytes]:
        """Hand a client over with its NEGOTIATE of 2.0.2; return its end and the first answer."""
        body = NegotiateRequest(
            dialect_count=1, security_mode=1, capabilities=0, client_guid=NO_GUID
        )
        header = Header(command=0, credits=1, message_id=0, signature=bytes(16))
        message = header.pack() + body.pack() + struct.pack("<H", 0x202)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        framed = struct.pack(">I", len(message)) + message
        self.supervisor._pass_on(theirs, "192.0.2.1", NO_GUID, framed)
        answer = self.loop.run_until_complete(
            asyncio.wait_for(self.loop.sock_recv(ours, 1 << 16), SECONDS)
        )
        return ours, answer

    def close(self) -> None:
        """End the server, if it has not ended."""
        try:
            self.supervisor.stop()
            self.loop.run_until_complete(asyncio.wait_for(self.running, SECONDS))
        finally:
            self._patch.undo()
            self.told.close()
            self.loop.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="u") as name:  # a Unix socket's name is short
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    made = Served(folder)
    yield made
    made.close()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has a keeper")


def test_it_says_when_it_is_ready(served: Served) -> None:
    assert served.said == ["usmbd: ready on no address of `interfaces`, 2 workers"]
    assert served.heard() == "READY=1"
    assert sorted(served.supervisor.workers) == [0, 1]
    assert all(worker.serves for worker in served.supervisor.workers.values())
    # who opens and closes the file of a lock of lockf(3) has released it: read by its holder
    assert os.pread(served.supervisor._lock, 20, 0) == f"{os.getpid()}\n".encode()


def test_a_terminal_s_interrupt_reaches_no_child(served: Served) -> None:
    for pid in (served.worker(0), served.worker(1), served.mountd()):
        assert os.getpgid(pid) == pid
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
        assert int(status(pid)["PPid"]) == os.getpid()
    for number in (0, 1):
        assert {signal.SIGINT, signal.SIGHUP} <= ignored(served.worker(number))


def test_a_worker_leaves_modes_to_the_share(served: Served) -> None:
    pid = served.worker()
    assert status(pid)["Umask"] == "0000"
    assert status(pid)["NoNewPrivs"] == "1"


@needs_root
def test_the_keeper_of_acls_is_one_process_for_all(served: Served) -> None:
    pid = served.keeper()
    served.until(lambda: is_of(pid, "usmbd.protocol.keeper"), "it shows as one")
    assert os.getpgid(pid) == pid
    assert {signal.SIGINT, signal.SIGHUP} <= ignored(pid)
    assert status(pid)["NoNewPrivs"] == "1"
    served.until(lambda: int(status(pid)["Threads"]) > 2, "it serves by several threads")


def test_a_client_is_served(served: Served) -> None:
    ours, answer = served.negotiate()
    assert answer[4:8] == b"\xfeSMB"
    assert answer[12:16] == bytes(4)  # STATUS_SUCCESS
    assert served.supervisor.clients.total == 1
    (found,) = served.ask(ControlList([ListKind.WORKERS]))[0:1]
    assert isinstance(found, ControlRows)
    assert [type(row) for row in found.rows] == [WorkerRow, WorkerRow]
    assert sorted(row.clients for row in found.rows) == [0, 1]
    assert {row.pid for row in found.rows} == {served.worker(0), served.worker(1)}
    assert found.more
    ours.close()
    served.until(lambda: not served.supervisor.clients.total, "its end is told")


def test_the_tool_is_told_who_runs(served: Served) -> None:
    (version,) = served.ask(ControlVersion())
    assert isinstance(version, ControlVersionInfo)
    assert (version.pid, version.workers) == (os.getpid(), 2)
    assert 0 <= version.uptime < SECONDS * 10


def test_the_tables_of_all_workers_come_as_one_answer(served: Served) -> None:
    answers = served.ask(ControlList([ListKind.LIMITS]))
    assert all(isinstance(answer, ControlRows) for answer in answers)
    rows = [row for answer in answers for row in answer.rows]
    assert {type(row) for row in rows} == {LimitRow}
    assert {row.process for row in rows} >= {"usmbd", "worker 0", "worker 1"}, rows


def test_debug_areas_reach_every_process(served: Served) -> None:
    assert served.ask(ControlDebug(["vfs"])) == [ControlDone()]
    assert module.logs.debugged() == ["vfs"]
    assert served.ask(ControlDebug(["vfs"], enable=False)) == [ControlDone()]
    assert module.logs.debugged() == []


def test_a_worker_that_is_killed_is_replaced(served: Served) -> None:
    ours, _ = served.negotiate()
    (number,) = (w.number for w in served.supervisor.workers.values() if w.clients)
    before, other = served.worker(number), served.worker(1 - number)
    worker = served.supervisor.workers[number]
    os.kill(before, signal.SIGKILL)
    served.until(
        lambda: (
            number in served.supervisor.workers
            and served.supervisor.workers[number] is not worker
            and served.supervisor.workers[number].serves
        ),
        "another worker",
    )
    assert served.worker(number) != before
    assert served.worker(1 - number) == other
    assert served.supervisor.clients.total == 0
    assert worker._channel._socket.fileno() == -1
    assert ours.recv(1) == b""  # the client comes again
    ours.close()
    again, answer = served.negotiate()
    assert answer[4:8] == b"\xfeSMB"
    again.close()


def test_mountd_that_is_killed_is_started_again(served: Served) -> None:
    before = served.mountd()
    os.kill(before, signal.SIGKILL)

    def answers() -> bool:
        if served.mountd() == before:
            return False
        (answer,) = served.ask_mountd(ShareConfigRequest(name="data"))
        assert isinstance(answer, ShareConfigResponse)
        return True

    served.until(lambda: served.mountd() != before, "another mountd")
    assert answers()
    served.until(lambda: is_of(served.mountd(), "usmbd.mountd.cli.mountd"), "it shows as one")
    assert status(served.mountd())["NoNewPrivs"] == "1"


def test_the_process_of_rpc_is_started_again(served: Served) -> None:
    served.until(served.rpc, "a process for DCE/RPC")
    before = served.rpc()
    assert os.readlink(f"/proc/{before}/fd/0").startswith("pipe:")
    os.kill(before, signal.SIGKILL)
    served.until(lambda: served.rpc() not in (0, before), "another process for DCE/RPC")
    assert (served.state / RPC_SOCKET).is_socket()


@needs_root
def test_the_keeper_that_is_killed_is_started_again(served: Served) -> None:
    before = served.keeper()
    os.kill(before, signal.SIGKILL)
    served.until(lambda: served.keeper() != before, "another keeper")
    served.until(lambda: is_of(served.keeper(), "usmbd.protocol.keeper"), "it shows as one")


def test_a_reload_tells_what_only_a_new_start_changes(served: Served) -> None:
    (answer,) = served.ask(ControlReload())
    assert isinstance(answer, ControlDone)
    assert (answer.note, "warning: " in answer.warnings) == ("", True)
    served.configure("deadtime = 7\n    tcp port = 4455")
    (answer,) = served.ask(ControlReload())
    assert isinstance(answer, ControlDone)
    assert answer.note == "only a new start changes: tcp port"
    assert served.supervisor.config.deadtime == 7 * 60
    assert served.supervisor.config.tcp_port == served.config.tcp_port


def test_a_reload_of_a_wrong_file_changes_nothing(served: Served) -> None:
    before = served.supervisor.config
    served.configure("deadtime = soon")
    (answer,) = served.ask(ControlReload())
    assert isinstance(answer, ControlError)
    assert "deadtime" in answer.reason
    assert served.supervisor.config is before
    served.configure("")


def test_a_second_server_is_refused(served: Served) -> None:
    # a lock of lockf(3) is a process's own: another process has to ask for it
    child = os.fork()
    if not child:
        try:
            os.umask(0o077)
            Supervisor(served.config, served.files, served.processes)._prepare()
        except StartError as error:
            os._exit(3 if "is in use by another usmbd" in str(error) else 4)
        os._exit(5)
    _, result = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(result) == 3


def test_the_end_ends_all(served: Served) -> None:
    ours, _ = served.negotiate()
    served.until(served.rpc, "a process for DCE/RPC")
    those = set(children(os.getpid())) - served.others
    assert len(those) >= 5
    assert served.heard() == ""
    assert served.ask(ControlShutdown()) == [ControlDone()]
    served.loop.run_until_complete(asyncio.wait_for(served.running, SECONDS))
    assert served.heard() == "STOPPING=1"
    deadline = time.monotonic() + SECONDS
    while those & set(children(os.getpid())) and time.monotonic() < deadline:
        time.sleep(0.01)  # the fork server ends by itself
    assert not those & set(children(os.getpid()))
    assert ours.recv(1) == b""
    ours.close()
    assert not (served.state / "store").exists()
    assert served.supervisor._tasks == set()


def test_a_start_that_is_told_to_end_leaves_nobody(folder: Path) -> None:
    shutil.rmtree(folder / "state", ignore_errors=True)
    files = ["-C", str(folder / "usmbd.conf"), "-P", str(folder / "users")]
    processes = Executed()
    config = check(processes, files)
    before = set(children(os.getpid()))

    async def run() -> None:
        supervisor = Supervisor(config, files, processes)
        running = asyncio.ensure_future(supervisor.run())
        for _ in range(int(SECONDS * 100)):
            await asyncio.sleep(0.01)
            if supervisor.workers:
                break
        supervisor.stop()
        await asyncio.wait_for(running, SECONDS)

    asyncio.run(run())
    # Other tests' orphans fall to this process as well: it is a subreaper by now.
    come = set(children(os.getpid())) - before
    assert [pid for pid in come if "usmbd." in command_line(pid)] == []
