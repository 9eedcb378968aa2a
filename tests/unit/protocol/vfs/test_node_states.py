"""Nodes at their bounds: rights and modes, what is open for what, what file systems lack."""

import errno
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from failing import failing

from usmbd.protocol.vfs import dos_attributes, kernel
from usmbd.protocol.vfs.emptiness import is_empty
from usmbd.protocol.vfs.extents import copy, zero
from usmbd.protocol.vfs.kept_times import keep_access_time
from usmbd.protocol.vfs.node import OFFSET_MAX, Node
from usmbd.protocol.vfs.volume import Volume, VolumeOptions
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_SPARSE_FILE,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

# -- what it is ------------------------------------------------------------------------------


def test_a_name_is_the_last_part_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    volume = Volume(str(tmp_path))
    for path, name in (("a/b/file", "file"), ("a/b", "b"), ("a", "a"), ("", "")):
        with volume.lookup(path) as node:
            assert node.name == name
            assert node.is_directory == (name != "file")
            assert node.is_regular == (name == "file")
            assert node.has_xattrs


def test_a_special_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
    for name in ("pipe", "sock"):
        with Volume(str(tmp_path)).lookup(name) as node:
            assert (node.is_directory, node.is_regular, node.has_xattrs) == (False, False, False)
            with pytest.raises(SmbError) as caught:
                node.open_data(read=True, write=False)
            assert caught.value.status is NtStatus.ACCESS_DENIED
            node.write_dos_attributes(FILE_ATTRIBUTE_HIDDEN, 0)  # there is no place for them
            node.flush()


