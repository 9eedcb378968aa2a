"""Secrets of LSA and trusted domains, by the structures of the interface itself and impacket's."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from impacket.dcerpc.v5 import lsad
from rpc_client import KEY, Served

from usmbd.mountd.admin.secrets import SECRETS, decrypt, encrypt
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces import lsarpc

DENIED, NOT_FOUND, COLLISION = 0xC0000022, 0xC0000034, 0xC0000035
INVALID, TOO_LONG, REVISION, NO_DOMAIN = 0xC000000D, 0xC0000106, 0xC0000058, 0xC00000DF
DIRECTORY, INVALID_HANDLE = 0xC00002B1, 0xC0000008
MAXIMUM = 0x02000000


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Return a server whose secrets the administrator man keeps."""
    return Served(lsarpc.interface, tmp_path, ndr64=False)


def policy(served: Served) -> Any:
    return lsad.hLsarOpenPolicy2(served)["PolicyHandle"]


@pytest.fixture
def handle(served: Served) -> Any:
    """Return the administrator's policy."""
    return policy(served)


def fails(status: int, call: Callable[[], Any]) -> None:
    with pytest.raises(lsad.DCERPCSessionError) as found:
        call()
    assert found.value.get_error_code() == status


def create(served: Served, handle: Any, name: str, access: int = MAXIMUM) -> Any:
    return lsad.hLsarCreateSecret(served, handle, name, access)["SecretHandle"]


def opened(served: Served, handle: Any, name: str, access: int = MAXIMUM) -> Any:
    return lsad.hLsarOpenSecret(served, handle, name, access)["SecretHandle"]


def cipher(value: bytes | None, referent: int = 1) -> bytes:
    """Return a pointer to an LSAPR_CR_CIPHER_VALUE, whose buffer impacket takes for no varying."""
    if value is None:
        return bytes(4)
    size = len(value)
    head = struct.pack("<IIII", referent, size, size, referent + 1)
    return head + struct.pack("<III", size, 0, size) + value + bytes(-size % 4)


def put(served: Served, secret: Any, new: bytes | None, old: bytes | None) -> int:
    """Make LsarSetSecret; return its status."""
    stub = served.run(29, secret + cipher(new) + cipher(old, 8))
    return int.from_bytes(stub[-4:], "little")


def values(served: Served, secret: Any) -> tuple[Any, int, Any, int]:
    """Make LsarQuerySecret with room for all; return both values and their times."""
    room = struct.pack("<II", 1, 0)  # times are at multiples of 8
    times = struct.pack("<IQ", 2, 0), struct.pack("<IIQ", 3, 0, 0)
    stub = served.run(30, secret + room + times[0] + room + times[1])
    assert stub[-4:] == bytes(4), stub.hex()
    at, found = 0, []
    for _ in range(2):
        box, value = struct.unpack_from("<II", stub, at)
        assert box
        at += 8
        data = None
        if value:
            length, size, _, maximum, offset, count = struct.unpack_from("<6I", stub, at)
            assert (length, size, maximum, offset) == (count, count, count, 0)
            data = decrypt(stub[at + 24 : at + 24 + count], KEY)
            at += 24 + count
        at = (at + 3) & ~3
        assert struct.unpack_from("<I", stub, at)[0]
        at = (at + 4 + 7) & ~7
        found += [data, struct.unpack_from("<Q", stub, at)[0]]
        at += 8
    return tuple(found)  # type: ignore[return-value]


def test_values_are_kept_in_two_places(served: Served, handle: Any) -> None:
    secret = create(served, handle, "backup")
    assert values(served, secret)[::2] == (None, None)
    assert put(served, secret, encrypt(b"first", KEY), None) == 0
    new, first, old, _ = values(served, secret)
    assert (new, old) == (b"first", None)
    assert put(served, secret, encrypt(b"the second one", KEY), None) == 0
    new, second, old, moved = values(served, secret)
    assert (new, old) == (b"the second one", b"first")
    assert second > moved == first
    assert put(served, secret, None, encrypt(b"older", KEY)) == 0
    new, first, old, second = values(served, secret)
    assert (new, old) == (None, b"older")
    assert first == second


def test_values_outlive_mountd_and_are_in_no_hive(served: Served, handle: Any) -> None:
    put(served, create(served, handle, "Kept"), encrypt(b"value", KEY), None)
    assert served.store.find(SECRETS) is not None
    assert SECRETS[0] not in ("HKLM", "HKU")
    served.store.close()
    again = Served(lsarpc.interface, served.folder, ndr64=False)
    handle = policy(again)
    assert values(again, opened(again, handle, "Kept"))[0] == b"value"
    fails(NOT_FOUND, lambda: opened(again, handle, "kept"))  # names are told apart by case


def test_another_key_shows(served: Served, handle: Any) -> None:
    secret = create(served, handle, "s")
    assert put(served, secret, encrypt(b"v", bytes(16)), None) == REVISION
    assert put(served, secret, b"123", None) == REVISION
    assert values(served, secret)[0] is None


