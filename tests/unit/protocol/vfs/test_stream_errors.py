"""Named streams at their bounds, and what file systems say of them."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from usmbd.protocol.vfs import streams, xattrs
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.steps import finish
from usmbd.protocol.vfs.streams import STREAM_MAX, create_stream, list_streams, open_stream
from usmbd.protocol.vfs.volume import Volume, VolumeOptions
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL
from usmbd.protocol.wire.status import NtStatus, SmbError


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Return what lets a call of xattrs fail with an errno."""

    def let(name: str, number: int) -> None:
        def failing(*_: Any) -> Any:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(streams.xattrs, name, failing)

    return let


def refused(call: Callable[..., object], *args: Any, **more: Any) -> NtStatus:
    with pytest.raises(SmbError) as caught:
        call(*args, **more)
    return caught.value.status


def test_a_stream_may_be_what_an_attribute_can_hold_less_its_nul() -> None:
    assert STREAM_MAX == 0xFFFF


def test_the_longest_stream(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = create_stream(node, "long")
    kept: list[bytes] = [b"\0"]
    monkeypatch.setattr(streams.xattrs, "get", lambda *_: kept[-1])
    monkeypatch.setattr(
        streams.xattrs, "put", lambda _node, _name, value, _flags: kept.append(value)
    )
    assert stream.write(b"x", STREAM_MAX - 1) == 1
    assert kept[-1] == bytes(STREAM_MAX - 1) + b"x\0"
    stream.truncate(STREAM_MAX - 1)
    stream.truncate(STREAM_MAX)
    assert kept[-1] == bytes(STREAM_MAX + 1)
    assert refused(stream.truncate, STREAM_MAX + 1) is NtStatus.DISK_FULL
    assert refused(stream.write, b"xy", STREAM_MAX - 1) is NtStatus.DISK_FULL


def test_a_write_within_and_across_the_end(node: Node, path: Path) -> None:
    stream = create_stream(node, "s")
    stream.write(b"abcdef", 0)
    stream.write(b"XY", 2)
    attribute = "user.DosStream.s:$DATA"
    assert os.getxattr(path, attribute) == b"abXYef\0"
    stream.write(b"Z", 5)
    assert os.getxattr(path, attribute) == b"abXYeZ\0"
    stream.write(b"12", 5)
    assert os.getxattr(path, attribute) == b"abXYe12\0"
    stream.write(b"", 9)
    assert os.getxattr(path, attribute) == b"abXYe12\0\0\0"


def test_an_allocation_cuts_and_never_grows(node: Node, path: Path) -> None:
    stream = create_stream(node, "s")
    stream.write(b"abcdef", 0)
    for allocation, left in ((6, b"abcdef"), (100, b"abcdef"), (5, b"abcde"), (0, b"")):
        stream.allocate(allocation)
        assert os.getxattr(path, "user.DosStream.s:$DATA") == left + b"\0"


def test_a_truncation_to_the_same_size_writes_nothing(
    node: Node, fail: Callable[[str, int], None]
) -> None:
    stream = create_stream(node, "s")
    stream.write(b"abc", 0)
    fail("put", errno.EIO)
    stream.truncate(3)
    with pytest.raises(OSError, match="Input/output"):
        stream.truncate(2)


def test_what_is_read(node: Node) -> None:
    stream = create_stream(node, "s")
    stream.write(b"abcdef", 0)
    first, second = bytearray(b"....."), bytearray(b".....")
    assert stream.read_into([first, second], 0) == 6
    assert (first, second) == (b"abcde", b"f....")
    assert stream.read_into([first], 5) == 1
    assert stream.read_into([first], 6) == 0
    with pytest.raises(BlockingIOError):
        stream.read_nowait_into([first], 0)


def test_a_stream_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with Volume(str(tmp_path)).lookup("folder") as node:
        stat = create_stream(node, "s").stat()
    assert stat.attributes & FILE_ATTRIBUTE_DIRECTORY == 0
    assert stat.attributes == FILE_ATTRIBUTE_NORMAL
    assert (stat.size, stat.allocation) == (0, 0)


@pytest.mark.parametrize("call", ["stat", "truncate", "write", "delete"])
def test_a_stream_that_is_gone(node: Node, path: Path, call: str) -> None:
    stream = create_stream(node, "s")
    os.removexattr(path, "user.DosStream.s:$DATA")
    arguments = {"stat": (), "truncate": (1,), "write": (b"x", 0), "delete": ()}[call]
    assert refused(getattr(stream, call), *arguments) is NtStatus.FILE_DELETED


def test_a_stream_that_goes_between_its_read_and_its_write(
    node: Node, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = create_stream(node, "s")
    monkeypatch.setattr(streams.xattrs, "get", lambda *_: b"\0")
    os.removexattr(path, "user.DosStream.s:$DATA")
    assert refused(stream.write, b"x", 0) is NtStatus.FILE_DELETED
    assert "user.DosStream.s:$DATA" not in os.listxattr(path), "it is not made again"


def test_a_value_that_the_file_system_has_no_room_for(
    node: Node, fail: Callable[[str, int], None]
) -> None:
    stream = create_stream(node, "s")
    fail("put", errno.E2BIG)
    assert refused(stream.write, b"x", 0) is NtStatus.DISK_FULL
    assert refused(create_stream, node, "other") is NtStatus.DISK_FULL
    fail("put", errno.ERANGE)
    assert refused(create_stream, node, "other") is NtStatus.OBJECT_NAME_INVALID


@pytest.mark.parametrize("call", ["write", "create", "read", "delete", "list"])
def test_another_error_is_the_file_system_s(
    node: Node, fail: Callable[[str, int], None], call: str
) -> None:
    stream = create_stream(node, "s")
    calls: dict[str, tuple[str, Callable[[], object]]] = {
        "write": ("put", lambda: stream.write(b"x", 0)),
        "create": ("put", lambda: create_stream(node, "other")),
        "read": ("get", stream.stat),
        "delete": ("remove", stream.delete),
        "list": ("get", lambda: finish(list_streams(node))),
    }
    name, do = calls[call]
    fail(name, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        do()


def test_a_list_has_what_is_there(node: Node, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_stream(node, "a").write(b"12345", 0)
    create_stream(node, "b")
    os.setxattr(path, "user.DosStream.bare", b"x")  # neither of these is a stream
    os.setxattr(path, "user.c:$DATA", b"x")
    os.setxattr(path, "user.DosStream.old:$DATA", b"")  # as a program without the NUL writes it
    found = sorted((each.name, each.size, each.allocation) for each in finish(list_streams(node)))
    assert found == [("a", 5, 5), ("b", 0, 0), ("old", 0, 0)]
    real = streams.stream_names
    monkeypatch.setattr(streams, "stream_names", lambda node: ["gone", *real(node)])
    assert len(finish(list_streams(node))) == 3


def test_others_have_their_turn_after_32(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "stream_names", lambda _node: [f"s{n}" for n in range(64)])
    monkeypatch.setattr(streams.xattrs, "get", lambda *_: b"12\0")
    assert sum(1 for _ in list_streams(node)) == 2
    assert len(finish(list_streams(node))) == 64


def test_a_share_without_streams(path: Path) -> None:
    os.setxattr(path, "user.DosStream.s:$DATA", b"x\0")
    with Volume(str(path.parent), VolumeOptions(streams=False)).lookup("file") as node:
        assert finish(list_streams(node)) == []
        assert refused(open_stream, node, "s") is NtStatus.OBJECT_NAME_NOT_FOUND
        assert refused(create_stream, node, "t") is NtStatus.OBJECT_NAME_INVALID


def test_what_cannot_have_attributes_has_no_streams(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with Volume(str(tmp_path)).lookup("pipe") as node:
        assert refused(create_stream, node, "s") is NtStatus.OBJECT_NAME_INVALID
        assert xattrs.names(node) == []


def test_a_rename_keeps_the_data(node: Node, path: Path) -> None:
    stream = create_stream(node, "one")
    stream.write(b"1", 0)
    other = create_stream(node, "two")
    other.write(b"2", 0)
    assert refused(stream.rename, "Two", replace=False) is NtStatus.OBJECT_NAME_COLLISION
    stream.rename("one", replace=False)
    assert stream.name == "one"
    stream.rename("ONE", replace=False)  # its own name in another case is no other's
    stream.rename("TWO", replace=True)
    assert stream.name == "TWO"
    named = [name for name in os.listxattr(path) if "DosStream" in name]
    assert named == ["user.DosStream.TWO:$DATA"]
    assert os.getxattr(path, named[0]) == b"1\0"


def test_a_name_as_it_is_counts_before_one_in_another_case(node: Node, path: Path) -> None:
    os.setxattr(path, "user.DosStream.NAME:$DATA", b"1\0")
    os.setxattr(path, "user.DosStream.name:$DATA", b"22\0")
    assert open_stream(node, "name").stat().size == 2
    assert open_stream(node, "NAME").stat().size == 1


def test_a_flush_reaches_the_file(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, flushed = create_stream(node, "s"), []
    monkeypatch.setattr(Node, "flush", lambda self: flushed.append(self))
    stream.flush()
    assert flushed == [node]
    stream.close()
    assert node.fd >= 0
