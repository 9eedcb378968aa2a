"""A file with several names that is deleted on close: only the name that was opened goes.

[MS-FSA] 2.1.5.5; whoever closes the file last may have it by another name.
"""

import os
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.durable import again, create
from smbengine.persistent import FLAG, available, persistent, restarted
from smbengine.server import Engine

from usmbd.protocol.wire.access import DELETE, FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_OPEN
from usmbd.protocol.wire.fscc.file_info import FileStandardInformation, StandardInformation
from usmbd.protocol.wire.fscc.set_info import FileDispositionInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

SUCCESS = NtStatus.SUCCESS
OTHER = bytes([8] * 16)
"""A CreateGuid."""


@pytest.fixture
def names(engine: Engine) -> list[str]:
    """Make a file with three names."""
    (engine.files / "one").write_bytes(b"data")
    for name in ("two", "three"):
        os.link(engine.files / "one", engine.files / name)
    return ["one", "three", "two"]


@pytest.fixture(params=["the same", "another"])
def bystander(engine: Engine, request: pytest.FixtureRequest) -> Client:
    """Return another client, of the same worker or of another."""
    server = engine.another_worker() if request.param == "another" else None
    return Client(engine, server=server).ready()


def doomed(client: Client, name: str) -> tuple[int, int]:
    """Open a name to be deleted on close."""
    return client.open(name, FILE_READ_DATA | DELETE, options=FILE_DELETE_ON_CLOSE)


def there(engine: Engine) -> list[str]:
    """List the names."""
    return sorted(os.listdir(engine.files))


@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_the_name_that_was_opened_goes(
    client: Client, engine: Engine, names: list[str], name: str
) -> None:
    client.close(doomed(client, name))
    assert there(engine) == [other for other in names if other != name]
    assert client.create("one" if name != "one" else "two", share=0) is SUCCESS


def test_whoever_closes_last_keeps_his_name(
    client: Client, engine: Engine, names: list[str], bystander: Client
) -> None:
    """The deleted name goes with its open; the file is open and can be opened by the others."""
    kept = bystander.open("two", FILE_READ_DATA)
    file = doomed(client, "one")
    assert client.close(file) is SUCCESS
    assert there(engine) == ["three", "two"]
    assert client.create("three", FILE_READ_DATA) is SUCCESS
    assert bystander.call(Command.READ, requests.read(kept, 4)).data == b"data"
    assert bystander.close(kept) is SUCCESS
    assert there(engine) == ["three", "two"]


def test_one_name_after_the_other(client: Client, engine: Engine, names: list[str]) -> None:
    """The last one takes the file with it."""
    for count, name in enumerate(names):
        assert len(there(engine)) == 3 - count
        client.close(doomed(client, name))
    assert there(engine) == []


def test_when_the_connection_is_lost(client: Client, engine: Engine, names: list[str]) -> None:
    bystander = Client(engine).ready()
    kept = bystander.open("two", FILE_READ_DATA)
    doomed(client, "three")
    client.disconnect()
    assert there(engine) == ["one", "two"]
    bystander.close(kept)
    assert there(engine) == ["one", "two"]


