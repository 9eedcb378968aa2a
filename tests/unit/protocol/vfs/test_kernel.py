"""System calls by ctypes: what they answer, how they fail, and what older kernels get instead."""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.kernel import How


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    number = os.open(path, os.O_PATH)
    yield number
    os.close(number)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield number
    os.close(number)


def fails(number: int, calls: list[Any]) -> Callable[..., int]:
    """Return a system call that fails, and notes its arguments."""

    def call(*arguments: Any) -> int:
        calls.append(arguments)
        kernel.ctypes.set_errno(number)
        return -1

    return call


# -- openat2 ---------------------------------------------------------------------------------


def test_what_is_opened_is_closed_by_an_exec(directory: int, path: Path) -> None:
    found = How(os.O_RDONLY, 0).open(directory, b"file")
    try:
        assert os.read(found, 9) == b"data"
        assert not os.get_inheritable(found)
    finally:
        os.close(found)
    made = How(os.O_CREAT | os.O_WRONLY, 0, 0o600).open(directory, b"new")
    os.close(made)
    assert (path.parent / "new").stat().st_mode & 0o777 == 0o600


def test_a_failure_is_its_number(directory: int, path: Path) -> None:
    assert How(os.O_RDONLY, 0).open(directory, b"missing") == -errno.ENOENT
    (path.parent / "link").symlink_to("file")
    assert How(os.O_RDONLY, kernel.RESOLVE_NO_SYMLINKS).open(directory, b"link") == -errno.ELOOP
    assert How(os.O_RDONLY, kernel.RESOLVE_BENEATH).open(directory, b"../x") == -errno.EXDEV


@pytest.mark.parametrize(
    ("number", "tries"), [(errno.EAGAIN, 64), (errno.EINTR, 64), (errno.ENOENT, 1)]
)
def test_a_look_up_that_renames_disturb_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, number: int, tries: int
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(kernel, "_syscall", fails(number, calls))
    assert How(os.O_RDONLY, 0).open(3, b"x") == -number
    assert len(calls) == tries


def test_descriptor_0_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_syscall", lambda *_: 0)
    assert How(os.O_RDONLY, 0).open(3, b"x") == 0


# -- statx -----------------------------------------------------------------------------------


def test_statx_is_what_stat_says(fd: int, directory: int, path: Path) -> None:
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_700_000_000_987_654_321))
    stat = path.stat()
    for found in (kernel.statx_fd(fd), kernel.statx_at(directory, b"file")):
        (
            mask, attributes, nlink, uid, gid, mode, ino, size, blocks, atime, atime_ns,
            _btime, _btime_ns, ctime, ctime_ns, mtime, mtime_ns, major, minor,
        ) = found  # fmt: skip
        assert mask & 0x7FF == 0x7FF  # STATX_BASIC_STATS
        assert (attributes & kernel.STATX_ATTR_COMPRESSED, nlink, uid, gid) == (
            0, stat.st_nlink, stat.st_uid, stat.st_gid
        )  # fmt: skip
        assert (mode, ino, size, blocks) == (
            stat.st_mode, stat.st_ino, stat.st_size, stat.st_blocks
        )  # fmt: skip
        assert (atime, atime_ns) == (1_600_000_000, 123_456_789)
        assert (mtime, mtime_ns) == (1_700_000_000, 987_654_321)
        assert ctime * 10**9 + ctime_ns == stat.st_ctime_ns
        assert os.makedev(major, minor) == stat.st_dev


def test_a_link_itself_is_looked_at(directory: int, path: Path) -> None:
    (path.parent / "link").symlink_to("file")
    assert kernel.statx_at(directory, b"link")[5] & 0o170000 == 0o120000


def test_what_cannot_be_looked_at(directory: int) -> None:
    for call in (
        lambda: kernel.statx_fd(-1),
        lambda: kernel.statx_at(directory, b"missing"),
        lambda: kernel.directory_identity(-1),
    ):
        with pytest.raises(OSError, match=r"Bad file|No such file"):
            call()


