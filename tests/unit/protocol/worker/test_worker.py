"""A worker in this process: clients that are handed over, tables, shutdown, idle clients."""

import asyncio
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from smbengine.client import Client
from smbengine.server import Engine
from smbengine.worker import Supervised, negotiate

from usmbd.mountd.ipc.messages import (
    MOUNTD_SOCKET,
    ConfigReloaded,
    ConnectionRow,
    ListKind,
    OpenRow,
    RdmaConnectionRow,
    SessionRow,
)
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.below import NOTHING, Below
from usmbd.protocol.state.server import Server
from usmbd.protocol.vfs.identity import NOBODY, Identity, call_as_process, current_uid
from usmbd.protocol.wire import negotiate_contexts
from usmbd.protocol.worker import messages
from usmbd.protocol.worker import peers as peers_module
from usmbd.protocol.worker import tables as module
from usmbd.protocol.worker.peers import WorkerPeers
from usmbd.protocol.worker.tables import tables
from usmbd.transport import keepalive
from usmbd.transport.base import RdmaTransport

Until = Callable[[Callable[[], object]], None]


def test_a_worker_says_that_it_serves(supervised: Supervised, until: Until) -> None:
    until(lambda: supervised.heard(messages.Ready))
    assert supervised.worker._store.worker == 3


@pytest.mark.parametrize("split", [0, 1, 60, len(negotiate())])
def test_a_client_is_served_from_its_first_byte_on(
    supervised: Supervised, until: Until, split: int
) -> None:
    client = supervised.client(7, negotiate()[:split])
    client.send(negotiate()[split:])
    until(lambda: supervised.server.connections)
    (connection,) = supervised.server.connections
    until(lambda: connection.negotiated)
    assert client.recv(8)[4:] == b"\xfeSMB"
    client.close()
    until(lambda: supervised.heard(messages.Ended))
    assert supervised.heard(messages.Ended) == messages.Ended(connection=7)
    assert not supervised.server.connections


def test_tables_come_in_parts(
    supervised: Supervised, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "ROWS", 2)
    clients = [supervised.client(n, negotiate()) for n in range(5)]
    until(lambda: len(supervised.server.connections) == 5)
    supervised.say(messages.List(cookie=9, kinds=[ListKind.CONNECTIONS, ListKind.SESSIONS]))
    until(lambda: supervised.heard(messages.Rows) and not supervised.said[-1].more)
    parts = [m for m in supervised.said if isinstance(m, messages.Rows)]
    assert [(len(p.rows), p.more, p.cookie) for p in parts] == [
        (2, True, 9),
        (2, True, 9),
        (1, False, 9),
    ]
    row = parts[0].rows[0]
    assert isinstance(row, ConnectionRow)
    assert (row.dialect, row.transport, row.worker) == ("2.0.2", "tcp", 3)
    for client in clients:
        client.close()


def test_empty_tables_are_said_too(supervised: Supervised, until: Until) -> None:
    supervised.say(messages.List(cookie=1, kinds=[ListKind.OPENS]))
    until(lambda: supervised.heard(messages.Rows))
    assert supervised.heard(messages.Rows) == messages.Rows(cookie=1, rows=[], more=False)


def test_tables_call_things_by_their_names() -> None:
    """[MS-SMB2] 2.2.3, 2.2.3.1.2, 2.2.3.1.7."""
    for value, said in module._CIPHERS.items():
        assert getattr(negotiate_contexts, said.replace("-", "_")) == value
    for value, said in module._SIGNING.items():
        name = "SIGNING_" + said.replace("-", "_")
        assert getattr(negotiate_contexts, name) == value
    for value, said in module._DIALECTS.items():
        assert f"{value:x}" == (said + ".0").replace(".", "")[:3]
    assert (len(module._CIPHERS), len(module._SIGNING), len(module._DIALECTS)) == (4, 3, 5)


def test_drain_closes_all(
    supervised: Supervised, until: Until, loop: asyncio.AbstractEventLoop
) -> None:
    client = supervised.client(1, negotiate())
    until(lambda: supervised.server.connections)
    supervised.say(messages.Drain())
    loop.run_forever()  # the worker stops it
    assert not supervised.server.connections
    assert len(client.recv(4096)) > 64  # the answer
    assert client.recv(1) == b""


