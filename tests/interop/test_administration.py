"""What an administrator sees and changes by rpcclient, `net rpc` and impacket."""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from impacket.dcerpc.v5 import srvs, transport
from impacket.dcerpc.v5.dtypes import NULL
from impacket.dcerpc.v5.rpcrt import DCERPCException
from smbprotocol.exceptions import SMBResponseException
from smbtest import client as smb
from smbtest.client import Client
from smbtest.processes import wait_for
from smbtest.samba_tools import client_configuration, credentials, rpcclient, smbclient
from smbtest.server import ALICE, BOB, NETBIOS_NAME, Account, Server
from smbtest.usmbd import BIN, Usmbd


def net(server: Server, address: str, *words: str, account: Account = BOB, ok: bool = True) -> str:
    """Run `net rpc`; what it said."""
    command = ["net", "rpc", *words, "-s", client_configuration(server)]
    done = subprocess.run(
        [*command, *credentials(account), "-S", address],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"LC_ALL": "C.UTF-8", "HOME": str(server.state)},
    )
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, said
    return said


def srvsvc(server: Server, account: Account = BOB) -> Any:
    """Bind srvsvc by impacket."""
    binding = transport.DCERPCTransportFactory(rf"ncacn_np:{server.host}[\pipe\srvsvc]")
    binding.set_dport(server.port)
    binding.set_credentials(account.name, account.password)
    dce = binding.get_dce_rpc()
    dce.connect()
    dce.bind(srvs.MSRPC_UUID_SRVS)
    return dce


@pytest.fixture
def clients(administered: Server) -> Iterator[list[Client]]:
    """Connect ALICE until every worker has one of hers."""
    found: list[Client] = []
    seen: set[int] = set()
    assert isinstance(administered, Usmbd)
    while seen != set(administered.workers()):
        found.append(Client(administered, ALICE))
        seen.add(administered.process_of(found[-1].port))
        assert len(found) < 32
    yield found
    for client in found:
        client.close()


def test_what_all_workers_have(administered: Server, clients: list[Client]) -> None:
    for number, client in enumerate(clients):
        client.open(f"listed-{number}", smb.ALL, smb.CREATE)
    dce = srvsvc(administered)
    sessions = srvs.hNetrSessionEnum(dce, "\0", "\0", 10)["InfoStruct"]["SessionInfo"]["Level10"]
    names = [row["sesi10_username"].rstrip("\0") for row in sessions["Buffer"]]
    assert sorted(names) == sorted([ALICE.name] * len(clients) + [BOB.name])
    assert "Received" in rpcclient(administered, "netsessenum", account=BOB)
    said = rpcclient(administered, "netfileenum", account=BOB)
    for number in range(len(clients)):
        assert f"listed-{number}" in said
    rows = srvs.hNetrConnectionEnum(dce, "data\0", 1)["InfoStruct"]["ConnectInfo"]["Level1"]
    assert [row["coni1_num_opens"] for row in rows["Buffer"]] == [1] * len(clients)
    share = srvs.hNetrShareGetInfo(dce, "data\0", 2)["InfoStruct"]["ShareInfo2"]
    assert share["shi2_current_uses"] == len(clients)
    rpcclient(administered, "wkssvc_enumerateusers", account=BOB)  # says nothing when it succeeds
    for command in ("netsessenum", "netfileenum", "netconnenum data", "wkssvc_enumerateusers"):
        assert "ACCESS_DENIED" in rpcclient(administered, command, account=ALICE, ok=False)
    dce.disconnect()


