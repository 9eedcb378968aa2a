"""A second user, and a share for macOS, for the commands."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from smbengine.client import Client
from smbengine.configured import Configured
from smbengine.macos import Serve
from smbengine.server import Engine


@pytest.fixture
def other(engine: Engine) -> Client:
    """Return another user's client."""
    return Client(engine).ready(user="bob")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return what serves a share for macOS with more parameters, to a client that is connected."""
    made: list[Configured] = []

    def start(*lines: str, modules: str = "fruit streams_xattr") -> Client:
        path = Path(mkdtemp(dir=tmp_path))
        (path / "data").mkdir(parents=True)
        text = "\n".join(
            ("[data]", "path = {path}/data", "read only = no", f"vfs objects = {modules}", *lines)
        )
        made.append(Configured(path, text))
        return Client(made[-1]).ready()

    yield start
    for engine in made:
        engine.close()
