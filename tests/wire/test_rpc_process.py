"""The RPC process alone: started with a socket and a configuration, spoken to as a worker does."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from smbtest.processes import wait_for
from smbtest.slow_log import SlowLog, Terminator

from usmbd.mountd.config.load import load
from usmbd.mountd.confine.profiles import UNUSED_IDS
from usmbd.mountd.identity import Accounts
from usmbd.mountd.ipc.codec import RECEIVE_SIZE, rpc_client
from usmbd.mountd.ipc.messages import RpcClose, RpcOpen, RpcResponse, RpcStatus, RpcTransceive
from usmbd.mountd.rpc.configuration import Debugging, Told, describe, frame

SRVSVC = uuid.UUID("4b324fc8-1670-01d3-1278-5a47bf6ee188").bytes_le + struct.pack("<I", 3)
NDR = uuid.UUID("8a885d04-1ceb-11c9-9fe8-08002b104860").bytes_le + struct.pack("<I", 2)

Ask = Callable[[object], RpcResponse]


class RpcProcess:
    """A running RPC process in a directory of its own."""

    def __init__(self, folder: Path, log: int) -> None:
        """Start it, and tell it what mountd would."""
        self.config = folder / "ksmbd.conf"
        self.config.write_text("[global]\nnetbios name = NAS\n[data]\npath = /tmp\n")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.path = str(folder / "rpc.sock")
        self.listener.bind(self.path)
        self.listener.listen()
        number = self.listener.fileno()
        self.mountd, asking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = [number, asking.fileno()]
        options = ["--listen-fd", str(number), "--ask-fd", str(asking.fileno())]
        command = [sys.executable, "-m", "usmbd.mountd.rpc_child", *options]
        self.process = subprocess.Popen(command, pass_fds=given, stdin=subprocess.PIPE, stderr=log)
        self.reload()

    def reload(self) -> None:
        """Tell it what the configuration file says now."""
        self.tell(describe(load(self.config), (), Accounts(), log_level=1))

    def tell(self, *told: Told) -> None:
        """Write as mountd does."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(map(frame, told)))
        self.process.stdin.flush()

    def connect(self) -> socket.socket:
        """Connect as a worker."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(20)
        sock.connect(self.path)
        return sock


@contextlib.contextmanager
def running(folder: Path, log: int = subprocess.PIPE) -> Iterator[RpcProcess]:
    """Run one, with its log in a pipe."""
    made = RpcProcess(folder, log)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()
        made.listener.close()


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcProcess]:
    with running(tmp_path) as made:
        yield made


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


def add_share(rpc: RpcProcess, ask: Ask, name: str) -> None:
    """Reload with one more share, and wait until it is there."""
    with rpc.config.open("a") as file:
        file.write(f"[{name}]\npath = /tmp\n")
    rpc.reload()
    numbers = count(1000)

    def there() -> bool:
        number = next(numbers)
        found = name.encode("utf-16-le") in share_list(ask, number)
        ask(RpcClose(number))
        return found

    wait_for(there, 20, "the new share")


def test_share_list_and_reload(rpc: RpcProcess) -> None:
    """The list follows what mountd says."""
    ask = asker(rpc.connect())
    assert "data".encode("utf-16-le") in share_list(ask, 1)
    add_share(rpc, ask, "second")
    rpc.process.terminate()
    _, log = rpc.process.communicate(timeout=20)
    assert rpc.process.returncode == 0
    assert b"Traceback" not in log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_has_a_user_of_its_own_and_nothing_else(rpc: RpcProcess) -> None:
    share_list(asker(rpc.connect()), 1)
    status = Path(f"/proc/{rpc.process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    for kind in ("Uid", "Gid"):
        (number,) = set(fields[kind].split())
        assert int(number) in UNUSED_IDS
    assert fields["Groups"].split() == []
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind], 16) == 0
    assert (fields["NoNewPrivs"].strip(), fields["Seccomp"].strip()) == ("1", "2")
    for task in Path(f"/proc/{rpc.process.pid}/task").iterdir():
        assert "CapPrm:\t0000000000000000" in (task / "status").read_text()


def test_it_debugs_what_mountd_says(rpc: RpcProcess) -> None:
    ask = asker(rpc.connect())
    for number, areas in enumerate((["ipc"], [], ["conn", "ipc"]), 1):
        rpc.tell(Debugging(areas))
        add_share(rpc, ask, f"share-{number}")
        assert ask(RpcOpen(number, "srvsvc", f"user-{number}")).status == RpcStatus.OK
    rpc.process.terminate()
    _, log = rpc.process.communicate(timeout=20)
    assert b"user-1" in log
    assert b"user-2" not in log
    assert b"user-3" in log


def test_a_second_signal_to_end_cuts_off_no_log(tmp_path: Path) -> None:
    """Signals come from mountd and from the service manager, while the log is written."""
    log = SlowLog()
    with running(tmp_path, log.writing) as rpc:
        share_list(asker(rpc.connect()), 1)
        signals = Terminator(rpc.process)
        worker = rpc.connect()
        wait_for(lambda: not worker.recv(1), 20, "it has ended its work")
        time.sleep(0.3)  # signals come now
        text = log.read_to_end()
        assert signals.wait(20) == 0, text
    assert "the RPC process ends" in text.splitlines()[-1]


def test_it_ends_with_mountd(rpc: RpcProcess) -> None:
    asker(rpc.connect())(RpcOpen(1, "srvsvc", "alice"))
    assert rpc.process.stdin is not None
    rpc.process.stdin.close()
    rpc.process.stdin = None
    assert rpc.process.wait(20) == 0


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
