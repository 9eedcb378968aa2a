"""System calls that fail."""

import os
from collections.abc import Callable
from typing import Any


def failing(number: int) -> Callable[..., Any]:
    """Return what stands in for a call and fails with this errno."""

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail
