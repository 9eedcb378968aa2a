"""QUERY_DIRECTORY: what is listed, in which portions, and what a client may ask."""

import os
import struct
from collections.abc import Iterator

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.requests import FileId
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.protocol.state.enumeration import DESCRIPTORS, ENTRIES_AT_ONCE
from usmbd.protocol.state.fair_share import FairShare
from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.scan import NAMES_AT_ONCE
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES, FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.echo import EchoRequest
from usmbd.protocol.wire.fscc.directory import (
    FIXED_SIZES,
    FileIdBothDirectoryInformation,
    FileNamesInformation,
)
from usmbd.protocol.wire.fscc.posix import FilePosixInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_directory import (
    SMB2_INDEX_SPECIFIED,
    SMB2_REOPEN,
    SMB2_RESTART_SCANS,
    SMB2_RETURN_SINGLE_ENTRY,
)
from usmbd.protocol.wire.status import NtStatus

NAMES = [".", "..", "a.txt", "b.txt", "sub", "ä日.doc"]


@pytest.fixture
def directory(engine: Engine, client: Client) -> FileId:
    path = engine.files / "dir"
    path.mkdir()
    for name in ("a.txt", "b.txt", "ä日.doc"):
        (path / name).write_bytes(b"12345")
    (path / "sub").mkdir()
    return client.open("dir", FILE_READ_DATA, options=FILE_DIRECTORY_FILE)


def entries(data: bytes) -> Iterator[bytes]:
    """Take a listing apart by NextEntryOffset."""
    while True:
        (following,) = struct.unpack_from("<I", data)
        yield data[: following or len(data)]
        if not following:
            return
        assert following % 8 == 0
        data = data[following:]


def names(data: bytes) -> list[str]:
    """Return the names of a FileNamesInformation."""
    found = []
    for entry in entries(data):
        (length,) = struct.unpack_from("<I", entry, 8)
        found.append(entry[12 : 12 + length].decode("utf-16-le"))
    return found


def listing(
    client: Client, directory: FileId, pattern: str = "*", flags: int = 0, limit: int = 65536
) -> list[str] | NtStatus:
    """Ask once for names."""
    body = requests.query_directory(directory, FileNamesInformation, pattern, flags, limit)
    reply = client.call(Command.QUERY_DIRECTORY, body)
    return names(reply.data) if reply.status is NtStatus.SUCCESS else reply.status


def test_everything_once(client: Client, directory: FileId) -> None:
    found = listing(client, directory)
    assert isinstance(found, list)
    assert sorted(found) == NAMES
    assert listing(client, directory) is NtStatus.NO_MORE_FILES
    assert listing(client, directory) is NtStatus.NO_MORE_FILES


@pytest.mark.parametrize("limit", [40, 64, 100])
def test_portions_leave_nothing_out(client: Client, directory: FileId, limit: int) -> None:
    found: list[str] = []
    while isinstance(part := listing(client, directory, limit=limit), list):
        found += part
    assert part is NtStatus.NO_MORE_FILES
    assert sorted(found) == NAMES


def test_one_entry_at_a_time(client: Client, directory: FileId) -> None:
    found: list[str] = []
    while isinstance(part := listing(client, directory, flags=SMB2_RETURN_SINGLE_ENTRY), list):
        assert len(part) == 1
        found += part
    assert sorted(found) == NAMES


@pytest.mark.parametrize("flag", [SMB2_RESTART_SCANS, SMB2_REOPEN])
def test_a_restart_may_bring_a_new_pattern(client: Client, directory: FileId, flag: int) -> None:
    assert isinstance(listing(client, directory), list)
    assert listing(client, directory, "b*") is NtStatus.NO_MORE_FILES  # only the first counts
    assert listing(client, directory, "b*", flag) == ["b.txt"]


def indexes(data: bytes) -> list[int]:
    """Return each entry's FileIndex."""
    return [struct.unpack_from("<I", entry, 4)[0] for entry in entries(data)]


