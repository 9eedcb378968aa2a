"""smbtorture's suites run beside the other tests, from the beginning."""

import os
import tempfile
from collections.abc import Iterator

import pytest
from smbtest.proxy import at_port_445
from smbtest.server import BOB, Options, Server
from smbtest.torture_lanes import Lanes, start_lanes
from smbtest.usmbd import Usmbd

TESTS = "test_smbtorture.py"

SUITES = pytest.StashKey[list[str]]()
"""The suites that this run of pytest asks for."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the lanes with the suites that are asked for; for all tests they run already."""
    wanted = session.config.stash[SUITES] = [
        item.callspec.params["suite"]
        for item in session.items
        if item.path.name == TESTS
        and isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and "suite" in item.callspec.params
    ]
    if wanted and not session.config.option.collectonly and os.geteuid() == 0:
        start_lanes(session.config, wanted)


@pytest.fixture(scope="session")
def lanes(request: pytest.FixtureRequest) -> Lanes:
    """Return the lanes that run."""
    return Lanes(request.config, request.config.stash[SUITES])


@pytest.fixture(scope="module")
def administered() -> Iterator[Server]:
    """Run a server that BOB administrates, and users of the machine share folders by."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o1770)
        usershares = {"usershare path": folder, "usershare max shares": "9"}
        parameters = {"admin users": BOB.name, **usershares}
        with Usmbd(Options(parameters=parameters)).running() as running:
            yield running


@pytest.fixture(scope="module")
def address(administered: Server) -> Iterator[str]:
    """Return an address at whose port 445 that server is."""
    with at_port_445(administered) as address:
        yield address
