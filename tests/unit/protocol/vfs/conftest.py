"""A file on a volume, and its node."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.volume import Volume


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    return path


@pytest.fixture
def volume(path: Path) -> Volume:
    return Volume(str(path.parent))


@pytest.fixture
def node(volume: Volume) -> Iterator[Node]:
    with volume.lookup("file") as node:
        yield node


@pytest.fixture
def writable(node: Node) -> Node:
    node.open_data(read=True, write=True)
    return node
