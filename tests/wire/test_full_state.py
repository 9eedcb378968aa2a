"""The state directory's file system is full: all goes on, and a start says what is missing."""

import os
import signal
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from smbtest import smb2
from smbtest.peer import only_usmbd
from smbtest.processes import wait_for
from smbtest.raw import Closed, Raw
from smbtest.usmbd import WORKERS, Usmbd

SECONDS = 30
MEBIBYTE = 1 << 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a tmpfs")


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Usmbd]:
    """Make a server whose state directory is a tmpfs of so many bytes."""
    only_usmbd("the store is usmbd's")
    made = Usmbd()
    made.state = Path(tempfile.mkdtemp(prefix="usmbd-full-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param},mode=0700", "tmpfs"]
    if subprocess.run([*mount, made.state], check=False).returncode:
        made.remove()
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield made
    finally:
        made.kill()
        subprocess.run(["umount", "-l", made.state], check=True)
        made.remove()


def serves(server: Usmbd) -> bool:
    """Tell whether a new client is served; one who comes before a worker is ready is not."""
    try:
        Raw(server, timeout=SECONDS).ready().open("after")
    except Closed:
        return False
    return True


def fill(directory: Path) -> None:
    """Take all room."""
    descriptor = os.open(directory / "filler", os.O_CREAT | os.O_WRONLY)
    with suppress(OSError):
        while True:
            os.write(descriptor, b"x" * 4096)
    os.close(descriptor)


@pytest.mark.parametrize("server", [16 * MEBIBYTE], indirect=True)
def test_a_full_state_directory_ends_nothing(server: Usmbd) -> None:
    server.start()
    client = Raw(server).ready()
    file_id = client.open("before")
    workers = server.workers()
    fill(server.state)
    opened = [client.open(f"full-{number}") for number in range(300)]
    for each in opened:
        element = struct.pack("<QQII", 0, 10, 0x12, 0)
        body = struct.pack("<HHI", 48, 1, 0) + each + element
        assert client.call(smb2.LOCK, body).status == smb2.SUCCESS
        assert client.call(smb2.CLOSE, smb2.close_body(each)).status == smb2.SUCCESS
    assert client.call(smb2.WRITE, smb2.write_body(file_id, b"data")).status == smb2.SUCCESS
    assert server.workers() == workers
    Raw(server).ready().close()  # a login needs no room either
    # Nor does a new worker, nor a new mountd.
    for pid in (*workers, server.mountd()[0]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(set(server.workers()) - set(workers)) == WORKERS, SECONDS, "new workers")
    wait_for(lambda: serves(server), SECONDS, "a worker that is ready")
    server.stop()


@pytest.mark.parametrize("server", [MEBIBYTE], indirect=True)
def test_a_start_without_room_says_what_is_missing(server: Usmbd) -> None:
    with pytest.raises(AssertionError, match=r"ended with 1:[^$]*no room for the state store"):
        server.start()
    assert "8388608" in server.log
