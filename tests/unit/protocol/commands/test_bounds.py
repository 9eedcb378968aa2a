"""Where one value is the last that is taken, and the next is not: dialects, states, times."""

import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import NTLM_NEGOTIATE, Client
from smbengine.server import Engine

from usmbd.protocol.state.session import SessionState
from usmbd.protocol.wire.create import CreateResponse
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST as MAXIMAL_ACCESS,
)
from usmbd.protocol.wire.create_contexts import parse_contexts
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.session_setup import SMB2_SESSION_FLAG_BINDING
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.wire.tree_connect import TreeConnectResponse

# -- binding ([MS-SMB2] 3.3.5.5.2) -----------------------------------------------------------


def second_of(first: Client) -> Client:
    """Return another connection of the same client."""
    second = Client(first.engine, first.guid)
    second.negotiate(first.dialect)
    return second


def test_a_session_that_has_expired_is_joined_by_nobody(client: Client) -> None:
    client.session.state = SessionState.EXPIRED
    assert second_of(client).bind(client).status is NtStatus.NETWORK_SESSION_EXPIRED


def test_a_session_that_waits_for_mountd_is_joined_by_nobody(client: Client) -> None:
    client.session.state = SessionState.SUSPENDED
    assert second_of(client).bind(client).status is NtStatus.NOT_SUPPORTED


def test_a_session_has_so_many_channels(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from usmbd.protocol.commands import binding

    monkeypatch.setattr(binding, "MAXIMUM_CHANNELS", 2)
    assert second_of(client).bind(client).status is NtStatus.SUCCESS
    assert second_of(client).bind(client).status is NtStatus.INSUFFICIENT_RESOURCES


def test_without_multichannel_nobody_joins(tmp_path: Path) -> None:
    engine = Engine(tmp_path, multichannel=False)
    try:
        client = Client(engine).ready()
        assert second_of(client).bind(client).status is NtStatus.REQUEST_NOT_ACCEPTED
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("theirs", "own", "status"),
    [
        ((2,), (1,), NtStatus.REQUEST_OUT_OF_SEQUENCE),
        ((1,), (2,), NtStatus.NOT_SUPPORTED),
        ((0,), (2,), NtStatus.NOT_SUPPORTED),
        ((1,), (0,), NtStatus.SUCCESS),
        ((2,), (2,), NtStatus.SUCCESS),
    ],
)
def test_gmac_goes_with_no_other_algorithm(
    engine: Engine, theirs: tuple[int, ...], own: tuple[int, ...], status: NtStatus
) -> None:
    first = Client(engine)
    first.negotiate(0x311, algorithms=theirs)
    first.login()
    second = Client(engine, first.guid)
    second.negotiate(0x311, algorithms=own)
    _, replies = second.setup(
        NTLM_NEGOTIATE, session_id=first.session_id, flags=SMB2_SESSION_FLAG_BINDING, sign=False
    )
    # unsigned: what comes before the signature is asked for is refused as it is
    unsigned = status if status is not NtStatus.SUCCESS else NtStatus.INVALID_PARAMETER
    assert replies[-1].status is unsigned


# -- NEGOTIATE of SMB 1 (3.3.5.3) ------------------------------------------------------------


def smb1(*names: bytes) -> bytes:
    """Return an SMB 1 NEGOTIATE."""
    dialects = b"".join(b"\x02" + name + b"\0" for name in names)
    return b"\xffSMBr" + bytes(27) + struct.pack("<BH", 0, len(dialects)) + dialects


def answered(engine: Engine, message: bytes) -> int:
    """Return the dialect that an SMB 1 NEGOTIATE is answered with, or 0 for a closed connection."""
    client = Client(engine)
    client.send(message)
    engine.settle()
    if client.lost or not client.replies:
        return 0
    (reply,) = client.replies
    return int.from_bytes(reply.body[4:6], "little")


@pytest.mark.parametrize(
    ("newest", "names", "dialect"),
    [
        (0x311, (b"NT LM 0.12", b"SMB 2.???"), 0x2FF),
        (0x210, (b"SMB 2.002", b"SMB 2.???"), 0x2FF),
        (0x202, (b"SMB 2.002", b"SMB 2.???"), 0x202),
        (0x311, (b"NT LM 0.12", b"SMB 2.002"), 0x202),
        (0x202, (b"NT LM 0.12", b"SMB 2.???"), 0),
        (0x311, (b"NT LM 0.12",), 0),
    ],
)
def test_smb1_leads_to_what_both_can(
    tmp_path: Path, newest: int, names: tuple[bytes, ...], dialect: int
) -> None:
    engine = Engine(tmp_path, max_protocol=newest)
    try:
        assert answered(engine, smb1(*names)) == dialect
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("oldest", "newest", "offered", "dialect"),
    [
        (0x202, 0x311, (0x202, 0x210, 0x300, 0x302), 0x302),
        (0x202, 0x300, (0x202, 0x210, 0x300, 0x302), 0x300),
        (0x202, 0x210, (0x202, 0x210, 0x300, 0x302), 0x210),
        (0x202, 0x202, (0x202, 0x210), 0x202),
        (0x210, 0x311, (0x202, 0x210), 0x210),
        (0x210, 0x311, (0x202,), 0),
        (0x202, 0x210, (0x300,), 0),
    ],
)
def test_the_newest_dialect_of_both(
    tmp_path: Path, oldest: int, newest: int, offered: tuple[int, ...], dialect: int
) -> None:
    engine = Engine(tmp_path, min_protocol=oldest, max_protocol=newest)
    try:
        reply = Client(engine).negotiate(*offered)
        if dialect:
            assert int.from_bytes(reply.body[4:6], "little") == dialect
        else:
            assert reply.status is NtStatus.NOT_SUPPORTED
    finally:
        engine.close()


