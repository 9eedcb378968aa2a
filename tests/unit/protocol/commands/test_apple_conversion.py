"""What macOS has put into `._NAME` becomes streams: only by who may write them, once, wholly."""

import errno
import os
from pathlib import Path

import pytest
from failing import failing
from smbengine import requests
from smbengine.client import Client
from smbengine.macos import Serve, aapl, double, files, listing, of_macos, read, write

from usmbd.protocol.commands import apple, find_or_create, security
from usmbd.protocol.state.store.records import BASE_KEY_SIZE
from usmbd.protocol.vfs import apple_convert, apple_double
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.wire.access import FILE_ALL_ACCESS, FILE_WRITE_EA
from usmbd.protocol.wire.create import FILE_OPEN_IF
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

FORK = "file:AFP_Resource"
SUCCESS = NtStatus.SUCCESS
OTHER = Identity(31002, 31002)
OLD = of_macos(b"the fork", {b"note": b"old", b"more": b"x"})
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def attribute(name: str) -> str:
    return f"user.DosStream.{name}:$DATA"


def put(client: Client, data: bytes = OLD, **streams: bytes) -> Path:
    """Make a file with streams, and `._NAME` beside it; return that."""
    file, beside = client.engine.files / "file", client.engine.files / "._file"
    file.write_bytes(b"data")
    for name, value in streams.items():
        os.setxattr(file, attribute(name), value + b"\0")
    beside.write_bytes(data)
    return beside


def streams_of(client: Client) -> dict[str, bytes]:
    """Return the attributes of the file that are streams."""
    file = client.engine.files / "file"
    found = (name for name in os.listxattr(file) if name.startswith("user.DosStream."))
    return {name[15:-6]: os.getxattr(file, name)[:-1] for name in found}


def look_as_other(client: Client) -> None:
    """List the folder and read the fork as another user."""
    client.session.tree_connect_table[client.tree_id].identity = OTHER
    try:
        aapl(client)
        listing(client)
        assert read(client, FORK) == b"the fork"
    finally:
        become(None)


@as_root
@pytest.mark.parametrize("mode", [0o644, 0o666])
def test_who_may_only_read_a_file_changes_none_of_its_streams(serve: Serve, mode: int) -> None:
    """He may make `._NAME` in a folder of all, as /tmp is one."""
    client = serve("fruit:metadata = stream")
    client.engine.files.chmod(0o1777)
    beside = put(client, note=b"the owner's")
    os.chown(beside, OTHER.uid, OTHER.gid)
    (client.engine.files / "file").chmod(mode)
    look_as_other(client)
    if mode == 0o644:
        assert streams_of(client) == {"note": b"the owner's"}
        assert beside.read_bytes() == OLD
    else:
        assert streams_of(client)["note"] == b"the owner's"
        assert streams_of(client)["more"] == b"x"
        assert beside.read_bytes() == double(b"the fork")


@as_root
def test_one_that_the_user_cannot_replace_stays(serve: Serve) -> None:
    client = serve()
    client.engine.files.chmod(0o1777)
    beside = put(client)
    beside.chmod(0o666)
    os.chown(client.engine.files / "file", OTHER.uid, OTHER.gid)
    look_as_other(client)
    assert beside.read_bytes() == OLD
    assert streams_of(client) == {}


def test_nor_does_who_may_only_read_the_share(serve: Serve) -> None:
    client = serve("read list = alice")
    beside = put(client, note=b"kept")
    aapl(client)
    listing(client)
    assert read(client, FORK) == b"the fork"
    assert beside.read_bytes() == OLD
    assert streams_of(client) == {"note": b"kept"}


