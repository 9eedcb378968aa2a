"""More than ninety calls of rpcclient by an administrator, with what usmbd and smbd answer alike.

All go in a few processes, each call followed by a word that rpcclient does not know: what it says
to that is where the answer ends. Where smbd has no answer, or another one, its own stands beside.
"""

import re
from collections.abc import Iterator

import pytest
from smbtest.peer import only_usmbd, peer
from smbtest.samba_tools import rpcclient
from smbtest.server import BOB, NETBIOS_NAME, WORKGROUP, Options, Server
from smbtest.smbd import Smbd
from smbtest.usmbd import Usmbd

DENIED, NOTHING = "ACCESS_DENIED", r"\A\Z"
SOME_SID = "S-1-5-21-9-9-9-1000"
DOMAIN_SID = r"S-1-5-21-\d+-\d+-\d+"
DISKS = "SeDiskOperatorPrivilege"

Call = tuple[str, str] | tuple[str, str, str]
"""A command, what both answer, or what usmbd and smbd do."""

SERVER: list[Call] = [
    ("srvinfo", rf"{NETBIOS_NAME}.*A server under test\n\tplatform_id     :\t500"),
    ("netshareenum 1", "netname: data\n\tremark:\tThe tests' folder"),
    ("netshareenumall 1", r"netname: IPC\$"),
    ("netshareenumall 2", r"netname: private\n.*\n\tpath:\tC:\\.*private"),
    ("netshareenumall 502", r"netname: readonly[\s\S]*revision: 1"),
    ("netsharegetinfo data 1", "netname: data\n\tremark:\tThe tests' folder"),
    ("netsharegetinfo DATA 1", "netname: data"),
    ("netsharegetinfo data 2", r"path:\tC:\\"),
    ("netsharegetinfo data 502", r"type:\t0x0\n[\s\S]*num_uses:\t\d"),
    ("netsharegetinfo data 1005", "flags: 0x0"),
    ("netsharegetinfo IPC$ 1", "(?i)remark:\tIPC service"),
    ("netsharegetinfo nothing 1", "NERR_NETNAMENOTFOUND", "INVALID_NAME"),
    ("netsharesetdfsflags data 0", "flags: 0x0"),
    ("netsharedel nothing", "NERR_NETNAMENOTFOUND", "BAD_NET_NAME"),
    ("netfileenum", r"\\PIPE\\srvsvc", DENIED),
    ("netsessenum", "Received 1 entries", DENIED),
    ("netconnenum data", NOTHING, DENIED),
    ("netdiskenum", NOTHING),
    ("netremotetod", NOTHING),
    ("netnamevalidate data 9", NOTHING),
    ("netnamevalidate a/b 9", "INVALID_NAME"),
    ("wkssvc_wkstagetinfo 100", NOTHING),
    ("wkssvc_wkstagetinfo 101", NOTHING),
    ("wkssvc_wkstagetinfo 102", NOTHING, DENIED),
    ("wkssvc_getjoininformation", rf"{WORKGROUP} \(2\)", "0x0000002e"),
    ("wkssvc_enumeratecomputernames", f"name: 0 {NETBIOS_NAME}", "0x0000002e"),
    ("wkssvc_enumerateusers", NOTHING, DENIED),
    ("wkssvc_messagebuffersend x", "NOT_SUPPORTED", "0x0000002e"),
    ("dsroledominfo", r"Machine Role = \[2\]"),
    ("dfsversion", r"dfs is present \(1\)"),
    ("eventlog_numrecord Application", "number of records: 0", "OBJECT_PATH_INVALID"),
    ("eventlog_oldestrecord System", "oldest entry: 0", "OBJECT_PATH_INVALID"),
    ("epmmap", r"ncacn_np:.*lsarpc"),
    ("epmlookup", r"winreg.*\n[\s\S]*wkssvc"),
    (r"winreg_enumkey HKLM\SOFTWARE", NOTHING, "INVALID_PARAMETER"),
    (r"querymultiplevalues HKLM\SOFTWARE nothing", "FILE_NOT_FOUND"),
]

LSA: list[Call] = [
    ("lsaquery", f"Domain Name: {WORKGROUP}"),
    ("enumtrust", NOTHING),
    ("enumprivs", r"SeTakeOwnershipPrivilege \t\t0:9 \(0x0:0x9\)"),
    ("getdispname SeBackupPrivilege", "Back up files and directories"),
    ("getdispname SeNothing", "NO_SUCH_PRIVILEGE"),
    ("lsalookupprivvalue SeBackupPrivilege", r"0:17 \(0x0:0x11\)"),
    ("lsalookupprivvalue SeNothing", "NO_SUCH_PRIVILEGE"),
    ("lookupnames games man", rf"games {DOMAIN_SID}-\d+ \(User: 1\)\nman {DOMAIN_SID}-\d+"),
    ("lookupnames nobodyatall", "NONE_MAPPED"),
    ("lookupnames administrators", r"S-1-5-32-544 \(Local Group: 4\)"),
    ("lookupnames_level 1 games", rf"games {DOMAIN_SID}-\d+ \(User: 1\)"),
    ("lookupsids S-1-5-32-544", r"BUILTIN\\Administrators \(4\)"),
    ("lookupsids S-1-1-0 S-1-5-18", r"\\Everyone \(5\)\nS-1-5-18 (?i:NT AUTHORITY)\\SYSTEM \(5\)"),
    ("lookupsids S-1-5-21-1-2-3-4", r"\*unknown\*\\\*unknown\* \(8\)"),
    ("lookupsids_level 1 S-1-5-32-545", r"BUILTIN\\Users \(4\)"),
    ("lookupsids3 S-1-5-32-544", DENIED),
    ("lookupnames4 games", DENIED),
    ("lsaenumsid", r"S-1-5-32-544\n[\s\S]*S-1-1-0"),
    ("lsaenumprivsaccount S-1-5-32-544", r"0\t9\t0"),
    ("lsaenumacctrights S-1-5-32-544", f"SeBackupPrivilege\n[\\s\\S]*{DISKS}"),
    ("lsaquerysecobj", "SEC_DESC_DACL_PRESENT"),
    ("getusername", rf"Account Name: \w+, Authority Name: {NETBIOS_NAME}"),
    (f"lsaaddacctrights {SOME_SID} {DISKS}", NOTHING),
    (f"lsaenumacctrights {SOME_SID}", f"found 1 privileges.*\n.*{DISKS}"),
    (f"lsaremoveacctrights {SOME_SID} {DISKS}", NOTHING),
    (f"lsacreateaccount {SOME_SID}1", "successfully created"),
]

