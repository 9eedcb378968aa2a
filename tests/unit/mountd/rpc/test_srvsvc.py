"""srvsvc against impacket: its requests, and its reading of the answers, in NDR and NDR64."""

import struct
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from impacket.dcerpc.v5 import srvs
from impacket.dcerpc.v5.dtypes import NULL

from usmbd.mountd.ipc.accounts import AskReadable, AskRights, AskUses, Readable, Rights, Uses
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig, ShareType
from usmbd.mountd.rpc.endpoint import CallError, Encoding
from usmbd.mountd.rpc.interfaces import srvsvc
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import Caller, Snapshot, View

ENCODINGS = [Encoding(False, "<"), Encoding(True, "<")]
ALL = 0xFFFFFFFF
DISK, IPC = 0, 0x80000003


def call(view: View, opnum: int, request: bytes, encoding: Encoding, administrator: bool) -> bytes:
    """Make a call; mountd says that its user is an administrator or not, if it is asked."""
    answer = srvsvc.interface(view).calls[opnum](request, encoding)
    if not isinstance(answer, Generator):
        return answer
    try:
        question = next(answer)
        while True:
            if isinstance(question, AskUses):
                question = answer.send(Uses([len(name) for name in question.shares]))
            elif isinstance(question, AskReadable):
                assert (question.user, question.guest) == (view.caller.user, view.caller.guest)
                question = answer.send(Readable([name != "data" for name in question.shares]))
            else:
                assert question == AskRights(view.caller.user)
                question = answer.send(Rights(administrator))
    except StopIteration as stop:
        return bytes(stop.value)


def run(
    view: View,
    opnum: int,
    request: Any,
    answer: Any,
    encoding: Encoding,
    administrator: bool = False,
) -> Any:
    """Make a call with impacket's structures; what it does not consume is an error."""
    stub = call(view, opnum, request.getData(), encoding, administrator)
    found = answer(stub, isNDR64=encoding.ndr64)
    assert len(stub) % 4 == 0
    assert found["ErrorCode"] == struct.unpack("<I", stub[-4:])[0]
    return found


def enum_request(
    encoding: Encoding, level: int, limit: int = ALL, resume: int | None = 0, sticky: bool = False
) -> Any:
    """Build NetrShareEnum, or its sticky variant."""
    structure = srvs.NetrShareEnumSticky if sticky else srvs.NetrShareEnum
    request = structure(isNDR64=encoding.ndr64)
    request["ServerName"] = "\\\\nas\x00"
    request["PreferedMaximumLength"] = limit
    request["InfoStruct"]["Level"] = level
    request["InfoStruct"]["ShareInfo"]["tag"] = level
    request["InfoStruct"]["ShareInfo"][f"Level{level}"]["Buffer"] = NULL
    request["ResumeHandle"] = NULL if resume is None else resume
    return request


def rows(answer: Any, level: int) -> list[dict[str, Any]]:
    """Return the rows of a share list by their field names without prefix."""
    container = answer["InfoStruct"]["ShareInfo"][f"Level{level}"]
    assert container["EntriesRead"] == len(container["Buffer"])
    return [fields(row, level) for row in container["Buffer"]]


def fields(row: Any, level: int) -> dict[str, Any]:
    """Return one structure's fields without prefix, strings without their NUL."""
    found = {}
    for name, _ in row.structure:
        value = row[name]
        if isinstance(value, str):
            assert value.endswith("\x00")
            value = value[:-1]
        elif isinstance(value, list):
            value = b"".join(value)
        found[name.removeprefix(f"shi{level}_")] = value
    return found


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("level", [0, 1, 2, 501, 502])
@pytest.mark.parametrize("administrator", [False, True])
def test_share_enum(view: View, level: int, encoding: Encoding, administrator: bool) -> None:
    """Where the shares lie is for administrators."""
    request = enum_request(encoding, level)
    answer = run(view, 15, request, srvs.NetrShareEnumResponse, encoding, administrator)
    assert answer["ErrorCode"] == 0
    assert answer["TotalEntries"] == 3
    found = rows(answer, level)
    assert [row["netname"] for row in found] == ["data", "Büro", "IPC$"]
    if level:
        assert [row["type"] for row in found] == [DISK, DISK, IPC]
        assert [row["remark"] for row in found] == ["", "日本 \U0001f600", "Remote IPC"]
    if level == 501:
        assert [row["flags"] for row in found] == [0, 0x8000, 0]
    if level in (2, 502):
        paths = ["C:\\srv\\data", "C:\\srv\\büro", ""]
        assert [row["path"] for row in found] == (paths if administrator else [""] * 3)
        assert [row["max_uses"] for row in found] == [ALL, 128, ALL]
        assert [row["current_uses"] for row in found] == [4, 4, 4]
    if level == 502:
        masks = []
        for row in found:
            descriptor = row["security_descriptor"]
            assert row["reserved"] == len(descriptor) == 48
            assert struct.unpack_from("<BBHIIII", descriptor) == (1, 0, 0x8004, 0, 0, 0, 20)
            masks.append(struct.unpack_from("<I", descriptor, 32)[0])
        assert masks == [0x1200A9, 0x1F01FF, 0x1F01FF]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("level", [0, 1, 2, 502])
