"""Interfaces of a few calls, and srvsvc about the server, against impacket where it has them."""

import dataclasses
import struct
import uuid
from typing import Any

import pytest
import rpc_client as rpc
from impacket.dcerpc.v5 import epm, mgmt, srvs, wkst
from impacket.dcerpc.v5.dtypes import NULL
from rpc_client import Machine

from usmbd.mountd.rpc.endpoint import Pipe
from usmbd.mountd.rpc.interfaces import PIPES, dssetup, lsarpc, ntsvcs, srvsvc, wkssvc
from usmbd.mountd.rpc.traffic import Traffic
from usmbd.mountd.rpc.view import Caller, View

DENIED, NOT_SUPPORTED, LEVEL = 5, 50, 124
EVERYTHING = 0xFFFFFFFF


@pytest.fixture(params=[False, True], ids=["ndr", "ndr64"])
def make(view: View, request: pytest.FixtureRequest) -> Any:
    """Return what makes a server with the user games, who asks, and the administrator man."""
    caller = Caller(user="games", domain="HOME", uid=5)

    def made(interface: Any, **more: Any) -> Machine:
        own = dataclasses.replace(view, caller=caller)
        return Machine(interface, own, ["games", "man"], ("man",), ndr64=request.param, **more)

    return made


def status_of(stub: bytes) -> int:
    (status,) = struct.unpack("<I", stub[-4:])
    assert isinstance(status, int)
    return status


# -- srvsvc --------------------------------------------------------------------------------------


def test_drives(make: Any) -> None:
    machine = make(srvsvc.interface)

    def ask(status: int, level: int = 0) -> bytes:
        request = machine.request(srvs.NetrServerDiskEnum)
        request["ServerName"] = NULL
        request["Level"] = level
        request["DiskInfoStruct"]["Buffer"] = NULL
        request["PreferedMaximumLength"] = EVERYTHING
        request["ResumeHandle"] = NULL
        stub: bytes = machine.run(23, request.getData())
        assert status_of(stub) == status
        return stub

    ask(DENIED)
    ask(LEVEL, 1)
    machine.become("man")
    assert "C:\0".encode("utf-16-le") in ask(0)


@pytest.mark.parametrize("level", [0, 1])
def test_transports(make: Any, level: int) -> None:
    machine = make(srvsvc.interface)
    request = machine.request(srvs.NetrServerTransportEnum)
    request["ServerName"] = NULL
    request["InfoStruct"]["Level"] = level
    request["InfoStruct"]["XportInfo"]["tag"] = level
    request["InfoStruct"]["XportInfo"][f"Level{level}"]["Buffer"] = NULL
    request["PreferedMaximumLength"] = EVERYTHING
    request["ResumeHandle"] = NULL
    machine.call(request, srvs.NetrServerTransportEnumResponse, DENIED)
    machine.become("man")
    answer = machine.call(request, srvs.NetrServerTransportEnumResponse)
    (row,) = answer["InfoStruct"]["XportInfo"][f"Level{level}"]["Buffer"]
    prefix = f"svti{level}_"
    assert row[prefix + "transportname"] == "\\Device\\NetbiosSmb\0"


@pytest.mark.parametrize(
    ("device", "status", "kind"),
    [
        ("C:\\srv\\data", 0, 0),
        ("c:\\SRV\\data\\", 0, 0),
        ("C:\\srv", 2311, 0),
        ("", 0, 0x80000003),  # IPC$ has no folder
    ],
)
def test_which_share_a_folder_has(make: Any, device: str, status: int, kind: int) -> None:
    machine = make(srvsvc.interface)
    request = machine.request(srvs.NetrShareCheck)
    request["ServerName"] = NULL
    request["Device"] = device + "\0"
    machine.call(request, srvs.NetrShareCheckResponse, 2311 if device else 0)
    machine.become("man")  # an administrator, who may know where shares lie
    answer = machine.call(request, srvs.NetrShareCheckResponse, status)
    assert answer["Type"] == kind


