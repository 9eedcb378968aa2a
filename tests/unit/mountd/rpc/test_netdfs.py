"""netdfs: who may do what, levels, pages, bad paths; rpcclient speaks it in the interop tests."""

import dataclasses
import os
import struct
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from rpc_client import Served

from usmbd.mountd.rpc.interfaces import netdfs
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.streams import Reader, Writer
from usmbd.mountd.rpc.view import Caller

DENIED, NOT_SUPPORTED, EXISTS, INVALID, LEVEL, NO_MORE, NO_VOLUME = 5, 50, 80, 87, 124, 259, 2662
ALL = 0xFFFFFFFF
POINTER = ndr.Unique(ndr.WIDE_STRING)


@pytest.fixture(params=[False, True], ids=["ndr", "ndr64"])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Served:
    """Return a server with a root, which man administrates and games uses."""
    (tmp_path / "root").mkdir()
    os.symlink("msdfs:fs1\\a,fs2\\b\\c", tmp_path / "root/link")
    (tmp_path / "usmbd.conf").write_text(
        f"[global]\nadmin users = man\nnetbios name = NAS\nstate directory = {tmp_path}/state\n"
        f"[root]\npath = {tmp_path}/root\nmsdfs root = yes\n"
    )
    (tmp_path / "passwords.db").write_text(
        "games:AAAAAAAAAAAAAAAAAAAAAA==\nman:AAAAAAAAAAAAAAAAAAAAAA==\n"
    )
    return Served(netdfs.interface, tmp_path, ndr64=request.param)


def call(machine: Served, opnum: int, *values: tuple[Any, Any]) -> tuple[int, Reader]:
    writer = Writer(ndr64=machine.encoding.ndr64)
    for kind, value in values:
        kind.write(writer, value)
        writer.finish()
    stub = machine.run(opnum, bytes(writer.data))
    (status,) = struct.unpack("<I", stub[-4:])
    return status, Reader(stub, ndr64=machine.encoding.ndr64)


def read(reader: Reader, kind: Any) -> Any:
    holder: list[Any] = [None]
    kind.read_into(reader, holder, 0)
    reader.finish()
    return holder[0]


def listed(machine: Served, level: int, limit: int = ALL, resume: int | None = 0) -> Any:
    empty = netdfs.Listing(level, (level, None))
    pointer = ndr.Unique(ndr.of(netdfs.Listing))
    status, reader = call(
        machine, 5, (ndr.UINT32, level), (ndr.UINT32, limit), (pointer, empty),
        (ndr.Unique(ndr.UINT32), resume),
    )  # fmt: skip
    listing = read(reader, pointer)
    return status, listing, read(reader, ndr.Unique(ndr.UINT32))


def change(machine: Served, opnum: int, path: str, server: str, share: str, flags: int = 0) -> int:
    values = [(ndr.WIDE_STRING, path)]
    values.append((ndr.WIDE_STRING if opnum == 1 else POINTER, server))
    values.append((POINTER, share))
    more = [(POINTER, "said"), (ndr.UINT32, flags)] if opnum == 1 else []
    return call(machine, opnum, *values, *more)[0]


def test_lists(machine: Served) -> None:
    machine.become("games")
    for level in (1, 2, 3, 4):
        status, listing, resume = listed(machine, level)
        entries = listing.entries[1].entries
        assert (status, resume) == (0, 2)
        assert [entry.path for entry in entries] == ["\\\\NAS\\root", "\\\\NAS\\root\\link"]
        if level >= 3:
            places = [(each.server, each.share) for each in entries[1].storages]
            assert places == [("fs1", "a"), ("fs2", "b\\c")]
            assert [(each.server, each.share) for each in entries[0].storages] == [("NAS", "root")]
    status, listing, resume = listed(machine, 1, limit=1)
    assert (status, len(listing.entries[1].entries), resume) == (0, 1, 1)
    assert listed(machine, 1, resume=2)[0] == NO_MORE
    assert listed(machine, 7)[0] == LEVEL


def test_lists_of_one_root(machine: Served) -> None:
    machine.become("games")
    pointer = ndr.Unique(ndr.of(netdfs.Listing))
    for path, found in (("\\\\any\\ROOT", 2), ("\\\\any\\none", 0)):
        status, reader = call(
            machine, 21, (ndr.WIDE_STRING, path), (ndr.UINT32, 1), (ndr.UINT32, ALL),
            (pointer, netdfs.Listing(1, (1, None))), (ndr.Unique(ndr.UINT32), 0),
        )  # fmt: skip
        assert status == (0 if found else NO_MORE)
        assert len(read(reader, pointer).entries[1].entries) == found
        assert read(reader, ndr.Unique(ndr.UINT32)) == found


