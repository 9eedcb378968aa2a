"""Notifications of services: bytes as [MS-SCMR] has them, calls that wait, and their ends."""

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from impacket.dcerpc.v5 import scmr
from rpc_client import Served
from scapy.layers.dcerpc import NDRUnion

from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.rpc.endpoint import CallError, Encoding
from usmbd.mountd.rpc.interfaces import svcctl
from usmbd.mountd.rpc.outside import Awaits

DENIED, LEVEL, PARAMETER, ABORTED, REGISTERED = 5, 124, 87, 1235, 1242
STOPPED, RUNNING, CREATED = 0x01, 0x08, 0x80


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Return a server whose services the administrator man watches."""
    return Served(svcctl.interface, tmp_path, ndr64=False)


@pytest.fixture
def service(served: Served) -> bytes:
    """Return the service of DFS, which the configuration starts."""
    manager = scmr.hROpenSCManagerW(served)["lpScHandle"]
    return bytes(scmr.hROpenServiceW(served, manager, "Dfs", 0xF01FF)["lpServiceHandle"])


def params(mask: int, level: int = 2) -> bytes:
    """Return SC_RPC_NOTIFY_PARAMS and a GUID behind it."""
    body = struct.pack("<QI16s16s9III", 7, mask, b"c" * 16, b"p" * 16, *[0] * 9, 0, 0)
    if level == 2:
        body += struct.pack("<II", 0, 0)
    head = struct.pack("<III", level, level, 1)
    return head + bytes(-(20 + len(head)) % 8) + body + b"\0" * (-len(body) % 4) + bytes(16)


def register(served: Served, handle: bytes, mask: int, level: int = 2) -> tuple[bytes, int]:
    """Make the call; return the notification's handle and the status."""
    stub = served.run(47, handle + params(mask, level))
    assert len(stub) == 16 + 4 + 20 + 4
    return stub[20:40], int.from_bytes(stub[-4:], "little")


class Waiting:
    """A call that waits."""

    def __init__(self, served: Served, handle: bytes) -> None:
        """Begin to wait."""
        self._call = served._interface(served.view).calls[48](handle, Encoding(False, "<"))
        self._heard: list[None] = []
        self.answer: bytes | None = None
        self._go_on(lambda: next(self._call))  # type: ignore[arg-type]

    def _go_on(self, turn: Callable[[], Any]) -> None:
        try:
            asked = turn()
        except StopIteration as end:
            self.answer = end.value
            return
        assert isinstance(asked, Awaits)
        asked.listen(
            lambda: self._go_on(lambda: self._call.send(Outcome(Result.DONE)))  # type: ignore[union-attr]
        )

    @property
    def status(self) -> int:
        """What the answer ends with."""
        assert self.answer is not None
        return int.from_bytes(self.answer[-4:], "little")

    def state(self) -> tuple[int, int]:
        """Return the state that is told, and what triggered it (level 2)."""
        assert self.answer is not None
        assert self.status == 0
        pointer, count, elements, level, tag, inner = struct.unpack_from("<6I", self.answer)
        assert pointer
        assert inner
        assert (count, elements, level, tag) == (1, 1, 2, 2)
        thread, _, callback, _, _, state = struct.unpack_from("<QI16s16sII", self.answer, 24)
        assert (thread, callback) == (7, b"c" * 16)  # as the client gave them
        (triggered,) = struct.unpack_from("<I", self.answer, 24 + 8 + 4 + 32 + 36 + 8)
        return state, triggered


def dfs(served: Served, *, on: bool) -> None:
    """Let another configuration hold."""
    snapshot = served.view.snapshot
    config = msgspec.structs.replace(snapshot.config, dfs=on)
    served.view.snapshot = dataclasses.replace(snapshot, config=config)
    served.view.changed()


def test_a_state_that_is_there_is_told_at_once(served: Served, service: bytes) -> None:
    dfs(served, on=False)
    handle, status = register(served, service, STOPPED | RUNNING)
    assert status == 0
    call = Waiting(served, handle)
    assert call.state() == (1, STOPPED)
    later = Waiting(served, handle)
    assert later.answer is None
    dfs(served, on=True)
    assert later.state() == (4, RUNNING)