def test_a_file_is_closed(administered: Server, address: str, clients: list[Client]) -> None:
    dce = srvsvc(administered)
    for number, client in enumerate(clients):
        opened = client.open(f"closed-{number}", smb.ALL, smb.OPEN_IF)
        rows = srvs.hNetrFileEnum(dce, NULL, ALICE.name + "\0", 3)["InfoStruct"]["FileInfo"]
        (found,) = (
            row["fi3_id"]
            for row in rows["Level3"]["Buffer"]
            if row["fi3_path_name"].endswith(f"\\closed-{number}\0")
        )
        net(administered, address, "file", "close", str(found))

        def gone(opened: smb.Open = opened) -> bool:
            try:
                opened.read(0, 1)
            except SMBResponseException as error:
                return error.status == 0xC0000128  # STATUS_FILE_CLOSED
            return False

        wait_for(gone, 30, "the file is closed")


def test_sessions_are_ended(administered: Server, clients: list[Client]) -> None:
    dce = srvsvc(administered)
    answer = srvs.hNetrSessionEnum(dce, "\0", ALICE.name + "\0", 10)
    rows = answer["InfoStruct"]["SessionInfo"]["Level10"]["Buffer"]
    assert len(rows) == len(clients)
    address = rows[0]["sesi10_cname"]
    srvs.hNetrSessionDel(dce, address, ALICE.name + "\0")
    for client in clients:

        def gone(client: Client = client) -> bool:
            try:
                client.open("anything", smb.READ, smb.OPEN_IF)
            except Exception:
                return True
            return False

        wait_for(gone, 30, "the session is ended")
    with pytest.raises(srvs.DCERPCSessionError):
        srvs.hNetrSessionEnum(dce, "\0", ALICE.name + "\0", 10)


# -- what is changed -----------------------------------------------------------------------------


def shares(server: Server) -> str:
    return rpcclient(server, "netshareenumall", account=BOB)


def test_shares_come_and_go_at_once(administered: Server, address: str) -> None:
    folder = administered.data / "shared-now"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    net(administered, address, "share", "add", f"fresh={folder}")
    assert "netname: fresh" in shares(administered)
    with Client(administered, ALICE, share="fresh") as client:
        client.open("written", smb.ALL, smb.CREATE).close()
        assert (folder / "written").exists()
        assert isinstance(administered, Usmbd)
        before = administered.mountd()
        os.kill(before[0], signal.SIGKILL)
        wait_for(
            lambda: len(set(administered.mountd()) - set(before)) == 2, 30, "mountd is there again"
        )
        wait_for(lambda: "netname: fresh" in shares(administered), 30, "the share is kept")
        net(administered, address, "share", "delete", "fresh")

        def gone() -> bool:
            try:
                client.open("more", smb.ALL, smb.OPEN_IF)
            except SMBResponseException:
                return True
            return False

        wait_for(gone, 30, "its users are disconnected")
    assert "netname: fresh" not in shares(administered)
    net(administered, address, "share", "delete", "data", ok=False)
    net(administered, address, "share", "add", f"mine={folder}", account=ALICE, ok=False)


def test_net_rpc_conf(administered: Server, address: str) -> None:
    folder = str(administered.data)
    conf = ["conf", "addshare", "conf", folder, "writeable=y", "guest_ok=n", "A comment"]
    net(administered, address, *conf)
    assert "A comment" in net(administered, address, "conf", "list")
    net(administered, address, "conf", "setparm", "conf", "comment", "Another")
    assert "remark:\tAnother" in shares(administered)
    net(administered, address, "conf", "setparm", "conf", "read only", "perhaps", ok=False)
    net(administered, address, "conf", "delshare", "conf")
    assert "netname: conf" not in shares(administered)


def test_net_rpc_registry(administered: Server, address: str) -> None:
    key = "HKLM\\SOFTWARE\\Test\\a key"
    net(administered, address, "registry", "createkey", key)
    net(administered, address, "registry", "setvalue", key, "text", "sz", "välue")
    net(administered, address, "registry", "setvalue", key, "number", "dword", "17")
    said = net(administered, address, "registry", "enumerate", key)
    assert '"välue"' in said
    assert "REG_DWORD" in said
    assert "S-1-5-32-544" in net(administered, address, "registry", "getsd", key)
    net(administered, address, "registry", "deletevalue", key, "text")
    net(administered, address, "registry", "deletekey", key)
    net(administered, address, "registry", "enumerate", key, ok=False)
    net(administered, address, "registry", "enumerate", "HKLM", account=ALICE, ok=False)


