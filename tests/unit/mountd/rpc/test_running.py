"""Sessions, connections and open files as administrators see and close them, with impacket."""

import dataclasses
import struct
from typing import Any

import msgspec
import pytest
from impacket.dcerpc.v5 import srvs, wkst
from impacket.dcerpc.v5.dtypes import NULL
from rpc_client import Machine

from usmbd.mountd.ipc.messages import ControlClose
from usmbd.mountd.ipc.rows import ConnectionRow, OpenRow, SessionRow
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces import srvsvc, wkssvc
from usmbd.mountd.rpc.interfaces.srvsvc_running import file_id
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import Caller, View

ALL = 0xFFFFFFFF
DENIED, PARAMETER, MORE = 5, 87, 234
USER_NOT_FOUND, CLIENT_NOT_FOUND, FILE_NOT_FOUND = 2221, 2312, 2314


def session(number: int, user: str, address: str, *shares: str, opens: int = 0) -> SessionRow:
    return SessionRow(
        number, user, address, number % 2, "3.1.1", "", "", 1, opens, 100, 7, [*shares],
        guest=user == "nobody",
    )  # fmt: skip


def opened(number: int, of: SessionRow, share: str, path: str, access: int) -> OpenRow:
    return OpenRow(number, of.session_id, of.user, of.worker, share, path, access, 7, "none", 1)


ALICE = session(0x01000001, "alice", "192.0.2.1", "data", "IPC$", opens=3)
BOB = session(0x02000001, "bob", "192.0.2.2", "data", "Büro")
GUEST = session(0x01000002, "nobody", "192.0.2.2", "data")
OPENS = [
    opened(1 << 56 | 1, ALICE, "data", "some\\file", 0x120089),
    opened(1 << 56 | 2, ALICE, "IPC$", "srvsvc", 0x12019F),
    opened(2 << 56 | 1, BOB, "Büro", "", 0x2),
]
CONNECTION = ConnectionRow("192.0.2.1", "192.0.2.9", "tcp", 0, "3.1.1", "", 1, 1, 1, 1)


@pytest.fixture(params=[False, True], ids=["ndr", "ndr64"])
def machine(view: View, request: pytest.FixtureRequest) -> Machine:
    """Return a server that man administrates, on which things are open."""
    own = dataclasses.replace(view, caller=Caller(user="man", domain="HOME", uid=6))
    made = Machine(srvsvc.interface, own, ["games", "man"], ("man",), ndr64=request.param)
    made.running.rows = {
        "sessions": [ALICE, BOB, GUEST],
        "opens": [*OPENS],
        "connections": [CONNECTION, CONNECTION],
    }
    return made


def test_who_works_here(machine: Machine) -> None:
    """Users of sessions, once each, by name: [MS-WKST] 3.2.4.3."""
    machine = Machine(
        wkssvc.interface, machine.view, ["man"], ("man",), ndr64=machine.encoding.ndr64
    )
    machine.running.rows = {"sessions": [BOB, ALICE, ALICE]}
    for level, resume, status, names in (
        (0, NULL, 0, ["alice", "bob"]),
        (1, 1, 0, ["bob"]),
    ):
        request = machine.request(wkst.NetrWkstaUserEnum)
        request["ServerName"] = NULL
        request["UserInfo"]["Level"] = level
        request["UserInfo"]["WkstaUserInfo"]["tag"] = level
        request["UserInfo"]["WkstaUserInfo"][f"Level{level}"]["Buffer"] = NULL
        request["PreferredMaximumLength"] = ALL
        request["ResumeHandle"] = resume
        answer = machine.call(request, wkst.NetrWkstaUserEnumResponse, status)
        found = answer["UserInfo"]["WkstaUserInfo"][f"Level{level}"]["Buffer"]
        prefix = f"wkui{level}_"
        assert [each[prefix + "username"] for each in found] == [f"{name}\0" for name in names]
        if level == 1:
            assert found[0]["wkui1_logon_domain"] == found[0]["wkui1_logon_server"] == "NAS\0"
            assert found[0]["wkui1_oth_domains"] == "\0"


