"""Copies of parts of files: the same bytes whatever holes there are and whatever the kernel can."""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.extents import LONGEST_COPY, copy
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.volume import Volume

BLOCK = 4096
SIZE = 64 * BLOCK
HOLE, DATA = None, b"x"


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(str(tmp_path))


@pytest.fixture
def files(volume: Volume) -> tuple[Node, Node]:
    return volume.create_file("source"), volume.create_file("target")


def fill(node: Node, blocks: str, byte: bytes) -> None:
    """Write a block of `byte` for each `#`, and leave a hole for each `.`."""
    for number, block in enumerate(blocks):
        if block == "#":
            node.write(byte * BLOCK, number * BLOCK)
    node.truncate(max(node.size(), len(blocks) * BLOCK))


def content(node: Node) -> bytes:
    return os.pread(node.fd, node.size() + 1, 0)


def blocks(node: Node) -> str:
    """Say which blocks hold data."""
    found, offset = "", 0
    while offset < node.size():
        try:
            data = os.lseek(node.fd, offset, os.SEEK_DATA)
        except OSError:
            data = node.size()
        found += "#" if data == offset else "."
        offset += BLOCK
    return found


@pytest.fixture(params=["copy_file_range", "by hand"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Copy by the kernel, or as where it refuses."""
    if request.param == "by hand":
        monkeypatch.setattr(os, "copy_file_range", refusing(errno.EXDEV))
    return str(request.param)


def refusing(number: int) -> Callable[..., Any]:
    def refuse(*args: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return refuse


def test_any_range_of_anything(files: tuple[Node, Node], way: str) -> None:
    """What reading and writing would give, with holes on either side."""
    source, target = files
    chance = random.Random(7)
    for _ in range(60):
        for node, byte in ((source, b"s"), (target, b"t")):
            node.truncate(0)
            fill(node, "".join(chance.choice(".#") for _ in range(chance.randrange(1, 9))), byte)
        begin, length = chance.randrange(9 * BLOCK), chance.randrange(1, 9 * BLOCK)
        at = chance.randrange(9 * BLOCK)
        expected = bytearray(content(target))
        part = content(source)[begin : begin + length]
        if part:
            expected.extend(bytes(max(at - len(expected), 0)))
            expected[at : at + len(part)] = part
        assert copy(source, begin, target, at, length) == len(part)
        assert content(target) == expected


def test_holes_are_holes_again(files: tuple[Node, Node]) -> None:
    """Also behind the end of the target, where the file becomes as long as it should."""
    source, target = files
    fill(source, "#..#....", b"s")
    assert copy(source, 0, target, 0, SIZE) == 8 * BLOCK
    assert content(target) == content(source)
    assert blocks(target) == blocks(source)
    assert target.stat().allocation == source.stat().allocation


@pytest.mark.parametrize("sparse", [False, True])
def test_a_hole_over_data(files: tuple[Node, Node], sparse: bool) -> None:
    """A sparse file gives the blocks back, another one keeps them."""
    source, target = files
    target.set_sparse(sparse)
    fill(source, "....", b"s")
    fill(target, "####", b"t")
    before = os.fstat(target.fd).st_blocks
    assert copy(source, 0, target, BLOCK, 2 * BLOCK) == 2 * BLOCK
    assert content(target) == b"t" * BLOCK + bytes(2 * BLOCK) + b"t" * BLOCK
    assert os.fstat(target.fd).st_blocks == before - (2 * BLOCK // 512 if sparse else 0)


def test_a_hole_over_a_hole_takes_no_blocks(files: tuple[Node, Node]) -> None:
    """Windows sets the end of the target first: nothing is allocated for it by the copy."""
    source, target = files
    fill(source, "....", b"s")
    target.truncate(4 * BLOCK)
    assert copy(source, 0, target, 0, 4 * BLOCK) == 4 * BLOCK
    assert os.fstat(target.fd).st_blocks == 0


def test_the_target_never_becomes_shorter(
    files: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one writes behind the hole between the look at the size and the change of it."""
    source, target = files
    fill(source, "....", b"s")
    real, late = kernel.fallocate, [True]

    def fallocate(fd: int, *args: int) -> None:
        if late:
            late.clear()
            target.write(b"theirs", 9 * BLOCK)
        real(fd, *args)

    monkeypatch.setattr(kernel, "fallocate", fallocate)
    assert copy(source, 0, target, 0, 4 * BLOCK) == 4 * BLOCK
    assert content(target) == bytes(9 * BLOCK) + b"theirs"


def test_a_file_system_without_holes(
    files: tuple[Node, Node], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = files
    fill(source, "#..#..", b"s")
    fill(target, "###", b"t")
    monkeypatch.setattr(kernel, "fallocate", refusing(errno.EOPNOTSUPP))
    assert copy(source, 0, target, 0, SIZE) == 6 * BLOCK
    assert content(target) == content(source)
    monkeypatch.setattr(os, "lseek", refusing(errno.EINVAL))
    target.truncate(0)
    assert copy(source, 0, target, 0, SIZE) == 6 * BLOCK
    assert content(target) == content(source)


@pytest.mark.parametrize("shift", [-BLOCK, -1, 0, 1, BLOCK])
def test_overlapping_ranges_of_one_file(volume: Volume, shift: int) -> None:
    """By two opens of it, too."""
    with volume.create_file("file") as first, volume.lookup("file") as second:
        second.open_data(read=True, write=True)
        data = os.urandom(6 * BLOCK)
        first.write(data, 0)
        assert copy(first, BLOCK, second, BLOCK + shift, 3 * BLOCK) == 3 * BLOCK
        expected = bytearray(data)
        expected[BLOCK + shift : 4 * BLOCK + shift] = data[BLOCK : 4 * BLOCK]
        assert content(first) == expected


def test_what_was_copied_before_an_error_is_told(
    files: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = files
    fill(source, "##", b"s")
    real, room = os.copy_file_range, [5000]

    def full(*args: Any) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args[:2], room.pop(), *args[3:])

    monkeypatch.setattr(os, "copy_file_range", full)
    assert copy(source, 0, target, 0, 2 * BLOCK) == 5000
    with pytest.raises(OSError, match="space"):
        copy(source, 5000, target, 5000, 1)
    assert content(target) == b"s" * 5000


def test_a_read_only_share_and_too_much(volume: Volume, files: tuple[Node, Node]) -> None:
    source, target = files
    with pytest.raises(ValueError, match="at once"):
        copy(source, 0, target, 0, LONGEST_COPY + 1)
