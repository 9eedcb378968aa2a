"""READ where the page cache holds only a part of what is asked for."""

from collections.abc import Sequence

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.protocol.dispatch.replies import LONG_REPLY
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

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


@pytest.mark.parametrize("length", [LONG_REPLY - 1, LONG_REPLY])
@pytest.mark.parametrize("protection", ["signed", "sealed", "plain"])
def test_a_long_reply_is_protected_while_the_slice_lasts(
    client: Client, engine: Engine, length: int, protection: str
) -> None:
    """READs are short: of each connection there would be a long reply in the same turn."""
    data = bytes(range(256)) * (length // 256) + bytes(length % 256)
    (engine.files / "file").write_bytes(data)
    opened = client.open("file")
    client.call(Command.ECHO, requests.EMPTY, credits=64)
    client.seals, client.signs = protection == "sealed", protection == "signed"
    rotation = Rotation(engine, 0)
    body = requests.read(opened, length)
    number = client.post(Command.READ, body, credit_charge=-(-length // 65536))
    waits = length >= LONG_REPLY and protection != "plain"
    assert (not client.taken(number)) == waits
    assert len(rotation.waiting) == waits
    if waits:
        assert client.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS
        rotation._looks = 1  # the slice has just begun
        rotation.turn()
        assert client.taken(number)[-1].data == data


def test_so_is_a_long_compound(client: Client, engine: Engine) -> None:
    (engine.files / "file").write_bytes(bytes(LONG_REPLY))
    opened = client.open("file")
    client.call(Command.ECHO, requests.EMPTY, credits=64)
    rotation = Rotation(engine, 1)  # a look before the last of the four
    read = Command.READ, requests.read(opened, LONG_REPLY // 4)
    assert client.compound(*[read] * 4, related=False) == []
    rotation.turn()
    assert [len(reply.data) for reply in client.replies] == [LONG_REPLY // 4] * 4