# -- TREE_CONNECT (3.3.5.7) ------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [0x300, 0x302, 0x311])
def test_a_share_that_encrypts_says_so_from_3_0_on(engine: Engine, dialect: int) -> None:
    reply = Client(engine).ready(dialect).connect("sealed")
    assert reply.parse(TreeConnectResponse).share_flags & 0x8000  # SMB2_SHAREFLAG_ENCRYPT_DATA
    reply = Client(engine).ready(dialect).connect("data")
    assert not reply.parse(TreeConnectResponse).share_flags & 0x8000


def test_what_a_share_is(engine: Engine) -> None:
    client = Client(engine).ready()
    data = client.connect("data").parse(TreeConnectResponse)
    pipes = client.connect("IPC$").parse(TreeConnectResponse)
    assert (data.share_type, data.share_flags & 0x30) == (1, 0x00)  # a disk, cached by hand
    assert (pipes.share_type, pipes.share_flags & 0x30) == (2, 0x30)  # pipes, not cached


# -- the maximal access of a CREATE (3.3.5.9.5) ----------------------------------------------


def maximal_access(client: Client, since: bytes) -> tuple[int, int]:
    """Open a file with the context; return the status and the access of the answer."""
    body = requests.create("file", contexts=[(MAXIMAL_ACCESS, since)])
    reply = client.call(Command.CREATE, body)
    assert reply.status is NtStatus.SUCCESS
    created = reply.parse(CreateResponse)
    start = created.create_contexts_offset
    chain = memoryview(reply.message)[start : start + created.create_contexts_length]
    found = dict(parse_contexts(chain))
    status, access = struct.unpack("<II", found[MAXIMAL_ACCESS])
    client.close(reply.file_id)
    return status, access


def test_what_has_not_changed_since_is_not_told_again(engine: Engine, client: Client) -> None:
    (engine.files / "file").write_bytes(b"data")
    status, access = maximal_access(client, b"")
    assert (status, access & 0x1F01FF) == (0, 0x1F01FF)
    reply = client.call(Command.CREATE, requests.create("file"))
    written = reply.parse(CreateResponse).last_write_time
    client.close(reply.file_id)
    assert maximal_access(client, struct.pack("<Q", written))[0] == NtStatus.NONE_MAPPED
    for other in (written - 1, written + 1, 0):
        assert maximal_access(client, struct.pack("<Q", other)) == (0, access)


# -- the times of FileBasicInformation ([MS-FSA] 2.1.5.15.2) ---------------------------------

TIMES = ("creation", "last_access", "last_write", "change")
MOMENT = 130_000_000_000_000_000


def set_times(client: Client, file: tuple[int, int], *times: int) -> NtStatus:
    body = requests.set_info(file, 4, struct.pack("<4qI4x", *times, 0))
    return client.call(Command.SET_INFO, body).status


def times_of(client: Client, file: tuple[int, int]) -> tuple[int, ...]:
    reply = client.call(Command.QUERY_INFO, requests.query_info(file, 4))
    return struct.unpack_from("<4q", reply.data)


@pytest.mark.parametrize("which", range(4), ids=TIMES)
def test_each_time_is_set_by_itself_and_stopping_changes_none(client: Client, which: int) -> None:
    file = client.open("file")
    before = times_of(client, file)
    wanted = [0, 0, 0, 0]
    wanted[which] = MOMENT
    assert set_times(client, file, *wanted) is NtStatus.SUCCESS
    after = times_of(client, file)
    assert after[which] == MOMENT
    others = [n for n in range(3) if n != which]  # the change time is the inode's again
    assert [after[n] for n in others] == [before[n] for n in others]
    for special in (-1, -2):  # stop the updates, start them again
        wanted[which] = special
        assert set_times(client, file, *wanted) is NtStatus.SUCCESS
        assert times_of(client, file)[which] == MOMENT
    wanted[which] = -3
    assert set_times(client, file, *wanted) is NtStatus.INVALID_PARAMETER