@pytest.mark.parametrize(
    ("name", "kind", "flags", "status"),
    [
        ("data", 9, 0, 0),
        ("x" * 80, 9, 0, 0),
        ("x" * 81, 9, 0, 123),
        ("x" * 13, 9, 0x80000000, 0),
        ("x" * 14, 9, 0x80000000, 123),
        ("a/b", 9, 0, 123),
        ("", 9, 0, 123),
        ("data", 0, 0, 87),
        ("data", 15, 0, 87),
        ("data", 9, 1, 87),
        ("data", 3, 0, NOT_SUPPORTED),
    ],
)
def test_names_of_shares(make: Any, name: str, kind: int, flags: int, status: int) -> None:
    machine = make(srvsvc.interface)
    request = machine.request(srvs.NetprNameValidate)
    request["ServerName"] = NULL
    request["Name"] = name + "\0"
    request["NameType"] = kind
    request["Flags"] = flags
    assert status_of(machine.run(33, request.getData())) == status


def test_a_share_has_one_life(make: Any) -> None:
    machine = make(srvsvc.interface)
    assert status_of(machine.run(19, b"")) == DENIED
    machine.become("man")
    assert status_of(machine.run(19, b"")) == NOT_SUPPORTED


@pytest.mark.parametrize("level", [502, 503, 1501])
def test_levels_of_the_server_that_windows_has(make: Any, level: int) -> None:
    machine = make(srvsvc.interface)
    request = machine.request(srvs.NetrServerGetInfo)
    request["ServerName"] = NULL
    request["Level"] = level
    machine.call(request, srvs.NetrServerGetInfoResponse, LEVEL)


# -- wkssvc --------------------------------------------------------------------------------------


def test_who_sits_there(make: Any) -> None:
    machine = make(wkssvc.interface)
    for level in (0, 1):
        request = machine.request(wkst.NetrWkstaUserEnum)
        request["ServerName"] = NULL
        request["UserInfo"]["Level"] = level
        request["UserInfo"]["WkstaUserInfo"]["tag"] = level
        request["UserInfo"]["WkstaUserInfo"][f"Level{level}"]["Buffer"] = NULL
        request["PreferredMaximumLength"] = EVERYTHING
        request["ResumeHandle"] = NULL
        machine.become("games")
        machine.call(request, wkst.NetrWkstaUserEnumResponse, DENIED)
        machine.become("man")
        answer = machine.call(request, wkst.NetrWkstaUserEnumResponse)
        assert answer["TotalEntries"] == 0


def test_transports_of_the_computer(make: Any) -> None:
    machine = make(wkssvc.interface)
    request = machine.request(wkst.NetrWkstaTransportEnum)
    request["ServerName"] = NULL
    request["TransportInfo"]["Level"] = 0
    request["TransportInfo"]["WkstaTransportInfo"]["tag"] = 0
    request["TransportInfo"]["WkstaTransportInfo"]["Level0"]["Buffer"] = NULL
    request["PreferredMaximumLength"] = EVERYTHING
    request["ResumeHandle"] = NULL
    machine.call(request, wkst.NetrWkstaTransportEnumResponse, DENIED)
    machine.become("man")
    answer = machine.call(request, wkst.NetrWkstaTransportEnumResponse)
    (row,) = answer["TransportInfo"]["WkstaTransportInfo"]["Level0"]["Buffer"]
    assert row["wkti0_transport_name"] == "\\Device\\NetbiosSmb\0"


def test_the_workgroup(make: Any) -> None:
    machine = make(wkssvc.interface)
    request = machine.request(wkst.NetrGetJoinInformation)
    request["ServerName"] = NULL
    request["NameBuffer"] = "\0"
    answer = machine.call(request, wkst.NetrGetJoinInformationResponse)
    assert (answer["NameBuffer"], answer["BufferType"]) == ("HOME\0", 2)


def test_names_of_the_computer(make: Any) -> None:
    machine = make(wkssvc.interface)
    gap = 2 if machine.encoding.ndr64 else 1
    stub = bytes(4 * gap) + (struct.pack("<I", 2) if gap == 2 else struct.pack("<HH", 2, 0))
    stub += bytes(4)
    assert status_of(machine.run(30, stub)) == DENIED
    machine.become("man")
    assert "NAS".encode("utf-16-le") in machine.run(30, stub)
    assert status_of(machine.run(30, stub[:-4] + b"\1\0\0\0")) == 87


