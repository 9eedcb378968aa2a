"""Shares that administrators add, change and delete, with impacket."""

import struct
from pathlib import Path
from typing import Any

import pytest
from impacket.dcerpc.v5 import srvs
from impacket.dcerpc.v5.dtypes import NULL
from rpc_client import Served

from usmbd.mountd.admin.descriptors import Ace, Descriptor, pack
from usmbd.mountd.config import load as loading
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.messages import TreeConnectRequest, TreeConnectResponse, TreeStatus
from usmbd.mountd.rpc.interfaces import srvsvc
from usmbd.mountd.rpc.interfaces.srvsvc_changes import local_path

ALL = 0xFFFFFFFF
DENIED, NOT_SUPPORTED, PARAMETER, LEVEL = 5, 50, 87, 124
NO_FOLDER, DUPLICATE, NOT_FOUND = 2116, 2118, 2310


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Return a server with the share data, which the administrator man asks."""
    (tmp_path / "new folder").mkdir()
    return Served(srvsvc.interface, tmp_path, ndr64=False)


def info(level: int, **fields: Any) -> Any:
    """Build a share's information; what is not given is nothing."""
    made = getattr(srvs, f"SHARE_INFO_{level}")()
    for name, _ in made.structure:
        short = name.partition("_")[2]
        if short in fields:
            value = fields[short]
            made[name] = value + "\0" if isinstance(value, str) else value
        elif short in ("netname", "remark", "path", "passwd", "security_descriptor"):
            made[name] = NULL
        else:
            made[name] = 0
    return made


def add(served: Served, name: str = "new", status: int = 0, **fields: Any) -> None:
    fields = {"netname": name, "max_uses": ALL, "remark": "of the day"} | fields
    level = fields.pop("level", 2)
    fields.setdefault("path", "C:" + str(served.folder / "new folder").replace("/", "\\"))
    call(lambda: srvs.hNetrShareAdd(served, level, info(level, **fields)), status)


def call(make: Any, status: int = 0) -> Any:
    """Make a call of impacket's, which must end so."""
    if not status:
        return make()
    with pytest.raises(srvs.DCERPCSessionError) as found:
        make()
    assert found.value.get_error_code() == status
    return None


def set_info(served: Served, name: str, level: int, status: int = 0, **fields: Any) -> None:
    request = srvs.NetrShareSetInfo()
    request["ServerName"] = NULL
    request["NetName"] = name + "\0"
    request["Level"] = level
    request["ShareInfo"]["tag"] = level
    request["ShareInfo"][f"ShareInfo{level}"] = info(level, **fields)
    request["ParmErr"] = NULL
    call(lambda: served.request(request), status)


def get_info(served: Served, name: str) -> dict[str, Any]:
    answer = srvs.hNetrShareGetInfo(served, name + "\0", 502)["InfoStruct"]["ShareInfo502"]
    found = {}
    for field, _ in answer.structure:
        value = answer[field]
        found[field.partition("_")[2]] = value[:-1] if isinstance(value, str) else value
    found["security_descriptor"] = b"".join(found["security_descriptor"])
    return found


def connect(served: Served, share: str, user: str, **more: Any) -> TreeConnectResponse:
    request = TreeConnectRequest(1, 1, share, user, 5, 60, [60], "192.0.2.1", **more)
    answer, _ = served.service.handle("worker", request, 0.0)
    assert isinstance(answer, TreeConnectResponse)
    return answer


def security(*aces: tuple[int, int, str]) -> bytes:
    made = tuple(Ace(kind, 0, mask, sid) for kind, mask, sid in aces)
    return pack(Descriptor("S-1-5-32-544", "S-1-5-32-544", made))


def test_a_share_is_added_and_kept(served: Served) -> None:
    add(served, max_uses=7)
    assert served.reloads == 1
    found = get_info(served, "NEW")
    assert (found["netname"], found["remark"], found["max_uses"]) == ("new", "of the day", 7)
    assert found["path"].endswith("\\new folder")
    answer = connect(served, "new", "games")
    assert (answer.status, answer.writable) == (TreeStatus.OK, True)
    assert answer.share is not None
    assert answer.share.path == str(served.folder / "new folder")
    again = Served(srvsvc.interface, served.folder, ndr64=False)
    assert connect(again, "new", "games").status is TreeStatus.OK
    assert "new" not in (served.folder / "usmbd.conf").read_text().replace("new folder", "")


def test_what_cannot_be_added(served: Served) -> None:
    add(served, "data", DUPLICATE)
    add(served, "bad/name", PARAMETER)
    add(served, "global", PARAMETER)
    add(served, "new", NO_FOLDER, path="C:\\nowhere at all")
    add(served, "new", NO_FOLDER, path="D:\\")
    add(served, "new", NOT_SUPPORTED, type=1)
    add(served, "new", PARAMETER, remark="two\nlines")
    call(lambda: srvs.hNetrShareAdd(served, 1, info(1, netname="new")), LEVEL)
    assert served.reloads == 0
    served.become("games")
    add(served, "new", DENIED)
    assert connect(served, "new", "games").status is TreeStatus.NO_SHARE


