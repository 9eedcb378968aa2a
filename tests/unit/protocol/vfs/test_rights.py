"""Which access POSIX permissions give: Samba's map, asked of the kernel for one user."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from usmbd.protocol.vfs import kernel as system
from usmbd.protocol.vfs import rights
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.vfs.rights import (
    CHANGES,
    maximal_access,
    may_delete,
    may_remove_from,
    own_rights,
)
from usmbd.protocol.vfs.volume import Volume, VolumeOptions
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_DELETE_CHILD,
    FILE_EXECUTE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_READ_EA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    FILE_WRITE_EA,
    READ_CONTROL,
    SYNCHRONIZE,
    WRITE_DAC,
    WRITE_OWNER,
)

OWNER, OTHER = 1000, 2000
ALWAYS = FILE_READ_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE
READ = FILE_READ_DATA | FILE_READ_EA
WRITE = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_EA | FILE_WRITE_ATTRIBUTES
OWN = FILE_WRITE_ATTRIBUTES | WRITE_DAC | WRITE_OWNER


class Kernel:
    """Grants a mode, and counts how often it is asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        """Grant nothing to nobody in particular."""
        self.granted = 0
        self.uid = OTHER
        self.asked: list[int] = []
        patch.setattr(rights, "current_uid", lambda: self.uid)
        patch.setattr(rights.kernel, "access", self._access)

    def _access(self, _fd: int, mode: int) -> bool:
        self.asked.append(mode)
        return not mode & ~self.granted

    def rights(
        self, granted: int, *, uid: int = OTHER, directory: bool = False, **more: int
    ) -> int:
        """Return the rights of a user whom the kernel grants a mode."""
        self.granted, self.uid = granted, uid
        self.asked.clear()
        return own_rights(-1, OWNER, is_directory=directory, **more)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


MODES = {
    0: 0,
    os.R_OK: READ,
    os.W_OK: WRITE,
    os.X_OK: FILE_EXECUTE,
    os.R_OK | os.W_OK: READ | WRITE,
    os.R_OK | os.X_OK: READ | FILE_EXECUTE,
    os.W_OK | os.X_OK: WRITE | FILE_EXECUTE,
    os.R_OK | os.W_OK | os.X_OK: READ | WRITE | FILE_EXECUTE,
}


@pytest.mark.parametrize("mode", MODES)
def test_a_file_of_another(kernel: Kernel, mode: int) -> None:
    assert kernel.rights(mode) == ALWAYS | MODES[mode]


@pytest.mark.parametrize("mode", MODES)
def test_a_directory_of_another(kernel: Kernel, mode: int) -> None:
    """Who may write and search it may delete what is in it."""
    child = FILE_DELETE_CHILD if mode & os.W_OK and mode & os.X_OK else 0
    assert kernel.rights(mode, directory=True) == ALWAYS | MODES[mode] | child


@pytest.mark.parametrize("mode", MODES)
def test_a_file_of_his_own(kernel: Kernel, mode: int) -> None:
    """Its owner has full access, but DELETE, when he may read and write it."""
    granted = kernel.rights(mode, uid=OWNER)
    if mode & os.R_OK and mode & os.W_OK:
        assert granted == FILE_ALL_ACCESS & ~DELETE
    else:
        assert granted == ALWAYS | MODES[mode] | OWN


@pytest.mark.parametrize("mode", MODES)
def test_a_directory_of_his_own(kernel: Kernel, mode: int) -> None:
    child = FILE_DELETE_CHILD if mode & os.W_OK and mode & os.X_OK else 0
    assert kernel.rights(mode, uid=OWNER, directory=True) == ALWAYS | MODES[mode] | OWN | child


def test_root_has_all_but_delete(kernel: Kernel) -> None:
    assert kernel.rights(0, uid=0) == FILE_ALL_ACCESS & ~DELETE
    assert kernel.asked == []


@pytest.mark.parametrize(
    ("wanted", "mode"),
    [
        (FILE_READ_DATA, os.R_OK),
        (FILE_READ_EA | FILE_READ_ATTRIBUTES, os.R_OK),
        (FILE_WRITE_DATA, os.W_OK),
        (FILE_APPEND_DATA | DELETE, os.W_OK),
        (FILE_READ_DATA | FILE_WRITE_DATA, os.R_OK | os.W_OK),
        (FILE_WRITE_ATTRIBUTES, os.W_OK),
    ],
)
def test_what_clients_mostly_ask_takes_one_question(kernel: Kernel, wanted: int, mode: int) -> None:
    granted = kernel.rights(mode, wanted=wanted)
    assert kernel.asked == [mode]
    assert wanted & ~granted & ~DELETE == 0
    assert granted & ~wanted & ~ALWAYS == 0, "no right that was not asked for is made up"
    refused = kernel.rights(0, wanted=wanted)
    assert refused == ALWAYS


