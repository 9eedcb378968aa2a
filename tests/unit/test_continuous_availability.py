"""`continuous availability` and how durable it is, from the file to what a client has."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.configured import Configured

from usmbd.mountd.errors import ConfigError
from usmbd.protocol.wire.create import CreateResponse
from usmbd.protocol.wire.header import Command

ASKED = [(b"DH2Q", struct.pack("<II8x", 0, 2) + bytes(range(16)))]


@contextmanager
def served(path: Path, share: str) -> Iterator[Configured]:
    """Serve `data` with parameters."""
    (path / "data").mkdir(parents=True)
    engine = Configured(path, f"[data]\npath = {{path}}/data\nread only = no\n{share}\n")
    yield engine
    engine.close()


def test_continuous_availability(tmp_path: Path) -> None:
    for text, persistent in ((";", False), ("continuous availability = yes", True)):
        with served(tmp_path / str(persistent), text) as engine:
            client = Client(engine).ready()  # type: ignore[arg-type]
            reply = client.call(Command.CREATE, requests.create("file", contexts=ASKED))
            assert bool(reply.parse(CreateResponse).create_contexts_length) is persistent
            assert engine.server.config.persistent_handles is persistent


@pytest.mark.parametrize(
    ("word", "synced", "flushed"),
    [("none", False, False), ("data", True, False), ("strict", True, True)],
)
def test_persistent_handles_durability(
    tmp_path: Path, word: str, synced: bool, flushed: bool
) -> None:
    """Where the open is kept: in memory or on the disk; and whether its WRITEs are flushed."""
    text = f"continuous availability = yes\npersistent handles durability = {word}"
    with served(tmp_path, text) as engine:
        client = Client(engine).ready()  # type: ignore[arg-type]
        reply = client.call(Command.CREATE, requests.create("file", contexts=ASKED))
        durable = client.open_of(reply.file_id).durable
        assert durable is not None
        assert (durable.record.synced, durable.writes_through) == (synced, flushed)


@pytest.mark.parametrize(
    ("other", "needed"),
    [
        ("durable handles = no", "durable handles = yes"),
        ("posix locking = yes", "posix locking = no"),
        ("kernel oplocks = yes", "kernel oplocks = no"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, other: str, needed: str) -> None:
    """It would promise handles that are never given."""
    text = f"{other}\ncontinuous availability = yes"
    with pytest.raises(ConfigError, match=f":5: .*needs {needed}"), served(tmp_path, text):
        pass