def test_share_enum_sticky(view: View, level: int, encoding: Encoding) -> None:
    request = enum_request(encoding, level, sticky=True)
    answer = run(view, 36, request, srvs.NetrShareEnumStickyResponse, encoding)
    assert [row["netname"] for row in rows(answer, level)] == ["data", "Büro"]


@pytest.mark.parametrize(("opnum", "sticky"), [(15, False), (36, True)])
def test_access_based_share_enum(view: View, opnum: int, sticky: bool) -> None:
    """Where a share says so it is listed for who may use it; mountd says that "data" is not."""
    response = srvs.NetrShareEnumStickyResponse if sticky else srvs.NetrShareEnumResponse
    told = tuple(
        msgspec.structs.replace(share, access_based_share_enum=True)
        for share in view.snapshot.shares
    )
    hidden = replace(view, snapshot=replace(view.snapshot, shares=told))
    request = enum_request(ENCODINGS[0], 0, sticky=sticky)
    answer = run(hidden, opnum, request, response, ENCODINGS[0])
    assert [row["netname"] for row in rows(answer, 0)][:1] == ["Büro"]
    some = replace(view.snapshot, shares=(*view.snapshot.shares[:1], *told[1:]))
    answer = run(replace(view, snapshot=some), opnum, request, response, ENCODINGS[0])
    assert [row["netname"] for row in rows(answer, 0)][:2] == ["data", "Büro"]


def test_share_enum_is_the_bytes_of_the_document(snapshot: Snapshot) -> None:
    """One share, written out by hand from [MS-SRVS] 2.2.4.32 and C706 14.3."""
    one = Snapshot(snapshot.config, (ShareConfig(name="IPC$", comment="x"),))
    view = View(one, Caller())
    stub = call(view, 15, enum_request(ENCODINGS[0], 0).getData(), ENCODINGS[0], False)
    name = struct.pack("<III", 5, 0, 5) + "IPC$\0".encode("utf-16-le") + bytes(2)
    info = struct.pack("<IIIIIII", 0, 0, 0x20000, 1, 0x20004, 1, 0x20008)
    assert stub == info + name + struct.pack("<IIII", 1, 0x2000C, 0, 0)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_share_enum_in_parts(view: View, encoding: Encoding) -> None:
    """A client with little room gets one share at a time, and all of them once."""
    names, resume, totals = [], 0, []
    while True:
        request = enum_request(encoding, 1, limit=1, resume=resume)
        answer = run(view, 15, request, srvs.NetrShareEnumResponse, encoding)
        names += [row["netname"] for row in rows(answer, 1)]
        totals.append(answer["TotalEntries"])
        resume = answer["ResumeHandle"]
        if answer["ErrorCode"] == 0:
            break
        assert answer["ErrorCode"] == 234
    assert names == ["data", "Büro", "IPC$"]
    assert totals == [3, 2, 1]
    assert resume == 0


def test_share_enum_without_resume_handle(view: View) -> None:
    for _ in range(2):
        request = enum_request(ENCODINGS[0], 1, resume=None)
        answer = run(view, 15, request, srvs.NetrShareEnumResponse, ENCODINGS[0])
        assert answer.fields["ResumeHandle"].fields["ReferentID"] == 0
        assert len(rows(answer, 1)) == 3


def test_share_enum_past_the_end(view: View) -> None:
    request = enum_request(ENCODINGS[0], 1, resume=1000)
    answer = run(view, 15, request, srvs.NetrShareEnumResponse, ENCODINGS[0])
    assert (answer["ErrorCode"], answer["TotalEntries"]) == (0, 0)
    assert rows(answer, 1) == []