def test_substitutions_are_the_file_s(served: Served) -> None:
    """An administrator who says %U means these characters."""
    (served.folder / "a%Ub").mkdir()
    add(served, path=str(served.folder / "a%Ub"), remark="100 %h")
    assert get_info(served, "new")["remark"] == "100 %h"
    assert connect(served, "new", "games").status is TreeStatus.OK
    set_info(served, "new", 1004, remark='"quoted" and "more"')
    assert get_info(served, "new")["remark"] == '"quoted" and "more"'


def test_a_share_is_changed(served: Served) -> None:
    add(served)
    set_info(served, "new", 1, netname="new", remark="one")
    assert get_info(served, "new")["remark"] == "one"
    set_info(served, "new", 2, netname="new", remark="two", max_uses=2, path="::BLaH::")
    found = get_info(served, "new")
    assert (found["remark"], found["max_uses"]) == ("two", 2)
    assert found["path"].endswith("\\new folder")
    set_info(served, "new", 1004, remark="three")
    set_info(served, "new", 1005, flags=0)
    set_info(served, "new", 1005, NOT_SUPPORTED, flags=0x30)
    set_info(served, "new", 1006, max_uses=ALL)
    found = get_info(served, "new")
    assert (found["remark"], found["max_uses"]) == ("three", ALL)
    set_info(served, "new", 0, LEVEL, netname="new")
    set_info(served, "nothing", 1004, NOT_FOUND, remark="x")


def test_a_share_of_the_file_stays_as_it_is(served: Served) -> None:
    set_info(served, "data", 1004, NOT_SUPPORTED, remark="mine")
    call(lambda: srvs.hNetrShareDel(served, "data\0"), NOT_SUPPORTED)
    set_info(served, "data", 1004, remark="from the file")
    assert get_info(served, "data")["remark"] == "from the file"


def test_a_share_is_deleted(served: Served) -> None:
    add(served)
    call(lambda: srvs.hNetrShareDel(served, "nothing\0"), NOT_FOUND)
    srvs.hNetrShareDel(served, "New\0")
    assert connect(served, "new", "games").status is TreeStatus.NO_SHARE
    call(lambda: srvs.hNetrShareDel(served, "new\0"), NOT_FOUND)


def test_a_share_is_deleted_in_two_steps(served: Served) -> None:
    add(served)
    request = srvs.NetrShareDelStart()
    request["ServerName"] = NULL
    request["NetName"] = "new\0"
    handle = served.request(request)["ContextHandle"]
    assert connect(served, "new", "games").status is TreeStatus.OK
    commit = srvs.NetrShareDelCommit()
    commit["ContextHandle"] = handle
    served.request(commit)
    assert connect(served, "new", "games").status is TreeStatus.NO_SHARE


@pytest.mark.parametrize(
    ("aces", "status", "writable"),
    [
        ([(0, 0x1F01FF, "S-1-1-0")], TreeStatus.OK, True),
        ([(0, 0x1200A9, "S-1-1-0")], TreeStatus.OK, False),
        ([(0, 0x10000000, "S-1-5-32-544")], TreeStatus.INVALID_USER, False),
        ([(0, 0x1200A9, "S-1-1-0"), (0, 0x1F01FF, "S-1-22-1-5")], TreeStatus.OK, True),
        ([(1, 0x1F01FF, "S-1-22-1-5"), (0, 0x1F01FF, "S-1-1-0")], TreeStatus.INVALID_USER, False),
        ([(0, 0x1F01FF, "S-1-5-21-1-2-3-1010")], TreeStatus.OK, True),
        ([], TreeStatus.INVALID_USER, False),
    ],
)
def test_a_share_s_security_holds(
    served: Served, aces: list[tuple[int, int, str]], status: TreeStatus, writable: bool
) -> None:
    """As Windows' dialog has it: none, read, and all that the files allow; of games, uid 5."""
    descriptor = security(*aces)
    add(served, level=502, reserved=len(descriptor), security_descriptor=list(descriptor))
    answer = connect(served, "new", "games")
    assert (answer.status, answer.writable) == (status, writable)
    assert get_info(served, "new")["security_descriptor"] == descriptor


def test_security_of_a_share_of_the_file(served: Served) -> None:
    descriptor = security((0, 0x1F01FF, "S-1-5-32-544"))
    same = {"netname": "data", "remark": "from the file", "max_uses": 128}
    fields = {"reserved": len(descriptor), "security_descriptor": list(descriptor)}
    set_info(served, "data", 502, **same, **fields)
    assert connect(served, "data", "games").status is TreeStatus.INVALID_USER
    assert connect(served, "data", "man").status is TreeStatus.OK
    wrong = {"reserved": 3, "security_descriptor": [b"a"] * 3}
    set_info(served, "data", 502, PARAMETER, **same, **wrong)
    assert get_info(served, "data")["security_descriptor"] == descriptor


