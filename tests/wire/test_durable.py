"""Opens that survive when connections are cut and workers killed: clients come back, anywhere."""

import os
import signal
import struct
from collections.abc import Iterator

import pytest
from smbtest import smb2
from smbtest.peer import only_usmbd
from smbtest.processes import wait_for
from smbtest.raw import Closed, Raw, Reply
from smbtest.server import ALICE
from smbtest.usmbd import WORKERS, Usmbd

SECONDS = 30
KILLS = 6
BATCH = 9
EXCLUSIVE, UNLOCK = 0x12, 4
RESILIENT = 3
DENIED = 0xC0000022
READ, DELETE_ON_CLOSE = 0x120089, 0x1000
LMR_REQUEST_RESILIENCY = 0x001401D4
DHNQ, DHNC, DH2Q, DH2C = b"DHnQ", b"DHnC", b"DH2Q", b"DH2C"


@pytest.fixture
def server() -> Iterator[Usmbd]:
    """Run a server of its own to be hurt."""
    only_usmbd("smbd has one process a client, whose durable opens go with it")
    made = Usmbd()
    with made.running():
        yield made


def connected(server: Usmbd, guid: bytes | None = None) -> Raw:
    """Log in, as often as it takes: who comes before a worker is ready is sent away."""
    found: list[Raw] = []

    def come() -> bool:
        try:
            found.append(Raw(server, guid, timeout=SECONDS).ready(account=ALICE))
        except (Closed, ConnectionError):
            return False
        return True

    wait_for(come, SECONDS, "a server that answers")
    return found[-1]


class Durable:
    """A client with a durable open, which it takes up again wherever it is served.

    `version` RESILIENT is an open without an oplock that has become resilient.
    """

    def __init__(self, server: Usmbd, name: str, version: int) -> None:
        """Open the file."""
        self.server = server
        self.name = name
        self.create_guid = os.urandom(16) if version == 2 else b""
        self.client = connected(server)
        if version == RESILIENT:
            self.file_id = self.client.call(smb2.CREATE, smb2.create_body(name, share=0)).file_id
            asked = smb2.ioctl_body(self.file_id, LMR_REQUEST_RESILIENCY, bytes(8))
            assert not self.client.call(smb2.IOCTL, asked).status
            return
        wanted = struct.pack("<IIQ", 0, 0, 0) + self.create_guid
        kind, data = (DH2Q, wanted) if version == 2 else (DHNQ, bytes(16))
        self.file_id = self._create(kind, data).file_id

    def _create(self, kind: bytes, data: bytes) -> Reply:
        body = smb2.create_body(
            self.name, extra=smb2.create_context(kind, data), share=0, oplock=BATCH
        )
        return self.client.call(smb2.CREATE, body)

    @property
    def process(self) -> int:
        """The worker that serves it."""
        pid = self.server.process_of(self.client.port)
        assert pid is not None
        return pid

    def come_back(self, client: Raw) -> int:
        """Claim the open on another connection; return the status."""
        self.client = client
        if self.create_guid:
            reply = self._create(DH2C, self.file_id + self.create_guid + bytes(4))
        else:
            reply = self._create(DHNC, self.file_id)
        if not reply.status:
            assert reply.file_id[:8] == self.file_id[:8]
            self.file_id = reply.file_id
        return reply.status

    def write(self, data: bytes, offset: int) -> None:
        """WRITE."""
        reply = self.client.call(smb2.WRITE, smb2.write_body(self.file_id, data, offset))
        assert not reply.status, hex(reply.status)

    def read(self, length: int) -> bytes:
        """READ from the beginning."""
        return self.client.call(smb2.READ, smb2.read_body(self.file_id, length)).body[16:]

    def lock(self, flags: int) -> int:
        """LOCK the first byte, or unlock it."""
        return self.client.call(smb2.LOCK, smb2.lock_body(self.file_id, [(0, 1, flags)])).status


@pytest.mark.parametrize("version", [1, 2, RESILIENT])
def test_a_killed_worker_s_clients_come_back(server: Usmbd, version: int) -> None:
    """Each time with what was written, the lock, and nobody else having had the file."""
    durable = Durable(server, f"durable{version}", version)
    assert durable.lock(EXCLUSIVE) == smb2.SUCCESS
    written = b""
    for number in range(KILLS):
        durable.write(b"%04d" % number, 4 * number)
        written += b"%04d" % number
        wait_for(lambda: len(server.workers()) == WORKERS, SECONDS, "new workers")
        os.kill(durable.process, signal.SIGKILL)
        # Half of the times by another worker, perhaps, and at once: its ClientGuid is a new one.
        guid = durable.client.guid if number % 2 else None
        assert durable.come_back(connected(server, guid)) == smb2.SUCCESS, number
        assert durable.read(100) == written
    assert durable.lock(UNLOCK) == smb2.SUCCESS
    assert (server.data / durable.name).read_bytes() == written
    assert "belonged to nobody" not in server.log, server.log


