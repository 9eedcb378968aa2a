"""What a worker does at each message of the supervisor and of mountd, and how it ends."""

import asyncio
import errno
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from smbengine.client import Client
from smbengine.server import Engine
from smbengine.worker import GUID, Supervised, negotiate

from usmbd.mountd import log as logs
from usmbd.mountd.ipc.messages import (
    MAX_ROWS,
    ConfigReloaded,
    DebugAreas,
    LimitRow,
    ListKind,
    OpenRow,
    TreesHeld,
)
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.worker import messages
from usmbd.protocol.worker import worker as module
from usmbd.protocol.worker.tables import tables
from usmbd.protocol.worker.worker import LOGIN_SECONDS, Worker, run

STRANGER, GUEST, USER = Standing

Until = Callable[[Callable[[], object]], None]


def test_a_worker_begins_with_start_alone(state: Path, loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(messages.encode(messages.Ping()))
        with pytest.raises(ValueError, match="did not begin with Start"):
            Worker(theirs, loop)


def test_a_worker_logs_by_its_number(
    supervised: Supervised, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, int, bool]] = []
    monkeypatch.setattr(
        module.logs, "set_up", lambda name, level, *, as_json: said.append((name, level, as_json))
    )
    config = msgspec.structs.replace(supervised.config, log_level=2, log_json=True)
    supervised.say(messages.Configure(config=config))
    until(lambda: said)
    assert said == [("worker3", 2, True)]


def test_it_answers_the_watchdog(supervised: Supervised, until: Until) -> None:
    supervised.say(messages.Ping())
    until(lambda: supervised.heard(messages.Pong))


def test_it_learns_where_clients_come(supervised: Supervised, until: Until) -> None:
    supervised.say(messages.Listening(addresses=["192.0.2.1", "2001:db8::1"]))
    until(lambda: supervised.server.addresses)
    assert supervised.server.addresses is not None
    assert set(map(str, supervised.server.addresses)) == {"192.0.2.1", "2001:db8::1"}
    supervised.say(messages.Listening(addresses=None))
    until(lambda: supervised.server.addresses is None)


def test_debugging_goes_on_to_mountd(supervised: Supervised, until: Until) -> None:
    told: list[Any] = []
    supervised.worker._mountd.tell = told.append  # type: ignore[method-assign]
    supervised.say(messages.Debug(areas=["vfs"], enable=True))
    until(lambda: told)
    assert told == [DebugAreas(areas=["vfs"], enable=True)]
    assert logs.debugged() == ["vfs"]
    supervised.say(messages.Debug(areas=["vfs"], enable=False))
    until(lambda: len(told) == 2)
    assert logs.debugged() == []


def test_what_concerns_rdma_is_its_own(supervised: Supervised) -> None:
    done: list[tuple[str, object]] = []
    for name in ("offered", "claimed", "disconnected", "serve"):
        setattr(
            supervised.worker.rdma, name, lambda message, name=name: done.append((name, message))
        )
    wanted: list[tuple[str, Any]] = [
        ("offered", messages.RdmaOffer(1, "rxe0", "192.0.2.1", "192.0.2.2", 16, [])),
        ("claimed", messages.RdmaClaimed(1, True)),
        ("disconnected", messages.RdmaDisconnected(1, "gone")),
        ("serve", messages.RdmaServed([], "")),
    ]
    for _, message in wanted:
        supervised.worker._do(message, [])
    assert done == wanted


def test_limits_are_a_table_of_their_own(supervised: Supervised, until: Until) -> None:
    supervised.say(messages.List(cookie=4, kinds=[ListKind.LIMITS]))
    until(lambda: supervised.heard(messages.Rows) and not supervised.said[-1].more)
    rows = [row for m in supervised.said if isinstance(m, messages.Rows) for row in m.rows]
    assert rows
    assert {type(row) for row in rows} == {LimitRow}
    supervised.said.clear()
    supervised.say(messages.List(cookie=5, kinds=[ListKind.SESSIONS]))
    until(lambda: supervised.heard(messages.Rows))
    assert supervised.heard(messages.Rows).rows == []