def test_pipes_are_for_all(served: Served) -> None:
    """Nobody's permissions keep anybody from IPC$, be they set or not."""
    descriptor = security((0, 0x1F01FF, "S-1-5-32-544"))
    before = get_info(served, "IPC$")
    same = {"netname": "IPC$", "remark": before["remark"], "max_uses": before["max_uses"]}
    fields = {"reserved": len(descriptor), "security_descriptor": list(descriptor)}
    set_info(served, "IPC$", 502, NOT_SUPPORTED, **same, **fields)
    assert get_info(served, "IPC$") == before


def test_the_server_s_comment(served: Served) -> None:
    def change(level: int, status: int = 0) -> None:
        request = srvs.NetrServerSetInfo()
        request["ServerName"] = NULL
        request["Level"] = level
        request["InfoStruct"]["tag"] = level
        request["InfoStruct"][f"ServerInfo{level}"][f"sv{level}_comment"] = "Ablage, 100%\0"
        if level == 101:
            request["InfoStruct"]["ServerInfo101"]["sv101_name"] = NULL
        data = request.getData()
        stub = served.run(22, data + bytes(-len(data) % 4 + 4))  # impacket forgets the pointer
        assert stub[-4:] == struct.pack("<I", status)

    for level in (101, 1005):
        change(level)
    told = srvs.hNetrServerGetInfo(served, 101)["InfoStruct"]["ServerInfo101"]
    assert told["sv101_comment"] == "Ablage, 100%\0"
    assert served.service.server.server_string == "Ablage, 100%"
    unknown = struct.pack("<4I", 0, 599, 599, 0)
    assert served.run(22, unknown)[-4:] == struct.pack("<I", LEVEL)
    served.become("games")
    change(1005, DENIED)
    assert served.run(22, unknown)[-4:] == struct.pack("<I", DENIED)  # whatever the level


@pytest.mark.parametrize(
    ("level", "same"), [(1107, 0xFFFFFFFF), (1010, 15), (1016, 0), (1017, 240), (1018, 3000)]
)
def test_what_has_no_effect_is_not_set(served: Served, level: int, same: int) -> None:
    """To what it is already, and to nothing else, in levels of their own and in 102."""

    def change(value: int) -> int:
        data = struct.pack("<5I", 0, level, level, 0x20000, value) + bytes(4)
        return int.from_bytes(served.run(22, data)[-4:], "little")

    assert (change(same), change(same ^ 1)) == (0, NOT_SUPPORTED)
    told = srvs.hNetrServerGetInfo(served, 102)["InfoStruct"]["ServerInfo102"]
    field = {1107: "users", 1010: "disc", 1016: "hidden", 1017: "announce", 1018: "anndelta"}[level]
    assert told[f"sv102_{field}"] == same
    request = srvs.NetrServerSetInfo()
    request["ServerName"] = NULL
    request["Level"] = request["InfoStruct"]["tag"] = 102
    request["InfoStruct"]["ServerInfo102"] = told
    for value, status in ((same, 0), (same ^ 1, NOT_SUPPORTED)):
        request["InfoStruct"]["ServerInfo102"][f"sv102_{field}"] = value
        data = request.getData()
        stub = served.run(22, data + bytes(-len(data) % 4 + 4))
        assert stub[-4:] == struct.pack("<I", status)


@pytest.mark.parametrize(
    ("path", "local"),
    [("C:\\", "/"), ("c:\\srv\\x\\", "/srv/x"), ("/srv/x", "/srv/x"), ("D:\\x", "D:/x"), ("", "/")],
)
def test_drive_c_is_the_root(path: str, local: str) -> None:
    assert local_path(path) == local


def test_changes_of_a_share_read_and_make_nothing_else(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 2,000 shares all of them took 0.3 s, in which nobody logs in."""
    add(served)
    made: list[str] = []
    make = loading._Loader.made

    def counted(self: Any, section: Any, *about: Any) -> Any:
        made.append(section.name)
        return make(self, section, *about)

    path = served.folder / "usmbd.conf"
    path.write_text(path.read_text() + "nonsense\n")  # of an administrator who is not done
    monkeypatch.setattr(loading._Loader, "made", counted)
    monkeypatch.setattr(loading._Loader, "load", None)
    add(served, "another")
    assert made == ["another"]
    shares = served.service.configuration
    assert {"data", "new", "another"} <= shares.shares.keys()
    assert shares.registered == {"new", "another"}
    srvs.hNetrShareDel(served, "new\0")
    assert made == ["another"]
    assert served.service.configuration.registered == {"another"}
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="nonsense"):
        served.service.reload()
    path.write_text(path.read_text().replace("nonsense\n", ""))
    served.service.reload()
    assert served.service.configuration.registered == {"another"}