def ask(
    machine: Machine,
    kind: str,
    level: int,
    status: int = 0,
    *,
    limit: int = ALL,
    resume: int | None = None,
    **filters: str,
) -> tuple[list[dict[str, Any]], Any]:
    """Enumerate; the rows, and the whole answer."""
    union = {"Connection": "ConnectInfo", "File": "FileInfo", "Session": "SessionInfo"}[kind]
    request = machine.request(getattr(srvs, f"Netr{kind}Enum"))
    for name, _ in request.structure:
        if name in ("ServerName", "Qualifier", "BasePath", "ClientName", "UserName"):
            request[name] = filters[name] + "\0" if name in filters else NULL
    request["InfoStruct"]["Level"] = level
    request["InfoStruct"][union]["tag"] = level
    request["InfoStruct"][union][f"Level{level}"]["Buffer"] = NULL
    request["PreferedMaximumLength"] = limit
    request["ResumeHandle"] = NULL if resume is None else resume
    answer = machine.call(request, getattr(srvs, f"Netr{kind}EnumResponse"), status)
    if status not in (0, MORE):
        return [], answer
    container = answer["InfoStruct"][union][f"Level{level}"]
    if not container["EntriesRead"]:
        return [], answer
    found = []
    for row in container["Buffer"]:
        fields = {}
        for name, _ in row.structure:
            value = row[name]
            fields[name.partition("_")[2]] = value[:-1] if isinstance(value, str) else value
        found.append(fields)
    return found, answer


@pytest.mark.parametrize("level", [0, 1, 2, 10, 502])
def test_sessions(machine: Machine, level: int) -> None:
    found, answer = ask(machine, "Session", level)
    assert answer["TotalEntries"] == 3
    assert [row["cname"] for row in found] == ["192.0.2.1", "192.0.2.2", "192.0.2.2"]
    if level:
        assert [row["username"] for row in found] == ["alice", "bob", "nobody"]
        assert [(row["time"], row["idle_time"]) for row in found] == [(100, 7)] * 3
    if level in (1, 2, 502):
        assert [row["num_opens"] for row in found] == [3, 0, 0]
        assert [row["user_flags"] for row in found] == [0, 0, 1]


def test_sessions_of_one(machine: Machine) -> None:
    by_client, _ = ask(machine, "Session", 10, ClientName="\\\\192.0.2.2")
    by_user, _ = ask(machine, "Session", 10, UserName="ALICE")
    both, _ = ask(machine, "Session", 10, ClientName="192.0.2.2", UserName="bob")
    names = [[row["username"] for row in found] for found in (by_client, by_user, both)]
    assert names == [["bob", "nobody"], ["alice"], ["bob"]]
    ask(machine, "Session", 10, USER_NOT_FOUND, UserName="carol")
    ask(machine, "Session", 10, CLIENT_NOT_FOUND, ClientName="\\\\192.0.2.3")


def test_lists_in_parts(machine: Machine) -> None:
    names, resume = [], 0
    for expected in (MORE, MORE, 0):
        found, answer = ask(machine, "Session", 1, expected, limit=1, resume=resume)
        names += [row["username"] for row in found]
        resume = answer["ResumeHandle"]
    assert names == ["alice", "bob", "nobody"]
    assert resume == 0


def test_long_lists_come_whole(machine: Machine) -> None:
    rows = [session(number, f"user{number}", "192.0.2.7") for number in range(1000)]
    machine.running.rows["sessions"] = [*rows]
    found, answer = ask(machine, "Session", 10)
    assert [row["username"] for row in found] == [row.user for row in rows]
    assert answer["TotalEntries"] == 1000


def test_connections(machine: Machine) -> None:
    found, _ = ask(machine, "Connection", 1, Qualifier="DATA")
    assert [(row["username"], row["netname"], row["num_opens"]) for row in found] == [
        *[("alice", "192.0.2.1", 1), ("bob", "192.0.2.2", 0), ("nobody", "192.0.2.2", 0)]
    ]
    found, _ = ask(machine, "Connection", 1, Qualifier="\\\\192.0.2.2")
    assert [row["netname"] for row in found] == ["data", "Büro", "data"]
    assert [row["type"] for row in found] == [0, 0, 0]
    found, _ = ask(machine, "Connection", 0, Qualifier="IPC$")
    assert len(found) == 1
    assert ask(machine, "Connection", 1, Qualifier="nothing")[0] == []
    ask(machine, "Connection", 1, PARAMETER)


def test_files(machine: Machine) -> None:
    found, _ = ask(machine, "File", 3)
    assert [(row["path_name"], row["username"], row["permissions"]) for row in found] == [
        ("C:\\srv\\data\\some\\file", "alice", 1),
        ("\\PIPE\\srvsvc", "alice", 3),
        ("C:\\srv\\büro\\", "bob", 2),
    ]
    assert len({row["id"] for row in found}) == 3
    assert len(ask(machine, "File", 2)[0]) == 3
    found, _ = ask(machine, "File", 3, UserName="Bob")
    assert [row["username"] for row in found] == ["bob"]
    found, _ = ask(machine, "File", 3, BasePath="c:\\srv\\data")
    assert [row["num_locks"] for row in found] == [1]


