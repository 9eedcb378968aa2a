"""What a test must leave as it was: the thread's identity, and the log of the process."""

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from usmbd.mountd.log import setup
from usmbd.protocol.vfs import kernel

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def pytest_configure(config: pytest.Config) -> None:
    """Have the processes that a test starts run this tree's code, wherever the tree stands."""
    os.environ["PYTHONPATH"] = str(config.rootpath / ".src")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a test with the mark `own_thread` on a thread that ends with it."""
    if pyfuncitem.get_closest_marker("own_thread") is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    with ThreadPoolExecutor(1, "own") as thread:
        thread.submit(pyfuncitem.obj, **arguments).result()
    return True


@pytest.fixture(autouse=True)
def _the_identity_stays() -> Iterator[None]:
    """Fail a test that leaves the common thread somebody else."""
    before = kernel.thread_identity()
    yield
    assert kernel.thread_identity() == before, "this test needs pytest.mark.own_thread"


@pytest.fixture(autouse=True)
def _signals_stay() -> Iterator[None]:
    """Put back what a process that ends ignores: a later test's children would ignore it too."""
    before = [(number, signal.getsignal(number)) for number in SIGNALS]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _the_log_ends() -> Iterator[None]:
    """End the log that a worker or a service set up, or it writes what all later tests say."""
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    level = logging.getLogger("usmbd").level
    yield
    handler = setup._handler
    if handler is not None:
        setup._handler = None
        logging.getLogger().removeHandler(handler)
        handler.close()
        logging.captureWarnings(False)
        logging.getLogger("usmbd").setLevel(level)
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


@pytest.fixture
def state() -> Iterator[Path]:
    """Return a state directory: the name of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="u") as name:
        yield Path(name)
