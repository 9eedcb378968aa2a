"""Stored NT ACLs: when they count, what they let the user do, and where POSIX cannot follow."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from usmbd.protocol.vfs import acl, file_systems, kernel
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.posix_acl import PosixAcl
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import DELETE, FILE_READ_ATTRIBUTES
from usmbd.protocol.wire.status import NtStatus, SmbError

USER = Identity(1001, 1002, (1003,))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "file").touch()
    with Volume(str(tmp_path)).lookup("file") as node:
        yield node


def refuse(status: NtStatus) -> Callable[..., None]:
    def write(*_: Any) -> None:
        raise SmbError(status)

    return write


def test_where_there_are_no_acls_the_rest_is_stored(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = PosixAcl(7, 5, 5)
    monkeypatch.setattr(acl.posix_acl, "write_access", refuse(NtStatus.NOT_SUPPORTED))
    acl._set_permissions(node, wanted, None, stored=True)
    with pytest.raises(SmbError):
        acl._set_permissions(node, wanted, None, stored=False)
    monkeypatch.setattr(acl.posix_acl, "write_access", refuse(NtStatus.ACCESS_DENIED))
    with pytest.raises(SmbError) as caught:
        acl._set_permissions(node, wanted, None, stored=True)
    assert caught.value.status is NtStatus.ACCESS_DENIED


def test_a_user_stands_for_himself_his_groups_and_everybody() -> None:
    found = acl.token(USER)
    assert {acl.unix_user(1001), acl.unix_group(1002), acl.unix_group(1003)} <= found
    assert set(acl.EVERYBODY) <= found
    assert len(found) == 3 + len(set(acl.EVERYBODY))


@pytest.mark.parametrize("number", [errno.ENODATA, errno.ENOTSUP])
def test_where_none_is_stored_the_permissions_are_told(
    node: Node, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def get(*_: Any, **__: Any) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "getxattr", get)
    assert acl.load(node, True).owner == acl.unix_user(node.last_stat.uid)


def test_an_error_of_the_disk_is_no_missing_acl(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(_target: Any, name: str, **_: Any) -> bytes:
        number = errno.EIO if name == acl.XATTR else errno.ENODATA
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "getxattr", get)
    monkeypatch.setattr(kernel, "list_xattrs", lambda *_, **__: None)
    with pytest.raises(OSError, match="Input/output"):
        acl.load(node, True)
    assert acl.load(node, False).dacl is not None


@pytest.mark.parametrize("lists", [True, False])
def test_what_is_not_there_is_not_asked_for(
    node: Node, monkeypatch: pytest.MonkeyPatch, lists: bool
) -> None:
    asked: list[str] = []
    get = os.getxattr

    def counted(target: Any, name: str, **named: Any) -> bytes:
        asked.append(name)
        return get(target, name, **named)

    found = {file_systems.magic(node.fd)}
    monkeypatch.setattr(file_systems, "LISTING", found if lists else ())
    monkeypatch.setattr(os, "getxattr", counted)
    acl.allowed(node, USER)
    assert asked == ([] if lists else [acl.XATTR, "system.posix_acl_access"])
    asked.clear()
    monkeypatch.undo()
    acl.store(node, acl.from_posix(node))
    assert acl.load_stored(node)[0] is not None


@pytest.mark.parametrize("count", [0, 100])
def test_a_descriptor_is_found_beside_many_attributes(
    node: Node, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Of which ext4 keeps 4 KiB; their names are listed in 1 KiB at most."""
    for number in range(count):
        os.setxattr(kernel.fd_path(node.fd), f"user.{number:014}", b"")
    monkeypatch.setattr(file_systems, "LISTING", {file_systems.magic(node.fd)})
    assert acl.load_stored(node)[0] is None
    acl.store(node, acl.from_posix(node))
    assert acl.load_stored(node)[0] is not None
    node.open_data(read=True, write=False)
    assert acl.load_stored(node)[0] is not None


def test_the_directory_gives_what_the_file_does_not(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[MS-FSA] 2.1.5.1.2.1: who may list it reads attributes, who may delete children deletes."""
    rights = {"file": 0, "": 0}
    monkeypatch.setattr(acl, "allowed", lambda asked, _identity: rights[asked.path])
    for above, gained in (
        (0, 0),
        (acl.FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES),
        (acl.FILE_DELETE_CHILD, DELETE),
        (acl.FILE_LIST_DIRECTORY | acl.FILE_DELETE_CHILD, FILE_READ_ATTRIBUTES | DELETE),
    ):
        rights[""] = above
        assert acl.maximal_access(node, USER) == gained
    rights["file"] = own = DELETE | FILE_READ_ATTRIBUTES
    monkeypatch.setattr(acl.directory_entry, "parent", None)  # it is not asked
    assert acl.maximal_access(node, USER) == own


def test_the_root_has_nothing_above_it(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acl, "allowed", lambda _node, _identity: 0)
    monkeypatch.setattr(acl.directory_entry, "parent", None)
    with Volume(str(tmp_path)).lookup("") as root:
        assert acl.maximal_access(root, USER) == 0


def test_who_may_nothing_gets_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: Any) -> int:
        raise SmbError(NtStatus.ACCESS_DENIED)

    monkeypatch.setattr(acl, "access_check", check)
    assert acl.allowed(node, USER) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="a server of another user has one identity")
def test_to_look_for_one_a_user_stays_himself(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)  # he could not come to it by its name
    changes: list[tuple[Any, ...]] = []
    change = kernel.set_thread_identity
    monkeypatch.setattr(
        kernel, "set_thread_identity", lambda *ids: (changes.append(ids), change(*ids))
    )
    become(USER)
    try:
        changes.clear()
        assert acl.load_stored(node)[0] is None
        assert changes == []
        acl.store(node, acl.from_posix(node))
        changes.clear()
        found, _ = acl.load_stored(node)
    finally:
        become(None)
    assert found is not None
    assert found.owner == acl.unix_user(0)
