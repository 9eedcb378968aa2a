"""What a worker does when something is mounted or unmounted."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounting import mounted
from smbengine.client import Client
from smbengine.reloads import change
from smbengine.server import Engine

from usmbd.mountd.confine.mountinfo import Mount
from usmbd.mountd.ipc.settings import Slow
from usmbd.protocol.vfs import base
from usmbd.protocol.vfs.abilities import Abilities
from usmbd.protocol.wire.create import FILE_CREATE
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.worker import mounts as module
from usmbd.protocol.worker.mounts import PAUSE_SECONDS, Mounts
from usmbd.transport.loop import EpollLoop

SECONDS = 60.0


class Timed(EpollLoop):
    """A loop with the timers of a test."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.call_later = engine.clock.call_later  # type: ignore[assignment]


def row(number: str, point: str, kind: str) -> Mount:
    """Return what mountinfo tells of a mount."""
    return Mount(number, "0:9", "/", point, kind, True)


@pytest.fixture
def loop(engine: Engine) -> Iterator[EpollLoop]:
    made = Timed(engine)
    yield made
    made.close()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> list[Mount]:
    """Return what is mounted, which the test may change."""
    found = [row("1", "/", "ext4")]
    monkeypatch.setattr(module, "mounts", lambda: iter(found))
    return found


def test_the_kernel_tells_of_a_disk(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was connected saves nothing beneath it; once it is gone, it is the folder's turn."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    loop = EpollLoop()
    watched = Mounts(engine.server, loop)
    closed = []
    engine.server.close_tree, close = (  # type: ignore[method-assign]
        lambda tree: (close(tree), closed.append(tree), loop.stop()),
        engine.server.close_tree,
    )
    submit = engine.threads.submit
    engine.threads.submit = lambda *a: (submit(*a), loop.call_soon(engine.settle))  # type: ignore[method-assign]
    guard = loop.call_later(SECONDS, loop.stop)
    with mounted(engine.files):
        loop.run_forever()
        assert len(closed) == 1
        assert client.create("new", disposition=FILE_CREATE) is NtStatus.NETWORK_NAME_DELETED
        client.connect("data")
        client.close(client.open("on-the-disk"))
        assert os.listdir(engine.files) == ["on-the-disk"]
    loop.run_forever()
    assert len(closed) == 2
    client.connect("data")
    client.close(client.open("in-the-folder"))
    assert os.listdir(engine.files) == ["in-the-folder"]
    guard.cancel()
    watched.close()
    loop.close()


def test_looks_have_pauses(
    engine: Engine, loop: EpollLoop, table: list[Mount], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is at once; what changes meanwhile is seen by one more."""
    watched = Mounts(engine.server, loop)
    told: list[list[str]] = []
    monkeypatch.setattr(engine.server.notifier, "mounted", told.append)
    Client(engine).ready()
    before = engine.threads.submitted
    for name in "abc":
        table.append(row(name, f"{engine.files}/{name}", "tmpfs"))
        watched._changed()
        engine.settle()
    assert told == [[f"{engine.files}/a"]]
    engine.clock.advance(PAUSE_SECONDS)
    engine.settle()
    assert [set(points) for points in told[1:]] == [{f"{engine.files}/b", f"{engine.files}/c"}]
    for _ in range(3):
        engine.clock.advance(PAUSE_SECONDS)
        engine.settle()
    assert engine.threads.submitted == before + 2 * 2  # the table, and the path of the tree
    watched.close()


def test_what_is_mounted_elsewhere_is_told_to_nobody(
    client: Client,
    engine: Engine,
    loop: EpollLoop,
    table: list[Mount],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(engine.server.notifier.__class__, "mounted")
    watched = Mounts(engine.server, loop)
    table.append(row("2", f"{engine.files}-too", "tmpfs"))
    watched._changed()
    engine.settle()
    assert client.create("file", disposition=FILE_CREATE) is NtStatus.SUCCESS
    watched.close()


@pytest.mark.parametrize(
    ("slow", "kind", "hangs"),
    [
        (Slow.AUTO, "nfs4", True),
        (Slow.AUTO, "fuse.sshfs", True),
        (Slow.AUTO, "ext4", False),
        (Slow.NO, "nfs4", False),
    ],
)
def test_calls_may_hang_where_a_server_is_mounted_beneath(
    engine: Engine, loop: EpollLoop, table: list[Mount], slow: Slow, kind: str, hangs: bool
) -> None:
    change(engine, slow=slow)
    client = Client(engine).ready()
    watched = Mounts(engine.server, loop)
    tree = client.session.tree_connect_table[client.tree_id]
    assert not tree.speed.may_hang
    table.append(row("2", f"{engine.files}/far", kind))
    watched._changed()
    engine.settle()
    assert tree.speed.may_hang is hangs
    watched.close()


def test_what_is_mounted_beneath_is_tried_anew(
    client: Client,
    engine: Engine,
    loop: EpollLoop,
    table: list[Mount],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its device may have the number of one that could other things; by all views of the share."""
    tried: list[int] = []
    monkeypatch.setattr(base, "find_abilities", lambda *_: tried.append(0) or Abilities())
    volume = client.session.tree_connect_table[client.tree_id].volume
    assert volume is not None
    watched = Mounts(engine.server, loop)
    for seconds in (0.0, PAUSE_SECONDS):
        engine.clock.advance(seconds)
        for _ in range(2):
            volume.abilities()
            volume.posix_view().abilities()
        table.append(row("2", f"{engine.files}/{seconds}", "vfat"))
        watched._changed()
        engine.settle()
    assert len(tried) == 2 * 2
    watched.close()


def test_a_table_that_cannot_be_read(
    engine: Engine,
    loop: EpollLoop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The worker serves without: at the start, and later."""
    watched = Mounts(engine.server, loop)
    monkeypatch.setattr(module, "_read", lambda: os.stat(tmp_path / "none"))
    watched._changed()
    engine.settle()
    assert "what is mounted cannot be read" in caplog.text
    watched.close()
    monkeypatch.setattr(module, "MOUNTS", str(tmp_path / "none"))
    without = Mounts(engine.server, loop)
    assert "what is mounted later is not noticed" in caplog.text
    without.close()