SHOWN = {
    "info": f"Domain Name: {NETBIOS_NAME}",
    "getsid": f"for Domain {NETBIOS_NAME} in secrets.tdb",
    "share list": "encrypted",
    "share allowedusers": "private",
    "file": "\\data\\shown-by-net",
    f"file user {ALICE.name}": "\\data\\shown-by-net",
    f"user info {ALICE.name}": "None",
    "group list builtin": "Administrators",
    "group members Administrators": f"{NETBIOS_NAME}\\{BOB.name}",
    "rights list accounts": "BUILTIN\\Administrators",
    "rights list privileges SeBackupPrivilege": "BUILTIN\\Administrators",
    "registry getvalueraw HKLM\\SYSTEM\\CurrentControlSet\\Control\\ProductOptions ProductType": (
        "ServerNT"
    ),
    "registry getsd HKLM\\SOFTWARE": "S-1-5-32-544",
    "conf listshares": "",
    "audit list": "Auditing:\t\tDisabled",
    "trustdom list": "none",
}
"""What `net rpc` has for looking, and what an administrator finds by it."""


def test_net_rpc_shows(administered: Server, address: str) -> None:
    with Client(administered, ALICE) as client:
        client.open("shown-by-net", smb.ALL, smb.CREATE)
        for command, found in SHOWN.items():
            assert found in net(administered, address, *command.split(" ")), command
        for command in ("file", "rights list accounts", "registry enumerate HKLM"):
            net(administered, address, *command.split(" "), account=ALICE, ok=False)


