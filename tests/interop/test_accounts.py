"""Names, SIDs, users and groups, as Samba's and impacket's tools ask for them."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from smbtest.processes import wait_for
from smbtest.proxy import ADDRESS
from smbtest.samba_tools import client_configuration, credentials, rpcclient
from smbtest.server import ALICE, BOB, NETBIOS_NAME, WORKGROUP, Account, Server
from smbtest.usmbd import BIN, Usmbd

SID = r"S-1-5-21-\d+-\d+-\d+"


def run(server: Server, *command: str | Path, ok: bool = True) -> str:
    """Run a tool; what it said."""
    done = subprocess.run(
        command,
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


def net(server: Server, *words: str, account: Account = ALICE) -> str:
    """Run `net rpc`."""
    command = ["net", "rpc", *words, "-s", client_configuration(server), "-p", str(server.port)]
    return run(server, *command, *credentials(account), "-I", server.host, "-S", NETBIOS_NAME)


def smbcacls(server: Server, address: str, name: str, *options: str) -> list[str]:
    """Run smbcacls on a file of ALICE's; the lines that it said."""
    command = ["smbcacls", "-s", client_configuration(server), *credentials(ALICE)]
    return run(server, *command, f"//{address}/data", name, *options).splitlines()


def test_names_and_sids(administered: Server) -> None:
    said = rpcclient(
        administered, f"lookupnames {ALICE.name} {BOB.name} adm root Everyone Administrators"
    )
    found = dict(re.findall(r"^(\S+) (S-\S+) \(", said, re.MULTILINE))
    assert re.fullmatch(SID + r"-\d+", found[ALICE.name])
    assert found[ALICE.name].rpartition("-")[0] == found[BOB.name].rpartition("-")[0]
    assert found["root"] == "S-1-22-1-0"
    assert found["adm"].startswith("S-1-22-2-")
    assert (found["Everyone"], found["Administrators"]) == ("S-1-1-0", "S-1-5-32-544")
    back = rpcclient(administered, "lookupsids " + " ".join(found.values()))
    names = dict(re.findall(r"^(S-\S+) (.+) \(\d\)$", back, re.MULTILINE))
    assert [names[sid] for sid in found.values()] == [
        *[f"{NETBIOS_NAME}\\{ALICE.name}", f"{NETBIOS_NAME}\\{BOB.name}", "Unix Group\\adm"],
        *["Unix User\\root", "\\Everyone", "BUILTIN\\Administrators"],
    ]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("lsaquery", f"Domain Name: {WORKGROUP}"),
        ("getusername", f"Account Name: {ALICE.name}, Authority Name: {NETBIOS_NAME}"),
        ("enumprivs", "SeBackupPrivilege"),
        ("enumdomains", "name:[Builtin]"),
        ("enumdomusers", f"user:[{ALICE.name}]"),
        ("enumdomgroups", "group:[None] rid:[0x201]"),
        ("enumalsgroups builtin", "group:[Administrators] rid:[0x220]"),
        ("enumalsgroups domain", ""),
        (f"queryuser {ALICE.name}", f"User Name   :\t{ALICE.name}"),
        ("querydominfo", f"Domain:\t\t{NETBIOS_NAME}"),
        ("querydispinfo", f"Account: {ALICE.name}"),
        ("querydispinfo2", ""),
        ("querydispinfo3", ""),
        ("querygroup 513", "Group Name:\tNone"),
        ("querygroupmem 513", "attr:[0x7]"),
        ("queryaliasmem builtin 545", "S-1-5-21-"),
        (f"lookupdomain {NETBIOS_NAME}", "Domain SID: S-1-5-21-"),
        ("getdompwinfo", "min_password_length"),
        (f"samlookupnames domain {ALICE.name}", f"name {ALICE.name}: 0x"),
        ("samlookuprids domain 513", "rid 0x201: None (2)"),
        ("samlookupnames builtin Users", "name Users: 0x221 (4)"),
        ("lsaquerysecobj", "SEC_DESC_DACL_PRESENT"),
        ("samquerysecobj", "SEC_DESC_DACL_PRESENT"),
        ("enumtrust", ""),
        ("lookupnames nobodyatall", None),
        ("lookupnames4 games", None),  # for domain controllers alone
        ("queryuser 4711", None),
        ("lsaenumsid", None),  # for administrators alone
        ("lsaenumacctrights S-1-5-32-544", None),
    ],
)
def test_what_rpcclient_asks(administered: Server, command: str, answer: str | None) -> None:
    said = rpcclient(administered, command, ok=answer is not None)
    assert answer is None or answer in said


