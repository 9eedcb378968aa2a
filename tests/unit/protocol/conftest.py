"""An engine with its clients; an event loop that a test runs until something is so."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smbengine.client import Client
from smbengine.rdma import CONTENT, Session
from smbengine.server import Engine

from usmbd.protocol.vfs import file_systems

Until = Callable[[Callable[[], object]], None]
SECONDS = 60.0
PINNED_TOO = {
    "test_change_notify",
    "test_change_notify_ends",
    "test_change_notify_mounts",
    "test_change_notify_trees",
    "test_change_notify_workers",
    "test_compound",
    "test_create",
    "test_create_names",
    "test_directory_leases",
    "test_files",
    "test_kernel_oplocks",
    "test_oplocks",
    "test_query_directory",
    "test_query_info",
    "test_replays",
    "test_server_side_copy",
    "test_set_info",
}
"""Modules whose tests run on a pinned engine as well; only root's can be pinned."""

BY_RDMA_TOO = {
    "test_binding",
    "test_change_notify",
    "test_directory_leases",
    "test_durable",
    "test_durable_leases",
    "test_durable_workers",
    "test_leases",
    "test_lock",
    "test_oplocks",
    "test_replays",
    "test_resiliency",
}
"""Modules whose clients come by SMB Direct as well: breaks, waits and lost connections cross it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what touches files in both modes, and what clients share over both transports."""
    if "engine" not in metafunc.fixturenames:
        return
    module = metafunc.module.__name__.rpartition(".")[2]
    kinds = {"unpinned": {}, "pinned": {"pinned": True}, "rdma": {"transport": "smbdirect"}}
    if module not in PINNED_TOO or os.geteuid() != 0:
        del kinds["pinned"]
    if module not in BY_RDMA_TOO:
        del kinds["rdma"]
    if len(kinds) > 1:
        metafunc.parametrize("engine", kinds.values(), ids=kinds, indirect=True)


@pytest.fixture
def on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files be on a disk, to which flushing takes its time, also where they are on tmpfs."""
    monkeypatch.setattr(file_systems, "MEMORY", frozenset())


@pytest.fixture
def engine(tmp_path: Path, request: pytest.FixtureRequest, on_a_disk: None) -> Iterator[Engine]:
    """Run one worker's engine in memory."""
    engine = Engine(tmp_path, **getattr(request, "param", {}))
    yield engine
    engine.close()


@pytest.fixture
def client(engine: Engine) -> Client:
    """Return a client of 3.1.1 that is logged in as alice and connected to `data`."""
    return Client(engine).ready()


@pytest.fixture
def rdma_engine(tmp_path: Path) -> Iterator[Engine]:
    """Run an engine that clients reach by SMB Direct; nothing of them is left."""
    engine = Engine(tmp_path, transport="smbdirect")
    yield engine
    engine.close()


@pytest.fixture
def session(rdma_engine: Engine) -> Session:
    """Return a session of 3.1.1 by SMB Direct whose file has CONTENT."""
    session = Session(rdma_engine, 0x311)
    session.path.write_bytes(CONTENT)
    return session


class Loop(asyncio.SelectorEventLoop):
    """asyncio's, with what a worker's own has besides (`transport.loop`) and is tested there."""

    def add_ender(self, fd: int, callback: Callable[..., object], *args: object) -> None:
        """Look for nothing: here whoever is cut off is read from."""

    def remove_ender(self, fd: int) -> None:
        """Look for nothing any more."""


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return an event loop."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def until(loop: asyncio.AbstractEventLoop) -> Until:
    """Return a function that runs the loop until a condition holds."""

    def run(condition: Callable[[], object]) -> None:
        end = loop.time() + SECONDS
        while not condition():
            assert loop.time() < end, "it does not come"
            loop.run_until_complete(asyncio.sleep(0.001))

    return run
