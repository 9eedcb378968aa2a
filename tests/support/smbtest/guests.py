"""The lab's guests, beside a run of pytest."""

import os
from pathlib import Path

import pytest

from smbtest.beside import Beside

LAB = pytest.StashKey[Beside]()
"""What runs them, in pytest's configuration."""


def start_guests(config: pytest.Config) -> None:
    """Start them, once, where this run is to have results of its own.

    They wait a good deal, and most tests keep one core busy.
    """
    wanted = not config.option.collectonly and "USMBD_LAB_RESULTS" not in os.environ
    if wanted and LAB not in config.stash:
        config.stash[LAB] = Beside(Path(__file__).parents[2] / "vm/lab_run.py")
