"""The RPC process alone: started with a socket and a configuration, spoken to as a worker does."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from usmbd.mountd.ipc.codec import RECEIVE_SIZE, rpc_client
from usmbd.mountd.ipc.messages import RpcOpen, RpcResponse, RpcStatus, RpcTransceive

SRVSVC = uuid.UUID("4b324fc8-1670-01d3-1278-5a47bf6ee188").bytes_le + struct.pack("<I", 3)
NDR = uuid.UUID("8a885d04-1ceb-11c9-9fe8-08002b104860").bytes_le + struct.pack("<I", 2)

Ask = Callable[[object], RpcResponse]


class RpcProcess:
    """A running RPC process in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        """Start it; `folder` must be open to the account nobody."""
        self.config = folder / "ksmbd.conf"
        self.config.write_text("[global]\nnetbios name = NAS\n[data]\npath = /tmp\n")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.path = str(folder / "rpc.sock")
        self.listener.bind(self.path)
        self.listener.listen()
        number = self.listener.fileno()
        command = [sys.executable, "-m", "usmbd.mountd.rpc.service", "--listen-fd", str(number)]
        self.process = subprocess.Popen(
            [*command, "--config", str(self.config)],
            pass_fds=[number],
            stderr=subprocess.PIPE,
            text=True,
        )

    def connect(self) -> socket.socket:
        """Connect as a worker."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(20)
        sock.connect(self.path)
        return sock


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcProcess]:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    running = RpcProcess(tmp_path)
    yield running
    running.process.kill()
    running.process.communicate()
    running.listener.close()


def asker(sock: socket.socket) -> Ask:
    """Return a function that sends one message and returns the answer."""
    codec = rpc_client()

    def ask(message: object) -> RpcResponse:
        sock.send(codec.encode(7, message))  # type: ignore[arg-type]
        handle, answer = codec.decode(sock.recv(RECEIVE_SIZE))
        assert handle == 7
        return answer

    return ask


def share_list(ask: Ask, number: int) -> bytes:
    """Open srvsvc, bind it, and return the stub of NetrShareEnum level 0."""
    assert ask(RpcOpen(number, "srvsvc", "alice")).status == RpcStatus.OK
    body = struct.pack("<HHIIHBB", 4280, 4280, 0, 1, 0, 1, 0) + SRVSVC + NDR
    head = b"\5\0\x0b\3\x10\0\0\0" + struct.pack("<HHI", 16 + len(body), 0, 1)
    assert ask(RpcTransceive(number, head + body, 4280)).data[2] == 12
    stub = struct.pack("<IIIIIIII", 0, 0, 0, 0x20000, 0, 0, 0xFFFFFFFF, 0)
    body = struct.pack("<IHH", len(stub), 0, 15) + stub
    head = b"\5\0\0\3\x10\0\0\0" + struct.pack("<HHI", 16 + len(body), 0, 2)
    answer = ask(RpcTransceive(number, head + body, 65536))
    assert (answer.status, answer.data[2]) == (RpcStatus.OK, 2)
    return answer.data[24:]


def test_share_list_and_reload(rpc: RpcProcess) -> None:
    """The list follows the file on SIGHUP; a file that cannot be used changes nothing."""
    ask = asker(rpc.connect())
    assert "data".encode("utf-16-le") in share_list(ask, 1)
    for number, text in ((2, "[second]\npath = /tmp\n"), (3, "garbage\n")):
        with rpc.config.open("a") as file:
            file.write(text)
        rpc.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 5
        while "second".encode("utf-16-le") not in share_list(ask, number):
            assert time.monotonic() < deadline
            number += 100
            time.sleep(0.05)
    rpc.process.terminate()
    _, log = rpc.process.communicate(timeout=5)
    assert rpc.process.returncode == 0
    assert "Traceback" not in log
    assert "ksmbd.conf:7" in log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_runs_as_nobody(rpc: RpcProcess) -> None:
    asker(rpc.connect())(RpcOpen(1, "srvsvc", "alice"))
    status = Path(f"/proc/{rpc.process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert "0" not in fields["Uid"].split()
    assert fields["Groups"].split() == []


def test_bad_workers_harm_no_other(rpc: RpcProcess) -> None:
    """Garbage costs the connection it came on; one that does not read waits alone."""
    good = asker(rpc.connect())
    assert good(RpcOpen(1, "MsFteWds", "alice")).status == RpcStatus.NO_PIPE
    bad = rpc.connect()
    bad.send(b"\xff" * 100)
    assert bad.recv(100) == b""
    deaf = rpc.connect()
    deaf.settimeout(0.5)
    message = rpc_client().encode(1, RpcOpen(1, "nothing", "alice"))
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 100_000:
            sent += bool(deaf.send(message))
    assert sent < 100_000
    assert b"\0" in share_list(good, 2)


def test_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    config = tmp_path / "ksmbd.conf"
    config.write_text("[global\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        number = listener.fileno()
        command = [sys.executable, "-m", "usmbd.mountd.rpc.service", "--listen-fd", str(number)]
        found = subprocess.run(
            [*command, "--config", str(config)],
            pass_fds=[number],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert found.returncode == 1
    assert "ksmbd.conf:1" in found.stderr
    assert "Traceback" not in found.stderr
