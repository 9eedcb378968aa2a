"""The Service Control Manager against impacket."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from impacket.dcerpc.v5 import scmr
from impacket.dcerpc.v5.dtypes import NULL
from rpc_client import Served

from usmbd.mountd.admin.descriptors import parse
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces import svcctl

DENIED, LEVEL, PARAMETER, NAME, MORE_DATA = 5, 124, 87, 123, 234
NO_CONTROL, RUNNING, DISABLED, NO_SERVICE, NOT_ACTIVE = 1052, 1056, 1058, 1060, 1062
NAMES = ["Dfs", "EventLog", "LanmanServer", "RemoteRegistry", "SamSs", "Spooler"]
CREATE_SERVICE, QUERY_STATUS, WIN32 = 2, 4, 0x30


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Return a server whose services the administrator man asks for."""
    return Served(svcctl.interface, tmp_path, ndr64=False)


@pytest.fixture
def manager(served: Served) -> Any:
    """Return the open manager."""
    return scmr.hROpenSCManagerW(served)["lpScHandle"]


def fails(status: int, call: Callable[[], Any]) -> Any:
    with pytest.raises(scmr.DCERPCSessionError) as found:
        call()
    assert found.value.get_error_code() == status
    return found.value.get_packet()


def opened(served: Served, manager: Any, name: str, access: int = 0xF01FF) -> Any:
    return scmr.hROpenServiceW(served, manager, name, access)["lpServiceHandle"]


