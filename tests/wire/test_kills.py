"""Workers, mountd and the RPC process are killed while clients work: nothing of the dead stays."""

import os
import random
import signal
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from smbtest import smb2
from smbtest.peer import only_usmbd
from smbtest.processes import open_descriptors, wait_for
from smbtest.raw import Closed, Raw
from smbtest.server import ALICE, BOB
from smbtest.store import open_store
from smbtest.usmbd import WORKERS, Usmbd

KILLS = int(os.environ.get("USMBD_KILLS", "6"))
"""Of this test; `make kills KILLS=n` makes more of them."""

CLIENTS = 6
SECONDS = 30
OWNED = (b"F", b"L", b"D", b"S")
SHARING_VIOLATION, DELETE_PENDING = 0xC0000043, 0xC0000056
DELETE_ON_CLOSE = 0x1000
READ_WRITE_DELETE = 0x0013019F


class Client(threading.Thread):
    """One who opens, writes, locks, renames and closes until told to end, and comes back."""

    def __init__(self, server: Usmbd, number: int, stop: threading.Event) -> None:
        """Work on files that the others use as well."""
        super().__init__(daemon=True)
        self.rounds = 0
        self.odd: list[str] = []
        self._server = server
        self._number = number
        self._ended = stop
        self._random = random.Random(number)

    def run(self) -> None:
        """Work."""
        account = ALICE if self._number % 2 else BOB
        while not self._ended.is_set():
            try:
                client = Raw(self._server, timeout=SECONDS).ready(account=account)
                while not self._ended.is_set():
                    self._round(client)
            except TimeoutError:
                self.odd.append("no answer")
            except (Closed, OSError, AssertionError, ValueError, struct.error):
                time.sleep(0.05)  # the worker was killed

    def _round(self, client: Raw) -> None:
        """Use one file."""
        name = f"killed-{self._number}-{self._random.randrange(20)}"
        options = DELETE_ON_CLOSE if self._random.random() < 0.5 else 0
        made = client.call(
            smb2.CREATE, smb2.create_body(name, READ_WRITE_DELETE, smb2.OPEN_IF, options)
        )
        if made.status:
            if made.status not in (SHARING_VIOLATION, DELETE_PENDING):
                self.odd.append(hex(made.status))
            return
        client.call(smb2.WRITE, smb2.write_body(made.file_id, b"data"))
        element = struct.pack("<QQII", self._random.randrange(100), 10, 0x12, 0)
        client.call(smb2.LOCK, struct.pack("<HHI", 48, 1, 0) + made.file_id + element)
        client.call(smb2.CLOSE, smb2.close_body(made.file_id))
        self.rounds += 1


@pytest.fixture
def server() -> Iterator[Usmbd]:
    """Run a server of its own to be hurt."""
    only_usmbd("smbd has no workers and no mountd")
    made = Usmbd()
    with made.running():
        yield made


def serves(server: Usmbd) -> bool:
    """Tell whether a new client is served; one who comes before a worker is ready is not."""
    try:
        Raw(server, timeout=SECONDS).ready().open("afterwards")
    except Closed:
        return False
    return True


def owned(store: Path) -> list[str]:
    """List the records that belong to a client."""
    with (
        open_store(store) as environment,
        environment.begin() as txn,
        txn.cursor() as cursor,
    ):
        return [key.hex() for key, _ in cursor if key[:1] in OWNED]


@pytest.mark.timeout(120 + 3 * KILLS)
def test_no_record_stays_without_an_owner(server: Usmbd) -> None:
    stop = threading.Event()
    clients = [Client(server, number, stop) for number in range(CLIENTS)]
    descriptors = open_descriptors(server.pid)
    for client in clients:
        client.start()
    chance = random.Random(0)
    for number in range(KILLS):
        wait_for(lambda: len(server.workers()) == WORKERS, SECONDS, "new workers")
        time.sleep(chance.uniform(0.1, 0.5))
        # Every fifth is mountd, its child or the door: logins wait, and nothing else.
        victims = server.workers() if number % 5 else [*server.mountd(), *server.door()]
        if victims:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
    wait_for(lambda: len(server.workers()) == WORKERS, SECONDS, "new workers")
    stop.set()
    for client in clients:
        client.join(SECONDS)
    assert [client.odd for client in clients] == [[]] * CLIENTS
    assert all(client.rounds for client in clients)
    del clients
    wait_for(lambda: not owned(server.state / "store"), SECONDS, "the end of all records")
    wait_for(lambda: open_descriptors(server.pid) <= descriptors, SECONDS, "closed descriptors")
    assert "belonged to nobody" not in server.log, server.log
    wait_for(lambda: serves(server), SECONDS, "a worker that is ready")
