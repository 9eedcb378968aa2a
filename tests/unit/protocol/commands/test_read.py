"""READ where the page cache holds only a part of what is asked for."""

from collections.abc import Sequence

import pytest
from smbengine import requests
from smbengine.client import Client

from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.header import Command

LENGTH = 8192


def test_a_partly_cached_read_is_whole(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(node: Node, buffers: Sequence[memoryview], offset: int) -> int:
        (buffer,) = buffers
        return node.read_into([buffer[: len(buffer) // 2]], offset)

    data = bytes(range(256)) * (LENGTH // 256)
    opened = client.open("file")
    client.call(Command.WRITE, requests.write(opened, data))
    monkeypatch.setattr(Node, "read_nowait_into", half)
    assert client.call(Command.READ, requests.read(opened, LENGTH)).data == data


def test_a_read_over_the_end_is_short(client: Client) -> None:
    opened = client.open("file")
    client.call(Command.WRITE, requests.write(opened, b"data"))
    assert client.call(Command.READ, requests.read(opened, LENGTH)).data == b"data"
