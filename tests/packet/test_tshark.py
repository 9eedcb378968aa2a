"""Whole sessions of real clients, as tshark reads them: nothing malformed, no answer amiss."""

import subprocess
from pathlib import Path
from typing import NamedTuple

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


class Answer(NamedTuple):
    """What tshark says of a frame that the server sent, the values of its messages joined."""

    malformed: str
    severity: str
    netbios: str
    dialect: str
    opnum: str
    kind: str


ERROR = str(0x00800000)
"""The severity of what tshark calls an error."""

FIELDS = (
    *("_ws.malformed", "_ws.expert.severity", "nbss.type"),
    *("smb2.dialect", "srvsvc.opnum", "dcerpc.pkt_type"),
)


def dissect(path: Path) -> list[Answer]:
    """List the answers of a capture."""
    command = ["tshark", "-n", "-r", path, "-Y", "tcp.srcport == 445 && smb2", "-T", "fields"]
    for field in FIELDS:
        command += ["-e", field]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [Answer(*line.split("\t")) for line in run.stdout.splitlines()]


def read(path: Path) -> list[Answer]:
    """List the answers of a capture; nothing that tshark calls broken may be among them."""
    answers = dissect(path)
    assert answers
    assert [answer for answer in answers if broken(answer)] == []
    return answers


def broken(answer: Answer) -> bool:
    """Tell whether tshark finds something amiss."""
    is_error = ERROR in answer.severity.split(",")
    return bool(answer.malformed) or is_error or set(answer.netbios.split(",")) != {"0x00"}


def test_what_is_broken_is_seen(server: Server, tmp_path: Path) -> None:
    with forwarded(server) as forwarder:
        smbclient(forwarder, ["ls"], protection="off")
        # the first answer, to NEGOTIATE: all behind its header and the size of its structure
        first = next(at for at, (_, mine, _) in enumerate(forwarder.recorded) if not mine)
        number, mine, data = forwarder.recorded[first]
        forwarder.recorded[first] = number, mine, data[:70] + b"\xff" * (len(data) - 70)
        save(forwarder, tmp_path / "capture")
    first_answer, *others = dissect(tmp_path / "capture")
    assert broken(first_answer), first_answer
    assert others
    assert not any(map(broken, others))


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
    answers = read(tmp_path / "capture")
    assert len({answer.dialect for answer in answers if answer.dialect}) == 1


def test_rpcclient(server: Server, tmp_path: Path) -> None:
    with forwarded(server) as forwarder:
        rpcclient(forwarder, "netshareenumall", "srvinfo", "wkssvc_wkstagetinfo")
        save(forwarder, tmp_path / "capture")
    answers = read(tmp_path / "capture")
    assert any((answer.opnum, answer.kind) == ("15", "2") for answer in answers)