def test_a_slow_volume_is_asked_on_a_thread(
    client: Client, engine: Engine, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for how many names a file has, of whose client nothing is heard any more."""
    client.session.tree_connect_table[client.tree_id].speed.slow_until = float("inf")
    on_loop: list[int] = []
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        if not engine.threads.running:
            on_loop.append(fd)
        return real(fd)

    monkeypatch.setattr(os, "fstat", fstat)
    doomed(client, "three")
    client.close(doomed(client, "two"))
    client.disconnect()
    assert there(engine) == ["one"]
    assert on_loop == []


def dispose(client: Client, file: tuple[int, int], delete: bytes = b"\1") -> NtStatus:
    """Set FileDispositionInformation."""
    body = requests.set_info(file, FileDispositionInformation, delete)
    return client.call(Command.SET_INFO, body).status


def told(client: Client, file: tuple[int, int]) -> tuple[int, int]:
    """Ask for NumberOfLinks and DeletePending."""
    asked = requests.query_info(file, FileStandardInformation)
    found = StandardInformation.parse(client.call(Command.QUERY_INFO, asked).data)
    return found.number_of_links, found.delete_pending


def test_a_name_that_is_delete_pending_is_so_alone(
    client: Client, engine: Engine, names: list[str], bystander: Client
) -> None:
    """Link.IsDeleted ([MS-FSA] 2.1.5.15.3, 2.1.5.12.27): by its others the file lives on."""
    kept, pending = bystander.open("two"), client.open("one")
    assert dispose(client, pending) is SUCCESS
    assert (told(client, pending), told(bystander, kept)) == ((2, 1), (2, 0))
    assert bystander.create("one", disposition=FILE_OPEN) is NtStatus.DELETE_PENDING
    assert bystander.create("one:stream") is NtStatus.DELETE_PENDING
    assert bystander.create("three:stream") is SUCCESS
    assert bystander.create("three", disposition=FILE_OPEN) is SUCCESS
    target = "moved".encode("utf-16-le")
    data = bytes(16) + len(target).to_bytes(4, "little") + target
    for file, status in ((pending, NtStatus.DELETE_PENDING), (kept, SUCCESS)):
        one = client if file == pending else bystander
        rename = requests.set_info(file, 10, data)  # FileRenameInformation
        assert one.call(Command.SET_INFO, rename).status is status
    client.close(pending)
    assert there(engine) == ["moved", "three"]
    assert told(bystander, kept) == (2, 0)
    bystander.close(kept)
    assert there(engine) == ["moved", "three"]


def test_two_names_go_at_a_time(
    client: Client, engine: Engine, names: list[str], bystander: Client
) -> None:
    """As where trees with links to the same files are deleted by several at once."""
    one, two, three = client.open("one"), bystander.open("two"), bystander.open("three")
    assert dispose(client, one) is dispose(bystander, two) is dispose(bystander, three) is SUCCESS
    assert told(bystander, two) == (0, 1)
    assert dispose(bystander, three, b"\0") is SUCCESS
    assert (told(bystander, two), told(bystander, three)) == ((1, 1), (1, 0))
    client.close(one)
    assert there(engine) == ["three", "two"]
    assert client.create("two") is NtStatus.DELETE_PENDING
    bystander.close(two)
    assert there(engine) == ["three"]
    bystander.close(three)
    assert there(engine) == ["three"]


def test_a_name_goes_beside_one_that_goes_on_close(
    client: Client, other: Client, engine: Engine, names: list[str]
) -> None:
    one, two = client.open("one"), other.open("two")
    assert dispose(client, one) is SUCCESS
    last = doomed(other, "three")
    client.close(one)
    assert there(engine) == ["three", "two"]
    other.close(last)
    other.close(two)
    assert there(engine) == ["two"]


def test_a_stream_is_deleted_by_all_names_of_its_file(
    client: Client, other: Client, engine: Engine, names: list[str]
) -> None:
    stream = client.open("one:stream")
    assert dispose(client, stream) is SUCCESS
    assert other.create("two:stream", disposition=FILE_OPEN) is NtStatus.DELETE_PENDING
    client.close(stream)
    assert other.create("two:stream", disposition=FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND


def test_who_may_not_write_any_more_spares_his_own_name(
    client: Client, other: Client, engine: Engine, names: list[str]
) -> None:
    one, two = client.open("one"), other.open("two")
    assert dispose(client, one) is dispose(other, two) is SUCCESS
    client.session.open_table[one[0]].lose_writing(engine.server)
    client.close(one)
    other.close(two)
    assert there(engine) == ["one", "three"]


def test_another_handle_may_take_it_back(client: Client, engine: Engine, names: list[str]) -> None:
    """That of the same name."""
    one, two = client.open("one"), client.open("two")
    again = client.open("one")
    assert dispose(client, one) is SUCCESS
    assert dispose(client, two, b"\0") is SUCCESS
    assert client.create("one") is NtStatus.DELETE_PENDING
    assert dispose(client, again, b"\0") is SUCCESS
    client.close(one)
    assert there(engine) == names


def test_a_renamed_name(client: Client, engine: Engine, names: list[str]) -> None:
    """It goes by the name that it has then."""
    bystander = Client(engine).ready()
    kept = bystander.open("two", FILE_READ_DATA)
    file = doomed(client, "one")
    target = "moved".encode("utf-16-le")
    data = bytes(16) + len(target).to_bytes(4, "little") + target  # FileRenameInformation
    assert client.call(Command.SET_INFO, requests.set_info(file, 10, data)).status is SUCCESS
    client.close(file)
    assert there(engine) == ["three", "two"]
    bystander.close(kept)
    assert there(engine) == ["three", "two"]


def test_a_file_with_one_name_waits_for_its_last_close(client: Client, engine: Engine) -> None:
    (engine.files / "one").write_bytes(b"data")
    bystander = Client(engine).ready()
    kept = bystander.open("one", FILE_READ_DATA)
    client.close(doomed(client, "one"))
    assert there(engine) == ["one"]
    assert client.create("one") is NtStatus.DELETE_PENDING
    bystander.close(kept)
    assert there(engine) == []


@pytest.mark.parametrize("asked", ["on close", "later"])
def test_a_persistent_open_s_name_goes_alone_after_a_restart(tmp_path: Path, asked: str) -> None:
    """Who has the file open by another keeps that, and others may open it."""
    engine = available(tmp_path / "share")
    (engine.files / "file").write_bytes(b"data")
    os.link(engine.files / "file", engine.files / "other")
    client = Client(engine).ready()
    options = FILE_DELETE_ON_CLOSE if asked == "on close" else 0
    file = persistent(client, timeout=1000, options=options, name="file")
    bystander = Client(engine).ready()
    kept = persistent(bystander, guid=OTHER, name="other", access=FILE_READ_DATA)
    if asked == "later":
        assert dispose(client, file) is SUCCESS
    engine.settle()
    engine = restarted(engine)
    try:
        engine.server.durable.take_over()
        back = Client(engine, bystander.guid).ready()
        kept = create(back, again(kept, OTHER, FLAG), oplock=0).file_id
        engine.clock.advance(1000)
        engine.settle()
        assert engine.store.disconnected() == []
        assert back.close(kept) is SUCCESS
        assert there(engine) == ["other"]
    finally:
        engine.close()


def test_a_dead_worker_s_name(client: Client, engine: Engine, names: list[str]) -> None:
    """Nobody was left to delete it at once; the last close does, and not the name that it has."""
    bystander = Client(engine, server=engine.another_worker()).ready()
    kept = bystander.open("two", FILE_READ_DATA)
    doomed(client, "one")
    engine.store.drop_worker(1)
    assert there(engine) == names
    bystander.close(kept)
    assert there(engine) == ["three", "two"]


def test_a_dead_worker_s_name_that_is_gone(
    client: Client, engine: Engine, names: list[str]
) -> None:
    """Then no name is the one to delete."""
    bystander = Client(engine, server=engine.another_worker()).ready()
    kept = bystander.open("two", FILE_READ_DATA)
    doomed(client, "one")
    (engine.files / "one").rename(engine.files / "other")
    engine.store.drop_worker(1)
    bystander.close(kept)
    assert there(engine) == ["other", "three", "two"]
