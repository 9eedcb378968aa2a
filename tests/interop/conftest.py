"""smbtorture's suites run beside the other tests, from the beginning."""

import os
from collections.abc import Iterator

import pytest
from smbtest.proxy import at_port_445
from smbtest.server import BOB, Options, Server
from smbtest.torture_lanes import Lanes
from smbtest.usmbd import Usmbd

TESTS = "test_smbtorture.py"

RUNNING = pytest.StashKey[Lanes]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the lanes with the suites that this run of pytest asks for."""
    wanted = [
        item.callspec.params["suite"]
        for item in session.items
        if item.path.name == TESTS
        and isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and "suite" in item.callspec.params
    ]
    if wanted and not session.config.option.collectonly and os.geteuid() == 0:
        session.config.stash[RUNNING] = Lanes(wanted)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no server behind."""
    if lanes := config.stash.get(RUNNING, None):
        lanes.end()


@pytest.fixture(scope="session")
def lanes(request: pytest.FixtureRequest) -> Lanes:
    """Return the lanes that run."""
    return request.config.stash[RUNNING]


@pytest.fixture(scope="module")
def administered() -> Iterator[Server]:
    """Run a server that BOB administrates."""
    with Usmbd(Options(parameters={"admin users": BOB.name})).running() as running:
        yield running


@pytest.fixture(scope="module")
def address(administered: Server) -> Iterator[str]:
    """Return an address at whose port 445 that server is."""
    with at_port_445(administered) as address:
        yield address