@pytest.mark.parametrize(
    ("read", "write", "flags", "readable"),
    [
        (True, False, os.O_RDONLY, True),
        (False, True, os.O_WRONLY, False),
        (True, True, os.O_RDWR, True),
        (False, False, os.O_RDONLY, True),
    ],
)
def test_a_file_is_opened_for_what_is_asked(
    node: Node, read: bool, write: bool, flags: int, readable: bool
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    node.open_data(read=read, write=write)
    assert fcntl.fcntl(node.fd, fcntl.F_GETFL) & os.O_ACCMODE == flags
    assert not os.get_inheritable(node.fd)
    assert (node.readable, node.writable) == (readable, write)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory_is_opened_for_listing_whatever_is_asked(tmp_path: Path) -> None:
    with Volume(str(tmp_path)).lookup("") as node:
        node.open_data(read=False, write=True)
        assert (node.readable, node.writable) == (True, False)


def test_a_node_that_cannot_be_looked_at_leaves_no_descriptor(
    volume: Volume, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = os.open(path, os.O_PATH)
    monkeypatch.setattr(kernel, "statx_fd", failing(errno.ESTALE))
    with pytest.raises(OSError, match="Stale"):
        Node(volume, fd, "file", False, False)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_it_is_closed_once(node: Node) -> None:
    fd = node.fd
    node.close()
    other = os.dup(0)  # somebody else gets the number
    try:
        node.close()
        os.fstat(other)
    finally:
        os.close(other)
    assert node.fd == -1
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(max(fd, other))


def test_empty_is_without_anything_even_hidden(tmp_path: Path) -> None:
    with Volume(str(tmp_path)).lookup("") as node:
        assert is_empty(node)
        (tmp_path / ".hidden").touch()
        assert not is_empty(node)


# -- DOS attributes --------------------------------------------------------------------------


def test_attributes_without_a_store_are_the_mode(path: Path) -> None:
    options = VolumeOptions(store_dos_attributes=False, create_mask=0o664)
    with Volume(str(path.parent), options).lookup("file") as node:
        for before, attributes, after in (
            (0o664, FILE_ATTRIBUTE_READONLY, 0o444),
            (0o444, FILE_ATTRIBUTE_READONLY, 0o444),
            (0o444, FILE_ATTRIBUTE_ARCHIVE, 0o664),
            (0o644, FILE_ATTRIBUTE_ARCHIVE, 0o644),
            (0o466, FILE_ATTRIBUTE_READONLY, 0o466),  # its owner cannot write it as it is
        ):
            path.chmod(before)
            node.set_attributes(attributes)
            assert path.stat().st_mode & 0o777 == after
        assert "user.DOSATTRIB" not in os.listxattr(path)
        moment = 132_000_000_000_000_000
        node.set_times(creation=moment)
        assert node.stat().creation_time != moment


def test_a_directory_s_mode_is_no_attribute(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o755)
    options = VolumeOptions(store_dos_attributes=False)
    with Volume(str(tmp_path), options).lookup("folder") as node:
        node.set_attributes(FILE_ATTRIBUTE_READONLY)
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755


def test_only_what_a_client_can_set_is_stored(node: Node, path: Path) -> None:
    node.set_attributes(0xFFFFFFFF)
    blob = os.getxattr(path, "user.DOSATTRIB")
    attributes, creation = dos_attributes.parse(blob)
    assert attributes == dos_attributes.STORED & ~dos_attributes.BY_FSCTL
    assert creation == node.stat().creation_time
    node.set_sparse(True)
    node.set_attributes(FILE_ATTRIBUTE_HIDDEN)
    attributes, again = dos_attributes.parse(os.getxattr(path, "user.DOSATTRIB"))
    assert attributes == FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SPARSE_FILE
    assert again == creation
    node.set_sparse(False)
    attributes, _ = dos_attributes.parse(os.getxattr(path, "user.DOSATTRIB"))
    assert attributes == FILE_ATTRIBUTE_HIDDEN


def test_a_directory_stays_one(tmp_path: Path) -> None:
    with Volume(str(tmp_path)).lookup("") as node:
        node.set_attributes(FILE_ATTRIBUTE_HIDDEN)
        blob = os.getxattr(tmp_path, "user.DOSATTRIB")
        wanted = FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_DIRECTORY
        assert blob == dos_attributes.pack(wanted, node.stat().creation_time)


def test_attributes_where_none_can_be_kept(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setxattr", failing(errno.ENOTSUP))
    node.set_attributes(FILE_ATTRIBUTE_HIDDEN)
    monkeypatch.setattr(os, "setxattr", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        node.set_attributes(FILE_ATTRIBUTE_HIDDEN)


def test_attributes_that_the_user_may_not_read_are_shown(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.set_attributes(FILE_ATTRIBUTE_HIDDEN)
    real, refused = os.getxattr, [errno.EACCES]

    def get(*arguments: Any) -> bytes:
        if refused:
            number = refused.pop()
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    monkeypatch.setattr(os, "getxattr", get)
    assert node.stat().attributes == FILE_ATTRIBUTE_HIDDEN
    refused.append(errno.EIO)
    assert node.stat().attributes & FILE_ATTRIBUTE_HIDDEN == 0
    refused += [errno.EIO, errno.EACCES]
    assert node.stat().attributes & FILE_ATTRIBUTE_HIDDEN == 0


def test_a_read_only_share_changes_nothing(path: Path) -> None:
    with Volume(str(path.parent), VolumeOptions(read_only=True)).lookup("file") as node:
        changes: list[Callable[[], object]] = [
            lambda: node.set_attributes(FILE_ATTRIBUTE_HIDDEN),
            lambda: node.set_sparse(True),
            lambda: node.set_mode(0o600),
            lambda: node.set_owner(-1, -1),
            lambda: node.set_times(write=1),
            lambda: node.truncate(0),
            lambda: node.allocate(0),
            lambda: zero(node, 0, 4),
            lambda: copy(node, 0, node, 4, 4),
        ]
        for change in changes:
            with pytest.raises(SmbError) as caught:
                change()
            assert caught.value.status is NtStatus.ACCESS_DENIED
    assert path.read_bytes() == b"data"


def test_modes_are_twelve_bits(node: Node, path: Path) -> None:
    node.set_mode(0o107644)
    assert path.stat().st_mode == 0o107644


# -- data ------------------------------------------------------------------------------------


def test_no_byte_lies_beyond_the_last_offset(writable: Node) -> None:
    buffer = [bytearray(4)]
    assert OFFSET_MAX == 2**63 - 1
    for read in (writable.read_into, writable.read_nowait_into):
        assert read(buffer, OFFSET_MAX + 1) == 0
    for offset in (OFFSET_MAX, OFFSET_MAX - 3, 2**64 - 1):
        with pytest.raises(OSError, match="large") as caught:
            writable.write(b"1234", offset)
        assert caught.value.errno == errno.EFBIG
    with pytest.raises(OSError, match="large"):
        writable.truncate(OFFSET_MAX + 1)
    with pytest.raises(OSError, match="No space"):
        writable.allocate(OFFSET_MAX + 1)


def test_a_file_system_without_nowait_is_asked_once(
    writable: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert writable.nowait
    monkeypatch.setattr(os, "preadv", failing(errno.ENOTSUP))
    with pytest.raises(BlockingIOError):
        writable.read_nowait_into([bytearray(1)], 0)
    assert not writable.nowait
    monkeypatch.setattr(os, "preadv", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        writable.read_nowait_into([bytearray(1)], 0)


def test_a_disk_that_takes_a_part_is_asked_for_the_rest(
    writable: Node, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.pwrite, []

    def some(fd: int, data: Any, offset: int) -> int:
        calls.append((bytes(data), offset))
        if full and len(calls) > 1:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, bytes(data)[:3], offset)

    full = False
    monkeypatch.setattr(os, "pwrite", some)
    assert writable.write(b"abcdefgh", 2) == 8
    assert calls == [(b"abcdefgh", 2), (b"defgh", 5), (b"gh", 8)]
    assert path.read_bytes() == b"daabcdefgh"
    calls.clear()
    full = True
    assert writable.write(b"12345", 0) == 3, "what was written is told"


def test_room_that_is_asked_for_is_shown_and_given_back(writable: Node, path: Path) -> None:
    writable.allocate(10_000)
    assert writable.size() == 4
    assert writable.stat().allocation >= 10_000
    assert writable.reserved == 10_000
    block = os.statvfs(path).f_bsize
    assert writable.stat().allocation == -(-10_000 // block) * block
    writable.truncate(2)
    assert writable.reserved == 0
    assert path.read_bytes() == b"da"
    writable.allocate(1)
    assert path.read_bytes() == b"d"


def test_a_file_system_that_cannot_reserve(writable: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "fallocate", failing(errno.ENOTSUP))
    writable.allocate(1 << 20)
    assert writable.reserved == 0
    monkeypatch.setattr(kernel, "fallocate", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        writable.allocate(1 << 20)


def test_more_room_than_there_is_is_not_asked_for(
    writable: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(kernel, "fallocate", lambda *arguments: asked.append(arguments[3]))
    for allocation in (1 << 60, 1 << 63):
        with pytest.raises(OSError, match="No space"):
            writable.allocate(allocation)
    assert asked == []
    none = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))  # tmpfs without a limit
    monkeypatch.setattr(os, "statvfs", lambda _: none)
    writable.allocate(1 << 20)
    assert asked == [1 << 20]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_refused_room_is_given_back(
    writable: Node, path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As ext4, which keeps what it had before it came to the quota or to the end of the disk."""
    real, limit = kernel.fallocate, 1 << 20

    def until_full(fd: int, mode: int, offset: int, length: int) -> None:
        real(fd, mode, offset, min(length, limit))
        if length > limit:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(kernel, "fallocate", until_full)
    for reserved in (0, 1 << 17):
        writable.allocate(reserved or 4)
        before = path.stat().st_blocks
        os.utime(path, (1, 2))
        with pytest.raises(OSError, match=r"No space|quota"):
            writable.allocate(2 * limit, lambda: True)
        assert path.stat().st_blocks == before
        assert writable.reserved == reserved
        assert (path.stat().st_atime, path.stat().st_mtime) == (1, 2)
    assert path.read_bytes() == b"data"


def test_refused_room_stays_where_others_may_append(
    writable: Node, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = Node.size

    def late(node: Node) -> int:
        found = size(node)
        with path.open("ab") as file:
            file.write(b" of another")
        return found

    def full(*_: int) -> None:
        with path.open("ab") as file:
            file.write(b" and more")
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(Node, "size", late)
    monkeypatch.setattr(kernel, "fallocate", full)
    for alone in (None, lambda: False):
        with pytest.raises(OSError, match="quota"):
            writable.allocate(1 << 20, alone)
    assert path.read_bytes() == b"data" + 2 * b" and more"


def test_what_is_not_open_for_writing_reserves_nothing(
    node: Node, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "fallocate", failing(errno.EBADF))
    node.allocate(1 << 20)
    node.truncate(2)
    assert path.read_bytes() == b"da"


def test_an_access_time_that_is_kept(writable: Node) -> None:
    def flags() -> int:
        return fcntl.fcntl(writable.fd, fcntl.F_GETFL) & os.O_NOATIME

    keep_access_time(writable, True)
    assert flags()
    keep_access_time(writable, True)
    assert flags()
    keep_access_time(writable, False)
    assert not flags()


def test_an_access_time_of_what_is_not_read(node: Node) -> None:
    keep_access_time(node, True)  # an O_PATH descriptor has no such flag


def test_a_flush_of_what_is_not_open_for_data(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    before = len(os.listdir("/proc/self/fd"))
    node.flush()
    assert len(synced) == 1
    assert synced[0] != node.fd
    assert len(os.listdir("/proc/self/fd")) == before
    node.open_data(read=False, write=True)
    node.flush()
    assert synced[1:] == [node.fd]


def test_a_read_only_file_system(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not node.on_read_only_file_system()
    real = os.statvfs(kernel.fd_path(node.fd))
    fields = list(real)
    fields[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(fields))
    assert node.on_read_only_file_system()