@pytest.mark.parametrize(("level", "tag"), [(504, 504), (99, 99), (1, 2)])
def test_share_enum_of_a_level_that_is_not_there(view: View, level: int, tag: int) -> None:
    request = struct.pack("<IIIIIIII", 0, level, tag, 0x20000, 0, 0, ALL, 0)
    stub = call(view, 15, request, ENCODINGS[0], False)
    assert struct.unpack_from("<I", stub) == (level,)
    assert stub[-4:] == struct.pack("<I", 124)


def test_guests_and_null_sessions_see_no_paths(view: View) -> None:
    told = Snapshot(ServerConfig(restrict_anonymous=0), view.snapshot.shares)
    for caller in (Caller(guest=True), Caller(anonymous=True)):
        answer = run(
            replace(view, snapshot=told, caller=caller),
            15,
            enum_request(ENCODINGS[0], 2),
            srvs.NetrShareEnumResponse,
            ENCODINGS[0],
        )
        assert [row["path"] for row in rows(answer, 2)] == ["", "", ""]


@pytest.mark.parametrize(("value", "status"), [(0, 0), (1, 5), (2, 5), (None, 5)])
def test_restrict_anonymous(view: View, value: int | None, status: int) -> None:
    """0 tells everybody the shares, 1 and what holds without a word tell nobody else."""
    config = ServerConfig() if value is None else ServerConfig(restrict_anonymous=value)
    snapshot = Snapshot(config, view.snapshot.shares)
    for caller, expected in ((Caller(anonymous=True), status), (Caller(user="alice"), 0)):
        request = enum_request(ENCODINGS[0], 1).getData()
        stub = call(View(snapshot, caller), 15, request, ENCODINGS[0], False)
        assert stub[-4:] == struct.pack("<I", expected)
        assert ("data".encode("utf-16-le") in stub) == (not expected)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("level", [0, 1, 2, 501, 502, 1005])
@pytest.mark.parametrize("name", ["bÜRO", "secret", "ipc$"])
@pytest.mark.parametrize("administrator", [False, True])
def test_share_get_info(
    view: View, level: int, name: str, encoding: Encoding, administrator: bool
) -> None:
    """A share is found in any case, hidden or not; its path is for administrators."""
    request = srvs.NetrShareGetInfo(isNDR64=encoding.ndr64)
    request["ServerName"] = NULL
    request["NetName"] = name + "\x00"
    request["Level"] = level
    answer = run(view, 16, request, srvs.NetrShareGetInfoResponse, encoding, administrator)
    assert answer["ErrorCode"] == 0
    assert answer["InfoStruct"]["tag"] == level
    found = fields(answer["InfoStruct"][f"ShareInfo{level}"], level)
    if level == 1005:
        assert found == {"flags": 0x8000 if name == "bÜRO" else 0}
    else:
        assert found["netname"].casefold() == name.casefold()
    if level in (2, 502):
        assert bool(found["path"]) == (administrator and name != "ipc$")


@pytest.mark.parametrize(("name", "level", "status"), [("nil", 1, 2310), ("data", 77, 124)])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_share_get_info_of_nothing(
    view: View, name: str, level: int, status: int, encoding: Encoding
) -> None:
    request = srvs.NetrShareGetInfo(isNDR64=encoding.ndr64)
    request["ServerName"] = NULL
    request["NetName"] = name + "\x00"
    request["Level"] = level
    stub = call(view, 16, request.getData(), encoding, False)
    assert struct.unpack_from("<I", stub) == (level,)
    assert stub[-4:] == struct.pack("<I", status)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("level", [100, 101, 102])
