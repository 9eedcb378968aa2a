"""Acting as a user: the kernel refuses what the user may not do."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from smbengine.server import in_a_thread_of_its_own

from usmbd.protocol.vfs import directory_entry, kernel
from usmbd.protocol.vfs.identity import (
    NOBODY,
    Identity,
    IdentityNeededError,
    as_process,
    become,
    call_as_process,
    current_uid,
    obey_quotas,
    pin,
)
from usmbd.protocol.vfs.rights import maximal_access
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire import access as rights
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_HIDDEN
from usmbd.protocol.wire.status import NtStatus, SmbError

ALICE = Identity(31001, 31001, (31001, 31005))
BOB = Identity(31002, 31002)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.own_thread,
]


@pytest.fixture
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    root = tmp_path_factory.mktemp("share")
    root.chmod(0o777)
    (root / "private").write_bytes(b"secret")
    (root / "private").chmod(0o600)
    return Volume(str(root))


@in_a_thread_of_its_own
def test_the_kernel_checks_the_user(volume: Volume) -> None:
    with volume.lookup("private") as node:
        node.set_attributes(FILE_ATTRIBUTE_HIDDEN)
    become(ALICE)
    with volume.lookup("private") as node:
        # Not to be read, yet its attributes are seen.
        assert node.last_stat.attributes == FILE_ATTRIBUTE_HIDDEN
        with pytest.raises(PermissionError):
            node.open_data(read=True, write=False)
        expected = rights.FILE_READ_ATTRIBUTES | rights.READ_CONTROL | rights.SYNCHRONIZE
        assert maximal_access(node) == expected | rights.DELETE
    with volume.lookup("") as root:
        attributes = {name: facts.attributes for name, _, facts, _ in root.scan()}
        assert attributes["private"] == FILE_ATTRIBUTE_HIDDEN
    with volume.create_file("own") as node:
        assert node.stat().uid == ALICE.uid
        assert node.last_stat.gid == ALICE.gid
        assert maximal_access(node) == rights.FILE_ALL_ACCESS
    become(BOB)
    with volume.lookup("own") as node, pytest.raises(PermissionError):
        node.open_data(read=True, write=True)
    become(None)
    with volume.lookup("private") as node:
        node.open_data(read=True, write=True)
        assert maximal_access(node) == rights.FILE_ALL_ACCESS


@in_a_thread_of_its_own
def test_the_sticky_bit(volume: Volume) -> None:
    os.chmod(volume.resolver.root_path, 0o1777)
    become(ALICE)
    with volume.create_file("own") as node:
        assert maximal_access(node) & rights.DELETE
    become(BOB)
    with volume.lookup("own") as node:
        assert not maximal_access(node) & rights.DELETE
        with pytest.raises(SmbError) as caught:
            directory_entry.unlink(node)
        assert caught.value.status == NtStatus.ACCESS_DENIED


@in_a_thread_of_its_own
def test_supplementary_groups(volume: Volume) -> None:
    path = Path(volume.resolver.root_path) / "private"
    os.chown(path, 0, 31005)
    path.chmod(0o640)
    become(ALICE)
    with volume.lookup("private") as node:
        node.open_data(read=True, write=False)
    become(BOB)
    with volume.lookup("private") as node, pytest.raises(PermissionError):
        node.open_data(read=True, write=False)


@in_a_thread_of_its_own
def test_an_identity_is_one_threads_own(volume: Volume) -> None:
    become(ALICE)
    seen = []

    def run() -> None:
        seen.append(current_uid())  # begun as its maker
        become(None)
        seen.append(current_uid())
        become(BOB)
        seen.append(current_uid())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [ALICE.uid, 0, BOB.uid]
    status = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text()
    assert [line for line in status.splitlines() if line.startswith("Uid")] == [
        f"Uid:\t0\t0\t0\t{ALICE.uid}"
    ]
    with as_process() as privileged:
        assert privileged
        assert current_uid() == 0
    assert current_uid() == ALICE.uid


def test_a_pinned_thread_stays_nobody(volume: Volume) -> None:
    root = Path(volume.resolver.root_path)

    def run() -> None:
        assert pin()
        assert current_uid() == NOBODY.uid
        for identity in (None, ALICE):
            with pytest.raises(IdentityNeededError):
                become(identity)
        become(NOBODY)
        with pytest.raises(IdentityNeededError), as_process():
            pass
        with pytest.raises(PermissionError):
            (root / "private").read_bytes()
        assert call_as_process((root / "private").read_bytes) == b"secret"
        with pytest.raises(FileNotFoundError):
            call_as_process((root / "none").read_bytes)
        seen.append(call_as_process(current_uid))
        thread = threading.Thread(target=begun)
        thread.start()
        thread.join()
        assert current_uid() == NOBODY.uid
        assert pin()

    def begun() -> None:
        """Run on a thread that a pinned one started: it is not pinned."""
        seen.append(current_uid())
        become(ALICE)
        seen.append(current_uid())
        with as_process():
            seen.append((root / "private").read_bytes())

    seen: list[object] = []
    with ThreadPoolExecutor(1) as executor:
        executor.submit(run).result()
    assert seen == [0, NOBODY.uid, ALICE.uid, b"secret"]
    assert current_uid() == 0


def test_no_user_is_above_his_quota() -> None:
    """CAP_SYS_RESOURCE is gone for the thread, those that it starts and whomever they become."""

    def effective() -> int:
        status = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("CapEff"))
        return int(line.split()[1], 16)

    def run() -> None:
        obey_quotas()
        with ThreadPoolExecutor(1) as started:
            seen.append(started.submit(effective).result())
        for identity in (ALICE, None):
            become(identity)
            seen.append(effective())

    seen: list[int] = []
    with ThreadPoolExecutor(1) as executor:
        executor.submit(run).result()
    assert not any(capabilities & 1 << kernel.CAP_SYS_RESOURCE for capabilities in seen)
    assert all(capabilities & 1 << 7 for capabilities in seen)  # SETUID: `become` goes on
