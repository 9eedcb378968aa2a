"""Quotas over the wire: whose are told to whom, lists that go on, limits that are set."""

import errno
import os
import struct

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.quotas import FakeQuotas
from smbengine.requests import FileId
from smbengine.server import Engine, own_identity

from usmbd.protocol.commands.quotas import QUOTA_FILE_ATTRIBUTES
from usmbd.protocol.vfs import quotas as usmbd_quotas
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DELETE_ON_CLOSE, CreateResponse
from usmbd.protocol.wire.fscc import fs_info
from usmbd.protocol.wire.fscc.attributes import FILE_VOLUME_QUOTAS
from usmbd.protocol.wire.fscc.quota import Quota, build_quotas, parse_quotas
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import (
    SMB2_0_INFO_FILESYSTEM,
    SMB2_0_INFO_QUOTA,
    QueryQuotaInfo,
)
from usmbd.protocol.wire.sid import EVERYONE, Sid, unix_user
from usmbd.protocol.wire.status import NtStatus

MIB = 1 << 20
QUOTA_FILE = "$Extend\\$Quota:$Q:$INDEX_ALLOCATION"
SUCCESS = NtStatus.SUCCESS
ME = own_identity().uid


@pytest.fixture
def quotas(monkeypatch: pytest.MonkeyPatch) -> FakeQuotas:
    """Let the share's file system have quotas."""
    fake = FakeQuotas()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def user(engine: Engine) -> Client:
    """Return the client of a user who is not root."""
    if os.geteuid() != 0:
        pytest.skip("acting as somebody else takes root")
    engine.files.chmod(0o777)
    engine.mountd.identities["bob"] = Identity(2000, 2000)
    return Client(engine).ready(user="bob")


def query(
    client: Client,
    file: FileId,
    *,
    sids: bytes = b"",
    start: bytes = b"",
    single: bool = False,
    restart: bool = False,
    limit: int = 4096,
) -> Reply:
    head = QueryQuotaInfo(
        return_single=single,
        restart_scan=restart,
        sid_list_length=len(sids),
        start_sid_length=len(start),
        start_sid_offset=0,
    )
    data = head.pack() + (sids or start)
    body = requests.query_info(file, 0, kind=SMB2_0_INFO_QUOTA, limit=limit, data=data)
    return client.call(Command.QUERY_INFO, body)


def change(client: Client, file: FileId, data: bytes) -> NtStatus:
    body = requests.set_info(file, 0, data, SMB2_0_INFO_QUOTA)
    return client.call(Command.SET_INFO, body).status


def told(reply: Reply) -> list[Quota]:
    assert reply.status in (SUCCESS, NtStatus.BUFFER_OVERFLOW), reply.status
    return list(parse_quotas(memoryview(reply.data)))


def sid_list(*sids: Sid) -> bytes:
    """Return a chain of FILE_GET_QUOTA_INFORMATION."""
    entries = [struct.pack("<II", 8 + sid.size, sid.size) + sid.pack() for sid in sids]
    entries[-1] = bytes(4) + entries[-1][4:]
    return b"".join(entries)


def test_without_quotas_nothing_is_told(client: Client) -> None:
    """[MS-SMB2] 3.3.5.20.4, 3.3.5.21.4; by the quota file either, which is there as on NTFS."""
    for name in ("", QUOTA_FILE):
        file = client.open(name, FILE_READ_ATTRIBUTES)
        assert query(client, file, restart=True).status is NtStatus.NOT_SUPPORTED
        assert change(client, file, b"") is NtStatus.NOT_SUPPORTED
    created = client.call(Command.CREATE, requests.create(QUOTA_FILE)).parse(CreateResponse)
    assert created.file_attributes == QUOTA_FILE_ATTRIBUTES
    times = (created.creation_time, created.last_access_time, created.last_write_time)
    assert (*times, created.change_time) == (0, 0, 0, 0)


def test_the_quota_file_can_be_asked_and_nothing_else(client: Client, quotas: FakeQuotas) -> None:
    quotas.give(ME, 7)
    for name in (QUOTA_FILE, QUOTA_FILE.upper()):
        file = client.open(name, 0x2019F)
        assert told(query(client, file, restart=True)) == [Quota(unix_user(ME), 7, -1, -1)]
        body = requests.query_directory(file, 1)
        assert client.call(Command.QUERY_DIRECTORY, body).status is NtStatus.ACCESS_DENIED
    new = requests.create(QUOTA_FILE, disposition=FILE_CREATE)
    assert client.call(Command.CREATE, new).status is NtStatus.OBJECT_NAME_COLLISION
    gone = requests.create(QUOTA_FILE, options=FILE_DELETE_ON_CLOSE)
    assert client.call(Command.CREATE, gone).status is NtStatus.ACCESS_DENIED


