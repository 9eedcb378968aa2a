"""What `usmbd.control --limits` says of a worker."""

from pathlib import Path

from smbengine import requests
from smbengine.client import Client
from smbengine.durable import durable
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import LimitRow
from usmbd.protocol.state.memory import WAITING_SIZE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.worker.limits import limits
from usmbd.protocol.worker.threads import ThreadPool
from usmbd.transport.loop import EpollLoop


class Asks:
    """A client of mountd that waits for answers."""

    def __init__(self, pending: int) -> None:
        """Wait for so many."""
        self.pending = pending


def shown(engine: Engine) -> dict[str, LimitRow]:
    rows = limits(engine.server, Asks(3), Asks(5), ThreadPool(EpollLoop()))
    assert len({row.what for row in rows}) == len(rows)
    assert {row.process for row in rows} == {"worker 1"}
    assert all(row.origin for row in rows)
    return {row.what: row for row in rows}


def test_each_limit_says_what_is_used(engine: Engine) -> None:
    first, second = Client(engine).ready(), Client(engine).ready(user="bob")
    for name in ("one", "two", "three"):
        first.open(name)
    second.open("four")
    second.connect("readonly")
    rows = shown(engine)
    used = {what: row.used for what, row in rows.items()}
    assert used["open files"] == 4
    assert used["open files of a user or an address"] == 4  # all come from one address here
    assert used["opens of a session"] == 3
    assert used["sessions of all workers"] == 2
    assert used["trees of a session"] == 2
    assert used["tree connects"] == 3
    assert used["sessions of a connection"] == used["connections of a session"] == 1
    assert (used["requests to mountd"], used["requests to the RPC process"]) == (3, 5)
    assert used["descriptors"] > 4
    assert used["bytes under way of all users"] == 0
    assert used["bytes of the store"] > 0
    assert used["credits of a connection"] > 0


def test_opens_that_wait_for_their_clients_are_shown(engine: Engine) -> None:
    client = Client(engine).ready()
    durable(client)
    assert shown(engine)["lost opens"].used == 0
    client.disconnect()
    rows = shown(engine)
    assert rows["lost opens"].used == rows["lost opens of a user or an address"].used == 1
    assert rows["open files"].used == 0


def test_each_limit_says_where_it_comes_from(engine: Engine) -> None:
    rows = shown(engine)
    config = engine.server.config
    for what, name, value in (
        ("opens of a session", "max open files", config.max_open_files),
        (
            "sessions of all workers",
            "max active sessions, else the machine",
            config.max_active_sessions,
        ),
        ("credits of a connection", "smb2 max credits", config.smb2_max_credits),
    ):
        assert (rows[what].limit, rows[what].origin) == (value, f"parameter: {name}")
    sessions = rows["sessions of all workers"]
    assert sessions.limit == config.max_active_sessions
    assert sessions.origin == "parameter: max active sessions, else the machine"
    assert rows["descriptors"].limit == engine.server.descriptor_limit
    assert rows["descriptors"].origin == "machine: RLIMIT_NOFILE"
    assert rows["open files"].limit == engine.server.descriptors.capacity
    assert rows["threads"].origin == "constant"


def test_what_waits_is_shown(engine: Engine) -> None:
    first, second = Client(engine).ready(), Client(engine).ready(user="bob")
    held, wanted = first.open("file"), second.open("file")
    exclusive = 2
    assert first.call(Command.LOCK, requests.lock(held, (0, 1, exclusive))).status == 0
    second.pending(Command.LOCK, requests.lock(wanted, (0, 1, exclusive)))
    rows = shown(engine)
    assert rows["waiting requests of a connection"].used == 1
    assert rows["bytes of requests of users that wait"].used >= WAITING_SIZE
    assert rows["bytes of requests of a connection that wait"].used >= WAITING_SIZE
    assert rows["bytes of requests of strangers that wait"].used == 0
    assert rows["locks"].used == 2  # with the one that waits


def test_what_is_under_way_is_shown_by_standing(engine: Engine) -> None:
    user, stranger = Client(engine).ready(), Client(engine)
    stranger.negotiate()
    user.connection.memory.keep(5000)
    stranger.connection.memory.keep(70)
    rows = shown(engine)
    for whose, used in (("users", 5000), ("guests", 0), ("strangers", 70)):
        for what in (f"all {whose}", f"an address of {whose}", f"a connection of {whose}"):
            assert rows[f"bytes under way of {what}"].used == used
    user.connection.memory.keep(-5000)
    stranger.connection.memory.keep(-70)


def test_what_is_refused_is_counted(engine: Engine) -> None:
    engine.server.descriptor_limit = 0
    client = Client(engine).ready()
    assert client.create("file").name == "INSUFFICIENT_RESOURCES"
    assert shown(engine)["open files"].refused == 1


def test_no_limit_is_none(tmp_path: Path) -> None:
    engine = Engine(tmp_path, max_active_sessions=0)
    try:
        assert shown(engine)["sessions of all workers"].limit is None
    finally:
        engine.close()


def test_a_part_of_several_workers_is_called_so(tmp_path: Path) -> None:
    for workers, said in ((1, ""), (3, ", one of 3 workers' parts")):
        engine = Engine(tmp_path / str(workers), workers=workers)
        try:
            rows = shown(engine)
            for what in ("open files", "lost opens", "locks"):
                assert rows[what].origin.endswith(f"room in the state directory{said}")
            assert rows["watched folders"].origin.endswith(f"max_user_watches{said}")
        finally:
            engine.close()