def test_impacket_s_reg(administered: Server, address: str) -> None:
    done = subprocess.run(
        [
            BIN / "reg.py",
            f"{BOB.name}:{BOB.password}@{address}",
            *("query", "-s", "-keyName"),
            "HKLM\\SYSTEM\\CurrentControlSet\\Services\\LanmanServer",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "REG_MULTI_SZ" in done.stdout
    assert f"Path=C:{administered.data}".replace("/", "\\") in done.stdout


# -- users ---------------------------------------------------------------------------------------


def logs_in(server: Server, name: str, password: str) -> bool:
    said = rpcclient(server, "getusername", account=Account(name, password), ok=None)
    return f"Account Name: {name}" in said


@pytest.mark.parametrize("level", [18, 23, 24, 25, 26])
def test_an_administrator_makes_users(administered: Server, level: int) -> None:
    name, password = f"made{level}", f"Pässword{level}"
    rpcclient(administered, f"createdomuser {name}", account=BOB)
    command = f"setuserinfo2 {name} {level} {password}"
    assert "ACCESS_DENIED" in rpcclient(administered, command, account=ALICE, ok=False)
    rpcclient(administered, command, account=BOB)
    assert logs_in(administered, name, password)
    rpcclient(administered, f"deletedomuser {name}", account=BOB)
    assert not logs_in(administered, name, password)


def test_net_rpc_user(administered: Server, address: str) -> None:
    net(administered, address, "user", "add", "netuser", "Secret123!")
    assert logs_in(administered, "netuser", "Secret123!")
    assert "netuser" in net(administered, address, "user")
    net(administered, address, "user", "password", "netuser", "Other123!")
    assert logs_in(administered, "netuser", "Other123!")
    net(administered, address, "user", "delete", "netuser")
    assert "netuser" not in net(administered, address, "user")


def test_a_user_changes_his_password(administered: Server) -> None:
    rpcclient(administered, "createdomuser own", "setuserinfo2 own 24 First123!", account=BOB)
    own = Account("own", "First123!")
    rpcclient(administered, "chgpasswd2 own First123! Second123!", account=own)
    assert logs_in(administered, "own", "Second123!")
    rpcclient(administered, "chgpasswd3 own Second123! Third123!", account=ALICE)
    assert logs_in(administered, "own", "Third123!")
    wrong = "chgpasswd2 own Wrong123! Fourth123!"
    assert "WRONG_PASSWORD" in rpcclient(administered, wrong, account=ALICE, ok=False)
    rpcclient(administered, "deletedomuser own", account=BOB)


def test_smbpasswd_of_another_machine(administered: Server, address: str) -> None:
    """It binds with NTLM and seals its calls."""
    rpcclient(administered, "createdomuser remote", "setuserinfo2 remote 24 First123!", account=BOB)
    done = subprocess.run(
        [
            "smbpasswd",
            "-c",
            client_configuration(administered),
            "-r",
            address,
            "-U",
            "remote",
            "-s",
        ],
        input="First123!\nSecond123!\nSecond123!\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert logs_in(administered, "remote", "Second123!")
    rpcclient(administered, "deletedomuser remote", account=BOB)


@pytest.mark.parametrize("mechanism", ["ntlm", "spnego"])
@pytest.mark.parametrize("level", ["connect", "packet", "sign", "seal"])
def test_a_login_on_the_bind(
    administered: Server, address: str, level: str, mechanism: str
) -> None:
    def ask(account: Account) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *["rpcclient", "-s", client_configuration(administered), *credentials(account)],
                *[f"ncacn_np:{address}[{level},{mechanism}]", "-c", "netshareenumall;netsessenum"],
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = ask(BOB)
    assert "netname: data" in done.stdout
    assert "Received" in done.stdout
    assert "ACCESS_DENIED" in ask(ALICE).stdout


def test_impacket_s_rpcmap(administered: Server, address: str) -> None:
    who = f"{BOB.name}:{BOB.password}"
    done = subprocess.run(
        [
            *[BIN / "rpcmap.py", "-auth-rpc", who, "-auth-transport", who],
            rf"ncacn_np:{address}[\pipe\epmapper]",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "E1AF8308-5D1F-11C9-91A4-08002B14A0FA" in done.stdout, done.stdout + done.stderr


# -- services and logs ---------------------------------------------------------------------------


def test_net_rpc_service(administered: Server, address: str) -> None:
    said = net(administered, address, "service", "list")
    assert "LanmanServer" in said
    assert "RemoteRegistry" in said
    assert "is running" in net(administered, address, "service", "status", "LanmanServer")
    said = net(administered, address, "service", "stop", "LanmanServer", ok=False)
    assert "WERR_INVALID_SERVICE_CONTROL" in said
    said = net(administered, address, "service", "list", account=ALICE, ok=False)
    assert "WERR_ACCESS_DENIED" in said


def test_impacket_s_services(administered: Server, address: str) -> None:
    done = subprocess.run(
        [BIN / "services.py", f"{BOB.name}:{BOB.password}@{address}", "list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Total Services: 6" in done.stdout


def test_event_logs_are_empty(administered: Server) -> None:
    said = rpcclient(
        administered,
        *("eventlog_numrecord System", "eventlog_oldestrecord Application"),
        "eventlog_loginfo Security",
        account=BOB,
    )
    assert "number of records: 0" in said
    assert "oldest entry: 0" in said
    assert "ACCESS_DENIED" in rpcclient(administered, "eventlog_numrecord System", ok=False)


def test_net_rpc_rights(administered: Server, address: str) -> None:
    folder = administered.data / "of-a-disk-operator"
    folder.mkdir(exist_ok=True)
    right, add = "SeDiskOperatorPrivilege", ("share", "add", f"operated={folder}")
    net(administered, address, *add, account=ALICE, ok=False)
    net(administered, address, "rights", "grant", ALICE.name, right)
    assert ALICE.name in net(administered, address, "rights", "list", "accounts")
    net(administered, address, *add, account=ALICE)
    net(administered, address, "share", "delete", "operated", account=ALICE)
    said = net(administered, address, "rights", "grant", ALICE.name, "SeTcbPrivilege", ok=False)
    assert "NT_STATUS_NOT_SUPPORTED" in said
    net(administered, address, "rights", "revoke", ALICE.name, right)
    net(administered, address, *add, account=ALICE, ok=False)


def test_files_security_by_srvsvc(administered: Server) -> None:
    """Whoever has the right by SMB has it here, and nobody else ([MS-SRVS] 3.1.4.14, 3.1.4.15)."""
    owner, other = srvsvc(administered, ALICE), srvsvc(administered)
    with Client(administered, ALICE) as mine:
        mine.open("mine.txt", smb.ALL, smb.CREATE)
    with Client(administered, BOB) as root:
        root.open("root.txt", smb.ALL, smb.CREATE)
    told = srvs.hNetrpGetFileSecurity(owner, "data\0", "mine.txt\0", 5)
    srvs.hNetrpSetFileSecurity(owner, "data\0", "mine.txt\0", 4, told)
    assert srvs.hNetrpGetFileSecurity(other, "data\0", "mine.txt\0", 5)
    with pytest.raises(DCERPCException, match="access_denied"):
        srvs.hNetrpSetFileSecurity(owner, "data\0", "root.txt\0", 4, told)
    for share, name, error in (("data", "not there", 2), ("not there", "mine.txt", 2310)):
        with pytest.raises(srvs.DCERPCSessionError) as found:
            srvs.hNetrpGetFileSecurity(owner, share + "\0", name + "\0", 4)
        assert found.value.get_error_code() == error


def test_who_was_given_the_right_sees_sacls(administered: Server, address: str) -> None:
    """`net rpc rights grant` of SeSecurityPrivilege holds for the next tree connect."""
    right, sacl = "SeSecurityPrivilege", 0x01000000
    with Client(administered, ALICE) as client:
        client.open("audited", smb.ALL, smb.CREATE)
        with smb.refused(0xC0000061):  # PRIVILEGE_NOT_HELD
            client.open("audited", sacl)
    net(administered, address, "rights", "grant", ALICE.name, right)
    with Client(administered, ALICE) as client:
        client.open("audited", sacl)
    net(administered, address, "rights", "revoke", ALICE.name, right)
    with Client(administered, ALICE) as client, smb.refused(0xC0000061):
        client.open("audited", sacl)


@pytest.mark.skipif(os.geteuid() != 0, reason="to `net usershare` the folder has to be root's")
def test_net_usershare(administered: Server) -> None:
    """What Samba's tool and desktops write is a share at once, with its own security."""
    folder = administered.folder / "Shared By Hand"
    folder.mkdir()
    folder.chmod(0o777)
    conf = administered.folder / "usershare.conf"
    names = ("usershare path", "usershare max shares")
    said = "".join(f"{name} = {administered.options.parameters[name]}\n" for name in names)
    conf.write_text(f"[global]\n{said}")

    def usershare(*words: str) -> None:
        command = ["net", "usershare", *words, "-s", str(conf)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)

    # What it asks the server at 127.0.0.1 where names are in the place of SIDs
    assert "S-1-1-0" in rpcclient(administered, "lookupnames Everyone", account=None)
    usershare("add", "By Hand", str(folder), "a comment", "S-1-1-0:F")
    smbclient(administered, ["mkdir made"], share="By Hand")
    assert (folder / "made").is_dir()
    assert "remark:\ta comment" in shares(administered)
    usershare("add", "By Hand", str(folder), "", "S-1-1-0:R")
    smbclient(administered, ["mkdir more"], share="By Hand", ok=False)
    smbclient(administered, ["ls made"], share="By Hand")
    usershare("delete", "By Hand")
    said = smbclient(administered, ["ls"], share="By Hand", ok=False)
    assert "NT_STATUS_BAD_NETWORK_NAME" in said
