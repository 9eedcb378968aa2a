"""What runs beside the tests, and what it leaves behind when it is cut short."""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from smbtest import beside, images

PROGRAM = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(beside.__file__).parent.parent)!r})
from smbtest.beside import end_with_stdin
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print(os.getpgrp(), flush=True)
end_with_stdin()
signal.pause()
"""


def test_a_program_is_told_its_end_once(tmp_path: Path) -> None:
    """Not by a ctrl-C besides, which would come while it puts away what it has made."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    one = beside.Beside(program)
    try:
        while not (lines := one.said.lines()):
            assert one.said.wait(0) is None
            time.sleep(0.02)
        assert int(lines[0]) != os.getpgrp()
    finally:
        one.end()
    assert one._process.returncode == 3
    assert not one.said.folder.exists()


def test_an_image_that_cannot_be_made_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mkfs.none").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "mkfs.none").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(made))
    with pytest.raises(subprocess.CalledProcessError), images.mounted_image("none"):
        pass
    assert not made.exists()


@pytest.mark.parametrize(
    "only", ["collectonly", "help", "markers", "showfixtures", "show_fixtures_per_test", ""]
)
def test_what_tells_of_pytest_starts_nothing(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, only: str
) -> None:
    """The lab's machines and five servers would be up for `pytest --help`."""
    path = Path(__file__).parents[1] / "conftest.py"
    conftest = pytestconfig.pluginmanager.get_plugin(str(path))
    assert conftest is not None
    started = []
    monkeypatch.setattr(conftest, "start_guests", started.append)
    monkeypatch.setattr(conftest, "start_lanes", lambda config, _: started.append(config))
    option = SimpleNamespace(**dict.fromkeys(vars(pytestconfig.option), None) | {only: True})
    everything = pytest.Config.ArgsSource.TESTPATHS
    run = SimpleNamespace(option=option, args_source=everything, getoption=lambda _, default: None)
    conftest.pytest_configure(run)
    assert bool(started) is not bool(only)