def test_names(served: Served, handle: Any) -> None:
    create(served, handle, "G$all")
    fails(COLLISION, lambda: create(served, handle, "G$all"))
    create(served, handle, "ä" * 128)
    fails(TOO_LONG, lambda: create(served, handle, "x" * 129))
    for name in ("", "a\\b", "G$", "G$$", "L$", "M$", "NL$", "_sc_"):
        fails(INVALID, lambda name=name: create(served, handle, name))  # type: ignore[misc]
    for name in ("L$here", "M$x", "$machine.acc", "sac"):
        fails(DENIED, lambda name=name: create(served, handle, name))  # type: ignore[misc]
        fails(DENIED, lambda name=name: opened(served, handle, name))  # type: ignore[misc]
    fails(NOT_FOUND, lambda: opened(served, handle, "nothing"))


def test_a_secret_is_deleted_once(served: Served, handle: Any) -> None:
    one, two = create(served, handle, "s"), opened(served, handle, "s")
    lsad.hLsarDeleteObject(served, one)
    fails(INVALID_HANDLE, lambda: lsad.hLsarDeleteObject(served, two))
    fails(NOT_FOUND, lambda: opened(served, handle, "s"))
    with pytest.raises(CallError):
        lsad.hLsarDeleteObject(served, one)
    with pytest.raises(CallError):
        lsad.hLsarDeleteObject(served, handle)  # a policy is not deleted


def test_what_a_handle_was_opened_for(served: Served, handle: Any) -> None:
    create(served, handle, "s")
    reader, writer = opened(served, handle, "s", 2), opened(served, handle, "s", 1)
    assert put(served, reader, encrypt(b"v", KEY), None) == DENIED
    stub = served.run(30, writer + bytes(16))
    assert int.from_bytes(stub[-4:], "little") == DENIED
    fails(DENIED, lambda: lsad.hLsarDeleteObject(served, reader))
    weak = lsad.hLsarOpenPolicy2(served, 0x801)["PolicyHandle"]
    fails(DENIED, lambda: create(served, weak, "t"))


def test_private_data(served: Served, handle: Any) -> None:
    name = struct.pack("<HHIIII", 2, 2, 1, 1, 0, 1) + "p".encode("utf-16-le") + bytes(2)

    def store(value: bytes | None) -> int:
        return int.from_bytes(served.run(42, handle + name + cipher(value, 8))[-4:], "little")

    def retrieve() -> bytes:
        return served.run(43, handle + name + bytes(4))

    assert store(encrypt(b"data", KEY)) == 0
    answer = retrieve()
    (count,) = struct.unpack_from("<I", answer, 4)
    assert decrypt(answer[28 : 28 + count], KEY) == b"data"
    assert store(None) == 0
    assert int.from_bytes(retrieve()[-4:], "little") == NOT_FOUND


def test_others_are_refused(served: Served, handle: Any) -> None:
    create(served, handle, "s")
    served.become("games")
    handle = policy(served)
    fails(DENIED, lambda: create(served, handle, "t"))
    fails(DENIED, lambda: opened(served, handle, "s"))
    fails(DENIED, lambda: opened(served, handle, "nothing"))


def test_the_cipher_is_the_documents() -> None:
    # [MS-LSAD] 5.1.2: the key is used in turns of 7 bytes; smbtorture's rpc.lsa.secrets agrees.
    for size in (0, 1, 7, 8, 9, 23, 300):
        value = bytes(range(256))[:size] or bytes(size)
        sealed = encrypt(value, KEY)
        assert len(sealed) % 8 == 0
        assert decrypt(sealed, KEY) == value
    with pytest.raises(ValueError, match="another key"):
        decrypt(encrypt(b"abc", KEY), bytes(16))


def test_there_are_no_trusts(served: Served, handle: Any) -> None:
    name = struct.pack("<HHIIII", 2, 2, 1, 1, 0, 1) + "p".encode("utf-16-le")
    stub = served.run(48, handle + name + struct.pack("<H", 8))
    assert int.from_bytes(stub[-4:], "little") == NOT_FOUND
    stub = served.run(48, handle + name + struct.pack("<H", 99))
    assert int.from_bytes(stub[-4:], "little") == INVALID
    sid = struct.pack("<IBB6B4I", 4, 1, 4, 0, 0, 0, 0, 0, 5, 21, 1, 2, 3)
    weak = lsad.hLsarOpenPolicy2(served, 0x801)["PolicyHandle"]
    for found, whose, opnum, more in (
        (DENIED, weak, 41, sid), (NO_DOMAIN, handle, 41, sid), (NO_DOMAIN, handle, 25, sid + KEY),
        (DIRECTORY, handle, 59, b""), (DENIED, weak, 59, b""),
    ):  # fmt: skip
        stub = served.run(opnum, whose + more)
        assert int.from_bytes(stub[-4:], "little") == found
