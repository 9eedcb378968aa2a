"""A state directory on a file system that may hang is warned of."""

from pathlib import Path

import pytest

from usmbd.protocol.supervisor import state_place
from usmbd.protocol.vfs.file_systems import LOCAL


def test_a_place_that_may_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state_place.look(tmp_path)
    state_place.look(tmp_path / "none")
    assert not caplog.records
    monkeypatch.setattr(state_place, "REMOTE", LOCAL)  # what the tests run on
    state_place.look(tmp_path)
    (record,) = caplog.records
    assert f"the state directory {tmp_path} is on a file system of a network" in record.message