# -- dssetup ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "status"), [(1, 0), (2, 0), (3, 0), (4, 87)])
def test_the_role(view: View, level: int, status: int) -> None:
    stub = Machine(dssetup.interface, view, []).run(0, struct.pack("<H", level))
    assert status_of(stub) == status
    if level == 1:
        # A pointer, the level, a standalone server without flags, and its workgroup.
        assert stub[:8] == struct.pack("<IHH", 0x20000, 1, 0)
        assert struct.unpack_from("<HHII", stub, 8) == (2, 0, 0, 0x20004)
        assert "HOME\0".encode("utf-16-le") in stub


# -- mgmt and epmapper -----------------------------------------------------------------------------


def over(pipe: str, view: View, interface: Any, stub: bytes, opnum: int) -> bytes:
    """Make a call on a pipe as it is opened."""
    opened = Pipe(pipe, [each(view) for each in PIPES[pipe]])
    rpc.bound(opened, interface)
    opened.write(rpc.request(opnum, stub))
    return rpc.stub_of(rpc.messages(opened))


def test_what_is_on_a_pipe(view: View) -> None:
    management = (uuid.UUID("afa8bd80-7d8a-11c9-bef4-08002b102989"), 1)
    for pipe, expected in (
        ("srvsvc", [rpc.SRVSVC[0]]),
        ("lsarpc", [lsarpc.CALLS.syntax.uuid, dssetup.CALLS.syntax.uuid]),
    ):
        answer = mgmt.inq_if_idsResponse(over(pipe, view, management, b"", 0))
        found = [
            uuid.UUID(bytes_le=each["Data"]["Uuid"]) for each in answer["if_id_vector"]["if_id"]
        ]
        assert found == [*expected, management[0]]
        assert answer["status"] == 0
    assert over("samr", view, management, b"", 2) == struct.pack("<II", 0, 1)
    assert status_of(over("samr", view, management, b"", 3)) == 5


def test_how_much_there_was_to_do(view: View) -> None:
    """A whole answer also where there is none: an array that is cut is none to a client."""
    management = (uuid.UUID("afa8bd80-7d8a-11c9-bef4-08002b102989"), 1)
    view.traffic.calls, view.traffic.received, view.traffic.sent = 7, 9, 1 << 32 | 8
    for most, expected in ((4, [7, 0, 9, 8]), (2, [7, 0]), (9, [7, 0, 9, 8])):
        stub = over("samr", view, management, struct.pack("<I", most), 1)
        count = len(expected)
        assert stub == struct.pack(f"<II{count}II", count, count, *expected, 0)
    stranger = dataclasses.replace(view, caller=Caller(anonymous=True))
    assert over("samr", stranger, management, struct.pack("<I", 4), 1) == struct.pack(
        "<III", 0, 0, 5
    )
    for size in (0, 100):
        stub = over("samr", view, management, struct.pack("<II", 10, size), 4)
        assert stub == struct.pack("<III4sI", size or 1, 0, 1, bytes(4), 1747)


def test_what_pipes_have_had_to_do(view: View) -> None:
    found = Traffic()
    opened = Pipe("srvsvc", [each(view) for each in PIPES["srvsvc"]], traffic=found)
    rpc.bound(opened, rpc.SRVSVC)
    opened.write(rpc.request(999, b""))
    rpc.messages(opened)
    assert (found.calls, found.received, found.sent) == (1, 2, 2)


EPM = (uuid.UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), 3)


def test_endpoints(view: View) -> None:
    request = epm.ept_lookup()
    request["inquiry_type"] = 0
    request["object"] = request["Ifid"] = NULL
    request["vers_option"] = 1
    request["max_ents"] = 100
    answer = epm.ept_lookupResponse(over("epmapper", view, EPM, request.getData(), 2))
    assert answer["status"] == 0
    assert answer["num_ents"] == len(answer["entries"]) >= 6
    pipes = set()
    for entry in answer["entries"]:
        tower = epm.EPMTower(b"".join(entry["tower"]["tower_octet_string"]))
        pipes.add(epm.PrintStringBinding(tower["Floors"]))
    assert "ncacn_np:\\\\NAS[\\PIPE\\srvsvc]" in pipes


