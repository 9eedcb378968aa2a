"""winreg against impacket, with a registry in a file behind it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from impacket.dcerpc.v5 import rrp
from impacket.dcerpc.v5.dtypes import MAXIMUM_ALLOWED
from rpc_client import Served

from usmbd.mountd.admin.descriptors import Ace, Descriptor, pack, parse
from usmbd.mountd.ipc.registry import ValueFound
from usmbd.mountd.rpc.calls import Status
from usmbd.mountd.rpc.interfaces import eventlog, winreg
from usmbd.mountd.rpc.interfaces.winreg import values

NOT_FOUND, DENIED, NOT_SUPPORTED, PARAMETER = 2, 5, 50, 87
MORE_DATA, NO_MORE, VOLATILE_CHILD = 234, 259, 1021
SMBCONF = "SOFTWARE\\Samba\\smbconf"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Return a server whose registry the administrator man asks."""
    (tmp_path / "new").mkdir()
    return Served(winreg.interface, tmp_path, ndr64=False)


@pytest.fixture
def machine(served: Served) -> bytes:
    """Return HKLM."""
    found: bytes = rrp.hOpenLocalMachine(served)["phKey"]
    return found


def fails(status: int, call: Callable[[], Any]) -> None:
    with pytest.raises(rrp.DCERPCSessionError) as found:
        call()
    assert found.value.get_error_code() == status


def create(served: Served, key: Any, name: str, options: int = 0) -> Any:
    return rrp.hBaseRegCreateKey(served, key, name, dwOptions=options)["phkResult"]


def set_text(served: Served, key: Any, name: str, value: str) -> None:
    rrp.hBaseRegSetValue(served, key, name, rrp.REG_SZ, value)


def test_keys_and_values(served: Served, machine: Any) -> None:
    key = create(served, machine, "SOFTWARE\\A\\Ünicode key")
    set_text(served, key, "name", "välue")
    rrp.hBaseRegSetValue(served, key, "", rrp.REG_BINARY, bytes(range(256)))
    again = rrp.hBaseRegOpenKey(served, machine, "software\\a\\üNICODE KEY")["phkResult"]
    assert rrp.hBaseRegQueryValue(served, again, "NAME") == (rrp.REG_SZ, "välue\0")
    names = []
    for index in range(2):
        answer = rrp.hBaseRegEnumValue(served, again, index, dataLen=300)
        names.append(answer["lpValueNameOut"].rstrip("\0"))
    assert names == ["", "name"]
    fails(NO_MORE, lambda: rrp.hBaseRegEnumValue(served, again, 2))
    above = rrp.hBaseRegOpenKey(served, machine, "SOFTWARE\\A")["phkResult"]
    assert rrp.hBaseRegEnumKey(served, above, 0)["lpNameOut"] == "Ünicode key\0"
    fails(NO_MORE, lambda: rrp.hBaseRegEnumKey(served, above, 1))
    told = rrp.hBaseRegQueryInfoKey(served, above)
    assert (told["lpcSubKeys"], told["lpcbMaxSubKeyLen"], told["lpcValues"]) == (1, 24, 0)
    rrp.hBaseRegDeleteValue(served, again, "name")
    fails(NOT_FOUND, lambda: rrp.hBaseRegQueryValue(served, again, "name"))
    fails(NOT_FOUND, lambda: rrp.hBaseRegDeleteValue(served, again, "name"))
    fails(DENIED, lambda: rrp.hBaseRegDeleteKey(served, machine, "SOFTWARE\\A"))
    rrp.hBaseRegDeleteKey(served, above, "Ünicode key")
    fails(NOT_FOUND, lambda: rrp.hBaseRegOpenKey(served, above, "Ünicode key"))
    fails(NOT_FOUND, lambda: set_text(served, key, "name", "of a key that is gone"))
    rrp.hBaseRegCloseKey(served, again)