def test_who_waits_hears_of_the_state_that_he_wants(served: Served, service: bytes) -> None:
    dfs(served, on=False)
    handle, _ = register(served, service, RUNNING)
    call = Waiting(served, handle)
    dfs(served, on=False)
    assert call.answer is None
    assert Waiting(served, handle).status == PARAMETER  # one call waits
    dfs(served, on=True)
    assert call.state() == (4, RUNNING)
    assert not served.view.listeners


def test_a_closed_notification_ends_the_call(served: Served, service: bytes) -> None:
    dfs(served, on=False)
    handle, _ = register(served, service, RUNNING)
    call = Waiting(served, handle)
    stub = served.run(49, handle)
    assert stub == bytes(20) + bytes(4) + bytes(4)
    assert (call.answer, call.status) == (bytes(4) + struct.pack("<I", ABORTED), ABORTED)
    assert not served.view.listeners
    with pytest.raises(CallError):
        served.run(49, handle)


def test_what_is_refused(served: Served, service: bytes) -> None:
    assert register(served, service, 0)[1] == PARAMETER
    assert register(served, service, CREATED)[1] == PARAMETER
    assert register(served, service, RUNNING)[1] == 0
    assert register(served, service, STOPPED)[1] == REGISTERED
    stub = served.run(47, service + struct.pack("<II", 3, 3) + bytes(16))
    assert int.from_bytes(stub[-4:], "little") == LEVEL
    manager = scmr.hROpenSCManagerW(served)["lpScHandle"]
    weak = scmr.hROpenServiceW(served, manager, "Dfs", 1)["lpServiceHandle"]
    assert register(served, bytes(weak), RUNNING)[1] == DENIED
    handle, status = register(served, bytes(manager), CREATED, level=1)
    assert status == 0
    assert Waiting(served, handle).answer is None  # no service is ever made


@pytest.mark.parametrize("ndr64", [False, True])
def test_scapy_hears_of_a_service(tmp_path: Path, ndr64: bool) -> None:
    """The structures of the document, as another codec writes and reads them."""
    idl = pytest.importorskip("msrpcs.ms_scmr")
    served = Served(svcctl.interface, tmp_path, ndr64=ndr64)

    def call(opnum: int, name: str, **fields: Any) -> Any:
        request = getattr(idl, f"{name}_Request")(ndr64=ndr64, **fields)
        stub = served.run(opnum, bytes(request))
        answer = getattr(idl, f"{name}_Response")(stub, ndr64=ndr64, request_packet=request)
        assert (answer.status, bytes(answer.payload)) == (0, b"")
        return answer

    manager = call(15, "ROpenSCManagerW", dwDesiredAccess=0x3F).lpScHandle
    name = {"lpServiceName": "LanmanServer", "dwDesiredAccess": 0xF01FF}
    service = call(16, "ROpenServiceW", hSCManager=manager, **name).lpServiceHandle
    asked = idl.PSERVICE_NOTIFY_STATUS_CHANGE_PARAMS_2(
        dwNotifyMask=RUNNING, ullThreadId=7, ndr64=ndr64
    )
    wanted = idl.SC_RPC_NOTIFY_PARAMS(
        dwInfoLevel=2, value=NDRUnion(tag=2, value=asked), ndr64=ndr64
    )
    note = call(47, "RNotifyServiceStatusChange", hService=service, NotifyParams=wanted).phNotify
    found = call(48, "RGetNotifyResults", hNotify=note).ppNotifyParams.value
    told = found.NotifyParamsArray[0].value.value.value
    assert (told.ullThreadId, told.dwNotifyMask, told.dwNotificationTriggered) == (7, 8, 8)
    assert told.ServiceStatus.dwCurrentState == 4
    call(49, "RCloseNotifyHandle", phNotify=note)