@pytest.mark.parametrize("known", [True, False])
def test_where_an_interface_is(view: View, known: bool) -> None:
    wanted = rpc.SRVSVC[0] if known else uuid.UUID(int=7)
    floor = b"\x0d" + wanted.bytes_le + struct.pack("<H", 3)
    tower = struct.pack("<HH", 1, len(floor)) + floor + struct.pack("<HH", 2, 0)
    padded = tower + bytes(-len(tower) % 4)
    stub = struct.pack("<4I", 0, 0x20000, len(tower), len(tower)) + padded
    answer = over("epmapper", view, EPM, stub + bytes(20) + struct.pack("<I", 4), 3)
    assert status_of(answer) == (0 if known else 0x16C9A0D6)
    assert (b"\\PIPE\\srvsvc\0" in answer) == known


@pytest.mark.parametrize("size", [4, 1])
def test_endpoints_in_parts(view: View, size: int) -> None:
    """Clients ask on until a part is not full, or there is none any more."""
    opened = Pipe("epmapper", [each(view) for each in PIPES["epmapper"]])
    rpc.bound(opened, EPM)
    handle, seen = bytes(20), 0
    while True:
        stub = struct.pack("<4I", 0, 0, 0, 1) + handle + struct.pack("<I", size)
        opened.write(rpc.request(2, stub))
        answer = rpc.stub_of(rpc.messages(opened))
        handle, (count,) = answer[:20], struct.unpack_from("<I", answer, 20)
        assert status_of(answer) == (0 if count else 0x16C9A0D6)
        seen += count
        assert (handle == bytes(20)) == (count < size)
        if count < size:
            break
    assert seen == sum(len(each) - 1 for pipe, each in PIPES.items() if pipe != "epmapper")
    opened.write(rpc.request(4, b"\1" * 20))
    assert rpc.fault(rpc.messages(opened)[0]) == 0x1C00001A


@pytest.mark.parametrize("tower", [b"", b"\1\0\x13\0\x0d", bytes(30)])
def test_towers_that_are_none(view: View, tower: bytes) -> None:
    padded = tower + bytes(-len(tower) % 4)
    stub = struct.pack("<4I", 0, 0x20000, len(tower), len(tower)) + padded + bytes(24)
    opened = Pipe("epmapper", [each(view) for each in PIPES["epmapper"]])
    rpc.bound(opened, EPM)
    opened.write(rpc.request(3, stub))
    assert rpc.fault(rpc.messages(opened)[0]) == 0x6F7


# -- what a workstation does ---------------------------------------------------------------------

REMOTE_DISABLED = 0x8001011C


def test_the_server_uses_no_shares(make: Any) -> None:
    machine = make(wkssvc.interface)
    for level in range(3):
        request = machine.request(wkst.NetrUseEnum)
        request["ServerName"] = NULL
        request["InfoStruct"]["Level"] = level
        request["InfoStruct"]["UseInfo"]["tag"] = level
        request["InfoStruct"]["UseInfo"][f"Level{level}"]["Buffer"] = NULL
        request["PreferredMaximumLength"] = EVERYTHING
        request["ResumeHandle"] = NULL
        stub = machine.run(11, request.getData())
        assert not any(stub[-12:])  # none, nowhere to go on, no error


def test_a_client_that_is_none_has_no_statistics(make: Any) -> None:
    machine = make(wkssvc.interface)
    request = machine.request(wkst.NetrWorkstationStatisticsGet)
    request["ServerName"] = request["ServiceName"] = NULL
    for level, options, status in ((1, 0, LEVEL), (0, 1, 87), (0, 0, DENIED)):
        request["Level"], request["Options"] = level, options
        assert status_of(machine.run(13, request.getData())) == status
    machine.become("man")
    answer = machine.call(request, wkst.NetrWorkstationStatisticsGetResponse)
    assert answer["Buffer"]["BytesReceived"] == answer["Buffer"]["CurrentCommands"] == 0


@pytest.mark.parametrize(
    ("opnum", "status"),
    [
        *((opnum, NOT_SUPPORTED) for opnum in (22, 23, 24, 27, 28, 29)),
        (7, 2),  # ERROR_FILE_NOT_FOUND
    ],
)
def test_what_is_refused_to_administrators_too(make: Any, opnum: int, status: int) -> None:
    machine = make(wkssvc.interface)
    assert status_of(machine.run(opnum, bytes(16))) == DENIED
    machine.become("man")
    assert status_of(machine.run(opnum, bytes(16))) == status


