"""Previous versions by clients: smbclient's `allinfo` and `@GMT-` paths, impacket's list."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from impacket.smbconnection import SMBConnection
from smbtest.samba_tools import smbclient
from smbtest.server import ALICE, HOST, Options, Server, storage

YESTERDAY, LAST_YEAR = "@GMT-2026.11.28-03.00.00", "@GMT-2025.11.28-23.59.59"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a share and two snapshots of it, as `cp -a` could."""
    folder = storage()
    try:
        for root, text in (
            (folder, "today"),
            (folder / "snapshots" / YESTERDAY, "yesterday"),
            (folder / "snapshots" / LAST_YEAR, "last year"),
        ):
            (root / "share/inner").mkdir(parents=True)
            (root / "share/file").write_text(text)
        (folder / "snapshots" / YESTERDAY / "share/inner/gone").write_text("gone since")
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def old(folder: Path, start_server: Callable[[Options | None], Server]) -> Server:
    """Serve it, in the spelling of both servers."""
    share = {
        "path": str(folder / "share"),
        "read only": "no",
        "vfs objects": "shadow_copy2",
        "shadow:mountpoint": str(folder),
        "shadow:snapdir": "snapshots",
        "shadow:sort": "desc",
    }
    return start_server(Options(shares={"old": share}))


def test_allinfo(old: Server) -> None:
    said = smbclient(old, ["allinfo file"], share="old")
    assert said.index(YESTERDAY) < said.index(LAST_YEAR)
    assert said.count("@GMT-") == 2


@pytest.mark.parametrize("dialect", ["SMB2_02", "SMB3_11"])
def test_files_of_another_day(old: Server, tmp_path: Path, dialect: str) -> None:
    """They are read, and what has gone is found where it was."""
    for name, text in (
        ("file", "today"),
        (f"{YESTERDAY}/file", "yesterday"),
        (f"{LAST_YEAR}/file", "last year"),
        (f"{YESTERDAY}/inner/gone", "gone since"),
    ):
        smbclient(old, [f"get {name} {tmp_path}/got"], share="old", dialect=dialect)
        assert (tmp_path / "got").read_text() == text
    listed = smbclient(old, [f"ls {YESTERDAY}/inner/*"], share="old", dialect=dialect)
    assert "gone" in listed


@pytest.mark.parametrize("command", ["rm", "rmdir", "mkdir"])
def test_nothing_changes(old: Server, folder: Path, command: str) -> None:
    name = {"rm": "file", "rmdir": "inner", "mkdir": "new"}[command]
    said = smbclient(old, [f"{command} {YESTERDAY}/{name}"], share="old", ok=False)
    assert "NT_STATUS" in said
    kept = folder / "snapshots" / YESTERDAY / "share"
    assert sorted(path.name for path in kept.iterdir()) == ["file", "inner"]


def test_impacket(old: Server) -> None:
    connection = SMBConnection(HOST, HOST, sess_port=old.port, timeout=20)
    connection.login(*ALICE)
    try:
        found = connection.listSnapshots(connection.connectTree("old"), "file")
        assert found == [YESTERDAY, LAST_YEAR]
    finally:
        connection.close()
