"""Holes, zeros and copies at their bounds, and where the file system has no call for them."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from failing import failing

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.extents import allocated_ranges, copy, zero
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.steps import finish
from usmbd.protocol.vfs.volume import Volume


@pytest.fixture
def sparse(volume: Volume) -> Iterator[tuple[Node, int]]:
    """Return a sparse file: data, a hole, data, a hole; and the size of each."""
    with volume.create_file("sparse") as node:
        node.set_sparse(True)
        part = 1 << 16
        node.write(b"1" * part, 0)
        node.write(b"2" * part, 2 * part)
        node.truncate(4 * part)
        yield node, part


@pytest.mark.parametrize(
    ("offset", "length", "found"),
    [
        (0, 4, [(0, 1), (2, 1)]),
        (0, 1, [(0, 1)]),
        (1, 1, []),
        (1, 3, [(2, 1)]),
        (2, 9, [(2, 1)]),
        (3, 1, []),
        (4, 1, []),
        (9, 1, []),
        (0, 0, []),
    ],
)
def test_the_parts_that_hold_data(
    sparse: tuple[Node, int], offset: int, length: int, found: list[tuple[int, int]]
) -> None:
    node, part = sparse
    if finish(allocated_ranges(node, part, part, 9)) != []:
        pytest.skip("no holes here")
    ranges = finish(allocated_ranges(node, offset * part, length * part, 9))
    assert ranges == [(start * part, size * part) for start, size in found]


def test_no_more_parts_than_are_asked_for(sparse: tuple[Node, int]) -> None:
    node, part = sparse
    assert finish(allocated_ranges(node, 0, 4 * part, 1)) == [(0, part)]
    assert finish(allocated_ranges(node, 0, 4 * part, 0)) == []


def test_a_file_that_is_not_sparse_is_one_part(writable: Node) -> None:
    for offset, length, found in ((0, 9, [(0, 4)]), (1, 2, [(1, 2)]), (4, 1, []), (0, 0, [])):
        assert finish(allocated_ranges(writable, offset, length, 9)) == found
    assert finish(allocated_ranges(writable, 0, 9, 0)) == []


@pytest.mark.parametrize("by_hand", [False, True])
def test_zeros_take_no_blocks_for_holes(
    writable: Node, path: Path, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    """Holes of a file that is not sparse may be larger than the disk."""
    size = 1 << 32
    writable.truncate(size)
    writable.write(b"x" * 5000, size - 70_000)
    if by_hand:
        monkeypatch.setattr(kernel, "fallocate", failing(errno.EOPNOTSUPP))
    before = path.stat().st_blocks
    zero(writable, 2, size)
    assert path.stat().st_blocks <= before + 16
    assert writable.size() == size
    with path.open("rb") as file:
        assert file.read(6) == b"da" + bytes(4)
        file.seek(size - 70_000)
        assert file.read() == bytes(70_000)


def test_an_error_of_the_file_system_ends_the_list(
    sparse: tuple[Node, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "lseek", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        finish(allocated_ranges(sparse[0], 0, 1 << 20, 9))


def test_a_file_that_is_cut_meanwhile_ends_the_list(
    sparse: tuple[Node, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "lseek", lambda _fd, offset, _whence: offset)
    assert finish(allocated_ranges(sparse[0], 0, 1 << 20, 9)) == []


def test_others_have_their_turn_after_64_parts(
    sparse: tuple[Node, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def seek(_fd: int, offset: int, whence: int) -> int:
        return offset + 1  # a byte of data, a byte of hole

    monkeypatch.setattr(os, "lseek", seek)
    steps = allocated_ranges(sparse[0], 0, 1 << 18, 128)
    assert sum(1 for _ in steps) == 2


def test_zeros_end_with_the_file(writable: Node, path: Path) -> None:
    writable.write(b"0123456789", 0)
    zero(writable, 4, 2)
    assert path.read_bytes() == b"0123\0\x006789"
    zero(writable, 8, 1 << 30)
    assert path.read_bytes() == b"0123\0\x0067\0\0"
    zero(writable, 10, 5)
    zero(writable, 0, 0)
    assert path.read_bytes() == b"0123\0\x0067\0\0"


def test_zeros_of_a_sparse_file_give_room_back(sparse: tuple[Node, int], path: Path) -> None:
    node, part = sparse
    before = os.fstat(node.fd).st_blocks
    zero(node, 0, part)
    assert os.fstat(node.fd).st_blocks < before
    assert os.pread(node.fd, part, 0) == bytes(part)
    assert os.pread(node.fd, 2, 2 * part) == b"22"


def test_zeros_of_another_file_keep_its_room(writable: Node, path: Path) -> None:
    writable.write(b"1" * (1 << 16), 0)
    os.fsync(writable.fd)
    before = os.fstat(writable.fd).st_blocks
    zero(writable, 0, 1 << 16)
    assert os.fstat(writable.fd).st_blocks >= before


def test_zeros_where_the_file_system_has_no_call_for_them(
    writable: Node, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (2 << 20) + 5
    writable.write(b"1" * size, 0)
    monkeypatch.setattr(kernel, "fallocate", failing(errno.EOPNOTSUPP))
    zero(writable, 1, size - 2)
    assert path.read_bytes() == b"1" + bytes(size - 2) + b"1"
    monkeypatch.setattr(kernel, "fallocate", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        zero(writable, 0, 1)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have a file system that copies nothing by itself, or a part: return what it gives."""
    given: list[int] = []

    def copy_file_range(source: int, target: int, count: int, at: int, to: int) -> int:
        if given:
            data = os.pread(source, min(count, given.pop(0)), at)
            return os.pwrite(target, data, to)
        raise OSError(errno.EXDEV, "cross-device")

    monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    return given


def test_a_copy_by_hand_joins_what_was_copied(
    writable: Node, volume: Volume, path: Path, by_hand: list[int]
) -> None:
    writable.write(b"0123456789", 0)
    with volume.create_file("other") as other:
        by_hand += [3, 2]
        assert copy(writable, 1, other, 2, 7) == 7
        assert (path.parent / "other").read_bytes() == b"\0\x001234567"
        assert copy(writable, 6, other, 0, 100) == 4, "to the end of the source"
        assert copy(writable, 10, other, 0, 1) == 0
        assert copy(writable, 0, other, 0, 0) == 0


def test_a_copy_ends_where_the_kernel_finds_no_more(
    writable: Node, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [4, 0, 9]
    monkeypatch.setattr(os, "copy_file_range", lambda *_: given.pop(0))
    with volume.create_file("other") as other:
        assert copy(writable, 0, other, 0, 100) == 4
    monkeypatch.setattr(os, "copy_file_range", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        copy(writable, 0, writable, 100, 4)