def test_nor_whom_the_stored_descriptor_refuses(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    beside = put(client)
    monkeypatch.setattr(security, "maximal_access", lambda *_: FILE_ALL_ACCESS & ~FILE_WRITE_EA)
    assert read(client, FORK) == b"the fork"
    assert beside.read_bytes() == OLD
    assert streams_of(client) == {}


@pytest.mark.parametrize("kind", ["netatalk", "stream"])
@pytest.mark.parametrize("call", ["rename", "setxattr", "pwrite"])
def test_one_that_fails_halfway_leaves_nothing(
    serve: Serve, kind: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is tried again later, what the user has written since stays."""
    client = serve(f"fruit:metadata = {kind}")
    put(client)
    before = files(client)
    if call == "setxattr":
        set_one = os.setxattr

        def set_first(path: int | str, name: str, value: bytes, flags: int = 0) -> None:
            if name == attribute("more"):
                raise OSError(errno.ENOSPC, "")
            set_one(path, name, value, flags)

        fault = set_first
    else:
        fault = failing(errno.ENOSPC)
    aapl(client)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fault)
        listing(client)
        assert read(client, FORK) == b"the fork"
    assert files(client) == before
    attributes = os.listxattr(client.engine.files / "file")
    assert not [name for name in attributes if "DosStream" in name or "netatalk" in name]
    assert write(client, "file:NOTE", b"new") is SUCCESS
    listing(client)
    assert files(client)["._file"] == double(b"the fork")
    assert read(client, "file:note") == b"new"
    assert read(client, "file:more") == b"x"
    assert read(client, "file:AFP_AfpInfo")[16:24] == b"TEXTttxt"


def test_one_without_room_is_not_begun(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve()
    put(client)
    full = os.statvfs_result((4096, 4096, 100, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(apple_convert.os, "fstatvfs", lambda _: full)
    tried: list[object] = []
    monkeypatch.setattr(os, "setxattr", lambda *call: tried.append(call))
    assert read(client, FORK) == b"the fork"
    assert files(client)["._file"] == OLD
    assert not tried


def test_the_holes_of_a_fork_stay(serve: Serve) -> None:
    """Who has made 4 GiB of nothing by one request has not as much written by the next."""
    client = serve()
    beside = put(client)
    layout = apple_double.parse(OLD, len(OLD))
    assert layout is not None
    size = 64 << 20
    with beside.open("r+b") as file:
        file.seek(layout.length_at)
        file.write(size.to_bytes(4, "big"))
        file.truncate(layout.fork_at + size)
        file.seek(layout.fork_at + size // 2)
        file.write(b"data")
    written = beside.stat().st_blocks
    assert read(client, FORK)[:8] == b"the fork"
    found = beside.stat()
    assert found.st_size == apple_double.SIZE + size
    assert found.st_blocks <= 2 * written
    with beside.open("rb") as file:
        assert file.read(apple_double.SIZE) == apple_double.packed(size)
        file.seek(apple_double.SIZE + size // 2)
        assert file.read(8) == b"data" + bytes(4)


def test_a_fork_that_is_open_stays_where_it_is(serve: Serve) -> None:
    for lines, data in (
        (("fruit:delete_empty_adfiles = yes",), double(b"")),
        (("fruit:wipe_intentionally_left_blank_rfork = yes",), double(apple_convert.BLANK)),
    ):
        client = serve(*lines)
        opened = client.open(FORK)
        (client.engine.files / "._file").write_bytes(data)
        aapl(client)
        listing(client)
        assert client.call(Command.WRITE, requests.write(opened, b"FORK")).status is SUCCESS
        client.close(opened)
        assert read(client, FORK, 4) == b"FORK"


def test_nor_does_one_that_is_opened_meanwhile(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    beside = put(client)
    store = client.engine.server.store
    counts, count = iter((0, 1)), store.count_opens

    def count_opens(key: bytes) -> int:
        return next(counts) if len(key) > BASE_KEY_SIZE else count(key)

    monkeypatch.setattr(store, "count_opens", count_opens)
    aapl(client)
    listing(client)
    assert beside.read_bytes() == OLD
    assert streams_of(client) == {}


@pytest.mark.parametrize(
    ("lines", "data", "kept"),
    [
        ((), OLD, b"the FORK"),
        (("fruit:delete_empty_adfiles = yes",), of_macos(b"", {}), bytes(4) + b"FORK"),
    ],
)
def test_who_opens_a_fork_while_it_is_converted_goes_on_with_the_new_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], data: bytes, kept: bytes
) -> None:
    """The store does not know of him yet."""
    client = serve(*lines)
    put(client, data)
    store = client.engine.server.store
    aapl(client)
    with monkeypatch.context() as patch:
        patch.setattr(apple, "convert", lambda *_: None)
        patch.setattr(find_or_create, "convert", lambda *_: None)
        opened = client.open(FORK, 0x3, FILE_OPEN_IF)
    count = store.count_opens
    with monkeypatch.context() as patch:
        patch.setattr(
            store, "count_opens", lambda key: 0 if len(key) > BASE_KEY_SIZE else count(key)
        )
        listing(client)
    assert client.call(Command.WRITE, requests.write(opened, b"FORK", 4)).status is SUCCESS
    client.close(opened)
    assert read(client, FORK) == kept
    assert files(client)["._file"] == double(kept)
