"""Quotas by the keeper, in the same process here, and by a kernel that may have none."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbengine.quotas import FakeQuotas

from usmbd.protocol.vfs import keeper, quotactl, quotas
from usmbd.protocol.vfs.quotactl import UserQuota


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeQuotas:
    """Answer in place of the kernel."""
    fake = FakeQuotas()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have what is asked for done by the keeper's half on a thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    thread = threading.Thread(target=keeper.serve, args=(theirs, (quotas.QUOTAS,)))
    thread.start()
    monkeypatch.setattr(keeper, "keeper", keeper.Keeper(ours))
    yield
    ours.shutdown(socket.SHUT_RDWR)
    thread.join(20)
    ours.close()
    theirs.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """Return a descriptor that tells the file system."""
    descriptor = os.open(tmp_path, os.O_PATH)
    yield descriptor
    os.close(descriptor)


@pytest.mark.usefixtures("kept")
def test_the_keeper_reads_lists_and_sets(fake: FakeQuotas, file: int) -> None:
    for uid in range(2000):
        fake.give(uid, uid + 1)
    assert quotas.of_users(file, [7, 9999, 5]) == [
        UserQuota(7, 8, 0, 0, 0),
        UserQuota(9999, 0, 0, 0, 0),
        UserQuota(5, 6, 0, 0, 0),
    ]
    assert [quota.uid for quota in quotas.of_all(file, 10, 3)] == [10, 11, 12]
    assert len(quotas.of_all(file, 0, 5000)) == quotas.MAXIMUM_AT_ONCE
    assert quotas.of_all(file, 2000, 3) == []
    quotas.set_limits(file, [(7, 1, 2), (8, 0, 4)])
    assert quotas.of_users(file, [7, 8]) == [
        UserQuota(7, 8, 1024, 2048, 0),
        UserQuota(8, 9, 0, 4096, 0),
    ]


@pytest.mark.usefixtures("kept")
def test_the_kernel_s_refusal_is_the_caller_s(fake: FakeQuotas, file: int) -> None:
    with pytest.raises(OSError) as error:  # noqa: PT011
        quotas.set_limits(file, [(7, 0, 1 << 50)])
    assert error.value.errno == errno.ERANGE


@pytest.mark.usefixtures("kept")
def test_a_message_that_is_none_ends_nobody(fake: FakeQuotas, file: int) -> None:
    for message in (b"", b"\1", struct.pack("=BI", 0, 0) + b"\1", struct.pack("=BI", 1, 9)):
        with pytest.raises(OSError):  # noqa: PT011
            keeper.ask(quotas.QUOTAS, file, message)
    assert quotas.of_all(file, 0, 1) == []


@pytest.mark.parametrize(
    ("quota", "left"),
    [
        (UserQuota(1, 50, 0, 0, 0), None),
        (UserQuota(1, 50, 0, 80, 0), (80, 30)),
        (UserQuota(1, 50, 60, 80, 0), (80, 30)),
        (UserQuota(1, 70, 60, 80, 1001), (80, 10)),
        (UserQuota(1, 70, 60, 80, 1000), (80, 0)),  # the grace is over
        (UserQuota(1, 90, 0, 80, 0), (80, 0)),
        (UserQuota(1, 50, 60, 0, 0), (60, 10)),
        (UserQuota(1, 70, 60, 0, 1001), (60, 0)),
    ],
)
def test_what_is_left(quota: UserQuota, left: tuple[int, int] | None) -> None:
    assert quotas.left(quota, now=1000) == left


def test_a_file_system_without_quotas(file: int) -> None:
    """The call itself: /proc has none anywhere."""
    proc = os.open("/proc", os.O_PATH)
    assert quotactl.kept(proc) == (False, False)
    with pytest.raises(OSError) as error:  # noqa: PT011
        quotactl.read(proc, os.geteuid())
    os.close(proc)
    assert error.value.errno in (errno.ENOSYS, errno.EINVAL, errno.ENODEV)