def enumerate_ex(served: Served, manager: Any, size: int, **more: Any) -> tuple[Any, ...]:
    """Make the call that impacket has no helper for; return its answer."""
    group = more.get("group")
    stub = bytes(manager) + struct.pack(
        "<5I", 0, more.get("kinds", WIN32), more.get("state", 3), size, 0
    )
    if group is None:
        stub += bytes(4)
    else:
        text = (group + "\0").encode("utf-16-le")
        stub += struct.pack("<4I", 1, len(text) // 2, 0, len(text) // 2) + text
    answer = served.run(42, stub)
    data, tail = answer[4 : 4 + size], answer[4 + size + -size % 4 :]
    return (data, *struct.unpack("<5I", tail)) if len(tail) == 20 else (
        data, *struct.unpack("<4I", tail))  # fmt: skip


def test_the_list(served: Served, manager: Any) -> None:
    found = scmr.hREnumServicesStatusW(served, manager)
    assert [each["lpServiceName"].rstrip("\0") for each in found] == NAMES
    states = [each["ServiceStatus"]["dwCurrentState"] for each in found]
    assert states == [1, 4, 4, 4, 4, 1]
    running = scmr.hREnumServicesStatusW(served, manager, dwServiceState=1)
    assert len(running) == 4
    drivers = scmr.hREnumServicesStatusW(served, manager, dwServiceType=3)
    assert not drivers
    for kinds, state in ((0, 3), (WIN32, 0), (WIN32, 4), (0x80000000, 3)):
        fails(PARAMETER, lambda k=kinds, s=state: scmr.hREnumServicesStatusW(
            served, manager, k, s))  # fmt: skip


def test_a_part_of_the_list(served: Served, manager: Any) -> None:
    request = scmr.REnumServicesStatusW()
    request["hSCManager"] = manager
    request["dwServiceType"], request["dwServiceState"] = WIN32, 3
    names = []
    resume = 0
    for _ in range(len(NAMES)):
        request["cbBufSize"], request["lpResumeIndex"] = 150, resume
        stub = served.run(14, request.getData())
        answer = scmr.REnumServicesStatusWResponse(stub)
        data = b"".join(answer["lpBuffer"])
        assert len(data) == 150
        for row in range(answer["lpServicesReturned"]):
            (at,) = struct.unpack_from("<I", data, 36 * row)
            names.append(data[at:].decode("utf-16-le", "replace").partition("\0")[0])
        resume = answer["lpResumeIndex"]
        assert answer["ErrorCode"] == (MORE_DATA if resume else 0)
        if not resume:
            break
    assert names == NAMES
    request["cbBufSize"] = 0x40001
    with pytest.raises(CallError):
        served.request(request)


def test_with_processes(served: Served, manager: Any) -> None:
    data, needed, count, _, status = enumerate_ex(served, manager, 4096)[:5]
    assert (needed, count, status) == (0, 6, 0)
    assert struct.unpack_from("<II7I", data)[2:4] == (0x20, 1)
    assert enumerate_ex(served, manager, 16, group="Network")[-1] == NO_SERVICE
    assert enumerate_ex(served, manager, 4096, group="")[2] == 6
    _, needed, count, *_, status = enumerate_ex(served, manager, 0)
    assert (count, status) == (0, MORE_DATA)
    assert enumerate_ex(served, manager, needed)[-1] == 0


def test_names(served: Served, manager: Any) -> None:
    told = scmr.hRGetServiceDisplayNameW(served, manager, "lanmanserver", 100)
    assert (told["lpDisplayName"], told["lpcchBuffer"]) == ("Server\0", 6)
    told = scmr.hRGetServiceKeyNameW(served, manager, "print spooler", 8)
    assert told["lpDisplayName"] == "Spooler\0"
    fails(122, lambda: scmr.hRGetServiceDisplayNameW(served, manager, "lanmanserver", 6))
    fails(NO_SERVICE, lambda: scmr.hRGetServiceKeyNameW(served, manager, "nothing", 9))
    fails(NO_SERVICE, lambda: opened(served, manager, "nothing"))
    fails(NAME, lambda: opened(served, manager, "a\\b"))


def test_one_service(served: Served, manager: Any) -> None:
    server = opened(served, manager, "LANMANSERVER")
    config = scmr.hRQueryServiceConfigW(served, server)["lpServiceConfig"]
    assert config["lpDisplayName"] == "Server\0"
    assert (config["dwServiceType"], config["dwStartType"]) == (0x20, 2)
    status = scmr.hRQueryServiceStatus(served, server)["lpServiceStatus"]
    assert (status["dwCurrentState"], status["dwControlsAccepted"]) == (4, 0)
    spooler = opened(served, manager, "Spooler")
    status = scmr.hRQueryServiceStatus(served, spooler)["lpServiceStatus"]
    assert (status["dwCurrentState"], status["dwWin32ExitCode"]) == (1, 1077)
    assert not b"".join(scmr.hREnumDependentServicesW(served, server, 3, 0)["lpServices"])
    fails(PARAMETER, lambda: scmr.hREnumDependentServicesW(served, server, 0, 0))
    scmr.hRCloseServiceHandle(served, server)
    with pytest.raises(CallError):
        scmr.hRQueryServiceStatus(served, server)


def test_buffers(served: Served, manager: Any) -> None:
    server = bytes(opened(served, manager, "LanmanServer"))

    def ask(opnum: int, level: int, size: int) -> tuple[bytes, int, int]:
        answer = served.run(opnum, server + struct.pack("<II", level, size))
        needed, status = struct.unpack("<II", answer[-8:])
        assert struct.unpack_from("<I", answer) == (size,)
        return answer[4 : 4 + size], needed, status

    data, needed, status = ask(40, 0, 36)
    assert (len(data), needed, status) == (36, 36, 0)
    assert struct.unpack_from("<2I", data) == (0x20, 4)
    assert ask(40, 0, 35)[1:] == (36, 122)
    assert ask(40, 1, 36)[2] == LEVEL
    with pytest.raises(CallError):
        ask(40, 0, 8193)
    data, needed, status = ask(39, 1, 200)
    (at,) = struct.unpack_from("<I", data)
    assert data[at:needed].decode("utf-16-le") == "Shares of files and named pipes.\0"
    for level in range(2, 8):
        _, needed, status = ask(39, level, 0)
        assert (needed, status) == (20 if level == 2 else 4, 122)
        assert ask(39, level, needed) == (bytes(needed), needed, 0)
    assert ask(39, 99, 20)[2] == LEVEL
    # SC_RPC_CONFIG_INFOW ([MS-SCMR] 2.2.22): the level, and again as the union's tag.
    assert served.run(56, server + struct.pack("<I", 8)) == struct.pack(
        "<7I", 8, 8, 0x20000, *[0] * 4
    )
    with pytest.raises(CallError):
        served.run(56, server + struct.pack("<I", 1))


def test_security(served: Served, manager: Any) -> None:
    server = bytes(opened(served, manager, "LanmanServer"))

    def ask(wanted: int, size: int) -> tuple[bytes, int, int]:
        answer = served.run(4, server + struct.pack("<II", wanted, size))
        return (answer[4 : 4 + size], *struct.unpack("<II", answer[-8:]))

    assert ask(0, 0)[2] == PARAMETER
    assert ask(8, 0)[2] == 1314
    _, needed, status = ask(4, 0)
    assert status == 122
    data, _, status = ask(4, needed)
    dacl = parse(data).dacl
    assert status == 0
    assert dacl is not None
    assert {ace.sid: ace.mask for ace in dacl}["S-1-5-32-544"] == 0xF01FF
    same = scmr.hRSetServiceObjectSecurity(served, server, 4, data, needed)
    assert same["ErrorCode"] == 0
    other = data.replace(struct.pack("<I", 0xF01FF), struct.pack("<I", 1))
    fails(DENIED, lambda: scmr.hRSetServiceObjectSecurity(served, server, 4, other, needed))
    fails(PARAMETER, lambda: scmr.hRSetServiceObjectSecurity(served, server, 4, b"short", 5))


def test_nobody_starts_or_stops_anything(served: Served, manager: Any) -> None:
    server = opened(served, manager, "LanmanServer")
    spooler = opened(served, manager, "Spooler")
    fails(RUNNING, lambda: scmr.hRStartServiceW(served, server))
    fails(DISABLED, lambda: scmr.hRStartServiceW(served, spooler))
    fails(PARAMETER, lambda: scmr.hRControlService(served, server, 0))
    told = fails(NO_CONTROL, lambda: scmr.hRControlService(served, server, 1))
    assert told["lpServiceStatus"]["dwCurrentState"] == 4
    fails(NOT_ACTIVE, lambda: scmr.hRControlService(served, spooler, 1))
    scmr.hRControlService(served, server, 4)
    fails(DENIED, lambda: scmr.hRDeleteService(served, server))
    fails(DENIED, lambda: scmr.hRCreateServiceW(served, manager, "new\0", "New\0",
                                                lpBinaryPathName="x\0"))  # fmt: skip
    scmr.hRChangeServiceConfigW(served, server)
    scmr.hRChangeServiceConfigW(served, server, dwStartType=2, lpDisplayName="Server\0")
    fails(DENIED, lambda: scmr.hRChangeServiceConfigW(served, server, dwStartType=4))
    fails(DENIED, lambda: scmr.hRLockServiceDatabase(served, manager))
    locked = scmr.hRQueryServiceLockStatusW(served, manager, 14)["lpLockStatus"]
    assert locked["fIsLocked"] == 0


@pytest.mark.parametrize(("reason", "status"), [(0x40050001, NO_CONTROL), (0x2005000A, PARAMETER)])
def test_a_control_with_a_reason(served: Served, manager: Any, reason: int, status: int) -> None:
    server = bytes(opened(served, manager, "LanmanServer"))
    stub = server + struct.pack("<6I", 1, 1, 1, 0x20000, reason, 0)
    assert served.run(51, stub)[-4:] == struct.pack("<I", status)


def test_a_handle_has_what_it_was_opened_for(served: Served, manager: Any) -> None:
    weak = scmr.hROpenSCManagerW(served, dwDesiredAccess=1)["lpScHandle"]
    fails(DENIED, lambda: scmr.hREnumServicesStatusW(served, weak))
    server = opened(served, manager, "LanmanServer", QUERY_STATUS)
    scmr.hRQueryServiceStatus(served, server)
    fails(DENIED, lambda: scmr.hRQueryServiceConfigW(served, server))
    fails(DENIED, lambda: scmr.hRStartServiceW(served, server))
    fails(DENIED, lambda: opened(served, manager, "LanmanServer", 0x00F00000))
    with pytest.raises(CallError):
        scmr.hRQueryServiceStatus(served, manager)


def test_others_are_refused(served: Served) -> None:
    served.become("games")
    fails(DENIED, lambda: scmr.hROpenSCManagerW(served, dwDesiredAccess=1))


def test_databases(served: Served) -> None:
    def manager(name: Any) -> Any:
        return scmr.hROpenSCManagerW(served, "x\0", name)

    for name in ("", "SERVICESACTIVE", NULL):
        manager(name)
    fails(1065, lambda: manager("ServicesFailed"))
    fails(NAME, lambda: manager("other"))