def test_what_administrators_close_is_closed_where_it_is(
    supervised: Supervised, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[object] = []
    here = SimpleNamespace(user="alice")
    monkeypatch.setitem(supervised.server.session_table, 7, here)  # type: ignore[arg-type]
    monkeypatch.setattr(supervised.server, "close_session", closed.append)
    monkeypatch.setattr(supervised.server, "close_own_open", lambda *of: closed.append(of))
    supervised.say(messages.Close(sessions=[6, 7], opens=[(7, 9), (6, 1)]))
    until(lambda: len(closed) == 3)
    assert closed == [(7, 9), (6, 1), here]


def test_a_worker_ends_with_its_supervisor(
    supervised: Supervised, loop: asyncio.AbstractEventLoop
) -> None:
    supervised.control.close()
    loop.run_forever()
    assert supervised.worker._mountd._closed


def test_a_new_configuration_counts_at_once(supervised: Supervised, until: Until) -> None:
    config = ServerConfig(state_directory=supervised.config.state_directory, max_open_files=7)
    supervised.say(messages.Configure(config=config))
    until(lambda: supervised.server.config.max_open_files == 7)


@pytest.mark.parametrize("supervised", [{"keepalive": 77}], indirect=True)
def test_clients_are_asked_whether_they_live(
    supervised: Supervised, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel is told by that, test_keepalive shows."""
    watched: list[int] = []
    monkeypatch.setattr(keepalive, "watch", lambda sock, seconds: watched.append(seconds))
    client = supervised.client(1, negotiate())
    until(lambda: watched)
    assert watched == [77]
    client.close()


@pytest.mark.parametrize("supervised", [{"deadtime": 10}], indirect=True)
def test_idle_clients_are_closed_busy_ones_not(
    supervised: Supervised, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, busy = supervised.client(1, negotiate()), supervised.client(2, negotiate())
    until(lambda: all(c.negotiated for c in supervised.server.connections))
    until(lambda: len(supervised.server.connections) == 2)
    supervised.worker._tick()
    for connection in supervised.server.connections:
        connection.last_request -= 11
    one, two = supervised.server.connections
    two.requests += 1
    supervised.worker._tick()
    assert supervised.server.connections == {two}
    assert one.closed
    idle.close()
    busy.close()


@pytest.mark.parametrize("supervised", [{"ipc_timeout": 7}], indirect=True)
def test_mountd_has_so_long_to_answer(supervised: Supervised) -> None:
    """What it means for a request, test_ipc_client shows."""
    assert supervised.worker._mountd._timeout == 7
    assert supervised.worker._rpc._timeout == 7


def test_peers_reach_another_worker(
    supervised: Supervised, until: Until, loop: asyncio.AbstractEventLoop, state: Path
) -> None:
    woken: list[str] = []
    supervised.server.wait_for(b"key", lambda: woken.append("key"))
    supervised.server.wait_for(b"other", lambda: woken.append("other"))
    other = WorkerPeers(state, 4, loop)
    other.serve(cast(Server, SimpleNamespace(worker=4)))
    other.wake(3, b"key")
    until(lambda: woken)
    assert woken == ["key"]
    closed: list[bool] = []
    other.close_session(3, 0x1234, lambda: closed.append(True))
    until(lambda: closed)
    other.close_session(200, 0x1234, lambda: closed.append(False))  # nobody there: it goes on
    assert closed == [True, False]
    other.close()


@pytest.mark.parametrize("answers", [True, False])
def test_workers_tell_what_they_have_open_below_a_directory(
    supervised: Supervised,
    until: Until,
    loop: asyncio.AbstractEventLoop,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: bool,
) -> None:
    """All at once; who does not answer, or is not there, has nothing."""
    keys = tuple(bytes([number]) * 24 for number in range(250))
    monkeypatch.setattr(peers_module, "ANSWER_SECONDS", 60 if answers else 0.01)

    def tell(server: Server, path: str, key: bytes, found: Callable[[Below], None]) -> None:
        assert (path, key) == ("/share/" + "long" * 1000, b"key")
        if server.worker != 4 or answers:
            found(Below(keys, True) if server.worker == 4 else NOTHING)

    monkeypatch.setattr(peers_module, "tell", tell)
    asking, told = WorkerPeers(state, 5, loop), WorkerPeers(state, 4, loop)
    config = ServerConfig(workers=7)
    asking.serve(cast(Server, SimpleNamespace(worker=5, config=config)))
    told.serve(cast(Server, SimpleNamespace(worker=4, config=config)))
    found: list[Below] = []
    asking.find_below("/share/" + "long" * 1000, b"key", found.append)
    assert found == []
    until(lambda: found)
    assert found == [Below(keys, True) if answers else NOTHING]
    asking.close()
    told.close()


def test_the_rows_of_a_session(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    try:
        client = Client(engine).ready()
        file = client.open("file")
        kinds = [ListKind.SESSIONS, ListKind.CONNECTIONS, ListKind.OPENS]
        session, connection, opened = tables(engine.server, kinds)
        assert isinstance(session, SessionRow)
        assert (session.user, session.opens, session.channels) == ("alice", 1, 1)
        assert (session.dialect, session.shares) == ("3.1.1", ["data"])
        assert isinstance(connection, ConnectionRow)
        assert connection.credits == client.credits
        assert isinstance(opened, OpenRow)
        assert (opened.open_id, opened.path, opened.share) == (file[0], "file", "data")
    finally:
        engine.close()


def test_the_encryption_that_is_in_use_is_shown_whoever_wanted_it(tmp_path: Path) -> None:
    """The client, a share, or the server."""
    engine = Engine(tmp_path)

    def shown() -> str:
        (session,) = tables(engine.server, [ListKind.SESSIONS])
        assert isinstance(session, SessionRow)
        return session.encryption

    try:
        client = Client(engine).ready()
        assert shown() == ""
        client.seals = True
        client.open("file")
        assert shown() == "AES-128-GCM"
        client.seals = False
        client.open("other")
        assert shown() == "AES-128-GCM"  # as long as the session lasts
    finally:
        engine.close()


def test_mountd_s_new_files_are_held_against_what_is_connected(supervised: Supervised) -> None:
    begun: list[str] = []
    worker = supervised.worker
    worker._recheck.begin = lambda: begun.append("files")  # type: ignore[method-assign]
    worker._mountd_says(ConfigReloaded(generation=2))
    assert begun == ["files"]
    worker._mountd_connected(worker._mountd)
    assert begun == ["files", "files"]


def test_new_settings_are_held_against_what_is_connected(
    supervised: Supervised, until: Until
) -> None:
    client = supervised.client(1, negotiate())  # of 2.0.2
    until(lambda: any(c.negotiated for c in supervised.server.connections))
    config = msgspec.structs.replace(supervised.config, min_protocol=0x300)
    supervised.say(messages.Configure(config=config))
    until(lambda: not supervised.server.connections)
    client.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is pinned")
def test_a_pinned_worker_reaches_what_only_root_may(state: Path) -> None:
    """Its thread is nobody, and the state directory is closed to all but root."""

    def listen() -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(state / MOUNTD_SOCKET))
        listener.listen()
        return listener

    def run() -> None:
        loop = asyncio.new_event_loop()

        def until(condition: Callable[[], object]) -> None:
            end = loop.time() + 5
            while not condition():
                assert loop.time() < end
                loop.run_until_complete(asyncio.sleep(0.001))

        made = Supervised(state, loop)
        server = made.server
        server.pin()
        assert server.pinned
        assert made.worker._mountd._socket is None
        listener = call_as_process(listen)
        until(lambda: made.worker._mountd._socket)
        other = call_as_process(WorkerPeers, state, 4, loop)
        woken: list[str] = []
        other.serve(cast(Server, SimpleNamespace(worker=4, wake=lambda key: woken.append("4"))))
        server.wait_for(b"key", lambda: woken.append("3"))
        other.wake(3, b"key")
        server.peers.wake(4, b"key")
        until(lambda: len(woken) == 2)
        ran: list[int] = []
        for identity in (Identity(31001, 31001), None):
            server.threads.submit(current_uid, (), identity, lambda uid, error: ran.append(uid))
        until(lambda: len(ran) == 2)
        assert sorted(ran) == [0, 31001]
        # It does not end before the last files are deleted.
        server.closing = 1
        loop.call_later(0.05, lambda: setattr(server, "closing", 0))
        made.worker.stop("the test is over")
        loop.run_forever()
        assert server.closing == 0
        assert current_uid() == NOBODY.uid
        other.close()
        made.end(loop)
        listener.close()
        loop.close()

    with ThreadPoolExecutor(1) as executor:
        executor.submit(run).result()
    assert not list(state.glob("worker-*.sock"))


def test_the_way_of_a_connection_s_data(tmp_path: Path) -> None:
    engine = Engine(tmp_path, transport="smbdirect")
    client = Client(engine).ready()

    def row(no_rdma: str = "") -> RdmaConnectionRow:
        (found,) = tables(engine.server, [ListKind.RDMA], no_rdma)
        assert isinstance(found, RdmaConnectionRow)
        return found

    assert (row().data_path, row().reason) == (
        "messages",
        "the client has not asked for a direct transfer yet",
    )
    connection = client.connection
    for session in connection.session_table.values():
        session.signing_required = True
    assert row().reason.startswith("the client signs")
    for session in connection.session_table.values():
        session.seals = True
    assert row().reason.startswith("the client encrypts")
    transport = connection.transport
    assert isinstance(transport, RdmaTransport)
    transport.bytes_written = 4096
    assert (row().data_path, row().reason, row().sent) == ("direct", "", 4096)
    engine.close()
    (tmp_path / "tcp").mkdir()
    engine = Engine(tmp_path / "tcp", transport="memory")
    Client(engine).ready()
    assert (row().data_path, row().reason) == ("tcp", "the client did not ask for RDMA")
    assert row("no device").reason == "no device"
    engine.close()
