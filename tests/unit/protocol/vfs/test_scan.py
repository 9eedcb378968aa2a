"""What a listing shows to whom, and where paths may lead."""

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smbengine.server import in_a_thread_of_its_own

from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.vfs.volume import Volume, VolumeOptions
from usmbd.protocol.wire.status import NtStatus, SmbError

ALICE = Identity(31001, 31001, (31001, 31005))
BOB = Identity(31002, 31002)
MS_BIND = 4096

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.own_thread,
]


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("share")
    root.chmod(0o755)
    for name, mode in (("public", 0o644), ("group", 0o640), ("private", 0o600), ("blind", 0o222)):
        (root / name).write_bytes(b"data")
        (root / name).chmod(mode)
    os.chown(root / "group", 0, 31005)
    (root / "own").write_bytes(b"data")
    os.chown(root / "own", BOB.uid, BOB.gid)
    (root / "own").chmod(0o400)
    for name, mode in (("open", 0o755), ("listed", 0o744), ("entered", 0o711), ("closed", 0o700)):
        (root / name).mkdir()
        (root / name).chmod(mode)
    os.mkfifo(root / "fifo", 0o600)
    (root / "to-public").symlink_to("public")
    (root / "to-private").symlink_to("private")
    (root / "to-closed").symlink_to("closed")
    (root / "to-fifo").symlink_to("fifo")
    return root


def listing(volume: Volume, identity: Identity | None, path: str = "") -> set[str]:
    become(identity)
    try:
        with volume.lookup(path) as node:
            return {name for name, *_ in node.scan()}
    finally:
        become(None)


@in_a_thread_of_its_own
def test_what_may_not_be_read_is_hidden(root: Path) -> None:
    volume = Volume(str(root), VolumeOptions(hide_unreadable=True))
    everybody = {".", "..", "public", "open", "to-public"}
    assert listing(volume, ALICE) == everybody | {"group"}
    assert listing(volume, BOB) == everybody | {"own"}
    assert listing(volume, None) == {".", "..", *os.listdir(root)}


@pytest.mark.parametrize("hides", [True, False])
@in_a_thread_of_its_own
def test_numbers_tell_nothing_of_what_is_hidden(root: Path, hides: bool) -> None:
    """And one goes on behind any of them."""
    volume = Volume(str(root), VolumeOptions(hide_unreadable=hides))
    become(ALICE)
    with volume.lookup("") as node:
        listed = [(name, number) for name, _, _, number in node.scan()]
        assert [number for _, number in listed] == list(range(1, len(listed) + 1))
        found = [entry for entry in node.scan(skip=3) if entry is not None]
        assert [(name, number) for name, _, _, number in found] == listed[3:]


@in_a_thread_of_its_own
def test_nothing_is_hidden_unasked(root: Path) -> None:
    assert listing(Volume(str(root)), ALICE) == {".", "..", *os.listdir(root)}


@in_a_thread_of_its_own
def test_the_dots_stay_where_the_parent_may_not_be_read(root: Path) -> None:
    (root / "entered" / "inner").mkdir()
    (root / "entered" / "inner" / "secret").touch(0o600)
    volume = Volume(str(root), VolumeOptions(hide_unreadable=True))
    assert listing(volume, ALICE, "entered/inner") == {".", ".."}


@in_a_thread_of_its_own
def test_a_hidden_file_keeps_its_directory_from_being_removed(root: Path) -> None:
    (root / "open").chmod(0o777)
    (root / "open" / "secret").touch(0o600)
    root.chmod(0o777)
    volume = Volume(str(root), VolumeOptions(hide_unreadable=True))
    become(ALICE)
    with volume.lookup("open") as node, pytest.raises(SmbError) as caught:
        directory_entry.unlink(node)
    assert caught.value.status is NtStatus.DIRECTORY_NOT_EMPTY


@pytest.fixture
def bind(root: Path) -> Iterator[Callable[[str, str], None]]:
    """Return how to mount one directory of the share over another until the test ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    mounted: list[bytes] = []

    def mount(source: str, target: str) -> None:
        where = os.fsencode(root / target)
        if libc.mount(os.fsencode(root / source), where, None, MS_BIND, None):
            pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")
        mounted.append(where)

    yield mount
    for where in mounted:
        libc.umount2(where, 2)  # MNT_DETACH


@pytest.mark.parametrize("follow", [False, True])
@in_a_thread_of_its_own
def test_mounts_are_entered_only_where_the_share_says_so(
    root: Path, bind: Callable[[str, str], None], follow: bool
) -> None:
    (root / "open" / "file").touch()
    (root / "to-mount").symlink_to(root / "entered")  # absolute, so looked up by hand
    bind("open", "entered")
    crossing = Volume(str(root), VolumeOptions(follow_symlinks=follow))
    staying = Volume(str(root), VolumeOptions(follow_symlinks=follow, cross_mounts=False))
    crossing.lookup("entered/file").close()
    staying.lookup("open/file").close()
    for path in ("entered", "entered/file", "ENTERED/FILE", "to-mount", "to-mount/file"):
        with pytest.raises(SmbError) as caught:
            staying.lookup(path)
        assert caught.value.status is NtStatus.ACCESS_DENIED, path
    for create in (staying.create_file, staying.create_directory):
        with pytest.raises(SmbError) as caught:
            create("entered/new")
        assert caught.value.status is NtStatus.ACCESS_DENIED
    with staying.lookup("public") as node, pytest.raises(SmbError):
        directory_entry.rename(node, "entered/public", False)
    # The root is the share's own, whatever is mounted there.
    Volume(str(root / "entered"), VolumeOptions(cross_mounts=False)).lookup("file").close()
