"""The servers that the tests talk to: one for the whole run, more where a test asks."""

import gc
import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

sys.path.insert(0, str(Path(__file__).parent / "vm"))
sys.path.insert(0, str(Path(__file__).parent / "support"))

from smbtest import beside, torture_list
from smbtest.guests import start_guests, tell_results
from smbtest.peer import peer
from smbtest.server import Options, Server
from smbtest.smbd import Smbd
from smbtest.torture_lanes import start_lanes
from smbtest.usmbd import Usmbd

Usmbd.executed = False

# What is collected is no garbage: to look for some takes half of the collection's time.
gc.disable()

SELDOM = (20_000, 10, 20)
"""New objects until Python looks for garbage, and how often until it looks among older ones: by its
own numbers it took 5 to 6 s of CPU of each process in a run of the unit tests, by these 2."""

RETRIED = "retried"
"""The property that a test records, with what was wrong, when it tries something a second time."""

READ_RESULTS = ("test_smbtorture.py", "test_kernel_client.py")
"""Files whose tests only read what smbtorture and the guests came to, the longest wait last."""

WAITS = (
    "vm/test_machines.py",
    "wire/test_persistent.py",
    "wire/test_watchdog.py",
    "vm/test_handles.py",
    "wire/test_leases.py",
    "wire/test_durable.py",
    "wire/test_kills_of_mountd.py",
    "vm/test_domain.py",
    "wire/test_kills.py",
)
"""Files that take 15 to 80 s, most of which they wait: they begin, while the guests keep all
processors busy; machines of one at a time, as they take memory. At the end, where they were by
name, a fourth of 100 s had nothing to do."""

NUMBERS = itertools.count()
"""Of the folders of tests, in one process of pytest."""

StartServer = Callable[..., Server]


def _new(options: Options | None = None) -> Server:
    """Make the server under test: usmbd, or Samba's with USMBD_TEST_PEER=smbd."""
    return {"usmbd": Usmbd, "smbd": Smbd}[peer()](options)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Run the server of the session; it has to end in 5 s and without a traceback."""
    made = _new()
    if isinstance(made, Usmbd):
        made.executed = True  # one that is started in all the ways of the real one
    with made.running() as running:
        yield running


@pytest.fixture
def start_server() -> Iterator[Callable[[Options | None], Server]]:
    """Start further servers with other parameters; each is stopped and checked at the end."""
    with ExitStack() as running:
        yield lambda options=None: running.enter_context(_new(options).running())


@pytest.fixture
def tmp_path(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Make a folder, which stays where the test fails.

    pytest's own also looks for the last number in use and links to it: 2 ms of CPU, 7,000 times.
    """
    failed = request.session.testsfailed
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{name}-{next(NUMBERS)}"
    path.mkdir(0o700)
    yield path
    if request.session.testsfailed == failed:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def folder(server: Server) -> Iterator[Path]:
    """Make a new empty folder of the share `data`, as the server's machine sees it."""
    path = Path(tempfile.mkdtemp(prefix="t-", dir=server.data))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what waits to the beginning, and what waits for a program beside the tests to the end."""
    items.sort(key=lambda item: (_place(item), item.path))


def _place(item: pytest.Item) -> int:
    """Return where a test's file stands in a run: negative before the others, positive behind."""
    folder, name = item.path.parts[-2:]
    if name in READ_RESULTS:
        return READ_RESULTS.index(name) + 1
    path = f"{folder}/{name}"
    return WAITS.index(path) - len(WAITS) if path in WAITS else 0


def pytest_configure(config: pytest.Config) -> None:
    """Start what runs beside the tests before they are collected, in a run of all of them.

    With one core the collection takes ten seconds, in which the other has nothing to do.
    """
    _read_from_elsewhere_on(config)
    option = config.option
    chosen = option.keyword, option.markexpr, option.deselect, option.ignore, option.ignore_glob
    fixtures = option.showfixtures, option.show_fixtures_per_test
    runs_none = option.collectonly, option.help, option.markers, *fixtures
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not any(chosen)
    if everything and not config.getoption("lf", False) and not any(runs_none):
        start_guests(config)
        if os.geteuid() == 0:
            start_lanes(config, torture_list.suites())


def _read_from_elsewhere_on(config: pytest.Config) -> None:
    """Have each worker of pytest-xdist begin to read the tests at another file.

    Else all compile the same one at the same time, where nothing is compiled yet: 27 s of CPU for
    three of them, and 17 so. Their order is that of `pytest_collection_modifyitems` on all.
    """
    told: dict[str, Any] = getattr(config, "workerinput", {})
    folder = Path(__file__).parent
    if told and [Path(argument).resolve() for argument in config.args] == [folder]:
        files = sorted(str(path) for path in folder.rglob("test_*.py"))
        number = int(told["workerid"].removeprefix("gw"))
        begin = len(files) * number // told["workercount"]
        config.args = [*files[begin:], *files[:begin]]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: "WorkerController") -> None:
    """Tell a worker of pytest-xdist what runs beside the tests."""
    beside.tell_worker(node.config, node.workerinput)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no guest and no server behind."""
    beside.end_all(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish() -> None:
    """Collect garbage again, of what the tests make alone: 12,000 tests stay to the end."""
    gc.freeze()
    gc.set_threshold(*SELDOM)
    gc.enable()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell of the lab, and what passed at a second try alone: it is green, and not forgotten."""
    tell_results(config, terminalreporter)
    retried = [
        f"{report.nodeid}: {value}"
        for report in terminalreporter.getreports("passed")
        for key, value in report.user_properties
        if key == RETRIED and report.when == "call"
    ]
    if retried:
        terminalreporter.section(f"{len(retried)} passed when tried again")
        for line in retried:
            terminalreporter.line(line)