@pytest.mark.parametrize("version", [2, RESILIENT])
def test_another_worker_takes_over(server: Usmbd, version: int) -> None:
    """A client whose connection was cut is served by a worker that has never had the open."""
    durable = Durable(server, "durable", version)
    durable.write(b"data", 0)
    assert durable.lock(EXCLUSIVE) == smb2.SUCCESS
    before = durable.process
    durable.client.close()
    newer = connected(server)
    while server.process_of(newer.port) == before:
        newer = connected(server)
    assert durable.come_back(newer) == smb2.SUCCESS
    assert durable.read(100) == b"data"
    assert durable.lock(UNLOCK) == smb2.SUCCESS
    durable.client.close()
    assert durable.come_back(connected(server)) == smb2.SUCCESS


def test_a_killed_worker_s_open_gives_way(server: Usmbd) -> None:
    """Whoever wants the file has it, and the client that comes back learns that it is lost."""
    durable = Durable(server, "durable", 2)
    guid = durable.client.guid
    os.kill(durable.process, signal.SIGKILL)
    other = connected(server)
    assert other.open("durable", share=0)
    status = durable.come_back(connected(server, guid))
    assert status == smb2.OBJECT_NAME_NOT_FOUND, hex(status)


def test_a_killed_worker_s_resilient_open_gives_way_to_nobody(server: Usmbd) -> None:
    """Others meet its share mode until its client is back."""
    durable = Durable(server, "resilient", RESILIENT)
    guid = durable.client.guid
    os.kill(durable.process, signal.SIGKILL)
    other = connected(server)
    reply = other.call(smb2.CREATE, smb2.create_body("resilient"))
    assert reply.status == smb2.SHARING_VIOLATION, hex(reply.status)
    assert durable.come_back(connected(server, guid)) == smb2.SUCCESS


def leave_to_delete(server: Usmbd, name: str, milliseconds: int) -> None:
    """Have a client go that was to delete a file; its open waits so long for it."""
    client = connected(server)
    wanted = struct.pack("<IIQ", milliseconds, 0, 0) + os.urandom(16)
    asked = smb2.create_context(DH2Q, wanted)
    body = smb2.create_body(name, options=DELETE_ON_CLOSE, extra=asked, share=0, oplock=BATCH)
    assert not client.call(smb2.CREATE, body).status
    client.close()


def test_what_a_lost_client_was_to_delete_stays_where_he_may_not_any_more(server: Usmbd) -> None:
    """The share is read only by then, and who wants the file gets it as it is."""
    leave_to_delete(server, "gone", 1000)
    wait_for(lambda: not (server.data / "gone").exists(), SECONDS, "its end")
    other = connected(server)
    leave_to_delete(server, "kept", 60_000)
    text = server.configuration_path.read_text()
    server.configuration_path.write_text(text.replace("read only = no", "read only = yes"))
    os.kill(server.pid, signal.SIGHUP)
    new = smb2.create_body("new")
    wait_for(lambda: other.call(smb2.CREATE, new).status == DENIED, SECONDS, "the reload")
    body = smb2.create_body("kept", READ, smb2.OPEN)
    assert not other.call(smb2.CREATE, body).status
    assert (server.data / "kept").exists()


def test_what_a_killed_worker_s_client_was_to_delete_goes(server: Usmbd) -> None:
    """The worker in its place deletes it, before it is asked for anything; others wait for that."""
    client, other = connected(server), connected(server)
    pid = server.process_of(client.port)
    assert pid is not None
    while server.process_of(other.port) == pid:
        other = connected(server)
    body = smb2.create_body("doomed", options=DELETE_ON_CLOSE, share=0)
    assert not client.call(smb2.CREATE, body).status
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not (server.data / "doomed").exists(), SECONDS, "its end")
    assert not other.call(smb2.CREATE, smb2.create_body("doomed")).status
    assert "belonged to nobody" not in server.log, server.log
