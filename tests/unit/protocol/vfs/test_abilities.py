"""What a volume finds out of its file system: by trying, without leaving anything."""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from smbengine.server import in_a_thread_of_its_own

from usmbd.protocol.vfs import abilities, base, kernel
from usmbd.protocol.vfs.abilities import Abilities, find_abilities
from usmbd.protocol.vfs.identity import NOBODY, become, current_uid
from usmbd.protocol.vfs.volume import Volume, VolumeOptions


@pytest.fixture
def root(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)


def refuse(number: int) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


def test_nothing_is_left(root: int, tmp_path: Path) -> None:
    before = tmp_path.stat().st_mtime_ns
    found = find_abilities(root, True)
    assert found is not None
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == before


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@in_a_thread_of_its_own
def test_whoever_asks(root: int, tmp_path: Path) -> None:
    """The folder is root's; a user who may not write there asks."""
    tmp_path.chmod(0o755)
    as_root = find_abilities(root, True)
    become(NOBODY)
    assert as_root is not None
    assert find_abilities(root, True) == as_root
    assert current_uid() == NOBODY.uid


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_holes(
    root: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    assert find_abilities(root, True).holes  # type: ignore[union-attr]
    assert not find_abilities(root, False).holes  # type: ignore[union-attr]
    monkeypatch.setattr(kernel, "fallocate", refuse(number))
    assert not find_abilities(root, True).holes  # type: ignore[union-attr]


def test_a_file_system_without_attributes(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setxattr", refuse(errno.EOPNOTSUPP))
    assert not find_abilities(root, True).holes  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL])
def test_a_file_system_without_clones(
    root: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(abilities, "clone", lambda *args: None)
    assert find_abilities(root, True) == Abilities(holes=True, clones=True)
    monkeypatch.setattr(abilities, "clone", refuse(number))
    assert find_abilities(root, True) == Abilities(holes=True, clones=False)


def test_a_disk_that_is_full_says_nothing(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for of, name in ((kernel, "fallocate"), (abilities, "clone"), (abilities, "try_compression")):
        with monkeypatch.context() as full:
            full.setattr(of, name, refuse(errno.ENOSPC))
            assert find_abilities(root, True) is None, name


@pytest.mark.parametrize("call", ["open", "pwrite", "setxattr"])
def test_what_cannot_be_tried_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A full disk says nothing of what it can; meanwhile holes are taken for possible."""
    volume = Volume(str(tmp_path))
    with monkeypatch.context() as full:
        full.setattr(os, call, refuse(errno.ENOSPC))
        full.setattr(abilities, "clone", lambda *args: None)
        assert find_abilities(volume.resolver.root, True) is None
        assert volume.abilities() == Abilities(holes=True, clones=False)
    monkeypatch.setattr(abilities, "clone", lambda *args: None)
    assert volume.abilities() == Abilities(holes=True, clones=True)
    monkeypatch.setattr(abilities, "clone", refuse(errno.EOPNOTSUPP))
    assert volume.abilities() == Abilities(holes=True, clones=True)


def test_a_share_that_keeps_no_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Volume(str(tmp_path), VolumeOptions(store_dos_attributes=False))
    assert not volume.abilities().holes
    monkeypatch.setattr(os, "open", refuse(errno.EROFS))
    assert not volume.abilities().holes


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MiB below the share."""
    inner = tmp_path / "inner"
    inner.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(inner), b"tmpfs", 0, b"size=1m"):
        pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    yield inner
    libc.umount2(os.fsencode(inner), 2)  # MNT_DETACH


def test_a_file_system_below_the_share_is_tried_by_itself(
    nested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its directories and its files; once, and again when it could not be."""
    tried: list[int] = []

    def compresses(fd: int) -> bool:
        tried.append(os.fstat(fd).st_dev)
        return os.fstat(fd).st_dev == nested.stat().st_dev

    monkeypatch.setattr(abilities, "try_compression", compresses)
    (nested / "folder").mkdir()
    (nested / "folder/file").touch()
    (nested.parent / "file").touch()
    volume = Volume(str(nested.parent))
    assert not volume.abilities().compresses
    with volume.lookup("file") as node:
        assert not volume.abilities(node).compresses
    with volume.lookup("inner/folder/file") as node:
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", refuse(errno.ENOSPC))
            assert not volume.abilities(node).compresses
        assert volume.abilities(node).compresses
        assert volume.fs_info(node).total * volume.fs_info(node).block_size == 1 << 20
    assert volume.fs_info().total * volume.fs_info().block_size > 1 << 20
    with volume.lookup("inner") as node:
        assert volume.abilities(node).compresses
    assert len(tried) == 2
    volume = Volume(str(nested.parent))
    with volume.lookup("inner/folder") as node:
        assert volume.abilities(node).compresses
    assert not volume.abilities().compresses
    monkeypatch.setattr(base, "FILE_SYSTEMS_MAX", 1)
    with volume.lookup("inner") as node:
        volume.abilities(node)
    assert len(tried) == 4


def test_a_file_that_is_mounted_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be tried beside it: what most file systems can is told."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(abilities, "try_compression", lambda fd: True)
    volume = Volume(str(tmp_path))
    with volume.lookup("file") as node:
        assert volume.abilities(node).compresses
        node.inode = (99, *node.inode[1:])
        assert volume.abilities(node) == Abilities()
