"""Kerberos by a KDC: Samba's client (Heimdal), impacket, and what happens at a ticket's end."""

import os
import subprocess
import time
from collections.abc import Iterator

import pytest
from impacket.dcerpc.v5 import srvs, transport
from impacket.dcerpc.v5.rpcrt import (
    RPC_C_AUTHN_GSS_NEGOTIATE,
    RPC_C_AUTHN_LEVEL_PKT_INTEGRITY,
    RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
)
from impacket.smbconnection import SessionError, SMBConnection
from smbtest.peer import only_usmbd
from smbtest.processes import wait_for
from smbtest.proxy import at_port_445
from smbtest.realm import SERVER, SERVICE, Realm
from smbtest.samba_tools import client_configuration
from smbtest.server import ALICE, BOB, HOST, Options
from smbtest.usmbd import Usmbd

PASSWORD = "kerberos-Pass1"
STRANGER = "stranger"
"""A user of the realm without an account here."""


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    """Run a KDC with ALICE, BOB and a stranger."""
    only_usmbd("smbd of a standalone server takes no keytab")
    pytest.importorskip("gssapi")
    with Realm().running() as running:
        for user in (ALICE.name, BOB.name, STRANGER):
            running.add_user(user, PASSWORD)
        running.add_service(f"host/{SERVER}")  # whom rpcclient asks for
        yield running


def options(realm: Realm, **parameters: str) -> Options:
    """Return what makes the server take the realm's tickets."""
    kerberos = {
        "kerberos method": "dedicated keytab",
        "dedicated keytab file": str(realm.keytab),
        "min domain uid": "0",  # the tests' accounts are of the system
        "log level": "2",
    }
    return Options(kerberos | parameters, environment=realm.environment)


@pytest.fixture(scope="module")
def kerberized(realm: Realm) -> Iterator[Usmbd]:
    """Run a server that has the realm's keytab."""
    with Usmbd(options(realm)).running() as running:
        yield running