def test_it_is_kept(served: Served, machine: Any) -> None:
    set_text(served, create(served, machine, "SOFTWARE\\Kept"), "name", "value")
    volatile = create(served, machine, "SOFTWARE\\Gone", options=1)
    set_text(served, volatile, "name", "value")
    create(served, volatile, "below", options=1)
    fails(VOLATILE_CHILD, lambda: create(served, volatile, "stays"))
    served.store.close()
    again = Served(winreg.interface, served.folder, ndr64=False)
    key = rrp.hOpenLocalMachine(again)["phKey"]
    kept = rrp.hBaseRegOpenKey(again, key, "SOFTWARE\\Kept")["phkResult"]
    assert rrp.hBaseRegQueryValue(again, kept, "name") == (rrp.REG_SZ, "value\0")
    fails(NOT_FOUND, lambda: rrp.hBaseRegOpenKey(again, key, "SOFTWARE\\Gone"))


def test_too_little_room(served: Served, machine: Any) -> None:
    key = create(served, machine, "SOFTWARE\\Room")
    set_text(served, key, "name", "x" * 100)
    request = rrp.BaseRegQueryValue()
    request["hKey"] = key
    request["lpValueName"] = "name\0"
    request["lpData"] = b" " * 10
    request["lpcbData"] = request["lpcbLen"] = 10
    with pytest.raises(rrp.DCERPCSessionError) as found:
        served.request(request)
    assert found.value.get_error_code() == MORE_DATA
    assert found.value.get_packet()["lpcbData"] == 202


