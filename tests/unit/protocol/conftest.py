"""An engine with its clients; an event loop that a test runs until something is so."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smbengine.client import Client
from smbengine.rdma import CONTENT, Session
from smbengine.server import Engine

Until = Callable[[Callable[[], object]], None]
SECONDS = 60.0
PINNED_TOO = {
    "test_change_notify",
    "test_change_notify_ends",
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
    "test_server_side_copy",
    "test_set_info",
}
"""Modules whose tests run on a pinned engine as well; only root's can be pinned."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what touches files in both modes."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if "engine" in metafunc.fixturenames and module in PINNED_TOO and os.geteuid() == 0:
        metafunc.parametrize("engine", [False, True], ids=["unpinned", "pinned"], indirect=True)


@pytest.fixture
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Run one worker's engine in memory."""
    engine = Engine(tmp_path, pinned=getattr(request, "param", False))
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


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return an event loop."""
    loop = asyncio.new_event_loop()
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
