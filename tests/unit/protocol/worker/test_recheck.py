"""A new configuration reaches sessions, tree connects and opens that are there already."""

import errno
import os
import struct
from collections.abc import Callable

import pytest
import spnego
from smbengine import requests
from smbengine.client import Client, challenge_of
from smbengine.reloads import change, write
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import (
    LoginStatus,
    Logout,
    TreeDisconnect,
    TreeStatus,
)
from usmbd.mountd.ipc.settings import Encryption, ServerConfig, Signing
from usmbd.protocol.state import roots
from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import DELETE, FILE_ALL_ACCESS, FILE_READ_DATA, WRITE_DAC
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DELETE_ON_CLOSE, FILE_DIRECTORY_FILE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.worker.recheck import Recheck

DISPOSITION, BASIC, RENAME = 13, 4, 10


# -- trees ----------------------------------------------------------------------------------------


def test_what_did_not_change_goes_on(
    client: Client, engine: Engine, reload: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("usmbd.protocol.worker.recheck.open_volume")  # nobody asks for it
    file = client.open("file")
    tree = client.session.tree_connect_table[client.tree_id]
    volume = tree.volume
    reload()
    assert tree.volume is volume
    assert write(client, file) is NtStatus.SUCCESS
    assert not [told for told in engine.mountd.told if isinstance(told, TreeDisconnect)]


@pytest.mark.parametrize(
    "status",
    [
        TreeStatus.INVALID_USER,
        TreeStatus.HOST_DENIED,
        TreeStatus.NO_SHARE,
        TreeStatus.NO_USER,
    ],
)
def test_a_tree_that_is_not_allowed_any_more_is_closed(
    client: Client, engine: Engine, reload: Callable[[], None], status: TreeStatus
) -> None:
    client.open("file", share=0)
    refused = client.tree_id
    client.connect("ipc$")
    engine.mountd.refused["data"] = status
    reload()
    assert list(client.session.tree_connect_table) == [client.tree_id]
    assert not client.session.open_table
    told = TreeDisconnect(session_id=client.session_id, tree_id=refused)
    assert told in engine.mountd.told
    client.tree_id = refused
    assert client.create("file") is NtStatus.NETWORK_NAME_DELETED


def test_a_share_that_became_read_only(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    file = client.open("file")
    assert write(client, file) is NtStatus.SUCCESS
    change(engine, read_only=True)
    reload()
    assert write(client, file) is NtStatus.ACCESS_DENIED
    assert client.call(Command.READ, requests.read(file, 3)).data == b"new"
    times = requests.set_info(file, BASIC, bytes(40))
    assert client.call(Command.SET_INFO, times).status is NtStatus.ACCESS_DENIED
    rename = requests.set_info(file, RENAME, struct.pack("<8xQI", 0, 4) + "to".encode("utf-16-le"))
    assert client.call(Command.SET_INFO, rename).status is NtStatus.ACCESS_DENIED
    assert client.create("another", disposition=FILE_CREATE) is NtStatus.ACCESS_DENIED
    assert client.create("file", access=FILE_ALL_ACCESS) is NtStatus.ACCESS_DENIED
    assert client.create("file", access=FILE_READ_DATA) is NtStatus.SUCCESS
    assert os.listdir(engine.files) == ["file"]


def test_others_may_open_what_lost_its_writing(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    """The rights that are gone do not stand in the way of a sharing mode either."""
    client.open("file", access=DELETE | FILE_READ_DATA)
    change(engine, read_only=True)
    reload()
    assert client.create("file", access=FILE_READ_DATA, share=1) is NtStatus.SUCCESS


@pytest.mark.parametrize("how", ["on close", "disposition"])
def test_nothing_is_deleted_any_more(
    client: Client, engine: Engine, reload: Callable[[], None], how: str
) -> None:
    if how == "on close":
        file = client.open("file", options=FILE_DELETE_ON_CLOSE)
    else:
        file = client.open("file")
        body = requests.set_info(file, DISPOSITION, b"\1")
        assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    change(engine, read_only=True)
    reload()
    assert client.close(file) is NtStatus.SUCCESS
    assert os.listdir(engine.files) == ["file"]


def test_a_share_that_became_writable(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    client.connect("readonly")
    assert client.create("file", disposition=FILE_CREATE) is NtStatus.ACCESS_DENIED
    change(engine, "readonly", read_only=False)
    reload()
    assert client.create("file", disposition=FILE_CREATE) is NtStatus.SUCCESS


def test_an_open_under_way_while_the_share_becomes_read_only(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    client.close(client.open("file"))
    tree = client.session.tree_connect_table[client.tree_id]
    assert tree.volume is not None
    tree.speed.took(1.0)  # a slow volume: its calls go to threads
    engine.threads.held = True
    message_id = client.post(Command.CREATE, requests.create("file"))
    change(engine, read_only=True)
    tree.writable = False
    engine.release(engine.threads)
    (reply,) = client.taken(message_id)
    if reply.status is NtStatus.SUCCESS:
        assert not client.open_of(reply.file_id).granted_access & (2 | WRITE_DAC)
    else:
        assert reply.status is NtStatus.ACCESS_DENIED


@pytest.mark.parametrize("sealed", [False, True])
def test_a_share_that_has_to_be_encrypted_now(
    client: Client, engine: Engine, reload: Callable[[], None], sealed: bool
) -> None:
    """Its clients connect anew, for the answer to that tells them."""
    client.seals = sealed
    change(engine, encryption_required=True)
    reload()
    assert client.create("file") is NtStatus.NETWORK_NAME_DELETED
    client.seals = True
    assert client.connect("data").status is NtStatus.SUCCESS
    assert client.create("file") is NtStatus.SUCCESS


def test_another_folder_closes_the_tree(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    change(engine, path=str(engine.files.parent))
    reload()
    assert client.create("file") is NtStatus.NETWORK_NAME_DELETED


@pytest.mark.parametrize("options", [{}, {"veto_files": ["secret*"]}])
def test_another_folder_at_the_same_path_closes_the_tree(
    client: Client, engine: Engine, reload: Callable[[], None], options: dict[str, object]
) -> None:
    """A disk that was mounted there, for one: also where the share's settings are others now."""
    file = client.open("file")
    engine.files.rename(engine.files.with_name("moved"))
    engine.files.mkdir()
    change(engine, **options)
    reload()
    assert write(client, file) is NtStatus.NETWORK_NAME_DELETED
    assert client.connect("data").status is NtStatus.SUCCESS
    assert client.create("new", disposition=FILE_CREATE) is NtStatus.SUCCESS
    assert os.listdir(engine.files) == ["new"]


def test_a_path_that_hangs_holds_up_no_other(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    """Each is looked at once at a time; what could not be looked at stays."""
    engine.threads.held = True
    before = engine.threads.submitted
    for _ in range(3):
        reload()
    assert len(engine.threads.waiting) == 1
    engine.release(engine.threads)
    assert engine.threads.submitted == before + 2
    assert client.create("file") is NtStatus.SUCCESS


def test_a_path_that_cannot_be_looked_at(
    client: Client,
    reload: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(roots, "_look", fail)
    reload()
    assert client.create("file") is NtStatus.SUCCESS
    assert "it cannot be looked at" in caplog.text


def test_options_hold_for_the_next_open(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    kept = client.open("secret.txt")
    change(engine, veto_files=["secret*"])
    reload()
    assert client.create("secret.txt") is NtStatus.OBJECT_NAME_NOT_FOUND
    assert write(client, kept) is NtStatus.SUCCESS


def test_options_hold_for_what_an_open_does_by_name(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    """A handle from before shows no vetoed name and replaces no vetoed file."""
    hidden = engine.files / "secret file"
    hidden.write_bytes(b"secret")
    kept = client.open("mine")
    folder = client.open("", FILE_READ_DATA, options=FILE_DIRECTORY_FILE)
    with Volume(str(engine.files)).lookup(hidden.name) as node:
        short = directory_entry.short_name(node)
    change(engine, veto_files=["secret*"])
    reload()
    listing = client.call(Command.QUERY_DIRECTORY, requests.query_directory(folder, 37))
    assert "mine".encode("utf-16-le") in listing.message
    assert "secret".encode("utf-16-le") not in listing.message
    for name in ("secret new", "secret file", short):
        body = requests.rename(kept, name, replace=True)
        status = client.call(Command.SET_INFO, body).status
        assert status is (NtStatus.SUCCESS if name == short else NtStatus.OBJECT_NAME_NOT_FOUND)
    assert hidden.read_bytes() == b"secret"


@pytest.mark.parametrize("options", [{}, {"veto_files": ["secret*"]}])
def test_a_folder_that_is_gone_closes_the_tree(
    client: Client, engine: Engine, reload: Callable[[], None], options: dict[str, object]
) -> None:
    engine.files.rmdir()
    change(engine, **options)
    reload()
    assert not client.session.tree_connect_table


def test_whom_a_share_acts_as(client: Client, engine: Engine, reload: Callable[[], None]) -> None:
    engine.mountd.owners["data"] = Identity(31001, 31002, (31003,))
    reload()
    tree = client.session.tree_connect_table[client.tree_id]
    assert tree.identity == Identity(31001, 31002, (31003,))


# -- sessions -------------------------------------------------------------------------------------


def test_a_removed_user_loses_his_sessions(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    other = Client(engine).ready(user="bob")
    client.open("file")
    engine.mountd.removed.add("alice")
    session_id = client.session_id
    reload()
    assert client.create("file") is NtStatus.USER_SESSION_DELETED
    assert Logout(session_id=session_id) in engine.mountd.told
    assert other.create("file", share=0) is NtStatus.SUCCESS


def test_the_question_names_the_login(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    client.session.credential = 3
    reload()
    (asked,) = [m for m in engine.mountd.asked if type(m).__name__ == "SessionRequest"]
    assert (asked.user, asked.credential, asked.guest, asked.anonymous) == (
        "alice", 3, False, False,
    )  # fmt: skip
    assert client.session.credential == 7


def test_a_login_that_waits_for_its_lost_session_is_asked_about(
    engine: Engine, reload: Callable[[], None]
) -> None:
    """It was let in by the files before, and mountd reads them before it is answered."""
    lost = Client(engine, server=engine.another_worker()).ready()
    engine.peers.held = True
    client = Client(engine)
    client.negotiate()
    security = spnego.client("alice", "secret", protocol="ntlm")
    previous = {"previous": lost.session_id}
    _, (reply,) = client.setup(security.step() or b"", **previous)
    token = security.step(challenge_of(reply)) or b""
    session_id = reply.header.session_id
    _, replies = client.setup(token, session_id=session_id, **previous)
    assert replies == []  # until the other worker has closed the lost one
    engine.mountd.removed.add("alice")
    reload()
    engine.release(engine.peers)
    (reply,) = client.taken(client.message_id - 1)
    assert reply.status is NtStatus.USER_SESSION_DELETED
    assert not engine.server.session_table
    assert not engine.store.sessions()


def test_a_suspended_session_is_asked_about_as_its_accounts(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    engine.mountd.anonymous = LoginStatus.ANONYMOUS
    kept = client.open("file")
    client.anonymous(session_id=client.session_id, sign=True)
    reload()
    assert write(client, kept) is NtStatus.SUCCESS
    assert client.create("file") is NtStatus.ACCESS_DENIED
    (asked,) = [m for m in engine.mountd.asked if type(m).__name__ == "SessionRequest"]
    assert (asked.user, asked.anonymous) == ("alice", False)
    engine.mountd.removed.add("alice")
    reload()
    assert write(client, kept) is NtStatus.USER_SESSION_DELETED


@pytest.mark.parametrize(
    "config", [{"signing": Signing.MANDATORY}, {"encryption": Encryption.REQUIRED}]
)
@pytest.mark.parametrize("who", ["guest", "nobody", "suspended"])
def test_who_has_no_key_goes_where_all_is_protected_now(
    engine: Engine, config: dict[str, object], who: str
) -> None:
    engine.mountd.anonymous = LoginStatus.ANONYMOUS
    engine.mountd.unknown_user = LoginStatus.GUEST
    engine.server.config = ServerConfig(encryption=Encryption.DESIRED)
    client = Client(engine)
    client.negotiate()
    if who == "nobody":
        client.anonymous()
    else:
        client.login("alice" if who == "suspended" else "nobody-here", "secret")
    if who == "suspended":
        client.anonymous(session_id=client.session_id, sign=True)
    assert client.session_id in engine.server.session_table
    Recheck(engine.server, engine.clock).settings_changed(ServerConfig(**config))  # type: ignore[arg-type]
    assert not engine.server.session_table


@pytest.mark.parametrize(
    ("old", "new", "ends"),
    [
        ({}, {"encryption": Encryption.REQUIRED}, True),
        ({"encryption": Encryption.DESIRED}, {"encryption": Encryption.REQUIRED}, False),
        ({}, {"signing": Signing.MANDATORY}, True),
        ({"signing": Signing.MANDATORY}, {"signing": Signing.MANDATORY}, False),
        ({"encryption": Encryption.DESIRED}, {"signing": Signing.MANDATORY}, False),
    ],
)
def test_protection_that_the_server_requires_now(
    client: Client, engine: Engine, old: dict[str, object], new: dict[str, object], ends: bool
) -> None:
    engine.server.config = ServerConfig(**old)  # type: ignore[arg-type]
    other = Client(engine)
    other.negotiate(0x311)
    other.login()
    Recheck(engine.server, engine.clock).settings_changed(ServerConfig(**new))  # type: ignore[arg-type]
    assert (other.session_id not in engine.server.session_table) is ends


def test_a_dialect_that_is_not_served_any_more(client: Client, engine: Engine) -> None:
    other = Client(engine).ready(0x202)
    Recheck(engine.server, engine.clock).settings_changed(ServerConfig(min_protocol=0x300))
    engine.settle()
    assert other.lost
    assert not client.lost