@pytest.mark.parametrize("limit", [65536, 100])
def test_a_client_goes_on_behind_an_entry(client: Client, directory: FileId, limit: int) -> None:
    """[MS-SMB2] 3.3.5.18: by the FileIndex of any that it has had, also by another pattern."""

    def ask(index: int, pattern: str = "*", flags: int = SMB2_INDEX_SPECIFIED) -> Reply:
        body = requests.query_directory(directory, 12, pattern, flags, limit, index)
        return client.call(Command.QUERY_DIRECTORY, body)

    def rest(index: int) -> list[str]:
        found: list[str] = []
        while (reply := ask(index, "b*" if index else "*")).status is NtStatus.SUCCESS:
            found += names(reply.data)
            assert indexes(reply.data) == list(range(index + 1, len(found) + before + 1))
            index = indexes(reply.data)[-1]
        assert reply.status is NtStatus.NO_MORE_FILES
        return found

    before = 0
    everything = rest(0)
    assert sorted(everything) == NAMES
    for before in (2, 5, 1, 6):
        assert rest(before) == everything[before:]
    assert ask(99).status is NtStatus.NO_MORE_FILES
    # Without the flag the field says nothing, beside a restart neither.
    assert ask(0, flags=SMB2_RESTART_SCANS | SMB2_INDEX_SPECIFIED).status is NtStatus.SUCCESS
    assert indexes(ask(4, flags=SMB2_RESTART_SCANS | SMB2_INDEX_SPECIFIED).data)[0] == 1


def test_who_goes_on_behind_the_last_entry_reads_nothing_twice(
    client: Client, engine: Engine
) -> None:
    directory = many(engine, client, 40)
    first = requests.query_directory(directory, FileNamesInformation, limit=300)
    last = indexes(client.call(Command.QUERY_DIRECTORY, first).data)[-1]
    enumeration = client.open_of(directory).enumeration
    for index, goes_on in ((last, True), (last - 1, False)):
        body = requests.query_directory(
            directory, FileNamesInformation, "*", SMB2_INDEX_SPECIFIED, 300, index
        )
        reply = client.call(Command.QUERY_DIRECTORY, body)
        assert indexes(reply.data)[0] == index + 1
        assert (client.open_of(directory).enumeration is enumeration) == goes_on


