"""A new configuration reaches sessions, tree connects and opens that are there already."""

import itertools
import os
import struct
from collections.abc import Callable

import msgspec
import pytest
import spnego
from smbengine import requests
from smbengine.client import Client, challenge_of
from smbengine.requests import FileId
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import (
    LoginStatus,
    Logout,
    Message,
    SessionRequest,
    SessionResponse,
    TreeConnectRequest,
    TreeConnectResponse,
    TreeDisconnect,
    TreeStatus,
)
from usmbd.mountd.ipc.settings import Encryption, ServerConfig, Signing
from usmbd.mountd.ipc.sids import MachineDomain
from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import DELETE, FILE_ALL_ACCESS, FILE_READ_DATA, WRITE_DAC
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DELETE_ON_CLOSE, FILE_DIRECTORY_FILE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.protocol.worker import recheck
from usmbd.protocol.worker.recheck import RETRY_SECONDS, Recheck

DISPOSITION, BASIC, RENAME = 13, 4, 10


@pytest.fixture
def reload(engine: Engine) -> Callable[[], None]:
    """Return what tells the engine that mountd has read its files."""
    made = Recheck(engine.server, engine.clock)

    def run() -> None:
        engine.run(made.begin)
        engine.settle()

    return run


def change(engine: Engine, share: str = "data", **options: object) -> None:
    """Change a share's configuration as mountd has it."""
    engine.shares[share] = msgspec.structs.replace(engine.shares[share], **options)


def write(client: Client, file: FileId) -> NtStatus:
    return client.call(Command.WRITE, requests.write(file, b"new")).status


# -- trees ----------------------------------------------------------------------------------------