@pytest.mark.parametrize("wanted", [0, FILE_READ_ATTRIBUTES, READ_CONTROL | SYNCHRONIZE, DELETE])
def test_what_everybody_has_takes_none(kernel: Kernel, wanted: int) -> None:
    assert kernel.rights(7, wanted=wanted) == ALWAYS
    assert kernel.asked == []
    assert kernel.rights(0, uid=OWNER, wanted=wanted | WRITE_DAC) == ALWAYS | OWN
    assert kernel.asked == []


def test_execute_is_asked_for_by_itself(kernel: Kernel) -> None:
    assert kernel.rights(os.X_OK, wanted=FILE_EXECUTE) == ALWAYS | FILE_EXECUTE
    assert kernel.rights(os.R_OK, wanted=FILE_EXECUTE) == ALWAYS | READ
    assert kernel.rights(os.R_OK, wanted=FILE_READ_DATA | WRITE_DAC) == ALWAYS | READ
    assert kernel.rights(os.R_OK, wanted=FILE_READ_DATA | FILE_WRITE_DATA) == ALWAYS | READ


# -- removal ---------------------------------------------------------------------------------

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts for several users")


def as_user(uid: int, call: Callable[[], object]) -> object:
    """Make a call as a user; the thread is the test's own."""
    become(Identity(uid, uid, ()))
    try:
        return call()
    finally:
        become(None)


@needs_root
@pytest.mark.own_thread
@pytest.mark.parametrize(
    ("mode", "removes"),
    [
        (0o755, {0, OWNER}),
        (0o777, {0, OWNER, OTHER, 3000}),
        (0o766, {0, OWNER}),
        (0o555, {0}),
        (0o1777, {0, OWNER, OTHER}),  # sticky: the directory's owner, and the file's
    ],
)
def test_who_may_remove_from_a_directory(tmp_path: Path, mode: int, removes: set[int]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, OWNER, OWNER)
    folder.chmod(mode)
    fd = os.open(folder, os.O_PATH)
    try:
        found = {
            uid
            for uid in (0, OWNER, OTHER, 3000)
            if as_user(uid, lambda: may_remove_from(fd, OTHER))
        }
    finally:
        os.close(fd)
    assert found == removes


@needs_root
@pytest.mark.own_thread
def test_nobody_removes_from_a_directory_that_only_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`chattr +a`: STATX_ATTR_APPEND of statx(2)."""
    tmp_path.chmod(0o777)
    real = system.statx_fd

    def statx_fd(fd: int) -> system.StatxTuple:
        mask, _, *rest = real(fd)
        return mask, 0x20, *rest  # type: ignore[return-value]

    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert as_user(OTHER, lambda: may_remove_from(fd, OTHER)) is True
        monkeypatch.setattr(system, "statx_fd", statx_fd)
        assert as_user(OTHER, lambda: may_remove_from(fd, OTHER)) is False
    finally:
        os.close(fd)


@needs_root
@pytest.mark.own_thread
def test_delete_comes_with_the_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "file").touch()
    (folder / "file").chmod(0o600)
    volume = Volume(str(tmp_path))
    with volume.lookup("folder/file") as node:
        assert as_user(OTHER, lambda: maximal_access(node)) == ALWAYS | DELETE
        assert as_user(OTHER, lambda: maximal_access(node, FILE_READ_DATA)) == ALWAYS
        assert as_user(OTHER, lambda: may_delete(node, 0)) is True
        folder.chmod(0o755)
        assert as_user(OTHER, lambda: maximal_access(node)) == ALWAYS
        os.chown(folder / "file", OTHER, OTHER)
        granted = as_user(OTHER, lambda: maximal_access(node))
        assert granted == FILE_ALL_ACCESS & ~DELETE
        assert as_user(OTHER, lambda: maximal_access(node, owner=0)) == ALWAYS | READ | WRITE


def test_the_root_of_a_share_cannot_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    volume = Volume(str(tmp_path))
    with volume.lookup("") as root, volume.lookup("file") as node:
        assert not may_delete(root, os.geteuid())
        assert may_delete(node, os.geteuid())
        before = len(os.listdir("/proc/self/fd"))
        may_delete(node, os.geteuid())
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_read_only_share_has_nothing_that_changes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Volume(str(tmp_path), VolumeOptions(read_only=True)).lookup("file") as node:
        assert not may_delete(node, os.geteuid())
        granted = maximal_access(node)
    assert granted & CHANGES == 0
    assert granted & ALWAYS == ALWAYS
    assert granted & READ == READ
    assert CHANGES == WRITE | FILE_DELETE_CHILD | DELETE | WRITE_DAC | WRITE_OWNER
