"""Threads of the unit tests: who changes a thread's identity has one of its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from usmbd.protocol.vfs import kernel


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