@pytest.mark.parametrize(("size", "fits"), [(10, True), (8, False)])
def test_a_name_has_to_fit(served: Served, machine: Any, size: int, fits: bool) -> None:
    """Bytes of the name, with its NUL."""
    key = create(served, machine, "SOFTWARE\\Room")
    set_text(served, key, "name", "x")
    request = rrp.BaseRegEnumValue()
    request["hKey"] = key
    request["dwIndex"] = 0
    request["lpValueNameIn"] = " " * (size // 2)
    request["lpData"] = b" " * 10
    request["lpcbData"] = request["lpcbLen"] = 10
    request.fields["lpValueNameIn"].fields["MaximumLength"] = size
    if fits:
        assert served.request(request)["lpValueNameOut"] == "name\0"
    else:
        fails(MORE_DATA, lambda: served.request(request))


@pytest.mark.parametrize(
    ("kind", "data", "size", "length", "told"),
    [
        (0, b"", 9, 0, (1, (b"value", 5), 5, 5)),
        (0, b"", 5, None, (1, (b"value", 5), 5, None)),
        (None, b"", 5, 0, (None, (b"value", 5), 5, 5)),
        (0, None, 0, 7, (1, None, 5, 0)),
        (None, None, None, None, (None, None, None, None)),
        (0, b"", 4, 0, None),
        (0, b"", None, 0, None),
    ],
)
def test_what_is_told_of_a_value(
    kind: int | None, data: bytes | None, size: int | None, length: int | None, told: Any
) -> None:
    """As far as it is asked for; None: there is too little room, and how much is needed."""
    found = ValueFound("name", 1, b"value")
    if told:
        assert values._told(found, kind, data, size, length) == told
    else:
        with pytest.raises(Status, match="0x000000ea") as caught:
            values._told(found, kind, data, size, length)
        assert caught.value.values == (1, None, None if size is None else 5, 0)


def test_names_of_values_have_an_end(served: Served, machine: Any) -> None:
    key = create(served, machine, "SOFTWARE\\Long")
    set_text(served, key, "n" * 1023, "x")  # and its NUL
    assert rrp.hBaseRegQueryValue(served, key, "n" * 1023)[1] == "x\0"
    assert values._name(values.Text("n" * 1024)) == "n" * 1024
    assert values._name(values.Text(None)) == ""
    with pytest.raises(Status, match="0x00000057"):
        values._name(values.Text("n" * 1025))
    fails(PARAMETER, lambda: set_text(served, key, "n" * 1025, "x"))


def test_several_values(served: Served, machine: Any) -> None:
    key = create(served, machine, "SOFTWARE\\Several")
    set_text(served, key, "a", "first")
    set_text(served, key, "b", "second")
    wanted = [{"ValueName": name, "ValueType": rrp.REG_SZ} for name in ("a\0", "b\0")]
    found = rrp.hBaseRegQueryMultipleValues(served, key, wanted)
    assert [each["ValueData"] for each in found] == ["first\0", "second\0"]


def test_others_are_refused(served: Served) -> None:
    served.become("games")
    for opened in (rrp.hOpenLocalMachine, rrp.hOpenUsers, rrp.hOpenClassesRoot):
        fails(DENIED, lambda opened=opened: opened(served))


def test_hives(served: Served) -> None:
    for opened in (rrp.hOpenUsers, rrp.hOpenClassesRoot, rrp.hOpenCurrentUser):
        set_text(served, create(served, opened(served)["phKey"], "T"), "x", opened.__name__)
    users = rrp.hOpenUsers(served)["phKey"]
    own = rrp.hBaseRegOpenKey(served, users, ".DEFAULT\\T")["phkResult"]
    assert rrp.hBaseRegQueryValue(served, own, "x")[1] == "hOpenCurrentUser\0"
    fails(NOT_SUPPORTED, lambda: rrp.hOpenPerformanceData(served))


def test_keys_that_cannot_be(served: Served, machine: Any) -> None:
    fails(PARAMETER, lambda: create(served, machine, "x" * 256))
    fails(PARAMETER, lambda: create(served, machine, "\\".join("a" * 40)))


# -- the configuration ---------------------------------------------------------------------------


def share(served: Served, machine: Any, name: str, **parameters: str) -> Any:
    key = create(served, machine, f"{SMBCONF}\\{name}")
    for parameter, value in parameters.items():
        set_text(served, key, parameter, value)
    return key


def test_shares_are_keys(served: Served, machine: Any) -> None:
    key = share(served, machine, "new", path=str(served.folder / "new"), comment="one")
    found = served.view.snapshot.share("NEW")
    assert found is not None
    assert (found.comment, found.read_only) == ("one", True)
    set_text(served, key, "read only", "no")
    changed = served.view.snapshot.share("new")
    assert changed is not None
    assert not changed.read_only
    for name, value in (("path", "relative"), ("nonsense", "1"), ("read only", "perhaps")):
        fails(PARAMETER, lambda name=name, value=value: set_text(served, key, name, value))
    assert rrp.hBaseRegQueryValue(served, key, "path")[1] == str(served.folder / "new") + "\0"
    rrp.hBaseRegDeleteKey(served, machine, f"{SMBCONF}\\new")
    assert served.view.snapshot.share("new") is None
    fails(PARAMETER, lambda: create(served, machine, f"{SMBCONF}\\global"))
    fails(DENIED, lambda: rrp.hBaseRegDeleteKey(served, machine, SMBCONF))


def test_a_share_has_no_keys(served: Served, machine: Any) -> None:
    key = share(served, machine, "new", path=str(served.folder / "new"))
    fails(PARAMETER, lambda: create(served, key, "below"))
    above = create(served, machine, SMBCONF)
    fails(PARAMETER, lambda: create(served, above, "new\\below"))
    fails(PARAMETER, lambda: create(served, above, "global"))
    fails(PARAMETER, lambda: rrp.hBaseRegSetValue(served, key, "comment", rrp.REG_BINARY, b"x"))


def test_the_file_comes_first(served: Served, machine: Any) -> None:
    key = create(served, machine, f"{SMBCONF}\\data")
    fails(PARAMETER, lambda: set_text(served, key, "path", "/"))


def test_windows_keys(served: Served, machine: Any) -> None:
    def read(key: str, name: str) -> Any:
        opened = rrp.hBaseRegOpenKey(served, machine, key)["phkResult"]
        return rrp.hBaseRegQueryValue(served, opened, name)[1]

    assert read("SYSTEM\\CurrentControlSet\\Control\\ProductOptions", "ProductType") == "ServerNT\0"
    server = "SYSTEM\\CurrentControlSet\\Services\\LanmanServer"
    told = read(f"{server}\\Shares", "data")
    assert f"Path=C:{served.folder}/data".replace("/", "\\") in str(told)
    parameters = create(served, machine, f"{server}\\Parameters")
    set_text(served, parameters, "srvcomment", "by the registry")
    assert served.view.snapshot.config.server_string == "by the registry"
    shares = create(served, machine, f"{server}\\Shares")
    fails(DENIED, lambda: set_text(served, shares, "data", "x"))
    logs = "SYSTEM\\CurrentControlSet\\Services\\EventLog"
    key = rrp.hBaseRegOpenKey(served, machine, logs)["phkResult"]
    names = [rrp.hBaseRegEnumKey(served, key, index)["lpNameOut"] for index in range(3)]
    assert [name.rstrip("\0") for name in names] == list(eventlog.LOGS)


# -- security ------------------------------------------------------------------------------------

ADMINISTRATORS = "S-1-5-32-544"
EVERYONE = "S-1-1-0"


def secure(served: Served, key: Any, descriptor: Descriptor, wanted: int = 4) -> None:
    request = rrp.BaseRegSetKeySecurity()
    request["hKey"] = key
    request["SecurityInformation"] = wanted
    data = pack(descriptor)
    request["pRpcSecurityDescriptor"]["lpSecurityDescriptor"] = list(data)
    request["pRpcSecurityDescriptor"]["cbInSecurityDescriptor"] = len(data)
    request["pRpcSecurityDescriptor"]["cbOutSecurityDescriptor"] = len(data)
    served.request(request)


def security(served: Served, key: Any, wanted: int = 7) -> Descriptor:
    answer = rrp.hBaseRegGetKeySecurity(served, key, wanted)
    told = answer["pRpcSecurityDescriptorOut"]["lpSecurityDescriptor"]
    return parse(b"".join(told))


def test_security_is_kept_and_holds(served: Served, machine: Any) -> None:
    key = create(served, machine, "SOFTWARE\\Secret")
    assert security(served, key).owner == ADMINISTRATORS
    reading = (Ace(0, 2, 0x20019, ADMINISTRATORS),)
    secure(served, key, Descriptor(None, None, reading))
    found = security(served, key)
    assert found.dacl == reading
    assert found.owner == ADMINISTRATORS
    opened = rrp.hBaseRegOpenKey(served, machine, "SOFTWARE\\Secret", samDesired=MAXIMUM_ALLOWED)[
        "phkResult"
    ]
    fails(DENIED, lambda: set_text(served, opened, "x", "y"))
    fails(DENIED, lambda: create(served, opened, "below"))
    fails(
        DENIED,
        lambda: rrp.hBaseRegOpenKey(served, machine, "SOFTWARE\\Secret", samDesired=0x20006),
    )
    # Whose it is may always change who may.
    secure(served, opened, Descriptor(None, None, (Ace(0, 2, 0xF003F, EVERYONE),)))
    below = create(
        served, rrp.hBaseRegOpenKey(served, machine, "SOFTWARE\\Secret")["phkResult"], "below"
    )
    assert security(served, below).dacl == (Ace(0, 0x12, 0xF003F, EVERYONE),)


def test_who_makes_a_key_has_what_he_asked_for(served: Served, machine: Any) -> None:
    """And what the new key gives him; no more."""
    key = create(served, machine, "SOFTWARE\\Reading")
    below = Ace(0, 2 | 8, 0x20019, ADMINISTRATORS)  # of what is below alone
    secure(served, key, Descriptor(None, None, (Ace(0, 0, 0xF003F, ADMINISTRATORS), below)))
    for asked, may in ((0x20019, False), (0x2001B, True)):
        made = rrp.hBaseRegCreateKey(served, key, f"made {asked}", samDesired=asked)["phkResult"]
        if may:
            set_text(served, made, "x", "y")
        else:
            fails(DENIED, lambda made=made: set_text(served, made, "x", "y"))
