"""Other users of the server's machine: its sockets take nothing of them, whatever their modes."""

import os
import socket
from collections.abc import Iterator

import pytest
from smbtest.peer import only_usmbd
from smbtest.raw import Raw
from smbtest.usmbd import Usmbd
from stranger import as_stranger

from usmbd.mountd.ipc.codec import control_client, mountd_client, rpc_client
from usmbd.mountd.ipc.messages import (
    CONTROL_SOCKET,
    MOUNTD_SOCKET,
    RPC_SOCKET,
    ControlShutdown,
    RpcOpen,
    ServerConfigRequest,
)
from usmbd.protocol.state.store import bus
from usmbd.protocol.state.store.bus import CloseSession

SECONDS = 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture(scope="module")
def server() -> Iterator[Usmbd]:
    """Run a server whose state directory was 0755, and was opened to all again after the start."""
    only_usmbd("the sockets are usmbd's")
    made = Usmbd()
    made.state.chmod(0o755)
    with made.running():
        assert made.state.stat().st_mode & 0o7777 == 0o700
        sockets = list(made.state.glob("*.sock"))
        assert {path.stat().st_mode & 0o777 for path in sockets} == {0o600}
        made.state.chmod(0o755)
        for path in sockets:
            path.chmod(0o777)
        yield made


def test_a_stranger_ends_nobody_s_session(server: Usmbd) -> None:
    client = Raw(server).ready()

    def send() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            for worker in (0, 1):
                sock.connect(str(server.state / f"worker-{worker}.sock"))
                sock.send(bus._encode([CloseSession(client.session_id, 0, 1)]))

    as_stranger(send)
    for number in range(3):
        client.open(f"still-there-{number}")
    client.close()


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        (MOUNTD_SOCKET, mountd_client().encode(1, ServerConfigRequest())),
        (RPC_SOCKET, rpc_client().encode(1, RpcOpen(1, "srvsvc", "mallory"))),
        (CONTROL_SOCKET, control_client().encode(1, ControlShutdown())),
    ],
)
def test_a_stranger_gets_no_answer(server: Usmbd, name: str, request_: bytes) -> None:
    def ask() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(SECONDS)
            sock.connect(str(server.state / name))
            try:
                sock.send(request_)
                assert sock.recv(1 << 16) == b""
            except (BrokenPipeError, ConnectionResetError):
                pass

    as_stranger(ask)
    Raw(server).ready().close()
