"""Slow volumes: which calls leave the loop, and what may happen while they are away."""

import time
from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.protocol.state.speed import BEAT, LATE, SLOW_CALL, SLOW_CALLS, SLOW_SPAN, STUCK_CALL
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_DIRECTORY_FILE, FILE_OPEN
from usmbd.protocol.wire.fscc.directory import FileNamesInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.protocol.wire.write import SMB2_WRITEFLAG_WRITE_THROUGH


def tree(client: Client) -> TreeConnect:
    return client.session.tree_connect_table[client.tree_id]


@pytest.fixture
def slow(client: Client, engine: Engine) -> Client:
    """Return a client whose volume is slow and whose threads wait for the test."""
    tree(client).speed.slow_until = float("inf")
    return client


def test_a_fast_volume_is_called_on_the_loop(client: Client, engine: Engine) -> None:
    before = engine.threads.submitted  # the share's folder was opened on one
    file = client.open("file")
    client.call(Command.WRITE, requests.write(file, b"data"))
    client.close(file)
    assert engine.threads.submitted == before


def in_memory(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the share's file system be one without a disk."""
    monkeypatch.setattr(tree(client).volume, "_in_memory", True)


@pytest.mark.parametrize("engine", [{}, {"pinned": True}], ids=["", "pinned"], indirect=True)
def test_where_there_is_no_disk_flush_needs_no_thread(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory(client, monkeypatch)
    file = client.open("file")
    before = engine.threads.submitted
    for command, body in (
        (Command.FLUSH, requests.flush(file)),
        (Command.WRITE, requests.write(file, b"x", flags=SMB2_WRITEFLAG_WRITE_THROUGH)),
    ):
        assert client.call(command, body).status is NtStatus.SUCCESS
    assert engine.threads.submitted == before


def test_what_is_mounted_there_may_have_a_disk(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory(client, monkeypatch)
    file = client.open("file")
    node = client.open_of(file).node
    monkeypatch.setattr(node, "inode", (1, 2, node.inode[2]))
    before = engine.threads.submitted
    assert client.call(Command.FLUSH, requests.flush(file)).status is NtStatus.SUCCESS
    assert engine.threads.submitted == before + 1


def test_flush_goes_to_a_thread(client: Client, engine: Engine) -> None:
    file = client.open("file")
    engine.threads.held = True
    message_id = client.post(Command.FLUSH, requests.flush(file))
    assert client.replies == []
    assert client.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS
    engine.release(engine.threads)
    assert client.taken(message_id)[0].status is NtStatus.SUCCESS


def late(engine: Engine, seconds: float) -> None:
    """Let the beat that is due come so late."""
    engine.clock.now += BEAT + seconds
    engine.clock.advance(0)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the times that the dispatcher asks for, each when it asks; then an hour."""
    times: list[float] = []
    asked = "usmbd.protocol.dispatch.calls.perf_counter"
    monkeypatch.setattr(asked, lambda: times.pop(0) if times else 3600.0)
    return times


def test_no_clock_is_read_for_the_calls_of_a_fast_volume(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = client.open("file")
    read: list[str] = []

    def counted(name: str, value: float) -> Callable[[], float]:
        return lambda: read.append(name) or value

    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, counted(name, getattr(time, name)()))
    asked = "usmbd.protocol.dispatch.calls.perf_counter"
    monkeypatch.setattr(asked, counted("dispatcher", 1.0))
    monkeypatch.setattr(engine.clock, "time", counted("loop", engine.clock.now))
    for n in range(10):
        client.call(Command.WRITE, requests.write(file, b"data", n))
        client.call(Command.READ, requests.read(file, 4))
    assert read == []


def test_one_stuck_call_makes_a_volume_slow(
    client: Client, engine: Engine, clocks: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    client.open("file")
    late(engine, STUCK_CALL * 1.1)
    assert tree(client).speed.fast()  # it may have been the machine
    clocks[:] = [1.0, 1.0 + STUCK_CALL * 1.1]
    client.open("file")
    assert not tree(client).speed.fast()
    client.open("other")
    assert engine.threads.submitted
    monkeypatch.setattr(time, "monotonic", lambda: tree(client).speed.slow_until + 1)
    assert tree(client).speed.fast()
    assert tree(client).speed.slow_until == 0  # and no clock is read from now on


def test_calls_are_measured_after_a_late_beat(
    client: Client, engine: Engine, clocks: list[float]
) -> None:
    """A late beat may have other reasons: only what calls take themselves makes a volume slow."""
    client.open("file")
    late(engine, LATE * 1.1)
    for _ in range(SLOW_CALLS):
        assert tree(client).speed.fast()
        clocks[:] = [1.0, 1.0 + SLOW_CALL * 1.1]
        client.open("file")
        assert not clocks
    assert not tree(client).speed.fast()


def test_a_beat_in_time_ends_the_measuring(
    client: Client, engine: Engine, clocks: list[float]
) -> None:
    client.open("file")
    late(engine, LATE * 1.1)
    for _ in range(int(SLOW_SPAN / BEAT) - 1):
        client.open("file")
        engine.clock.advance(BEAT)
        assert tree(client).speed.measured
    for _ in range(2):
        client.open("file")
        engine.clock.advance(BEAT)
    assert not tree(client).speed.measured
    assert tree(client).speed.fast()


def test_the_pulse_goes_on_while_a_volume_is_called(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To begin anew after each beat takes another look at the clock, and sets an alarm twice."""
    client.open("file")
    looks: list[float] = []
    asked = engine.clock.time
    monkeypatch.setattr(engine.clock, "time", lambda: (looks.append(asked()), looks[-1])[1])
    beats = 5
    for _ in range(beats):
        engine.clock.advance(BEAT)
        assert engine.clock.alarms(0) > engine.clock.alarms(BEAT)
        client.open("file")
    assert len(looks) == beats


def test_the_pulse_rests_when_nothing_is_called(client: Client, engine: Engine) -> None:
    client.open("file")
    engine.clock.advance(BEAT)
    before = len(engine.clock._timers)
    engine.clock.advance(100 * BEAT)
    assert len(engine.clock._timers) == before
    late(engine, 2 * STUCK_CALL)
    assert tree(client).speed.fast()


def test_trees_of_one_share_share_its_speed(client: Client, engine: Engine) -> None:
    other = Client(engine).ready(user="bob")
    assert tree(client).speed is tree(other).speed
    assert tree(client).volume is tree(other).volume
    assert SLOW_CALLS > 1


def test_others_go_on_while_a_call_is_away(slow: Client, engine: Engine) -> None:
    other = Client(engine).ready(share="sealed")
    other.seals = True
    engine.threads.held = True
    message_id = slow.post(Command.CREATE, requests.create("file"))
    assert slow.replies == []  # no interim reply: it is not a wait that a client cancels
    assert slow.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS
    assert other.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS
    engine.release(engine.threads)
    file = slow.taken(message_id)[0].file_id
    assert slow.close(file) is NtStatus.SUCCESS
    assert slow.session.open_table == {}


def test_requests_of_one_open_run_beside_each_other(slow: Client, engine: Engine) -> None:
    file = slow.open("file")
    engine.threads.held = True
    ids = [slow.post(Command.WRITE, requests.write(file, b"x", n)) for n in range(4)]
    assert len(engine.threads.waiting) == 4
    assert slow.open_of(file).in_use == 4
    engine.threads.waiting.reverse()
    engine.release(engine.threads)
    assert [slow.taken(n)[0].status for n in ids] == [NtStatus.SUCCESS] * 4
    assert slow.open_of(file).in_use == 0
    assert (engine.files / "file").read_bytes() == b"xxxx"


def test_close_waits_for_the_calls_that_use_the_descriptor(slow: Client, engine: Engine) -> None:
    file = slow.open("file")
    open_ = slow.open_of(file)
    descriptor = open_.node.fd
    engine.threads.held = True
    writing = slow.post(Command.WRITE, requests.write(file, b"data"))
    closing = slow.post(Command.CLOSE, requests.close(file))
    assert slow.replies == []
    assert open_.closed
    assert open_.node.fd == descriptor
    late = slow.call(Command.READ, requests.read(file, 1))
    assert late.status is NtStatus.FILE_CLOSED
    engine.release(engine.threads)
    assert slow.taken(writing)[0].status is NtStatus.SUCCESS
    assert slow.taken(closing)[0].status is NtStatus.SUCCESS
    assert engine.store.opens(open_.key) == []
    assert open_.node.fd == -1
    assert (engine.files / "file").read_bytes() == b"data"


@pytest.mark.parametrize("command", [Command.LOGOFF, Command.TREE_DISCONNECT])
def test_the_end_of_session_or_tree_while_a_call_is_away(
    slow: Client, engine: Engine, command: Command
) -> None:
    file = slow.open("file")
    open_ = slow.open_of(file)
    engine.threads.held = True
    creating = slow.post(Command.CREATE, requests.create("other"))
    writing = slow.post(Command.WRITE, requests.write(file, b"data"))
    assert slow.call(command, requests.EMPTY).status is NtStatus.SUCCESS
    engine.release(engine.threads)
    assert slow.taken(writing)[0].status is NtStatus.FILE_CLOSED
    assert slow.taken(creating)[0].status is NtStatus.NETWORK_NAME_DELETED
    assert engine.store.opens(open_.key) == []
    assert not (engine.files / "other").exists()


def test_a_lost_connection_while_calls_are_away(slow: Client, engine: Engine) -> None:
    file = slow.open("file", options=FILE_DELETE_ON_CLOSE)
    open_ = slow.open_of(file)
    engine.threads.held = True
    slow.post(Command.WRITE, requests.write(file, b"data"))
    slow.post(Command.CREATE, requests.create("other"))
    slow.disconnect()
    assert (engine.files / "file").exists()
    engine.release(engine.threads)
    assert list(engine.files.iterdir()) == []
    assert engine.store.opens(open_.key) == []
    assert open_.node.fd == -1


def test_an_error_of_the_thread_is_the_requests(slow: Client, engine: Engine) -> None:
    engine.threads.held = True
    message_id = slow.post(Command.CREATE, requests.create("no\\where"))
    engine.release(engine.threads)
    assert slow.taken(message_id)[0].status is NtStatus.OBJECT_PATH_NOT_FOUND


def test_a_mountd_that_refuses_at_once(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client of mountd calls back within `ask` when too much waits already."""

    def ask(message: object, resume: object) -> None:
        resume(None, SmbError(NtStatus.INSUFF_SERVER_RESOURCES))  # type: ignore[operator]

    monkeypatch.setattr(engine.mountd, "ask", ask)
    assert client.connect().status is NtStatus.INSUFF_SERVER_RESOURCES
    replies = client.compound(
        (Command.TREE_CONNECT, requests.tree_connect("data")), (Command.ECHO, requests.EMPTY),
        related=False,
    )  # fmt: skip
    assert [r.status for r in replies] == [NtStatus.INSUFF_SERVER_RESOURCES, NtStatus.SUCCESS]


@pytest.mark.parametrize("end", ["logoff", "lost"])
def test_a_close_that_is_away_goes_on_to_its_end(slow: Client, engine: Engine, end: str) -> None:
    file = slow.open("file", options=FILE_DELETE_ON_CLOSE)
    open_ = slow.open_of(file)
    engine.threads.held = True
    slow.post(Command.CLOSE, requests.close(file))
    if end == "logoff":
        assert slow.call(Command.LOGOFF, requests.EMPTY).status is NtStatus.SUCCESS
    else:
        slow.disconnect()
    assert (engine.files / "file").exists()
    engine.release(engine.threads)
    assert list(engine.files.iterdir()) == []
    assert engine.store.opens(open_.key) == []
    assert open_.node.fd == -1


def test_what_a_close_overtakes_is_answered_first(slow: Client, engine: Engine) -> None:
    """As smbtorture's compound_find_close asks: the listing that was under way is complete."""
    (engine.files / "entry").touch()
    folder = slow.open("", FILE_LIST_DIRECTORY, FILE_OPEN)
    engine.threads.held = True
    body = requests.query_directory(folder, 12)
    listing = slow.post(Command.QUERY_DIRECTORY, body)
    closing = slow.post(Command.CLOSE, requests.close(folder))
    engine.release(engine.threads)
    assert [reply.header.message_id for reply in slow.replies] == [listing, closing]
    assert "entry".encode("utf-16-le") in slow.taken(listing)[0].data
    assert slow.taken(closing)[0].status is NtStatus.SUCCESS


def test_slices_do_not_begin_where_others_have_used_up_the_turn(
    client: Client, engine: Engine
) -> None:
    """Not even by one step: many clients' may come together."""
    folder = client.open("", FILE_LIST_DIRECTORY, FILE_OPEN, options=FILE_DIRECTORY_FILE)
    turns = Rotation(engine, 0)
    body = requests.query_directory(folder, FileNamesInformation)
    asked = client.post(Command.QUERY_DIRECTORY, body)
    assert (client.taken(asked), len(turns.waiting)) == ([], 1)
    turns.turn()
    assert [reply.status for reply in client.taken(asked)] == [NtStatus.SUCCESS]
