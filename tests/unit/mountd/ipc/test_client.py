"""The tools' connection to the server's sockets: what is an answer, and whom they talk to."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from usmbd.mountd.ipc import client as module
from usmbd.mountd.ipc import codec
from usmbd.mountd.ipc.client import TIMEOUT, BlockingClient
from usmbd.mountd.ipc.codec import CodecError
from usmbd.mountd.ipc.messages import (
    MountdResponse,
    ServerConfigRequest,
    ShareConfigRequest,
    ShareConfigResponse,
)
from usmbd.mountd.ipc.server import listen

THEIRS = codec.mountd_server()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with listen(tmp_path / "s") as listener:
        listener.setblocking(True)
        yield listener


def connected(listener: socket.socket) -> tuple[BlockingClient[MountdResponse], socket.socket]:
    """Return a client and the server's end of its connection."""
    client = BlockingClient(Path(listener.getsockname()), codec.mountd_client(), 20)
    return client, listener.accept()[0]


def test_requests_have_handles_of_their_own(listener: socket.socket) -> None:
    assert TIMEOUT == 10
    client, server = connected(listener)
    assert [client.send(ServerConfigRequest()), client.send(ShareConfigRequest("x"))] == [1, 2]
    assert THEIRS.decode(server.recv(1000)) == (1, ServerConfigRequest())
    assert THEIRS.decode(server.recv(1000)) == (2, ShareConfigRequest("x"))
    server.close()
    client.close()


def test_what_was_not_asked_is_no_answer(listener: socket.socket) -> None:
    client, server = connected(listener)
    server.send(
        THEIRS.encode(0, ShareConfigResponse(share=None))
    )  # a message to all, with no handle
    server.send(THEIRS.encode(1, ShareConfigResponse(share=None)))
    assert client.request(ShareConfigRequest("x")) == ShareConfigResponse(share=None)
    server.send(THEIRS.encode(7, ShareConfigResponse(share=None)))
    with pytest.raises(CodecError, match="request 7, which was not sent"):
        client.request(ShareConfigRequest("x"))
    server.close()
    with pytest.raises(OSError, match=r"closed the connection|Broken pipe|reset by peer"):
        client.request(ShareConfigRequest("x"))
    client.close()


def test_to_close_is_seen_at_the_other_end(listener: socket.socket) -> None:
    client, server = connected(listener)
    client.close()
    assert server.recv(10) == b""
    server.close()


def test_a_strangers_server_is_not_asked(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "peer_uid", lambda connection: os.getuid() + 77)
    with pytest.raises(PermissionError, match="another user's"):
        connected(listener)