def test_what_is_passed_over_costs_nothing(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are counted, and their files are not asked for."""
    directory = many(engine, client, 400)
    asked = []
    real = kernel.statx_at
    monkeypatch.setattr(kernel, "statx_at", lambda *args: asked.append(args) or real(*args))
    body = requests.query_directory(
        directory, FileNamesInformation, "*", SMB2_INDEX_SPECIFIED, 65536, 390
    )
    reply = client.call(Command.QUERY_DIRECTORY, body)
    assert indexes(reply.data) == list(range(391, 403))  # with "." and ".."
    assert len(asked) == 12


def test_what_goes_meanwhile_moves_no_other(client: Client, engine: Engine) -> None:
    """A FileIndex is the name's, also where names before it cannot be told any more."""
    directory = many(engine, client, 40)
    everything = listing(client, directory)
    assert isinstance(everything, list)
    body = requests.query_directory(
        directory, FileNamesInformation, "*", SMB2_INDEX_SPECIFIED, 65536, 30
    )
    assert names(client.call(Command.QUERY_DIRECTORY, body).data) == everything[30:]


def test_a_listing_counts_among_its_users_descriptors(client: Client, engine: Engine) -> None:
    """As long as it has any: until its end, a restart or its open's close."""
    directory, used = many(engine, client, 40), 1 + DESCRIPTORS
    counted = engine.server.descriptors
    assert counted.used == 1
    for flags in (0, 0, SMB2_RESTART_SCANS):
        assert isinstance(listing(client, directory, flags=flags, limit=300), list)
        assert counted.used == used
    while listing(client, directory) is not NtStatus.NO_MORE_FILES:
        pass
    assert counted.used == 1
    assert isinstance(listing(client, directory, flags=SMB2_RESTART_SCANS, limit=300), list)
    client.close(directory)
    assert counted.used == 0


def test_who_has_too_many_open_lists_nothing_more(client: Client, engine: Engine) -> None:
    room = 4
    engine.server.descriptors = FairShare(lambda: room)
    directory = many(engine, client, 40)
    assert listing(client, directory) is NtStatus.INSUFFICIENT_RESOURCES
    assert engine.server.descriptors.used == 1
    room = 8
    assert isinstance(listing(client, directory, limit=300), list)


def test_a_listing_that_could_not_be_started_again_does_not_seem_empty(
    client: Client, engine: Engine
) -> None:
    room = 8
    engine.server.descriptors = FairShare(lambda: room)
    directory = many(engine, client, 40)
    assert isinstance(listing(client, directory, limit=300), list)
    room = 4
    refused = listing(client, directory, flags=SMB2_RESTART_SCANS)
    assert refused is NtStatus.INSUFFICIENT_RESOURCES
    room = 8
    found = listing(client, directory)
    assert isinstance(found, list)
    assert len(found) == 42


def test_listings_leave_no_descriptor(client: Client, engine: Engine) -> None:
    directory = many(engine, client, 40)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert isinstance(listing(client, directory, flags=SMB2_RESTART_SCANS, limit=300), list)
    assert len(os.listdir("/proc/self/fd")) == before + DESCRIPTORS
    while listing(client, directory) is not NtStatus.NO_MORE_FILES:
        pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt", "b.txt"]),
        ("A.TXT", ["a.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("Ä*", ["ä日.doc"]),
        ("<.doc", ["ä日.doc"]),
        ("none", NtStatus.NO_SUCH_FILE),
    ],
)
def test_patterns(
    client: Client, directory: FileId, pattern: str, expected: list[str] | NtStatus
) -> None:
    found = listing(client, directory, pattern)
    assert (sorted(found) if isinstance(found, list) else found) == expected
    if isinstance(expected, NtStatus):
        assert listing(client, directory, pattern) is NtStatus.NO_MORE_FILES


def test_a_pattern_that_nothing_fits_is_no_news_to_who_has_listed_before(
    client: Client, directory: FileId
) -> None:
    """FirstQuery ([MS-FSA] 2.1.5.6.3) is of the open; who reopens it begins anew."""
    assert listing(client, directory, "a*") == ["a.txt"]
    found = listing(client, directory, "none", SMB2_RESTART_SCANS)
    assert found is NtStatus.NO_MORE_FILES
    assert listing(client, directory, "none", SMB2_REOPEN) is NtStatus.NO_SUCH_FILE


def test_entries_tell_the_files_facts(client: Client, directory: FileId, engine: Engine) -> None:
    body = requests.query_directory(directory, FileIdBothDirectoryInformation, "a.txt")
    (entry,) = entries(client.call(Command.QUERY_DIRECTORY, body).data)
    (size,) = struct.unpack_from("<Q", entry, 40)
    (number,) = struct.unpack_from("<Q", entry, 96)
    assert size == 5
    assert number == (engine.files / "dir" / "a.txt").stat().st_ino


@pytest.mark.parametrize("level", sorted(FIXED_SIZES.keys() - {FilePosixInformation}))
def test_every_class(client: Client, directory: FileId, level: int) -> None:
    body = requests.query_directory(directory, level)
    reply = client.call(Command.QUERY_DIRECTORY, body)
    assert reply.status is NtStatus.SUCCESS
    assert len(list(entries(reply.data))) == len(NAMES)


def test_what_a_client_may_not_ask(client: Client, directory: FileId, engine: Engine) -> None:
    def ask(file: FileId = directory, level: int = 12, pattern: str = "*", limit: int = 999) -> int:
        body = requests.query_directory(file, level, pattern, limit=limit)
        return client.call(Command.QUERY_DIRECTORY, body).status

    assert ask(level=99) is NtStatus.INVALID_INFO_CLASS
    assert ask(limit=5) is NtStatus.INFO_LENGTH_MISMATCH
    assert ask(limit=65537) is NtStatus.INVALID_PARAMETER  # costs two credits
    assert ask(limit=2**31) is NtStatus.INVALID_PARAMETER
    assert ask(pattern="") is NtStatus.OBJECT_NAME_INVALID
    assert ask(pattern="a\\b") is NtStatus.OBJECT_NAME_INVALID
    assert ask(client.open("file")) is NtStatus.INVALID_PARAMETER
    blind = client.open("dir", FILE_READ_ATTRIBUTES, options=FILE_DIRECTORY_FILE)
    assert ask(blind) is NtStatus.ACCESS_DENIED
    assert ask() is NtStatus.SUCCESS


def test_an_entry_that_fits_no_buffer(client: Client, engine: Engine) -> None:
    (engine.files / ("x" * 200)).touch()
    root = client.open("", FILE_READ_DATA)
    assert listing(client, root, "x*", limit=100) is NtStatus.INFO_LENGTH_MISMATCH
    assert listing(client, root, "x*", limit=500) == ["x" * 200]


def test_a_listing_survives_what_happens_meanwhile(
    client: Client, directory: FileId, engine: Engine
) -> None:
    first = listing(client, directory, flags=SMB2_RETURN_SINGLE_ENTRY)
    (engine.files / "dir" / "b.txt").unlink()
    (engine.files / "dir").rename(engine.files / "moved")
    rest = listing(client, directory)
    assert isinstance(first, list)
    assert isinstance(rest, list)
    assert sorted({*first, *rest, "b.txt"}) == NAMES


def many(engine: Engine, client: Client, count: int) -> FileId:
    """Open a directory with so many files."""
    (engine.files / "many").mkdir()
    for number in range(count):
        (engine.files / "many" / f"{number}.txt").touch()
    return client.open("many", FILE_READ_DATA, options=FILE_DIRECTORY_FILE)


@pytest.mark.parametrize(
    ("pattern", "status"), [("no*thing", NtStatus.NO_SUCH_FILE), ("*", NtStatus.SUCCESS)]
)
def test_a_long_listing_lets_others_have_their_turn(
    client: Client, engine: Engine, pattern: str, status: NtStatus
) -> None:
    """It takes slices of a bounded number of entries; an ECHO is answered between any two."""
    if engine.server.pinned:
        pytest.skip("a pinned loop lists on threads")
    directory = many(engine, client, 1000)
    rotation = Rotation(engine, 10)
    body = requests.query_directory(directory, FileNamesInformation, pattern)
    number = client.post(Command.QUERY_DIRECTORY, body)
    engine.settle()
    slices = 1
    while rotation.waiting:
        assert client.call(Command.ECHO, EchoRequest().pack()).status is NtStatus.SUCCESS
        rotation.turn()
        slices += 1
    assert slices >= 1000 // (max(NAMES_AT_ONCE, ENTRIES_AT_ONCE) * 11)
    (reply,) = client.taken(number)
    assert reply.status is status
    if status is NtStatus.SUCCESS:
        assert len(names(reply.data)) == 1002


def test_requests_for_one_listing_come_one_after_the_other(client: Client, engine: Engine) -> None:
    """Also on threads, where they would meet: each gets what the one before has left."""
    directory = many(engine, client, 100)
    engine.threads.held = True
    client.open_of(directory).tree.speed.slow_until = float("inf")
    body = requests.query_directory(directory, FileNamesInformation, "*", limit=700)
    numbers = [client.post(Command.QUERY_DIRECTORY, body) for _ in range(4)]
    engine.settle()
    assert len(engine.threads.waiting) == 1
    engine.release(engine.threads)
    replies = [client.taken(number)[0] for number in numbers]
    assert {reply.status for reply in replies} == {NtStatus.SUCCESS}
    found = [names(reply.data) for reply in replies]
    assert all(found)
    assert len({name for part in found for name in part}) == sum(map(len, found))


def test_a_close_does_not_overtake_listings(client: Client, engine: Engine) -> None:
    """Neither the one that is under way nor those that wait for it."""
    if engine.server.pinned:
        pytest.skip("a pinned loop lists on threads")
    directory = many(engine, client, 100)
    rotation = Rotation(engine, 1)
    body = requests.query_directory(directory, FileNamesInformation, "*", limit=700)
    numbers = [client.post(Command.QUERY_DIRECTORY, body) for _ in range(3)]
    closing = client.post(Command.CLOSE, requests.close(directory))
    engine.settle()
    assert not client.taken(closing)
    while rotation.waiting:
        rotation.turn()
    assert [client.taken(n)[0].status for n in (*numbers, closing)] == [NtStatus.SUCCESS] * 4


def test_a_client_that_leaves_ends_its_listings(client: Client, engine: Engine) -> None:
    if engine.server.pinned:
        pytest.skip("a pinned loop lists on threads")
    directory = many(engine, client, 200)
    other = Client(engine).ready()
    open_ = client.open_of(directory)
    rotation = Rotation(engine, 1)
    body = requests.query_directory(directory, FileNamesInformation, "nothing*here")
    for _ in range(3):
        client.post(Command.QUERY_DIRECTORY, body)
    engine.settle()
    client.disconnect()
    turns = 0
    while rotation.waiting:
        rotation.turn()
        turns += 1
    assert turns <= 5  # the one that ran, and one for each that waited
    assert not open_.in_use
    assert other.call(Command.ECHO, EchoRequest().pack()).status is NtStatus.SUCCESS