@pytest.mark.skipif(ME != 0, reason="only root sees the quotas of others")
def test_all_are_told_a_buffer_at_a_time(client: Client, quotas: FakeQuotas) -> None:
    for uid in range(0, 100, 10):
        quotas.give(uid, uid + 1, soft=uid * MIB, hard=2 * uid * MIB)
    quotas.give(95, 0)  # has nothing
    file = client.open("", FILE_READ_ATTRIBUTES)
    got = told(query(client, file, restart=True, limit=3 * 56))
    assert [entry.sid for entry in got] == [unix_user(uid) for uid in (0, 10, 20)]
    assert got[0] == Quota(unix_user(0), 1, -1, -1)
    assert got[2] == Quota(unix_user(20), 21, 20 * MIB, 40 * MIB)
    assert [e.used for e in told(query(client, file, single=True))] == [31]
    assert [e.used for e in told(query(client, file))] == [41, 51, 61, 71, 81, 91]
    assert query(client, file).status is NtStatus.NO_MORE_ENTRIES
    assert query(client, file, restart=True, limit=55).status is NtStatus.BUFFER_TOO_SMALL
    start = unix_user(75).pack()
    assert [e.used for e in told(query(client, file, start=start))] == [81, 91]
    start = unix_user(0xFFFFFFFE).pack()
    assert query(client, file, start=start).status is NtStatus.NO_MORE_ENTRIES
    assert query(client, file, start=EVERYONE.pack()).status is NtStatus.NO_MORE_ENTRIES


@pytest.mark.skipif(ME != 0, reason="only root sees the quotas of others")
def test_those_of_a_list_are_told_in_its_order(client: Client, quotas: FakeQuotas) -> None:
    quotas.give(5, 50, hard=MIB)
    file = client.open("", FILE_READ_ATTRIBUTES)
    wanted = sid_list(unix_user(6), EVERYONE, unix_user(5))
    none = [Quota(sid, 0, -1, -1) for sid in (unix_user(6), EVERYONE)]
    assert told(query(client, file, sids=wanted)) == [*none, Quota(unix_user(5), 50, -1, MIB)]
    assert told(query(client, file, sids=wanted, single=True)) == none[:1]
    cut = query(client, file, sids=wanted, limit=2 * 56)
    assert cut.status is NtStatus.BUFFER_OVERFLOW
    assert told(cut) == none
    assert query(client, file, sids=wanted, limit=40).status is NtStatus.BUFFER_TOO_SMALL


@pytest.mark.parametrize(
    "sids",
    [
        b"\0",
        sid_list(unix_user(1))[:-1],
        struct.pack("<II", 0, 0),
        struct.pack("<II", 4, 12) + EVERYONE.pack(),  # leads into itself
        struct.pack("<II", 20, 12) + EVERYONE.pack(),  # and behind the end
        struct.pack("<II", 0, 0xFFFFFFFF) + EVERYONE.pack(),
        struct.pack("<II", 0, 11) + EVERYONE.pack(),
        struct.pack("<II", 0, 13) + EVERYONE.pack() + b"\0",
    ],
)
def test_a_list_that_is_none_is_refused(client: Client, quotas: FakeQuotas, sids: bytes) -> None:
    file = client.open("", FILE_READ_ATTRIBUTES)
    assert query(client, file, sids=sids).status is NtStatus.INVALID_PARAMETER


def test_a_question_that_is_none_is_refused(client: Client, quotas: FakeQuotas) -> None:
    file = client.open("", FILE_READ_ATTRIBUTES)
    for data in (
        b"",
        bytes(15),
        struct.pack("<BBHIII", 0, 0, 0, 1, 0, 0),  # a list that is not there
        struct.pack("<BBHIII", 0, 0, 0, 0, 8, 0xFFFFFFFF),
        struct.pack("<BBHIII", 0, 0, 0, 0, 8, 0) + bytes(8),
    ):
        body = requests.query_info(file, 0, kind=SMB2_0_INFO_QUOTA, data=data)
        assert client.call(Command.QUERY_INFO, body).status is NtStatus.INVALID_PARAMETER


