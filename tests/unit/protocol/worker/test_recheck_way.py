"""How a new configuration reaches what is connected: questions, their order, slices of time."""

import itertools
import os
import time
from collections.abc import Callable

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.reloads import change, write
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import (
    Logout,
    Message,
    SessionRequest,
    SessionResponse,
    TreeConnectRequest,
    TreeConnectResponse,
    TreeStatus,
)
from usmbd.mountd.ipc.settings import Encryption, ServerConfig
from usmbd.mountd.ipc.sids import MachineDomain
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.protocol.worker import recheck
from usmbd.protocol.worker.recheck import RETRY_SECONDS, Recheck

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
    assert about == (["alice", "bob", "bob"] if asked else ["alice", "bob"])
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


def test_a_session_takes_the_new_end_of_its_account(client: Client, engine: Engine) -> None:
    """One that is set, put off or taken back, while a ticket's end stays its own."""
    for expires in (int(time.time()) + 100, int(time.time()) + 200, 0):
        made = Recheck(engine.server, engine.clock)
        answers: list[Callable[..., None]] = []
        engine.mountd.ask = lambda message, resume, a=answers: a.append(resume)  # type: ignore[method-assign, misc]
        made.begin()
        answers[0](SessionResponse(valid=True, uid=os.getuid(), expires=expires))
        assert client.session.expires == expires
    client.session.ticket, client.session.expires = b"ticket", 7
    made = Recheck(engine.server, engine.clock)
    made.begin()
    answers[-1](SessionResponse(valid=True, uid=os.getuid()))
    assert client.session.expires == 7
