"""A server to be attacked, and a watch that looks after every test whether anybody was hurt."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from smbtest import smb2
from smbtest.peer import only_usmbd
from smbtest.processes import open_descriptors, own_memory, wait_for
from smbtest.raw import Raw
from smbtest.server import ALICE, Options, Server
from smbtest.store import open_store
from smbtest.usmbd import WORKERS, Usmbd

SETTLE_SECONDS = 30
TEST_SECONDS = 60
"""No attack may keep a worker, or another client, busy for longer, on a slow machine either."""

ANSWER_SECONDS = 10.0
"""The bystanders' requests are answered in this time, on 2 busy cores of a slow machine."""

KEPT_DESCRIPTORS = 24
"""The workers keep listings of directories with a watch on each; a leak goes beyond them."""

BAD_WORDS = ("Traceback (most recent call last)", "Logging error", "never retrieved")
FILES, LOCKS, SESSIONS, DOOMED, LEASES = b"F", b"L", b"S", b"D", b"G"


class Target(Usmbd):
    """usmbd with shares for every kind of protection, and a look into its store."""

    def default_shares(self) -> dict[str, dict[str, str]]:
        """Add a share with NT ACLs."""
        shares = super().default_shares()
        shares["acls"] = shares["data"] | {"vfs objects": "acl_xattr streams_xattr"}
        return shares

    def records(self, *prefixes: bytes) -> int:
        """Count the records of these kinds in the workers' store."""
        with self._store.begin() as txn, txn.cursor() as cursor:
            return sum(key[:1] in prefixes for key, _ in cursor)

    def start(self) -> None:
        """Start and attach to the store."""
        super().start()
        self._store = open_store(self.state / "store")

    def stop(self) -> None:
        """Detach and stop."""
        self._store.close()
        super().stop()

    def descriptors(self) -> int:
        """Count the descriptors of all workers and of the supervisor."""
        return sum(open_descriptors(pid) for pid in (self.pid, *self.workers()))

    def memory(self) -> int:
        """Return the bytes of memory that the workers use, the store left out."""
        return sum(map(own_memory, self.workers()))


@pytest.fixture(scope="package")
def target() -> Iterator[Target]:
    """Run the server that all tests of this folder attack."""
    only_usmbd("the store and the log are usmbd's")
    server = Target(Options({"log level": "3", "smb2 max read": "8388608"}))
    with server.running():
        yield server


@pytest.fixture(scope="package")
def bystanders(target: Target) -> Iterator[list[tuple[Raw, bytes]]]:
    """Connect one client on each worker, with a file open: they must not notice anything."""
    found: dict[int, tuple[Raw, bytes]] = {}
    while len(found) < WORKERS:
        client = Raw(target, timeout=ANSWER_SECONDS).ready(account=ALICE)
        client.seals = True
        for share in ("acls", "encrypted", "readonly", "private", "data"):
            client.connect(share)  # a worker has a descriptor of each share that is in use
        client.seals = False
        pid = target.process_of(client.port)
        if pid in found:
            client.close()
            continue
        file_id = client.open(f"bystander-{len(found)}", share=0)
        client.call(smb2.WRITE, smb2.write_body(file_id, b"unharmed"))
        found[pid] = client, file_id
    yield list(found.values())
    for client, _ in found.values():
        client.close()


@pytest.fixture
def watch(target: Target, bystanders: list[tuple[Raw, bytes]]) -> Iterator[None]:
    """Check after the test that it left nothing behind and that nobody else was hurt."""
    workers = target.workers()
    log = len(target.log)
    wait_for(lambda: _records(target) == _own(), SETTLE_SECONDS, "an empty store")
    descriptors = target.descriptors()
    began = time.monotonic()
    yield
    assert time.monotonic() - began < TEST_SECONDS
    for client, file_id in bystanders:
        answer = client.call(smb2.READ, smb2.read_body(file_id, 100))
        assert answer.body[16:] == b"unharmed"
    assert target.workers() == workers, "a worker died"
    written = target.log[log:]
    assert not any(word in written for word in BAD_WORDS), written
    wait_for(lambda: _records(target) == _own(), SETTLE_SECONDS, "the end of all records")
    most = descriptors + KEPT_DESCRIPTORS
    wait_for(lambda: target.descriptors() <= most, SETTLE_SECONDS, "closed descriptors")


def _records(target: Target) -> tuple[int, int, int]:
    """Count files (with pending deletions), files with locks and leases, and sessions."""
    return target.records(FILES, DOOMED), target.records(LOCKS, LEASES), target.records(SESSIONS)


def _own() -> tuple[int, int, int]:
    """Return what the bystanders have in the store."""
    return WORKERS, 0, WORKERS


Connect = Callable[..., Raw]


@pytest.fixture
def connect(target: Server, watch: None) -> Iterator[Connect]:
    """Make clients that are cut off before the watch looks at what is left."""
    clients: list[Raw] = []

    def new(*args: bytes, **kwargs: Any) -> Raw:
        client = Raw(target, *args, **kwargs)
        clients.append(client)
        return client

    yield new
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Connect) -> Raw:
    """Connect a client that is logged in, with a tree and many credits, at 3.1.1."""
    return connect().ready()


def refused(client: Raw, command: int, body: bytes, *allowed: int) -> int:
    """Send what must be answered by an error, and one that was foreseen: its status."""
    status = client.call(command, body, charge=1).status
    assert status not in (smb2.SUCCESS, smb2.INTERNAL_ERROR)
    if allowed:
        assert status in allowed, hex(status)
    return status


def survives(client: Raw, command: int, body: bytes, **fields: int) -> int:
    """Send what may fail or not, but never in a way that nobody foresaw."""
    status = client.call(command, body, **fields).status
    assert status != smb2.INTERNAL_ERROR
    return status
