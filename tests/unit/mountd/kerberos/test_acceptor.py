"""Which tickets are good for this server."""

import os
import time
from pathlib import Path

import pytest
from smbtest.tickets import Forge, Initiator, Pac

from usmbd.mountd.kerberos.acceptor import Acceptor, RefusedError, UnavailableError


def test_both_sides_agree(forge: Forge) -> None:
    client = Initiator(forge.ticket(seconds=1000))
    accepted = Acceptor(f"FILE:{forge.keytab}").accept(client.token)
    client.finish(accepted.token)
    assert (str(accepted.principal), accepted.principal.is_own) == ("alice@USMBD.TEST", True)
    assert accepted.session_key == client.key
    assert len(accepted.session_key) == 32
    assert abs(accepted.expires - time.time() - 1000) < 60
    client.verify(b"list", accepted.sign(b"list"))
    accepted.check(b"list", client.sign(b"list"))
    with pytest.raises(RefusedError):
        accepted.check(b"another", client.sign(b"list"))


def test_a_client_that_asks_for_no_answer_gets_none(forge: Forge) -> None:
    client = Initiator(forge.ticket(), mutual=False)
    accepted = Acceptor(str(forge.keytab)).accept(client.token)
    assert (accepted.token, accepted.session_key) == (b"", client.key)


def test_a_token_counts_once(forge: Forge) -> None:
    token = Initiator(forge.ticket()).token
    acceptor = Acceptor(str(forge.keytab))
    acceptor.accept(token)
    with pytest.raises(RefusedError, match="replay"):
        acceptor.accept(token)
    with pytest.raises(RefusedError, match="replay"):
        Acceptor(str(forge.keytab)).accept(token)  # after a restart, too


@pytest.mark.parametrize("token", [b"", b"\0" * 40, b"NTLMSSP\0" + b"\1" * 40, b"\x60\x82\xff\xff"])
def test_no_token(forge: Forge, token: bytes) -> None:
    with pytest.raises(RefusedError):
        Acceptor(str(forge.keytab)).accept(token)


def test_a_ticket_of_another_key_and_one_that_has_ended(forge: Forge) -> None:
    acceptor = Acceptor(str(forge.keytab))
    token = bytearray(Initiator(forge.ticket()).token)
    token[-40] ^= 1
    with pytest.raises(RefusedError):
        acceptor.accept(bytes(token))
    other = Forge(forge.folder / "other")
    with pytest.raises(RefusedError):
        acceptor.accept(Initiator(other.ticket()).token)
    ending = Initiator(forge.ticket(seconds=1)).token
    time.sleep(3)  # the clocks may differ by one second
    with pytest.raises(RefusedError, match="expired"):
        acceptor.accept(ending)


def test_a_ticket_for_another_service_is_none(forge: Forge) -> None:
    other = Forge(forge.folder / "web", "HTTP/server.usmbd.test")
    with forge.keytab.open("ab") as stream:
        stream.write(other.keytab.read_bytes()[2:])
    with pytest.raises(RefusedError):
        Acceptor(str(forge.keytab)).accept(Initiator(other.ticket(), other.service).token)
    with pytest.raises(UnavailableError):
        Acceptor(str(other.keytab))
    assert Acceptor(str(forge.keytab)).accept(Initiator(forge.ticket()).token).session_key


@pytest.mark.parametrize("service", ["host/server.usmbd.test", "cifs/alias.usmbd.test"])
def test_other_names_of_the_file_server(forge: Forge, service: str) -> None:
    other = Forge(forge.folder / "other", service)
    with forge.keytab.open("ab") as stream:
        stream.write(other.keytab.read_bytes()[2:])
    acceptor = Acceptor(str(forge.keytab))
    assert acceptor.accept(Initiator(other.ticket(), service).token).session_key
    assert acceptor.accept(Initiator(forge.ticket()).token).session_key


@pytest.mark.parametrize(
    ("wanted", "good"),
    [
        ("cifs", True),
        ("nfs", False),
        ("cifs/server.usmbd.test", True),
        ("cifs/server", False),
        ("cifs/server.usmbd.test@USMBD.TEST", True),
        ("cifs/server.usmbd.test@OTHER", False),
    ],
)
def test_kerberos_service_name(forge: Forge, wanted: str, good: bool) -> None:
    if good:
        token = Initiator(forge.ticket()).token
        assert Acceptor(str(forge.keytab), wanted).accept(token).session_key
    else:
        with pytest.raises(UnavailableError):
            Acceptor(str(forge.keytab), wanted)


def test_a_pac_needs_its_signature_and_its_user(forge: Forge) -> None:
    acceptor = Acceptor(str(forge.keytab))
    pac = Pac(
        groups=(513, 1200), extra=("S-1-5-21-9-9-9-7",), resource=("S-1-5-21-1-2-4", (77, 78))
    )
    info = acceptor.accept(Initiator(forge.ticket(pac=pac)).token).logon_info
    assert info is not None
    assert (info.domain, info.user) == ("DOM", "S-1-5-21-1-2-3-1106")
    assert info.primary_group == "S-1-5-21-1-2-3-513"
    assert info.groups == (
        "S-1-5-21-1-2-3-513", "S-1-5-21-1-2-3-1200", "S-1-5-21-9-9-9-7",
        "S-1-5-21-1-2-4-77", "S-1-5-21-1-2-4-78",
    )  # fmt: skip
    for bad in (Pac(good=False), Pac(name="bob")):
        with pytest.raises(RefusedError, match="PAC"):
            acceptor.accept(Initiator(forge.ticket(pac=bad)).token)


@pytest.mark.parametrize("user", ["alice/admin", "a@b", "al\\ice"])
def test_names_that_are_no_user_s(forge: Forge, user: str) -> None:
    with pytest.raises(RefusedError, match="no user"):
        Acceptor(str(forge.keytab)).accept(Initiator(forge.ticket(user)).token)


def test_without_a_keytab(forge: Forge) -> None:
    with pytest.raises(UnavailableError, match=str(forge.folder)):
        Acceptor(f"FILE:{forge.folder}/none")


def test_a_keytab_that_the_library_would_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keytab")
    for name in (f"FILE:{tmp_path}/keytab", f"{tmp_path}/keytab"):
        with pytest.raises(UnavailableError, match="keytab: it is no file, but a pipe"):
            Acceptor(name)
