"""The machine's SID: made once, kept, and the same at every start where it cannot be."""

import logging
import re
from pathlib import Path

import pytest

from usmbd.mountd import machine_sid as module
from usmbd.mountd.config.load import load
from usmbd.mountd.machine_sid import FILE_NAME, load_machine_sid

FORM = re.compile(r"S-1-5-21-\d+-\d+-\d+\Z")


def test_it_is_made_once(tmp_path: Path) -> None:
    text = f"[global]\nstate directory = {tmp_path}/s\ndata directory = {tmp_path}/deep/data\n"
    configuration = load(tmp_path / "usmbd.conf", text)
    assert configuration.warnings == []
    data = Path(configuration.server.data_directory)
    sid = load_machine_sid(data)
    assert FORM.match(sid)
    assert (data / FILE_NAME).read_text() == sid + "\n"
    assert (data / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert load_machine_sid(data) == sid
    assert load_machine_sid(tmp_path / "other") != sid


@pytest.mark.parametrize(
    "text", ["S-1-5-32-544", "", "S-1-5-21-1-2-4294967296", "S-1-5-21-1-2-3-4"]
)
def test_a_file_that_says_something_else(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with caplog.at_level(logging.ERROR):
        sid = load_machine_sid(tmp_path)
    assert FORM.match(sid)
    assert (tmp_path / FILE_NAME).read_text() == text
    assert "machine's SID" in caplog.text


def test_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    identity = tmp_path / "machine-id"
    identity.write_text("0123\n")
    monkeypatch.setattr(module, "_MACHINE_ID", identity)
    sid = load_machine_sid(tmp_path / "file")
    assert FORM.match(sid)
    assert load_machine_sid(tmp_path / "file") == sid
    identity.write_text("4567\n")
    assert load_machine_sid(tmp_path / "file") != sid
    identity.unlink()
    assert FORM.match(load_machine_sid(tmp_path / "file"))