def test_what_administrators_are_told(administered: Server) -> None:
    assert "S-1-5-32-544" in rpcclient(administered, "lsaenumsid", account=BOB)
    rights = rpcclient(administered, "lsaenumacctrights S-1-5-32-544", account=BOB)
    assert "SeBackupPrivilege" in rights
    members = rpcclient(administered, "queryaliasmem builtin 544", account=BOB)
    assert members.count("sid:[") == 1


def test_nobody_learns_nothing(server: Server) -> None:
    for command in ("enumdomusers", "lookupnames games"):
        assert "ACCESS_DENIED" in rpcclient(server, command, account=None, ok=False)


def test_net_rpc(administered: Server) -> None:
    said = net(administered, "info")
    assert f"Domain Name: {NETBIOS_NAME}" in said
    assert "Num users: 2" in said
    assert re.search(SID, net(administered, "getsid"))
    assert "Administrators" in net(administered, "group", "list", "builtin")
    assert "SeTakeOwnershipPrivilege" in net(administered, "rights", "list")


def test_the_sid_outlives_mountd(administered: Server) -> None:
    assert isinstance(administered, Usmbd)

    def sid() -> str:
        found = re.search(SID, rpcclient(administered, f"lookupdomain {NETBIOS_NAME}"))
        assert found is not None
        return found.group()

    before, old = sid(), administered.mountd()
    os.kill(old[0], signal.SIGKILL)
    wait_for(lambda: len(set(administered.mountd()) - set(old)) == 2, 30, "mountd is there again")
    assert sid() == before


def test_access_control_lists_by_names(administered: Server, address: str) -> None:
    path = administered.data / "acl.txt"
    path.write_bytes(b"x")
    if os.geteuid() == 0:
        shutil.chown(path, ALICE.name)
    said = smbcacls(administered, address, path.name)
    owner = f"{NETBIOS_NAME}\\{ALICE.name}"
    if os.geteuid() == 0:
        assert f"OWNER:{owner}" in said
    assert not [line for line in said if re.search(r":S-1-(22|5-21)-", line)]
    entry = f"ACL:{NETBIOS_NAME}\\{BOB.name}:ALLOWED/0x0/READ"
    smbcacls(administered, address, path.name, "-a", f"ACL:{BOB.name}:ALLOWED/0x0/READ")
    assert entry in smbcacls(administered, address, path.name)
    smbcacls(administered, address, path.name, "-D", entry)
    assert entry not in smbcacls(administered, address, path.name)
    # SDDL's short names are of the primary domain, of which there is none
    (sddl,) = [
        each for each in smbcacls(administered, address, path.name, "--sddl") if "D:" in each
    ]
    assert sddl.startswith("O:S-1-5-21-")


def impacket(server: Server, script: str, *arguments: str) -> str:
    """Run one of impacket's scripts."""
    account = f"{ALICE.name}:{ALICE.password}@{ADDRESS}"
    return run(server, BIN / script, account, *arguments)


@pytest.mark.parametrize(
    ("script", "arguments", "answers"),
    [
        ("lookupsid.py", ["1020"], [f"{NETBIOS_NAME}\\{ALICE.name} (SidTypeUser)", "513: "]),
        ("samrdump.py", [], [f"Found user: {ALICE.name}", f"Found user: {BOB.name}"]),
    ],
)
def test_impacket_s_scripts(
    administered: Server,
    address: str,
    script: str,
    arguments: Sequence[str],
    answers: Sequence[str],
) -> None:
    said = impacket(administered, script, *arguments)
    for answer in answers:
        assert answer in said