@pytest.mark.parametrize("rows", [2, 3, 4, 5])
def test_a_part_is_the_last_when_nothing_is_left(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(messages, "ROWS", 2)
    sent: list[Any] = []
    monkeypatch.setattr(
        module, "tables", lambda *_: [LimitRow("p", str(n), 1, 0) for n in range(rows)]
    )
    supervised.worker._send = sent.append  # type: ignore[method-assign]
    supervised.worker._list(messages.List(cookie=1, kinds=[ListKind.OPENS]))
    assert [row.what for part in sent for row in part.rows] == [str(n) for n in range(rows)]
    assert [part.more for part in sent] == [True] * ((rows - 1) // 2) + [False]


# -- clients ---------------------------------------------------------------------------------


def test_a_client_that_the_kernel_dropped_is_over(
    supervised: Supervised, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    supervised.say(messages.Adopt(connection=5, first=b""))  # without its socket
    until(lambda: supervised.heard(messages.Ended))
    assert supervised.heard(messages.Ended) == messages.Ended(connection=5)
    assert not supervised.server.connections
    assert "too many open files" in caplog.text


@pytest.mark.parametrize(
    ("standing", "proved", "closed"),
    [
        (STRANGER, STRANGER, True),
        (STRANGER, GUEST, False),
        (STRANGER, USER, False),
        (GUEST, GUEST, True),
        (GUEST, USER, False),
        (USER, USER, True),
        (USER, STRANGER, True),
    ],
)
def test_who_is_displaced_meanwhile_has_logged_in(
    supervised: Supervised, until: Until, standing: Standing, proved: Standing, closed: bool
) -> None:
    client = supervised.client(5, negotiate())
    until(lambda: any(c.negotiated for c in supervised.server.connections))
    (connection,) = supervised.server.connections
    connection.memory.rise(proved)
    supervised.say(messages.Dismiss(connection=6, reason="of another"))
    supervised.say(messages.Dismiss(connection=5, reason="no place", standing=standing))
    supervised.say(messages.Ping())
    until(lambda: supervised.heard(messages.Pong))
    assert connection.closed == closed
    client.close()


def test_a_login_is_told(supervised: Supervised, until: Until) -> None:
    client = supervised.client(5, negotiate())
    until(lambda: supervised.server.connections)
    (connection,) = supervised.server.connections
    supervised.worker._connection_admitted(connection)
    until(lambda: supervised.heard(messages.Admitted))
    assert supervised.heard(messages.Admitted) == messages.Admitted(5, STRANGER)
    client.close()
    until(lambda: supervised.heard(messages.Ended))
    supervised.said.clear()
    supervised.worker._connection_admitted(connection)  # it is unknown now
    supervised.worker._connection_ended(connection)
    assert supervised.heard(messages.Ended) is None
    assert supervised.worker._connections == supervised.worker._numbers == {}


def test_who_does_not_log_in_is_closed(supervised: Supervised, until: Until) -> None:
    late, soon, there = (supervised.client(n, negotiate()) for n in (1, 2, 3))
    until(lambda: len(supervised.server.connections) == 3)
    one, two, three = sorted(
        supervised.server.connections, key=lambda c: supervised.worker._numbers[c]
    )
    one.created = three.created = time.time() - LOGIN_SECONDS - 1
    two.created = time.time() - LOGIN_SECONDS + 10
    three.memory.rise(GUEST)
    supervised.worker._tick()
    assert [one.closed, two.closed, three.closed] == [True, False, False]
    for client in (late, soon, there):
        client.close()


@pytest.mark.parametrize("supervised", [{"deadtime": 0}, {"deadtime": 10}], indirect=True)
def test_who_has_files_open_is_not_idle(supervised: Supervised, until: Until) -> None:
    clients = [supervised.client(n, negotiate()) for n in (1, 2)]
    until(lambda: len(supervised.server.connections) == 2)
    idle, busy = supervised.server.connections
    for each in (idle, busy):
        each.last_request = time.time() - 11
    busy.session_table[1] = SimpleNamespace(open_table={1: object()})  # type: ignore[assignment]
    supervised.worker._close_idle()
    assert idle.closed == bool(supervised.config.deadtime)
    assert not busy.closed
    busy.session_table.clear()
    for client in clients:
        client.close()


def test_a_tick_comes_each_second(
    supervised: Supervised, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[tuple[float, Any]] = []
    monkeypatch.setattr(loop, "call_later", lambda delay, call, *_: later.append((delay, call)))
    taken: list[str] = []
    supervised.worker._reclaim.tick = lambda: taken.append("room")  # type: ignore[method-assign]
    supervised.worker._tick()
    assert later == [(1.0, supervised.worker._tick)]
    assert taken == ["room"]


# -- the way to the supervisor ---------------------------------------------------------------


def test_what_the_supervisor_has_no_room_for_is_sent_later(
    supervised: Supervised, until: Until
) -> None:
    """In its order: a list ended with the first last part that found room, and was cut short."""
    until(lambda: supervised.heard(messages.Ready))
    count = 3000
    for number in range(count):
        supervised.worker._send(messages.Ended(connection=number))
    supervised.said.clear()

    def all_came() -> bool:
        supervised.heard(messages.Ended)
        return len(supervised.said) == count

    until(all_came)
    assert [message.connection for message in supervised.said] == [*range(count)]


def test_a_supervisor_that_is_gone_ends_the_worker(
    supervised: Supervised, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        """A socket whose other end is gone."""

        def send(self, _data: bytes) -> int:
            raise OSError(errno.EPIPE, "Broken pipe")

        def fileno(self) -> int:
            return supervised.worker._control.fileno()

    supervised.worker._outbox._socket = Broken()  # type: ignore[assignment]
    supervised.worker._send(messages.Pong())
    assert supervised.worker._stopped


# -- mountd ----------------------------------------------------------------------------------


def test_a_mountd_that_comes_again_is_told_what_it_should_know(supervised: Supervised) -> None:
    worker = supervised.worker
    told: list[Any] = []
    client: Any = SimpleNamespace(tell=told.append)
    worker._mountd_connected(client)
    assert told == [], "there is nothing to tell"
    share = SimpleNamespace(name="data")
    trees = {n: SimpleNamespace(tree_id=n, share=share) for n in range(MAX_ROWS + 1)}
    session = SimpleNamespace(session_id=7, tree_connect_table=trees, proven_user="alice")
    worker.server.session_table[7] = session  # type: ignore[assignment]
    logs.debug(["smb"], True)
    try:
        begun: list[str] = []
        worker._recheck.begin = lambda: begun.append("recheck")  # type: ignore[method-assign]
        worker._mountd_connected(client)
    finally:
        logs.debug(["smb"], False)
        worker.server.session_table.clear()
    areas, *held = told
    assert areas == DebugAreas(areas=["smb"])
    assert all(isinstance(message, TreesHeld) for message in held)
    assert [len(message.trees) for message in held] == [MAX_ROWS, 1]
    first = held[0].trees[0]
    assert (first.session_id, first.tree_id, first.share) == (7, 0, "data")
    assert begun == ["recheck"]


def test_only_new_files_are_a_reason_to_look_again(supervised: Supervised) -> None:
    begun: list[str] = []
    supervised.worker._recheck.begin = lambda: begun.append("x")  # type: ignore[method-assign]
    supervised.worker._mountd_says(DebugAreas(areas=["smb"]))
    assert begun == []
    supervised.worker._mountd_says(ConfigReloaded(generation=2))
    assert begun == ["x"]


# -- devices ---------------------------------------------------------------------------------


def test_a_worker_without_devices_is_not_pinned(supervised: Supervised) -> None:
    assert supervised.worker._open_devices([]) == {}
    assert not supervised.server.pinned


def test_devices_are_loaded_before_rights_are_given_up(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(module.rdma_connections, "load", lambda: order.append("load"))
    monkeypatch.setattr(supervised.server, "pin", lambda: order.append("pin"))
    monkeypatch.setattr(supervised.worker.rdma, "open", lambda names: dict.fromkeys(names, ""))
    assert supervised.worker._open_devices(["rxe0"]) == {"rxe0": ""}
    assert order == ["load", "pin"]

    def fail() -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(supervised.server, "pin", fail)
    assert supervised.worker._open_devices(["rxe0", "rxe1"]) == dict.fromkeys(
        ["rxe0", "rxe1"], "the worker cannot be pinned: Operation not permitted"
    )


# -- its end ---------------------------------------------------------------------------------


def test_it_ends_once_and_after_the_last_deletion(
    supervised: Supervised, loop: asyncio.AbstractEventLoop
) -> None:
    worker = supervised.worker
    closed: list[str] = []
    worker.rdma.end = closed.append  # type: ignore[method-assign]
    supervised.server.closing = 1
    worker.stop("first")
    worker.stop("second")
    assert closed == ["first"]
    assert not worker._mountd._closed
    supervised.server.closing = 0
    loop.run_forever()
    assert worker._mountd._closed
    assert worker._rpc._closed


def test_deletions_that_do_not_end_are_left_to_the_supervisor(
    supervised: Supervised, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.05)
    supervised.server.closing = 1
    begin = loop.time()
    supervised.worker.stop("told to end")
    loop.run_forever()
    assert loop.time() - begin >= 0.05
    assert supervised.worker._mountd._closed


@pytest.mark.own_thread
def test_a_worker_runs_until_it_is_told_to_end(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals are the main thread's: here it is noted what is made of them."""
    handled: list[tuple[int, Any]] = []
    frozen: list[str] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: handled.append((number, handler)))
    monkeypatch.setattr(module, "confine", lambda _profile: ["Landlock"])
    monkeypatch.setattr(module.logs, "start", lambda: frozen.append("log"))
    monkeypatch.setattr(gc, "collect", lambda: frozen.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: frozen.append(f"{numbers[0]}"))
    monkeypatch.setattr(
        module.EpollLoop,
        "add_signal_handler",
        lambda self, number, call, why: (handled.append((number, call)), self.call_soon(call, why)),
    )
    LmdbStore.create(state / messages.STORE_DIRECTORY, 8 << 20)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    config = ServerConfig(state_directory=str(state))
    ours.send(messages.encode(messages.Start(worker=3, guid=GUID, config=config)))
    mask = os.umask(0o022)
    try:
        run(theirs)
        assert os.umask(0) == 0, "the share's masks decide"
    finally:
        os.umask(mask)
    assert isinstance(messages.decode_from_worker(ours.recv(1 << 17)), messages.Ready)
    ours.close()
    theirs.close()
    ignored = [number for number, handler in handled if handler == signal.SIG_IGN]
    assert set(ignored) == {signal.SIGINT, signal.SIGHUP, signal.SIGTERM}
    assert [number for number, handler in handled if handler != signal.SIG_IGN] == [signal.SIGTERM]
    assert frozen == ["log", "freeze", "50000"]


# -- tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "name"), [(0, "none"), (1, "II"), (8, "exclusive"), (9, "batch")]
)
def test_the_oplock_of_an_open(engine: Engine, level: int, name: str) -> None:
    client = Client(engine).ready()
    client.open("file", oplock=level)
    (row,) = tables(engine.server, [ListKind.OPENS])
    assert isinstance(row, OpenRow)
    assert row.oplock == name


def test_a_worker_whose_supervisor_is_gone_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """It died before it said who the worker is."""
    monkeypatch.setattr(module, "keep_buffers", lambda: None)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    mask = os.umask(0o022)
    try:
        run(theirs)
    finally:
        os.umask(mask)
        theirs.close()
