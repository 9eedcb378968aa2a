"""The debug areas: each says something of what it is named after, and nothing while it is off."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.mountd import log as logs
from usmbd.mountd.ipc.codec import mountd_client
from usmbd.mountd.ipc.messages import AnonymousRequest, Logout
from usmbd.mountd.ipc.server import listen
from usmbd.mountd.log.form import facts_of
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE
from usmbd.protocol.worker.ipc_client import IpcClient


class Kept(logging.Handler):
    """Keeps the lines."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        facts = "".join(f" {key}={value}" for key, value in facts_of(record).items())
        self.lines.append(f"{record.name}: {record.getMessage()}{facts}")

    def said(self, area: str) -> str:
        """Return what an area said."""
        return "\n".join(line for line in self.lines if line.startswith(f"usmbd.{area}: "))


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    root = logging.getLogger("usmbd")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.ERROR)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)
    logs.debug(["all"], False)


def use(engine: Engine) -> None:
    client = Client(engine).ready()
    client.close(client.open("file", options=FILE_DELETE_ON_CLOSE, oplock=9))
    client.create("missing", disposition=1)
    Client(engine).ready().open("other")
    client.transport.close("the end")
    engine.settle()


AREAS = {
    "auth": ["logs in client=memory user=alice", "mountd says ok", "signing", "encryption"],
    "vfs": ["share data", "file file, mode", "open 0x", "closed", "is deleted"],
    "smb": ["OBJECT_NAME_NOT_FOUND", "connection ended"],
}


@pytest.mark.parametrize("area", AREAS)
def test_an_area_that_is_switched_on(engine: Engine, kept: Kept, area: str) -> None:
    logs.debug([area], True)
    use(engine)
    said = kept.said(area)
    assert all(text in said for text in AREAS[area]), said
    assert len(kept.lines) == len(said.splitlines())  # and no other
    logs.debug([area], False)
    kept.lines.clear()
    use(engine)
    assert kept.lines == []


def test_ipc(kept: Kept, loop: asyncio.AbstractEventLoop, state: Path) -> None:
    logs.debug(["ipc"], True)
    listener = listen(state / "mountd.sock")
    client = IpcClient(state / "mountd.sock", mountd_client(), loop)
    client.ask(AnonymousRequest("192.0.2.1"), lambda *answer: None)
    client.tell(Logout(7))
    client.close()
    listener.close()
    said = kept.said("ipc")
    assert "mountd.sock: 1: asks AnonymousRequest" in said
    assert "mountd.sock: tells Logout" in said


def test_all_areas_are_the_tool_s() -> None:
    from usmbd.mountd.cli.control import DEBUG_AREAS

    assert ("all", *logs.AREAS) == DEBUG_AREAS
