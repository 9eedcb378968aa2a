"""Whole sessions of real clients, as tshark reads them: nothing malformed, no answer amiss."""

import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import wrpcap
from smbtest.proxy import Forwarder, forwarded
from smbtest.samba_tools import rpcclient, smbclient
from smbtest.samples import fill
from smbtest.server import Server

SEGMENT = 32768  # of recorded bytes in one made-up packet


def save(forwarder: Forwarder, path: Path) -> None:
    """Write what went by as a capture: TCP segments from and to port 445, without a handshake."""
    sequence: dict[tuple[int, bool], int] = {}
    packets: list[Packet] = []
    for number, from_client, data in forwarder.recorded:
        ends = (("10.0.0.1", 40000 + number), ("10.0.0.2", 445))
        source, target = ends if from_client else reversed(ends)
        for start in range(0, len(data), SEGMENT):
            part = data[start : start + SEGMENT]
            mine = sequence.setdefault((number, from_client), 1)
            other = sequence.setdefault((number, not from_client), 1)
            tcp = TCP(sport=source[1], dport=target[1], seq=mine, ack=other, flags="PA")
            packets.append(Ether() / IP(src=source[0], dst=target[0]) / tcp / part)
            sequence[number, from_client] = mine + len(part)
    wrpcap(str(path), packets)


def tshark(path: Path, display_filter: str, *fields: str) -> list[str]:
    """List the frames that a display filter lets through."""
    command = ["tshark", "-n", "-r", path, "-Y", display_filter]
    if fields:
        command += ["-T", "fields"]
        for field in fields:
            command += ["-e", field]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return run.stdout.splitlines()


def check(path: Path) -> None:
    """Nothing that tshark calls broken may be in what the server sent."""
    from_server = "tcp.srcport == 445 && smb2"
    assert tshark(path, from_server)
    broken = '(_ws.malformed || _ws.expert.severity == "Error" || nbss.type != 0)'
    assert tshark(path, f"{from_server} && {broken}") == []


@pytest.mark.parametrize("dialect", ["SMB2_02", "SMB2_10", "SMB3_00", "SMB3_11"])
def test_smbclient(server: Server, folder: Path, tmp_path: Path, dialect: str) -> None:
    fill(tmp_path / "local", 300_000)
    with forwarded(server) as forwarder:
        smbclient(
            forwarder,
            [
                f"cd {folder.name}",
                "mkdir sub",
                f"put {tmp_path}/local sub/file",
                "ls",
                "allinfo sub/file",
                "rename sub/file moved",
                f"get moved {tmp_path}/back",
                "volume",
                "del moved",
                "rmdir sub",
            ],
            dialect=dialect,
            protection="off",
        )
        save(forwarder, tmp_path / "capture")
    check(tmp_path / "capture")
    dialects = set(
        tshark(tmp_path / "capture", "smb2.cmd == 0 && smb2.flags.response == 1", "smb2.dialect")
    )
    assert len(dialects) == 1


def test_rpcclient(server: Server, tmp_path: Path) -> None:
    with forwarded(server) as forwarder:
        rpcclient(forwarder, "netshareenumall", "srvinfo", "wkssvc_wkstagetinfo")
        save(forwarder, tmp_path / "capture")
    check(tmp_path / "capture")
    assert tshark(tmp_path / "capture", "srvsvc.opnum == 15 && dcerpc.pkt_type == 2")
