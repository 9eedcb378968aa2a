"""Machines on one switch, booted for the tests of a module."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import lab_run
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "lab/machines"))

from cable import Switch
from guest import Guest


@contextmanager
def booted(*names: str) -> Iterator[tuple[Switch, list[Guest]]]:
    """Boot machines of these names, 10.99.0.1 and on; the test is skipped where there is no lab."""
    try:
        kernel = lab_run.prepare_kernel()
    except lab_run.UnsupportedError as error:
        pytest.skip(str(error))
    out = lab_run.results_directory()
    with ExitStack() as stack:
        switch = stack.enter_context(Switch(len(names)))
        guests = [
            Guest(kernel, out / name, name, host=number + 1, wire=switch.ends[number])
            for number, name in enumerate(names)
        ]
        for guest in guests:
            stack.enter_context(guest)
        yield switch, guests
    (out / "finished").touch()
