"""rpcclient: the DCE/RPC calls by which clients browse a server."""

from smbtest.samba_tools import rpcclient
from smbtest.server import NETBIOS_NAME, Server


def test_all_shares(server: Server) -> None:
    said = rpcclient(server, "netshareenumall")
    names = {line.split(":", 1)[1].strip() for line in said.splitlines() if "netname:" in line}
    assert names >= {"data", "encrypted", "readonly", "private", "IPC$"}
    assert "The tests' folder" in said


def test_one_share(server: Server) -> None:
    said = rpcclient(server, "netsharegetinfo data 1")
    assert "netname: data" in said
    assert "remark:\tThe tests' folder" in said
    assert "netname: data" in rpcclient(server, "netsharegetinfo DATA 1")


def test_a_share_that_is_not_there(server: Server) -> None:
    said = rpcclient(server, "netsharegetinfo nothing 1", ok=False)
    # [MS-SRVS] 3.1.4.10 asks for the first, Samba gives the second
    assert "WERR_NERR_NETNAMENOTFOUND" in said or "WERR_INVALID_NAME" in said


def test_the_server(server: Server) -> None:
    said = rpcclient(server, "srvinfo")
    assert NETBIOS_NAME in said
    assert "A server under test" in said


def test_the_workstation(server: Server) -> None:
    rpcclient(server, "wkssvc_wkstagetinfo")  # says nothing when it succeeds