SAM: list[Call] = [
    ("enumdomains", rf"name:\[{NETBIOS_NAME}\].*\nname:\[Builtin\]"),
    (f"lookupdomain {NETBIOS_NAME}", f"Domain SID: {DOMAIN_SID}\n"),
    ("lookupdomain Builtin", "Domain SID: S-1-5-32\n"),
    ("lookupdomain nothing", "NO_SUCH_DOMAIN"),
    ("querydominfo 1", r"Minimum password length:\t\t\t\d"),
    ("querydominfo 2", r"Comment:\tA server under test\n[\s\S]*Total Users:\t\d"),
    ("querydominfo 3", "Force Logoff:\t-1"),
    ("querydominfo 5", f"Domain:\t\t{NETBIOS_NAME}"),
    ("querydominfo 7", "ROLE_DOMAIN_PDC"),
    ("querydominfo 8", "Sequence No:"),
    ("querydominfo 9", "Domain Server State:\t0x1"),
    ("querydominfo 12", "Lockout after bad attempts: +0"),
    ("getdompwinfo", r"min_password_length: \d"),
    ("enumdomusers", r"user:\[games\] rid:\[0x[\s\S]*user:\[man\] rid:\[0x"),
    ("samlookupnames domain games", r"name games: 0x\w+ \(1\)"),
    ("samlookupnames builtin Administrators", r"0x220 \(4\)"),
    ("samlookuprids builtin 544", r"rid 0x220: Administrators \(4\)"),
    ("queryuser games", "User Name   :\tgames\n\tFull Name   :\tgames"),
    ("queryuser games 7", "User Name   :\tgames"),
    ("queryuser games 16", r"Acct Flags   :\tox2?10"),
    ("queryuser nobodyatall", "NONE_MAPPED"),
    ("querygroup 513", "Group Name:\tNone"),
    ("querydispinfo 1", r"Account: games\tName: games"),
    ("querydispinfo2 1", r"Account: man\tName: man"),
    ("querydispinfo3 1", r"Account: games\tName: games"),
    ("samquerysecobj", "SEC_DESC_DACL_PRESENT"),
    ("samquerysecobj user games", "SEC_DESC_DACL_PRESENT"),
    ("createdomuser daemon", NOTHING),
    ("setuserinfo2 daemon 24 Fresh123!", NOTHING),
    ("queryuser daemon 7", "User Name   :\tdaemon"),
    ("deletedomuser daemon", NOTHING),
    ("queryuser daemon", "NONE_MAPPED"),
]

CALLS = {"the server": SERVER, "LSA": LSA, "SAM": SAM}


def answers(server: Server, calls: list[Call]) -> list[str]:
    """Make the calls in one process; return what was said to each."""
    commands = [each for number, call in enumerate(calls) for each in (call[0], f"END{number}")]
    said = rpcclient(server, *commands, account=server.administrator, ok=None)
    found = re.split(r"command not found: END\d+\n", said)
    assert len(found) > len(calls), said[-500:]
    return found[: len(calls)]


@pytest.fixture(scope="module")
def governed() -> Iterator[Server]:
    """Run a server that has an administrator."""
    made = {"usmbd": Usmbd, "smbd": Smbd}[peer()]
    server: Server = made(Options(parameters={"admin users": BOB.name}))
    with server.running():
        yield server


def test_there_are_many() -> None:
    assert sum(map(len, CALLS.values())) > 80


@pytest.mark.parametrize("which", CALLS)
def test_calls(governed: Server, which: str) -> None:
    calls = CALLS[which]
    wrong = []
    for call, said in zip(calls, answers(governed, calls), strict=True):
        wanted = call[-1] if peer() == "smbd" else call[1]
        if not re.search(wanted, said.strip() if wanted == NOTHING else said):
            wrong.append(f"{call[0]}: {said}")
    assert not wrong, "\n".join(wrong)


def test_pipes_that_are_not_there(governed: Server) -> None:
    """Printers and Spotlight, as with smbd where neither is built or wanted: told at once."""
    only_usmbd("smbd has both")
    for command in ("enumprinters", "fetch_properties data /data"):
        said = rpcclient(governed, command, account=governed.administrator, ok=False)
        assert "NT_STATUS_OBJECT_NAME_NOT_FOUND" in said