def test_who_has_proved_no_account_is_told_nothing(machine: Served) -> None:
    for caller in (Caller("games", guest=True), Caller(anonymous=True)):
        machine.view = dataclasses.replace(machine.view, caller=caller)
        assert listed(machine, 1)[0] == DENIED


def test_what_is_told_of_each_link(machine: Served) -> None:
    for path, targets in (("root", ["NAS", "root"]), ("root\\link", ["fs1", "a", "fs2", "b\\c"])):
        count = len(targets) // 2
        for level in (2, 3, 4):
            status, reader = call(
                machine, 4, (ndr.WIDE_STRING, f"\\\\any\\{path}"), (POINTER, None),
                (POINTER, None), (ndr.UINT32, level),
            )  # fmt: skip
            _, info = read(reader, netdfs.INFO)
            assert (status, info.comment, info.state, info.count) == (0, "", 1, count)
            if level > 2:
                found = [(each.state, each.server, each.share) for each in info.storages]
                assert found == [
                    (2, *pair) for pair in zip(targets[::2], targets[1::2], strict=True)
                ]
            if level == 4:
                assert (info.timeout, info.guid) == (600, UUID(int=0))


def test_one_link(machine: Served) -> None:
    def asked(path: str, level: int) -> tuple[int, Any]:
        status, reader = call(
            machine, 4, (ndr.WIDE_STRING, path), (POINTER, None), (POINTER, None),
            (ndr.UINT32, level),
        )  # fmt: skip
        return status, read(reader, netdfs.INFO)

    machine.become("games")
    status, (level, info) = asked("\\\\any\\ROOT\\Link", 3)
    assert (status, level, info.path, info.count) == (0, 3, "\\\\NAS\\root\\link", 2)
    assert asked("\\\\any\\root\\none", 1)[0] == NO_VOLUME
    assert asked("\\\\any\\none", 1)[0] == NO_VOLUME
    assert asked("\\\\any", 1)[0] == INVALID
    assert asked("\\\\any\\root\\link", 9)[0] == LEVEL
    sizes = {}
    for level in (999, 5, 6, 7, 101, 150):
        values = (ndr.WIDE_STRING, "\\\\any\\root\\link"), (POINTER, None), (POINTER, None)
        status, reader = call(machine, 4, *values, (ndr.UINT32, level))
        assert status == LEVEL
        sizes[level] = reader.left
    bare = sizes.pop(999)
    assert min(sizes.values()) >= bare + 4  # clients have a place for these: a null pointer


def test_changes(machine: Served, tmp_path: Path) -> None:
    link, path = tmp_path / "root/new", "\\\\NAS\\root\\new"
    assert change(machine, 1, path, "fs3", "c", 1) == 0
    assert change(machine, 1, path, "fs4", "d") == 0
    assert os.readlink(link) == "msdfs:fs3\\c,fs4\\d"
    assert change(machine, 1, path, "fs5", "d", 1) == EXISTS
    assert change(machine, 1, path, "fs5", "d", 8) == INVALID
    for server, share in (("a,b", "c"), ("", "c"), ("a", ""), ("a\\b", "c"), ("a", "c/d")):
        assert change(machine, 1, path, server, share) == INVALID
    assert change(machine, 1, "\\\\NAS\\none\\x", "a", "b") == NO_VOLUME
    assert change(machine, 2, path, "fs3", "c") == 0
    assert os.readlink(link) == "msdfs:fs4\\d"
    assert change(machine, 2, path, "", "") == 0
    assert not link.is_symlink()
    assert change(machine, 2, path, "", "") == NO_VOLUME


def test_only_administrators_change(machine: Served, tmp_path: Path) -> None:
    machine.become("games")
    assert change(machine, 1, "\\\\NAS\\root\\new", "fs3", "c") == DENIED
    assert change(machine, 2, "\\\\NAS\\root\\link", "", "") == DENIED
    assert sorted(os.listdir(tmp_path / "root")) == ["link"]


def test_version_and_what_links_do_not_have(machine: Served) -> None:
    assert call(machine, 0)[0] == netdfs.MANAGER_VERSION
    values = [(ndr.WIDE_STRING, "\\\\NAS\\root\\link"), (POINTER, None), (POINTER, None)]
    assert call(machine, 3, *values, (ndr.UINT32, 100))[0] == NOT_SUPPORTED
