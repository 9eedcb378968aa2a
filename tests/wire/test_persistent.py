"""Persistent opens: workers and the whole server are killed, and every client finds its files."""

import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from smbtest import smb2
from smbtest.peer import only_usmbd
from smbtest.processes import alive, wait_for
from smbtest.raw import Closed, Raw, Reply
from smbtest.server import ALICE, BOB, Options
from smbtest.usmbd import WORKERS, Restarted

SECONDS = 30
LIVES = 2
"""The second begins with what was restored; a third would show no more."""

EXCLUSIVE, UNLOCK = 0x12, 4
FILE_NOT_AVAILABLE = 0xC0000467
PERSISTENT = 2
SHARE = "available"


def made(durability: str, **parameters: str) -> Restarted:
    """Return a server with a share that is available all the time."""
    server = Restarted()
    server.shares[SHARE] = server.shares["data"] | {
        "continuous availability": "yes",
        "persistent handles durability": durability,
    }
    server.options = Options(parameters=parameters)
    return server


@pytest.fixture(params=["none", "data", "strict"])
def server(request: pytest.FixtureRequest) -> Iterator[Restarted]:
    """Run a server of its own to be killed."""
    only_usmbd("smbd 4.17 has no persistent handles")
    server = made(request.param)
    with server.running():
        yield server


def connected(server: Restarted, guid: bytes | None = None) -> Raw:
    """Log in, as often as it takes."""
    found: list[Raw] = []

    def come() -> bool:
        try:
            client = Raw(server, guid, timeout=SECONDS)
            found.append(client.ready(account=ALICE, share=SHARE))
        except (Closed, ConnectionError):
            return False
        return True

    wait_for(come, SECONDS, "a server that answers")
    return found[-1]


class Persistent:
    """A client with a persistent open, without an oplock, that writes records."""

    def __init__(self, server: Restarted, name: str) -> None:
        """Open the file."""
        self.server, self.name = server, name
        self.guid = os.urandom(16)
        self.client = connected(server)
        asked = struct.pack("<II8x", 0, PERSISTENT) + self.guid
        reply = self._create(b"DH2Q", asked)
        assert not reply.status, hex(reply.status)
        assert struct.pack("<I", PERSISTENT) in reply.body[-8:]
        self.file_id = reply.file_id
        self.written = b""

    def _create(self, kind: bytes, data: bytes) -> Reply:
        extra = smb2.create_context(kind, data)
        return self.client.call(smb2.CREATE, smb2.create_body(self.name, extra=extra, share=0))

    def come_back(self) -> int:
        """Claim the open on another connection; return the status."""
        self.client = connected(self.server, self.client.guid)
        asked = self.file_id + self.guid + struct.pack("<I", PERSISTENT)
        reply = self._create(b"DH2C", asked)
        if not reply.status:
            assert reply.file_id[:8] == self.file_id[:8]
            self.file_id = reply.file_id
        return reply.status

    def write(self, data: bytes) -> None:
        """WRITE behind what was written."""
        body = smb2.write_body(self.file_id, data, len(self.written))
        reply = self.client.call(smb2.WRITE, body)
        assert not reply.status, hex(reply.status)
        self.written += data

    def read(self) -> bytes:
        """READ all."""
        body = smb2.read_body(self.file_id, 1000)
        return self.client.call(smb2.READ, body).body[16:]

    def lock(self, flags: int) -> int:
        """LOCK the first byte, or unlock it."""
        return self.client.call(smb2.LOCK, smb2.lock_body(self.file_id, [(0, 1, flags)])).status

    def close(self) -> None:
        """CLOSE."""
        assert not self.client.call(smb2.CLOSE, smb2.close_body(self.file_id)).status


def kill_all(server: Restarted) -> None:
    """End all processes at once, and start the server as a service manager does."""
    family = [server.pid, *server.children()]
    for pid in family:
        with suppress(ProcessLookupError):  # with its parent, by itself
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(map(alive, family[1:])), SECONDS, "the end of all")
    server.again()


def kill_supervisor(server: Restarted) -> None:
    """End the supervisor alone: its children end by themselves."""
    os.kill(server.pid, signal.SIGKILL)
    server.again()


@pytest.mark.parametrize("kill", [kill_all, kill_supervisor])
def test_the_whole_server_is_killed(server: Restarted, kill: Callable[[Restarted], None]) -> None:
    """Each time the open is there, with its lock, and others have to wait."""
    persistent = Persistent(server, "file")
    assert persistent.lock(EXCLUSIVE) == smb2.SUCCESS
    for life in range(LIVES):
        persistent.write(b"%04d" % life)
        kill(server)
        other = Raw(server, timeout=SECONDS).ready(account=BOB)  # by another share of the folder
        reply = other.call(smb2.CREATE, smb2.create_body("file"))
        assert reply.status == FILE_NOT_AVAILABLE, hex(reply.status)
        assert persistent.come_back() == smb2.SUCCESS, life
        assert persistent.read() == persistent.written
    assert persistent.lock(UNLOCK) == smb2.SUCCESS
    persistent.close()
    assert (server.data / "file").read_bytes() == persistent.written
    kill(server)
    assert Raw(server, timeout=SECONDS).ready(account=BOB).open("file", share=0)


def test_a_killed_worker_s_clients_come_back(server: Restarted) -> None:
    persistent = Persistent(server, "file")
    assert persistent.lock(EXCLUSIVE) == smb2.SUCCESS
    for number in range(LIVES):
        persistent.write(b"%04d" % number)
        wait_for(lambda: len(server.workers()) == WORKERS, SECONDS, "new workers")
        os.kill(server.process_of(persistent.client.port), signal.SIGKILL)
        assert persistent.come_back() == smb2.SUCCESS, number
        assert persistent.read() == persistent.written
    assert persistent.lock(UNLOCK) == smb2.SUCCESS
    persistent.close()
    assert "belonged to nobody" not in server.log, server.log


def test_a_restart_by_an_administrator(server: Restarted) -> None:
    """SIGTERM, and a start: as good as a kill."""
    persistent = Persistent(server, "file")
    persistent.write(b"before")
    os.kill(server.pid, signal.SIGTERM)
    server.again()
    assert persistent.come_back() == smb2.SUCCESS
    assert persistent.read() == b"before"
    persistent.close()


def test_the_place_is_the_data_directory(tmp_path: Path) -> None:
    """What outlives the machine lies there, and the server says so if it cannot be used."""
    only_usmbd("smbd 4.17 has no persistent handles")
    place = tmp_path / "data"
    server = made("data", **{"data directory": str(place)})
    with server.running():
        Persistent(server, "file").close()
        assert (place / "persistent" / "disk" / "data.mdb").exists()
        assert (place / "persistent").stat().st_mode & 0o077 == 0