def test_server_get_info(view: View, level: int, encoding: Encoding) -> None:
    request = srvs.NetrServerGetInfo(isNDR64=encoding.ndr64)
    request["ServerName"] = "\\\\nas\x00"
    request["Level"] = level
    answer = run(view, 21, request, srvs.NetrServerGetInfoResponse, encoding)
    info = answer["InfoStruct"][f"ServerInfo{level}"]
    assert answer["ErrorCode"] == 0
    assert info[f"sv{level}_platform_id"] == 500
    assert info[f"sv{level}_name"] == "NAS\x00"
    if level > 100:
        assert info[f"sv{level}_comment"] == "Ablage\x00"
        assert info[f"sv{level}_version_major"] == 6
        assert info[f"sv{level}_type"] & 3 == 3


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_remote_tod(view: View, encoding: Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-01:30")
    time.tzset()
    request = srvs.NetrRemoteTOD(isNDR64=encoding.ndr64)
    request["ServerName"] = NULL
    answer = run(view, 28, request, srvs.NetrRemoteTODResponse, encoding)["BufferPtr"]
    names = ("elapsedt", "year", "month", "day", "weekday", "hours", "mins", "secs", "hunds")
    found = [answer[f"tod_{name}"] for name in names]
    assert found == [1_700_000_000, 2023, 11, 14, 2, 22, 13, 20, 25]
    assert answer["tod_timezone"] == 0x1_0000_0000 - 90
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("opnum", [8, 9, 12, 15, 16, 21, 28, 36])
def test_short_stubs_are_faults(view: View, opnum: int, encoding: Encoding) -> None:
    """Every stub that ends too early is refused, wherever it ends."""
    call = srvsvc.interface(view).calls[opnum]
    whole = struct.pack("<IIIIIIII", 0, 1, 1, 0x20000, 0, 0, ALL, 0)
    if encoding.ndr64:
        whole = struct.pack("<QQQQQQII", 0, 1, 1, 0x20000, 0, 0, ALL, 0) + bytes(8)
    with pytest.raises(CallError) as found:
        call(b"", encoding)
    assert found.value.status == Fault.BAD_STUB_DATA
    if opnum in (15, 36):
        assert call(whole, encoding)
        for length in range(len(whole) - (8 if encoding.ndr64 else 0)):
            with pytest.raises(CallError):
                call(whole[:length], encoding)


@pytest.mark.parametrize(
    "stub",
    [
        struct.pack("<IIIIIII", 0, 0, 0, 1, ALL, 1, ALL) + bytes(7000),
        struct.pack("<IIIIIII", 0, 0, 0, 1, 1700, 1, 1700) + b"\1\0\0\0" * 1700,
        struct.pack("<IIII", 1, ALL, ALL, ALL) + b"A\0" * 3000,
    ],
)
def test_hostile_stubs_end_soon(view: View, stub: bytes) -> None:
    """Counts that lie cost neither time nor memory."""
    start = time.monotonic()
    with pytest.raises(CallError):
        srvsvc.interface(view).calls[15](stub, ENCODINGS[0])
    assert time.monotonic() - start < 1


def test_ipc_is_listed_once_however_it_is_configured(snapshot: Snapshot) -> None:
    configured = ShareConfig(name="ipc$", type=ShareType.PIPE, comment="Pipes", browseable=False)
    view = View(Snapshot(snapshot.config, (*snapshot.shares, configured)), Caller())
    request = enum_request(ENCODINGS[0], 1)
    answer = run(view, 15, request, srvs.NetrShareEnumResponse, ENCODINGS[0])
    found = [(row["netname"], row["remark"]) for row in rows(answer, 1)]
    assert found[2:] == [("ipc$", "Pipes")]


@pytest.mark.parametrize(
    ("opnum", "level"),
    [*((15, level) for level in (1004, 1005, 1006, 1007, 1501)), (26, 2), (26, 3)],
)
def test_levels_that_clients_have_a_place_for(view: View, opnum: int, level: int) -> None:
    """A null pointer stands there: without it they would read the status as something else."""
    stub = struct.pack("<IIII", 0, level, level, 1) + bytes(8)  # a list, which is empty
    stub += struct.pack("<II", 0xFFFFFFFF, 0)
    answer = call(view, opnum, stub, Encoding(False, "<"), True)
    status = struct.unpack_from("<I", answer, len(answer) - 4)[0]
    assert (len(answer), status) == (24, 124)
    assert struct.unpack_from("<III", answer) == (level, level, 0)


@pytest.mark.parametrize(("opnum", "level"), [(16, 1007), (21, 402), (21, 403)])
def test_a_level_that_is_not_told_of_one(view: View, opnum: int, level: int) -> None:
    name = struct.pack("<III", 5, 0, 5) + "data\0".encode("utf-16-le") + bytes(2)
    stub = struct.pack("<I", 0) + (name if opnum == 16 else b"") + struct.pack("<I", level)
    answer = call(view, opnum, stub, Encoding(False, "<"), True)
    assert struct.unpack("<III", answer) == (level, 0, 124)