def test_one_file(machine: Machine) -> None:
    request = machine.request(srvs.NetrFileGetInfo)
    request["ServerName"] = NULL
    request["FileId"] = file_id(OPENS[0])
    request["Level"] = 3
    info = machine.call(request, srvs.NetrFileGetInfoResponse)["InfoStruct"]["FileInfo3"]
    assert info["fi3_path_name"] == "C:\\srv\\data\\some\\file\0"
    request["FileId"] = 4711
    stub = machine.run(10, request.getData())
    assert stub[-4:] == struct.pack("<I", FILE_NOT_FOUND)


def test_numbers_of_files_are_signed_ones_too() -> None:
    """Samba's `net rpc file` prints them with a sign, and takes `-1` for an option."""
    opens = [msgspec.structs.replace(OPENS[0], open_id=(1 << 48) + each) for each in range(1000)]
    numbers = {file_id(row) for row in opens}
    assert len(numbers) == 1000
    assert max(numbers) < 1 << 31


def test_a_file_is_closed(machine: Machine) -> None:
    request = machine.request(srvs.NetrFileClose)
    request["ServerName"] = NULL
    request["FileId"] = file_id(OPENS[2])
    machine.call(request, srvs.NetrFileCloseResponse)
    assert machine.running.closed == [ControlClose([], [(BOB.session_id, OPENS[2].open_id)])]
    request["FileId"] = 4711
    machine.call(request, srvs.NetrFileCloseResponse, FILE_NOT_FOUND)


def test_sessions_are_ended(machine: Machine) -> None:
    def end(status: int, **wanted: str) -> None:
        request = machine.request(srvs.NetrSessionDel)
        request["ServerName"] = NULL
        for name in ("ClientName", "UserName"):
            request[name] = wanted[name] + "\0" if name in wanted else NULL
        machine.call(request, srvs.NetrSessionDelResponse, status)

    end(0, ClientName="\\\\192.0.2.2", UserName="bob")
    end(0, ClientName="\\\\192.0.2.2")
    end(CLIENT_NOT_FOUND, UserName="carol")
    end(PARAMETER)
    ended = [each.sessions for each in machine.running.closed]
    assert ended == [[BOB.session_id], [BOB.session_id, GUEST.session_id]]


def test_others_are_refused(machine: Machine) -> None:
    machine.become("games")
    for kind, level in (("Session", 10), ("Connection", 1), ("File", 3)):
        ask(machine, kind, level, DENIED, Qualifier="data")
    request = machine.request(srvs.NetrFileClose)
    request["ServerName"] = NULL
    request["FileId"] = file_id(OPENS[0])
    machine.call(request, srvs.NetrFileCloseResponse, DENIED)
    assert not machine.running.closed


def test_mountd_knows_administrators_itself(machine: Machine) -> None:
    """What the RPC process believes of a caller is not enough."""
    machine.become("games")
    machine.view.rights["administrator"] = True
    ask(machine, "Session", 10, DENIED)


def test_without_a_supervisor_the_call_fails(machine: Machine) -> None:
    machine.running.dead = True
    with pytest.raises(CallError) as found:
        ask(machine, "Session", 10)
    assert found.value.status == Fault.SERVER_TOO_BUSY


@pytest.mark.parametrize("level", [0, 1])
def test_who_is_logged_on(machine: Machine, level: int) -> None:
    machine._interface = wkssvc.interface
    request = machine.request(wkst.NetrWkstaUserEnum)
    request["ServerName"] = NULL
    request["UserInfo"]["Level"] = level
    request["UserInfo"]["WkstaUserInfo"]["tag"] = level
    request["UserInfo"]["WkstaUserInfo"][f"Level{level}"]["Buffer"] = NULL
    request["PreferredMaximumLength"] = ALL
    request["ResumeHandle"] = NULL
    answer = machine.call(request, wkst.NetrWkstaUserEnumResponse)
    rows = answer["UserInfo"]["WkstaUserInfo"][f"Level{level}"]["Buffer"]
    assert [row[f"wkui{level}_username"] for row in rows] == ["alice\0", "bob\0", "nobody\0"]
