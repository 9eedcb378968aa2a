"""What another process does, in the same one here: values, errors, a keeper that dies."""

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from usmbd.protocol.vfs import keeper as keeping
from usmbd.protocol.vfs.keeper import Keeper
from usmbd.protocol.vfs.ntacl import NTACL, XATTR

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root stores security.NTACL")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return the workers' end and the keeper's."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def keeper(ends: tuple[socket.socket, socket.socket]) -> Iterator[Keeper]:
    """Run the keeper's half on a thread; it ends with the last worker."""
    thread = threading.Thread(target=keeping.serve, args=(ends[1], (NTACL,)))
    thread.start()
    yield Keeper(ends[0])
    ends[0].shutdown(socket.SHUT_RDWR)
    thread.join(20)
    assert not thread.is_alive()


def is_open(file: Path) -> bool:
    """Tell whether this process has a descriptor of the file."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(entry.readlink())
    return file in found


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH])
def test_a_value_is_stored_and_replaced(keeper: Keeper, tmp_path: Path, flags: int) -> None:
    file = tmp_path / "file"
    file.touch()
    descriptor = os.open(file, flags)
    for value in (b"one", b"two" * 1000):
        keeper.ask(NTACL, descriptor, value)
        assert os.getxattr(file, XATTR) == value
    os.close(descriptor)
    end = time.monotonic() + 20
    while is_open(file):  # the keeper closes behind its answer
        assert time.monotonic() < end


def test_the_kernel_s_refusal_is_the_caller_s(keeper: Keeper, tmp_path: Path) -> None:
    descriptor = os.open("/proc/self/status", os.O_RDONLY)  # a file system without attributes
    with pytest.raises(OSError) as error:  # noqa: PT011
        keeper.ask(NTACL, descriptor, b"value")
    os.close(descriptor)
    assert error.value.errno == errno.ENOTSUP


def test_a_value_that_is_too_long_is_refused(keeper: Keeper, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for length in (65537, 100_000):
        with pytest.raises(OSError, match="too long") as error:
            keeper.ask(NTACL, descriptor, b"x" * length)
        assert error.value.errno == errno.E2BIG
    os.close(descriptor)


def test_broken_messages_change_nothing(
    ends: tuple[socket.socket, socket.socket], keeper: Keeper, tmp_path: Path
) -> None:
    ends[0].send(b"no descriptors")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    socket.send_fds(ends[0], [b"value"], [descriptor])
    socket.send_fds(ends[0], [b"\1value"], [descriptor, descriptor])  # nowhere to answer
    keeper.ask(NTACL, descriptor, b"right")
    os.close(descriptor)
    assert os.getxattr(tmp_path, XATTR) == b"right"


def test_what_a_dead_keeper_left_is_for_the_next_one(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    caller = threading.Thread(target=Keeper(ends[0]).ask, args=(NTACL, descriptor, b"waited"))
    caller.start()  # nobody serves yet
    late = threading.Thread(target=keeping.serve, args=(ends[1], (NTACL,)))
    late.start()
    caller.join(20)
    assert os.getxattr(tmp_path, XATTR) == b"waited"
    ends[0].shutdown(socket.SHUT_RDWR)
    late.join(20)
    os.close(descriptor)


def test_a_keeper_that_dies_at_it_is_an_error(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    def die() -> None:
        _, descriptors, _, _ = socket.recv_fds(ends[1], 100, 2)
        for each in descriptors:
            os.close(each)

    thread = threading.Thread(target=die)
    thread.start()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="died"):
        Keeper(ends[0]).ask(NTACL, descriptor, b"lost")
    os.close(descriptor)
    thread.join(20)