def smbclient(
    server: Usmbd, realm: Realm, cache: str, *commands: str, extra: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run smbclient with the tickets of a cache."""
    return subprocess.run(
        [
            *("smbclient", "-s", client_configuration(server), "-p", str(server.port)),
            *(f"//{SERVER}/data", "-I", HOST, "--use-kerberos=required", "-N", *extra),
            *("-c", "; ".join(commands)),
        ],
        env=os.environ | realm.environment | {"KRB5CCNAME": cache},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("dialect", ["SMB2_02", "SMB2_10", "SMB3_00", "SMB3_11"])
@pytest.mark.parametrize("protection", ["sign", "encrypt"])
def test_smbclient(kerberized: Usmbd, realm: Realm, dialect: str, protection: str) -> None:
    if protection == "encrypt" and dialect.startswith("SMB2"):
        return  # SMB 2 does not encrypt
    (kerberized.data / "there").write_text("by a ticket")
    done = smbclient(
        kerberized, realm, realm.ticket(ALICE.name, PASSWORD), "get there -",
        extra=("-m", dialect, f"--client-protection={protection}"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "by a ticket" in done.stdout


def test_files_are_the_user_s(kerberized: Usmbd, realm: Realm) -> None:
    (kerberized.folder / "log.sent").write_text("x")
    done = smbclient(
        kerberized, realm, realm.ticket(BOB.name, PASSWORD),
        f"put {kerberized.folder}/log.sent of-bob",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    if os.geteuid() == 0:
        assert (kerberized.data / "of-bob").owner() == BOB.name


def test_whoever_has_no_account_is_refused(kerberized: Usmbd, realm: Realm) -> None:
    done = smbclient(kerberized, realm, realm.ticket(STRANGER, PASSWORD), "ls")
    assert done.returncode
    assert "NT_STATUS_LOGON_FAILURE" in done.stdout + done.stderr
    told = f"{STRANGER}@{realm.name} has no account here"
    wait_for(lambda: told in kerberized.log, 20, "the refusal in the log")


def test_passwords_work_beside_tickets(kerberized: Usmbd) -> None:
    connection = SMBConnection(HOST, HOST, sess_port=kerberized.port, timeout=20)
    connection.login(ALICE.name, ALICE.password)
    connection.listPath("data", "*")
    connection.close()


def by_ticket(server: Usmbd, realm: Realm, cache: str) -> SMBConnection:
    """Log in by impacket with a cache that holds the service's ticket already."""
    realm.run("kvno", SERVICE, KRB5CCNAME=cache)
    connection = SMBConnection(SERVER, HOST, sess_port=server.port, timeout=20)
    before = os.environ.get("KRB5CCNAME")
    os.environ["KRB5CCNAME"] = cache.removeprefix("FILE:")
    try:
        connection.kerberosLogin("", "", realm.name, useCache=True)
    finally:
        os.environ.pop("KRB5CCNAME")
        if before is not None:
            os.environ["KRB5CCNAME"] = before
    return connection


def test_impacket_with_a_cache(kerberized: Usmbd, realm: Realm) -> None:
    connection = by_ticket(kerberized, realm, realm.ticket(ALICE.name, PASSWORD))
    assert {entry.get_longname() for entry in connection.listPath("data", "*")} >= {".", ".."}
    connection.close()


def test_a_session_ends_with_its_ticket(kerberized: Usmbd, realm: Realm) -> None:
    """Of impacket, which does not re-authenticate."""
    cache = realm.ticket(ALICE.name, PASSWORD, lifetime="8s")
    connection = by_ticket(kerberized, realm, cache)
    connection.listPath("data", "*")
    ends: list[str] = []

    def ended() -> bool:
        time.sleep(0.25)
        try:
            connection.listPath("data", "*")
        except SessionError as error:
            ends.append(error.getErrorString()[0])
        return bool(ends)

    wait_for(ended, 60, "the session's end")
    assert ends == ["STATUS_NETWORK_SESSION_EXPIRED"]


def test_a_session_by_a_ticket_outlives_mountd(kerberized: Usmbd, realm: Realm) -> None:
    cache = realm.ticket(ALICE.name, PASSWORD)
    connection = by_ticket(kerberized, realm, cache)
    before = kerberized.processes_named("usmbd.mountd.cli.mountd")
    os.kill(before[0], 9)

    def again() -> bool:
        now = kerberized.processes_named("usmbd.mountd.cli.mountd")
        return bool(now) and now != before

    wait_for(again, 60, "another mountd")
    end = time.monotonic() + 60
    while True:  # what was sealed by the one before is good
        try:
            tree = connection.connectTree("private")
            break
        except SessionError:
            assert time.monotonic() < end
    assert tree
    assert smbclient(kerberized, realm, cache, "ls").returncode == 0
    connection.close()


def test_without_ntlm_passwords_are_refused(realm: Realm) -> None:
    with Usmbd(options(realm, **{"ntlm auth": "disabled"})).running() as server:
        assert smbclient(server, realm, realm.ticket(ALICE.name, PASSWORD), "ls").returncode == 0
        connection = SMBConnection(HOST, HOST, sess_port=server.port, timeout=20)
        with pytest.raises(SessionError, match="LOGON_FAILURE"):
            connection.login(ALICE.name, ALICE.password)
        connection.close()


@pytest.mark.parametrize("level", ["connect", "sign", "seal"])
@pytest.mark.parametrize("mechanism", ["krb5", "spnego"])
def test_a_ticket_on_a_bind(kerberized: Usmbd, realm: Realm, mechanism: str, level: str) -> None:
    with at_port_445(kerberized) as address:
        done = subprocess.run(
            [
                *("rpcclient", "-s", client_configuration(kerberized), "-I", address),
                *("--use-kerberos=required", "-N", f"ncacn_np:{SERVER}[{mechanism},{level}]"),
                *("-c", "netshareenumall;srvinfo"),
            ],
            env=os.environ | realm.environment | {"KRB5CCNAME": realm.ticket(BOB.name, PASSWORD)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "netname: data" in done.stdout, done.stdout + done.stderr
    assert "platform_id" in done.stdout


@pytest.mark.parametrize("level", [RPC_C_AUTHN_LEVEL_PKT_INTEGRITY, RPC_C_AUTHN_LEVEL_PKT_PRIVACY])
def test_impacket_s_ticket_on_a_bind(
    kerberized: Usmbd, realm: Realm, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    cache = realm.ticket(BOB.name, PASSWORD)
    realm.run("kvno", SERVICE, f"host/{SERVER}", KRB5CCNAME=cache)
    monkeypatch.setenv("KRB5CCNAME", cache.removeprefix("FILE:"))
    binding = transport.DCERPCTransportFactory(rf"ncacn_np:{SERVER}[\pipe\srvsvc]")
    binding.setRemoteHost(HOST)
    binding.set_dport(kerberized.port)
    binding.set_credentials(BOB.name, "", realm.name)
    binding.set_kerberos(True)
    dce = binding.get_dce_rpc()
    dce.set_auth_type(RPC_C_AUTHN_GSS_NEGOTIATE)
    dce.set_auth_level(level)
    dce.connect()
    dce.bind(srvs.MSRPC_UUID_SRVS)
    rows = srvs.hNetrShareEnum(dce, 1)["InfoStruct"]["ShareInfo"]["Level1"]["Buffer"]
    assert "data\0" in [row["shi1_netname"] for row in rows]
    dce.disconnect()
