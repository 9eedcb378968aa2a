"""The limit of descriptors: raised at the start, and divided."""

import resource
import subprocess
import sys

import pytest

from usmbd.protocol.state import descriptors

PROGRAM = """
import resource, sys
from usmbd.protocol.state import descriptors
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(descriptors.raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard"), [(256, 1024), (1024, 1024), (64, 900)])
def test_the_soft_limit_becomes_the_hard_one(soft: int, hard: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard)],
        env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == [str(hard)] * 3


def test_no_limit_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [1024, resource.RLIM_INFINITY]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    assert descriptors.raise_limit() == descriptors.MOST
    assert limits == [descriptors.MOST, resource.RLIM_INFINITY]


def test_opens_get_what_is_not_kept() -> None:
    assert descriptors.for_opens(1024, 0) == 1024 - descriptors.INTERNAL - 256
    assert descriptors.for_opens(1024, 256) == descriptors.for_opens(1024, 1)
    assert descriptors.for_opens(1024, 300) == 1024 - descriptors.INTERNAL - 300
    assert descriptors.for_opens(100, 0) == 0