def test_a_long_list_is_refused_before_anybody_is_asked(client: Client, quotas: FakeQuotas) -> None:
    file, before = client.open("", FILE_READ_ATTRIBUTES), quotas.calls
    reply = query(client, file, sids=sid_list(*[unix_user(1)] * 1025))
    assert reply.status is NtStatus.INSUFFICIENT_RESOURCES
    assert quotas.calls == before + 1  # whether there are quotas at all


def test_a_user_is_told_his_own_alone(user: Client, quotas: FakeQuotas) -> None:
    quotas.give(0, 1, hard=MIB)
    quotas.give(2000, 3 * MIB, hard=4 * MIB)
    file = user.open("", FILE_READ_ATTRIBUTES)
    own = [Quota(unix_user(2000), 3 * MIB, -1, 4 * MIB)]
    assert told(query(user, file, restart=True)) == own
    assert query(user, file).status is NtStatus.NO_MORE_ENTRIES
    assert told(query(user, file, sids=sid_list(unix_user(2000)))) == own
    both = sid_list(unix_user(2000), unix_user(0))
    assert query(user, file, sids=both).status is NtStatus.ACCESS_DENIED
    assert change(user, file, build_quotas(own)) is NtStatus.ACCESS_DENIED
    assert quotas.users[2000][0] == 4096


@pytest.mark.skipif(ME != 0, reason="only root sets quotas")
def test_limits_are_set(client: Client, quotas: FakeQuotas) -> None:
    quotas.give(7, 70)
    file = client.open("", FILE_READ_ATTRIBUTES)
    new = [Quota(unix_user(7), 0, MIB + 1, 2 * MIB), Quota(unix_user(8), 0, -1, 0)]
    assert change(client, file, build_quotas(new)) is SUCCESS
    # To Linux 0 is no limit: the smallest is a block.
    assert quotas.users == {7: [2048, 1024, 70, 0], 8: [1, 0, 0, 0]}
    gone = [Quota(unix_user(7), 0, MIB, -2), Quota(unix_user(8), 0, -1, -1)]
    assert change(client, file, build_quotas(gone)) is SUCCESS
    assert quotas.users == {7: [0, 0, 70, 0], 8: [0, 0, 0, 0]}


@pytest.mark.skipif(ME != 0, reason="only root sets quotas")
@pytest.mark.parametrize(
    ("quota", "status"),
    [
        (Quota(unix_user(7), 0, -3, -1), NtStatus.INVALID_PARAMETER),
        (Quota(unix_user(7), 0, -1, -4), NtStatus.INVALID_PARAMETER),
        (Quota(EVERYONE, 0, -1, MIB), NtStatus.NO_SUCH_USER),
        (Quota(unix_user(7), 0, -1, 1 << 62), NtStatus.INVALID_PARAMETER),
    ],
)
def test_limits_that_are_none_change_nothing(
    client: Client, quotas: FakeQuotas, quota: Quota, status: NtStatus
) -> None:
    first = Quota(unix_user(6), 0, -1, MIB)
    assert change(client, client.open("", FILE_READ_ATTRIBUTES), build_quotas([quota])) is status
    if status is not NtStatus.INVALID_PARAMETER or quota.limit < 0:
        assert (
            change(client, client.open("", FILE_READ_ATTRIBUTES), build_quotas([first, quota]))
            is status
        )
        assert quotas.users == {}
    assert change(client, client.open("", FILE_READ_ATTRIBUTES), b"") is NtStatus.INVALID_PARAMETER


def sizes(client: Client, level: int, name: str = "") -> tuple[int, ...]:
    body = requests.query_info(
        client.open(name, FILE_READ_ATTRIBUTES), level, kind=SMB2_0_INFO_FILESYSTEM
    )
    data = client.call(Command.QUERY_INFO, body).data
    return struct.unpack("<3QII" if level == fs_info.FileFsFullSizeInformation else "<2QII", data)