def test_what_did_not_change_goes_on(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
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
        raw = name.encode("utf-16-le")
        body = requests.set_info(kept, RENAME, struct.pack("<B7xQI", 1, 0, len(raw)) + raw)
        status = client.call(Command.SET_INFO, body).status
        assert status is (NtStatus.SUCCESS if name == short else NtStatus.OBJECT_NAME_NOT_FOUND)
    assert hidden.read_bytes() == b"secret"


def test_a_folder_that_is_gone_closes_the_tree(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    engine.files.rmdir()
    change(engine, veto_files=["secret*"])
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


# -- the way --------------------------------------------------------------------------------------


def test_so_many_at_a_time(client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recheck, "AT_A_TIME", 2)
    for _ in range(5):
        client.connect("data")
    engine.mountd.refused["data"] = TreeStatus.INVALID_USER
    made = Recheck(engine.server, engine.clock)
    seen = []
    ask = engine.mountd.ask
    monkeypatch.setattr(
        engine.mountd, "ask", lambda *a: (ask(*a), seen.append(len(engine.mountd.waiting)))
    )
    made.begin()
    engine.settle()
    assert len(seen) == 7
    assert max(seen) <= 2
    assert not client.session.tree_connect_table


def test_answers_to_an_older_question_do_not_count(client: Client, engine: Engine) -> None:
    made = Recheck(engine.server, engine.clock)
    answers: list[Callable[..., None]] = []
    engine.mountd.ask = lambda message, resume: answers.append(resume)  # type: ignore[method-assign]
    made.begin()
    made.begin()
    first, second = answers
    first(SessionResponse(valid=False))
    assert client.session_id in engine.server.session_table
    second(None, SmbError(NtStatus.IO_TIMEOUT))
    assert len(answers) == 2
    engine.clock.advance(RETRY_SECONDS)
    assert len(answers) == 3


def test_a_reading_takes_the_places_of_an_earlier_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What that still had to ask is asked once, and what it had asked takes none of the places."""
    monkeypatch.setattr(recheck, "AT_A_TIME", 1)
    clients = [Client(engine).ready() for _ in range(3)]
    engine.mountd.asked.clear()
    made = Recheck(engine.server, engine.clock)
    engine.mountd.held = True
    made.begin()
    made.begin()
    assert len(engine.mountd.asked) == 2
    engine.release(engine.mountd)
    kinds = [type(asked) for asked in engine.mountd.asked]
    assert kinds.count(SessionRequest) == 1 + len(clients)
    assert kinds.count(TreeConnectRequest) == len(clients)


@pytest.mark.parametrize("asked", [True, False])
def test_what_ends_meanwhile_is_left_alone(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """Whether it has been asked about, or still waits for that; the others go on."""
    monkeypatch.setattr(recheck, "AT_A_TIME", 1)
    other, last = Client(engine).ready(user="bob"), Client(engine).ready(user="bob")
    engine.mountd.asked.clear()
    made = Recheck(engine.server, engine.clock)
    engine.mountd.held = True
    engine.mountd.removed |= {"alice", "bob"}
    made.begin()
    ending = client if asked else other
    ending.call(Command.LOGOFF, requests.EMPTY)
    engine.release(engine.mountd)
    assert not engine.server.session_table
    about = [each.user for each in engine.mountd.asked if isinstance(each, SessionRequest)]
    assert about == ["alice", "bob", "bob"] if asked else ["alice", "bob"]
    for each in (client, other, last):
        assert engine.mountd.told.count(Logout(session_id=each.session_id)) == 1


def test_a_session_without_a_connection_is_passed_over(client: Client, engine: Engine) -> None:
    """Its last one ends just now: nobody is there to ask for, and nothing is held up."""
    made = Recheck(engine.server, engine.clock)
    ended, other = client.session, Client(engine).ready()
    engine.mountd.held = True
    made.begin()
    ended.channel_list.clear()
    engine.mountd.refused["data"] = TreeStatus.INVALID_USER
    engine.release(engine.mountd)
    assert ended.tree_connect_table
    assert not other.session.tree_connect_table
    assert made._under_way == set()


def test_whose_accounts_a_tree_names(
    client: Client, engine: Engine, reload: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree,) = client.session.tree_connect_table.values()
    answer = engine.mountd._answer
    domain = MachineDomain("S-1-5-21-1-2-3", [(1000, 2000)])

    def with_domain(message: Message) -> Message:
        found = answer(message)
        if isinstance(found, TreeConnectResponse):
            return msgspec.structs.replace(found, domain=domain)
        return found

    monkeypatch.setattr(engine.mountd, "_answer", with_domain)
    reload()
    assert tree.domain is not None
    monkeypatch.undo()
    reload()
    assert tree.domain is None


def test_mountd_is_asked_by_the_name_that_the_client_gave(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    """`homes` is another share for each user."""
    engine.shares["alias"] = engine.shares["data"]
    client.connect("Alias")
    reload()
    names = [m.share for m in engine.mountd.asked if hasattr(m, "share")]
    assert names[-1] == "Alias"


# -- in slices ------------------------------------------------------------------------------------


def begin(engine: Engine) -> Recheck:
    made = Recheck(engine.server, engine.clock)
    engine.run(made.begin)
    engine.settle()
    return made


def test_thousands_of_opens_lose_their_writing_in_slices(client: Client, engine: Engine) -> None:
    """Others have their turn after each; the share's other settings follow the last."""
    files = [client.open(f"file-{n}", options=FILE_DELETE_ON_CLOSE) for n in range(6)]
    (tree,) = client.session.tree_connect_table.values()
    rotation = Rotation(engine, looks=0)
    change(engine, read_only=True, veto_files=["secret*"])
    begin(engine)
    assert not tree.writable
    for turn in range(5):
        lost = [not client.open_of(file).granted_access & 2 for file in files]
        assert lost == [number <= turn for number in range(6)]
        assert tree.share.read_only is False
        rotation.turn()
    rotation.turn()
    assert tree.share.read_only
    before = tree.volume
    assert all(client.open_of(file).node.volume is before for file in files[:1])
    for _ in range(6):
        rotation.turn()
    assert not rotation.waiting
    assert {id(client.open_of(file).node.volume) for file in files} == {id(tree.volume)}
    for file in files:
        client.close(file)
    assert len(os.listdir(engine.files)) == 6


def test_what_ends_between_two_slices_is_passed_over(client: Client, engine: Engine) -> None:
    files = [client.open(f"file-{n}") for n in range(3)]
    rotation = Rotation(engine, looks=0)
    change(engine, read_only=True)
    begin(engine)
    record = client.open_of(files[1])
    client.close(files[1])
    while rotation.waiting:
        rotation.turn()
    assert record.granted_access & 2
    assert write(client, files[2]) is NtStatus.ACCESS_DENIED


def test_of_two_readings_the_later_one_counts(client: Client, engine: Engine) -> None:
    """Also where the earlier one is not through with the opens."""
    for number in range(3):
        client.open(f"file-{number}")
    (tree,) = client.session.tree_connect_table.values()
    rotation = Rotation(engine, looks=0)
    change(engine, read_only=True, comment="earlier")
    made = begin(engine)
    change(engine, read_only=False, comment="later")
    engine.run(made.begin)
    engine.settle()
    while rotation.waiting:
        rotation.turn()
    assert (tree.writable, tree.share.comment) == (True, "later")


def test_sessions_that_are_not_allowed_end_in_slices(engine: Engine) -> None:
    clients = [Client(engine).ready() for _ in range(4)]
    rotation = Rotation(engine, looks=0)
    made = Recheck(engine.server, engine.clock)
    clients[3].session.closed = True  # by its own LOGOFF, say
    engine.run(lambda: made.settings_changed(ServerConfig(encryption=Encryption.REQUIRED)))
    there = [len(engine.server.session_table)]
    while rotation.waiting:
        rotation.turn()
        there.append(len(engine.server.session_table))
    assert there[0] == 4
    assert there[-1] == 1
    assert max(a - b for a, b in itertools.pairwise(there)) == 1