@pytest.mark.parametrize(
    ("opnum", "status"),
    [
        *((opnum, NOT_SUPPORTED) for opnum in (12, 14, 15, 16, 17, 18, 19, 21)),
        *((opnum, REMOTE_DISABLED) for opnum in (25, 26)),
    ],
)
def test_what_is_refused_to_all(make: Any, opnum: int, status: int) -> None:
    assert status_of(make(wkssvc.interface).run(opnum, b"")) == status


@pytest.mark.parametrize(("level", "status"), [(0, LEVEL), (1, NOT_SUPPORTED), (9, LEVEL)])
def test_no_share_is_used(make: Any, level: int, status: int) -> None:
    machine = make(wkssvc.interface)
    machine.become("man")
    pointer = bytes(8 if machine.encoding.ndr64 else 4)
    assert status_of(machine.run(8, pointer + struct.pack("<I", level))) == status


def test_no_transport_is_added(make: Any) -> None:
    machine = make(wkssvc.interface)
    request = machine.request(wkst.NetrWkstaTransportAdd)
    request["ServerName"] = NULL
    request["TransportInfo"]["wkti0_transport_name"] = "\\Device\\Other\0"
    request["TransportInfo"]["wkti0_transport_address"] = "000000000000\0"
    request["ErrorParameter"] = 0
    for user, level, status in (("games", 0, DENIED), ("man", 0, 87), ("man", 1, LEVEL)):
        machine.become(user)
        request["Level"] = level
        assert status_of(machine.run(6, request.getData())) == status


@pytest.mark.parametrize("opnum", [0, 3])
def test_there_are_no_serial_lines(make: Any, opnum: int) -> None:
    machine = make(srvsvc.interface)
    pointer = 8 if machine.encoding.ndr64 else 4
    stub = bytes(pointer) * (1 if opnum == 0 else 2)
    stub += bytes(2 * pointer) + bytes(pointer)  # the level, the tag, no list
    stub += EVERYTHING.to_bytes(pointer, "little") + bytes(pointer)
    assert status_of(machine.run(opnum, stub)) == NOT_SUPPORTED


# -- plug and play ---------------------------------------------------------------------------------


def wide(text: str) -> bytes:
    raw = (text + "\0").encode("utf-16-le")
    count = len(raw) // 2
    return struct.pack("<III", count, 0, count) + raw + bytes(-len(raw) % 4)


def test_a_server_without_devices(view: View) -> None:
    """As smbtorture asks for them; Windows' consoles do when they show services."""
    syntax = ntsvcs.CALLS.syntax.uuid, 1
    named, path = struct.pack("<I", 0x20000) + wide("Spooler"), wide("ACPI\\1")

    def ask(opnum: int, stub: bytes, by: View = view) -> bytes:
        return over("ntsvcs", by, syntax, stub, opnum)

    assert ask(2, b"") == struct.pack("<HxxI", 0x400, 0)
    assert ask(11, named + struct.pack("<I", 2)) == struct.pack("<II", 1, 0)
    assert ask(11, struct.pack("<II", 0, 0)) == struct.pack("<II", 1, 0)
    assert ask(11, struct.pack("<II", 0, 2)) == struct.pack("<II", 0, 3)
    whole = struct.pack("<IIIHxxII", 1, 0, 1, 0, 1, 0)
    assert ask(10, named + struct.pack("<II", 1, 2)) == whole
    assert ask(10, named + struct.pack("<II", 0, 2)) == struct.pack("<IIIII", 0, 0, 0, 0, 0x1A)
    assert ask(10, struct.pack("<III", 0, 0, 2)) == struct.pack("<IIIII", 0, 0, 0, 0, 3)
    assert ask(6, path + bytes(4)) == struct.pack("<I", 0x0D)
    asked = path + struct.pack("<IIIII", 1, 0, 0, 0, 0)
    assert ask(13, asked) == struct.pack("<IIIIIII", 0, 0, 0, 0, 0, 0, 0x0D)
    for caller in (Caller(guest=True), Caller(anonymous=True)):
        stranger = dataclasses.replace(view, caller=caller)
        assert status_of(ask(11, struct.pack("<II", 0, 0), stranger)) == 0x33