def test_a_volume_is_as_large_as_its_user_may_fill_it(client: Client, quotas: FakeQuotas) -> None:
    """[MS-FSCC] 2.5.4, 2.5.8: the hard limit, or the soft one that has become hard."""
    quotas.flags = 0
    full, short = fs_info.FileFsFullSizeInformation, fs_info.FileFsSizeInformation
    total, _, free, sectors, size = sizes(client, full)
    unit = sectors * size
    quotas.flags = 3
    assert sizes(client, full)[0] == total  # no limit
    quotas.give(ME, 3 * MIB, soft=2 * MIB, hard=8 * MIB, grace=1 << 40)
    assert sizes(client, full)[:2] == (8 * MIB // unit, 5 * MIB // unit)
    assert abs(sizes(client, full)[2] - free) < total // 2  # what is free at all
    assert sizes(client, short)[:2] == (8 * MIB // unit, 5 * MIB // unit)
    quotas.give(ME, 3 * MIB, soft=2 * MIB, hard=8 * MIB, grace=1)
    assert sizes(client, full)[1] == 0
    quotas.give(ME, 3 * MIB, soft=4 * MIB)
    assert sizes(client, full)[:2] == (4 * MIB // unit, MIB // unit)


def test_what_is_mounted_below_has_its_own_size_and_no_quotas_of_the_root(
    client: Client, engine: Engine, quotas: FakeQuotas, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = engine.files / "below"
    below.mkdir()
    (below / "file").touch()
    quotas.without = {path.stat().st_ino for path in (below, below / "file")}
    real = os.fstatvfs
    small = os.statvfs_result((1024, 1024, 9000, 700, 600, 0, 0, 0, 0, 255), {"f_fsid": 1})
    monkeypatch.setattr(
        os, "fstatvfs", lambda fd: small if os.fstat(fd).st_ino in quotas.without else real(fd)
    )
    quotas.give(ME, 0, hard=MIB)
    for name in ("below", "below\\file"):
        assert sizes(client, fs_info.FileFsFullSizeInformation, name) == (9000, 600, 700, 2, 512)
        assert sizes(client, fs_info.FileFsSizeInformation, name) == (9000, 600, 2, 512)
    total, available, sectors, size = sizes(client, fs_info.FileFsSizeInformation)
    assert total * sectors * size == available * sectors * size == MIB


def test_the_quota_of_a_group_bounds_its_users(
    client: Client, engine: Engine, quotas: FakeQuotas
) -> None:
    """The least that is left counts, as with smbd; a directory with set-gid has its own group's."""
    full = fs_info.FileFsFullSizeInformation
    total, _, _, sectors, size = sizes(client, full)
    unit = sectors * size
    quotas.flags = 4  # of groups alone, which are counted
    gid = own_identity().gid
    quotas.groups[gid] = [8 * MIB // 1024, 0, 3 * MIB, 0]
    assert sizes(client, full)[:2] == (8 * MIB // unit, 5 * MIB // unit)
    quotas.give(ME, MIB, hard=2 * MIB)
    assert sizes(client, full)[:2] == (2 * MIB // unit, MIB // unit)
    quotas.give(ME, MIB, hard=32 * MIB)
    assert sizes(client, full)[:2] == (8 * MIB // unit, 5 * MIB // unit)
    del quotas.groups[gid], quotas.users[ME]
    assert sizes(client, full)[0] == total
    if ME == 0:
        os.chown(engine.files, -1, 4711)
        quotas.groups[4711] = [4 * MIB // 1024, 0, MIB, 0]
        assert sizes(client, full)[0] == total
        engine.files.chmod(0o2777)
        assert sizes(client, full)[:2] == (4 * MIB // unit, 3 * MIB // unit)


@pytest.mark.parametrize(("flags", "told"), [(0, 0), (1, 1), (3, 2)])
def test_a_volume_says_whether_it_has_quotas(
    client: Client, quotas: FakeQuotas, flags: int, told: int
) -> None:
    """[MS-FSCC] 2.5.1, 2.5.2: counted alone, or enforced."""
    quotas.flags = flags
    root = client.open("", FILE_READ_ATTRIBUTES)
    level = fs_info.FileFsAttributeInformation
    body = requests.query_info(root, level, kind=SMB2_0_INFO_FILESYSTEM)
    (attributes,) = struct.unpack_from("<I", client.call(Command.QUERY_INFO, body).data)
    assert bool(attributes & FILE_VOLUME_QUOTAS) is bool(flags)
    level = fs_info.FileFsControlInformation
    body = requests.query_info(root, level, kind=SMB2_0_INFO_FILESYSTEM)
    control = fs_info.ControlInformation.parse(client.call(Command.QUERY_INFO, body).data)
    assert control.file_system_control_flags == told
    assert control.default_quota_limit == -1


def test_a_quota_that_cannot_be_read_hides_no_disk(
    client: Client, quotas: FakeQuotas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is root in a user namespace alone may not ask; the disk's own sizes are told."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not of this machine")

    monkeypatch.setattr(usmbd_quotas, "of_users", refuse)
    file = client.open("", FILE_READ_ATTRIBUTES)
    body = requests.query_info(file, 7, SMB2_0_INFO_FILESYSTEM)  # FileFsFullSizeInformation
    assert client.call(Command.QUERY_INFO, body).status is NtStatus.SUCCESS