def test_a_directory_is_known_by_device_inode_and_mount(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path.stat()
    device, inode, mount = kernel.directory_identity(directory)
    assert (device, inode) == (stat.st_dev, stat.st_ino)
    entry = next(
        line
        for line in Path(f"/proc/self/fdinfo/{directory}").read_text().splitlines()
        if line.startswith("mnt_id")
    )
    assert mount == int(entry.split()[1])
    real = kernel._statx

    def old(*arguments: Any) -> int:
        result: int = real(*arguments)
        buffer = kernel._buffers.statx
        (mask,) = struct.unpack_from("=I", buffer)
        struct.pack_into("=I", buffer, 0, mask & ~kernel.STATX_MNT_ID)
        return result

    monkeypatch.setattr(kernel, "_statx", old)
    assert kernel.directory_identity(directory) == (device, inode, 0)


# -- attributes ------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["_getxattrat", "_getxattr_by_proc"])
def test_an_attribute_of_an_entry(directory: int, path: Path, call: str) -> None:
    if call == "_getxattrat" and not kernel._has_getxattrat():
        pytest.skip("this kernel has no getxattrat(2)")
    get = getattr(kernel, call)
    assert get(directory, b"file", b"user.x") == -errno.ENODATA
    os.setxattr(path, "user.x", b"value")
    assert get(directory, b"file", b"user.x") == b"value"
    assert get(directory, b"missing", b"user.x") == -errno.ENOENT
    (path.parent / "link").symlink_to("file")
    assert isinstance(get(directory, b"link", b"user.x"), int), "the link has none"


def test_an_error_without_a_number_is_one_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise OSError("nobody knows")

    monkeypatch.setattr(os, "getxattr", fail)
    assert kernel._getxattr_by_proc(3, b"x", b"user.x") == -errno.EIO


@pytest.mark.parametrize(
    ("number", "there"),
    [(errno.ENOSYS, False), (errno.EPERM, False), (errno.ENODATA, True), (errno.ENOTSUP, True)],
)
def test_whether_getxattrat_is_there(
    monkeypatch: pytest.MonkeyPatch, number: int, there: bool
) -> None:
    monkeypatch.setattr(kernel, "_syscall", fails(number, []))
    assert kernel._has_getxattrat() is there


def test_an_attribute_that_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_syscall", lambda *_: 0)
    assert kernel._getxattrat(3, b"x", b"user.x") == b""


# -- access ----------------------------------------------------------------------------------


def test_access_before_linux_5_8(fd: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def access(name: str, mode: int, *, effective_ids: bool) -> bool:
        asked.append((name, mode, effective_ids))
        return True

    monkeypatch.setattr(kernel, "_syscall", fails(errno.ENOSYS, []))
    monkeypatch.setattr(os, "access", access)
    assert kernel.access(fd, os.W_OK)
    assert asked == [(f"/proc/self/fd/{fd}", os.W_OK, True)]
    assert not kernel.access_at(fd, b"x", os.R_OK), "it would be asked for the process"
    monkeypatch.setattr(kernel, "_syscall", fails(errno.EACCES, []))
    assert not kernel.access(fd, os.R_OK)
    assert len(asked) == 1


def test_access_now(fd: int, directory: int) -> None:
    assert kernel.access(fd, os.R_OK)
    assert kernel.access_at(directory, b"file", os.R_OK)
    assert kernel.access_at(directory, b"", os.R_OK)
    assert not kernel.access_at(directory, b"missing", os.F_OK)


# -- times, room, names ----------------------------------------------------------------------


@pytest.mark.parametrize(("access", "write"), [(1, None), (None, 2), (3, 4), (None, None)])
def test_each_time_by_itself(fd: int, path: Path, access: int | None, write: int | None) -> None:
    os.utime(path, ns=(10, 20))
    moment = 1_600_000_000_000_000_000
    kernel.set_times(
        fd, access and moment + access, write and -moment - write
    )  # before 1970 as well
    stat = path.stat()
    assert stat.st_atime_ns == (10 if access is None else moment + access)
    assert stat.st_mtime_ns == (20 if write is None else -moment - write)


def test_times_before_linux_5_8(fd: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = kernel._utimensat, []

    def old(*arguments: Any) -> int:
        calls.append(arguments)
        if arguments[1] == b"":
            kernel.ctypes.set_errno(errno.EINVAL)
            return -1
        return int(real(*arguments))

    monkeypatch.setattr(kernel, "_utimensat", old)
    kernel.set_times(fd, 5, 6)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (5, 6)
    assert len(calls) == 2
    monkeypatch.setattr(kernel, "_utimensat", fails(errno.EINVAL, calls))
    with pytest.raises(OSError, match="Invalid"):
        kernel.set_times(fd, 5, 6)
    calls.clear()
    monkeypatch.setattr(kernel, "_utimensat", fails(errno.EPERM, calls))
    with pytest.raises(PermissionError):
        kernel.set_times(fd, 5, 6)
    assert len(calls) == 1


def test_room(path: Path, fd: int) -> None:
    writable = os.open(path, os.O_RDWR)
    try:
        kernel.fallocate(writable, 0, 0, 5000)
        assert path.stat().st_size == 5000
        kernel.fallocate(writable, kernel.FALLOC_FL_KEEP_SIZE, 0, 1 << 20)
        assert path.stat().st_size == 5000
        assert path.stat().st_blocks * 512 >= 1 << 20
    finally:
        os.close(writable)
    with pytest.raises(OSError, match="Bad file"):
        kernel.fallocate(fd, 0, 0, 1)


def test_a_rename_that_may_replace_or_not(directory: int, path: Path) -> None:
    other = path.parent / "other"
    other.write_bytes(b"other")
    with pytest.raises(FileExistsError) as caught:
        kernel.rename(directory, b"file", directory, b"other", kernel.RENAME_NOREPLACE)
    assert caught.value.filename == b"file"
    kernel.rename(directory, b"file", directory, b"other", 0)
    assert other.read_bytes() == b"data"
    assert not path.exists()


# -- identity --------------------------------------------------------------------------------


@pytest.mark.own_thread
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_thread_is_somebody_else_and_back() -> None:
    before = kernel.thread_identity()
    kernel.set_thread_identity(1001, 1002, (1003, 1004))
    assert kernel.thread_identity() == (1001, 1002)
    status = Path("/proc/thread-self/status").read_text()
    groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
    assert groups.split()[1:] == ["1003", "1004"]
    kernel.set_thread_identity(*before, ())
    assert kernel.thread_identity() == before


@pytest.mark.parametrize(("uid", "gid"), [(0, 1002), (1001, 0)])
def test_a_change_that_fails_in_silence_is_noticed(
    monkeypatch: pytest.MonkeyPatch, uid: int, gid: int
) -> None:
    monkeypatch.setattr(kernel, "_syscall", lambda *_: 0)
    monkeypatch.setattr(kernel, "_setfsuid", lambda _id: uid)
    monkeypatch.setattr(kernel, "_setfsgid", lambda _id: gid)
    with pytest.raises(PermissionError, match="cannot become the user"):
        kernel.set_thread_identity(1001, 1002, ())


def test_groups_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_syscall", fails(errno.EPERM, []))
    with pytest.raises(PermissionError):
        kernel.set_thread_identity(1001, 1002, ())


def test_a_capability_that_cannot_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []

    def capget(_header: Any, data: Any) -> int:
        data.raw = struct.pack("=6I", *[0xFFFFFFFF] * 3, 7, 8, 9)
        return 0

    def capset(_header: Any, data: Any) -> int:
        given.append(data.raw)
        return 0

    monkeypatch.setattr(kernel, "_capget", capget)
    monkeypatch.setattr(kernel, "_capset", capset)
    kernel.drop_capability(kernel.CAP_SYS_RESOURCE)
    without = 0xFFFFFFFF & ~(1 << 24)
    assert given == [struct.pack("=6I", without, without, without, 7, 8, 9)]
    for name in ("_capset", "_capget"):
        monkeypatch.setattr(kernel, name, fails(errno.EPERM, []))
        with pytest.raises(PermissionError):
            kernel.drop_capability(24)
