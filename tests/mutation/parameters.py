"""Does each parameter's test fail where nobody reads the parameter? `make parameters`.

Runs the test that `tests/unit/test_every_parameter.py` names for a parameter while its default
stands in its place: in the settings' structures where it has a field there, in the table's row
where mountd alone reads it. Tests of whole servers (`tests/wire`) run processes that this does not
reach, and are told.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from usmbd.mountd.config.parameters import TABLE, Parameter, Scope
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig

ROOT = Path(__file__).resolve().parents[2]
PLACE = "USMBD_UNREAD"
"""The environment variable that names a row by its scope and name."""
FAILED = 1
"""pytest's exit status when tests failed, and nothing worse."""


def pytest_configure() -> None:
    """Have nobody read a parameter (this module is also pytest's plugin)."""
    scope, _, name = os.environ[PLACE].partition(" ")
    (row,) = (row for row in TABLE if (row.scope.name, row.name) == (scope, name))
    kind = ServerConfig if row.scope is Scope.GLOBAL else ShareConfig
    field = {each.name: each for each in msgspec.structs.fields(kind)}.get(row.field)
    if field is None:
        read = Parameter.value
        Parameter.value = lambda self, entry: (  # type: ignore[method-assign]
            row.default() if self is row else read(self, entry)
        )
        return
    value = field.default
    if value is msgspec.NODEFAULT:
        value = row.default() if field.default_factory is msgspec.NODEFAULT else []
    setattr(kind, row.field, property(lambda self: value, lambda self, value: None))


def noticed(row: Parameter, test: str) -> bool:
    """Return whether the parameter's test fails without it."""
    environment = os.environ | {
        PLACE: f"{row.scope.name} {row.name}",
        "PYTHONPATH": f"{Path(__file__).parent}:{ROOT / '.src'}",
    }
    options = ["-q", "-x", "--tb=no", "-p", "no:cacheprovider", "-p", Path(__file__).stem]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, test],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, FAILED):
        print(f"{row.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.returncode == FAILED


def main() -> int:
    """Try all parameters; 1 when a test does not notice."""
    sys.path.insert(0, str(ROOT))
    from tests.unit.test_every_parameter import EFFECTS

    rows = [row for row in TABLE if not EFFECTS[row.scope, row.name].startswith("tests/wire")]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = threads.map(lambda row: noticed(row, EFFECTS[row.scope, row.name]), rows)
        missed = [row for row, seen in zip(rows, found, strict=True) if not seen]
    for row in missed:
        print(f"not noticed: {row.name} ({row.scope.name}), {EFFECTS[row.scope, row.name]}")
    servers = [row.name for row in TABLE if row not in rows]
    print(f"{len(rows) - len(missed)} of {len(rows)} parameters are missed by their tests when")
    print(f"nobody reads them; not tried, for they are of whole servers: {', '.join(servers)}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
