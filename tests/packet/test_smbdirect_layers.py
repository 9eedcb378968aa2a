"""The scapy layers of SMB Direct, against a capture of Linux's client with ksmbd and tshark."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from scapy.contrib.roce import AETH
from scapy.layers.inet import IP, UDP
from scapy.layers.smb2 import SMB2_Header
from scapy.packet import Packet, Padding, Raw
from scapy.sendrecv import sniff
from scapy.utils import rdpcap
from smbdirect.cm import MAD, ConnectReply, ConnectRequest
from smbdirect.layers import (
    SMBDirect_Data,
    SMBDirect_Negotiate_Request,
    SMBDirect_Negotiate_Response,
    descriptors,
)
from smbdirect.roce import BTH, DETH, IETH, RETH, SENDS
from smbdirect.session import Message, SMBDirectSession, reassemble

CAPTURE = Path(__file__).with_name("captures") / "ksmbd-cifs-rdma.pcap"
LAB = Path(__file__).parents[2] / "lab" / "capture"
COMPUTED = ("DataOffset", "DataLength", "Padding")
# What tshark calls the fields, by layer.
FIELDS: dict[type[Packet], dict[str, str]] = {
    BTH: {
        "opcode": "infiniband.bth.opcode",
        "padcount": "infiniband.bth.padcnt",
        "dqpn": "infiniband.bth.destqp",
        "ackreq": "infiniband.bth.a",
        "psn": "infiniband.bth.psn",
        "icrc": "infiniband.invariant.crc",
    },
    DETH: {"qkey": "infiniband.deth.q_key", "sqpn": "infiniband.deth.srcqp"},
    RETH: {
        "va": "infiniband.reth.va",
        "rkey": "infiniband.reth.r_key",
        "dlen": "infiniband.reth.dmalen",
    },
    IETH: {"rkey": "infiniband.ieth"},
    AETH: {"syndrome": "infiniband.aeth.syndrome", "msn": "infiniband.aeth.msn"},
    MAD: {
        "TransactionID": "infiniband.mad.transactionid",
        "AttributeID": "infiniband.mad.attributeid",
    },
    ConnectRequest: {
        "LocalCommID": "infiniband.cm.req",
        "ServiceID": "infiniband.cm.req.serviceid",
        "LocalQPN": "infiniband.cm.req.localqpn",
        "ResponderResources": "infiniband.cm.req.responderres",
        "InitiatorDepth": "infiniband.cm.req.initdepth",
        "StartingPSN": "infiniband.cm.req.startpsn",
        "RetryCount": "infiniband.cm.req.retrcount",
        "RNRRetryCount": "infiniband.cm.req.rnrretrcount",
        "PathPacketPayloadMTU": "infiniband.cm.req.pppmtu",
    },
    ConnectReply: {
        "LocalCommID": "infiniband.cm.rep",
        "RemoteCommID": "infiniband.cm.rep.remotecommid",
        "LocalQPN": "infiniband.cm.rep.localqpn",
        "StartingPSN": "infiniband.cm.rep.startpsn",
        "ResponderResources": "infiniband.cm.rep.respres",
        "InitiatorDepth": "infiniband.cm.rep.initdepth",
        "RNRRetryCount": "infiniband.cm.rep.rnrretrcount",
    },
    SMBDirect_Negotiate_Request: {
        "MinVersion": "smb_direct.version.min",
        "MaxVersion": "smb_direct.version.max",
        "CreditsRequested": "smb_direct.credits.requested",
        "PreferredSendSize": "smb_direct.preferred_send_size",
        "MaxReceiveSize": "smb_direct.max_receive_size",
        "MaxFragmentedSize": "smb_direct.max_fragmented_size",
    },
    SMBDirect_Negotiate_Response: {
        "MinVersion": "smb_direct.version.min",
        "MaxVersion": "smb_direct.version.max",
        "NegotiatedVersion": "smb_direct.version.negotiated",
        "CreditsRequested": "smb_direct.credits.requested",
        "CreditsGranted": "smb_direct.credits.granted",
        "Status": "smb_direct.status",
        "MaxReadWriteSize": "smb_direct.max_read_write_size",
        "PreferredSendSize": "smb_direct.preferred_send_size",
        "MaxReceiveSize": "smb_direct.max_receive_size",
        "MaxFragmentedSize": "smb_direct.max_fragmented_size",
    },
    SMBDirect_Data: {
        "CreditsRequested": "smb_direct.credits.requested",
        "CreditsGranted": "smb_direct.credits.granted",
        "Flags": "smb_direct.flags",
        "RemainingDataLength": "smb_direct.remaining_length",
        "DataOffset": "smb_direct.data_offset",
        "DataLength": "smb_direct.data_length",
    },
}


@cache
def capture() -> tuple[Packet, ...]:
    """Read the capture once."""
    return tuple(rdpcap(str(CAPTURE)))


@cache
def messages() -> tuple[Message, ...]:
    """Reassemble it once."""
    return tuple(reassemble(capture()))


def in_frame(number: int) -> Message:
    """Find the message that a frame ends."""
    return next(message for message in messages() if message.frames[-1] == number)


def tshark(*fields: str, occurrence: str) -> Iterator[list[str]]:
    """List fields of every frame as tshark reads them; `occurrence`: f(irst) or a(ll)."""
    command = ["tshark", "-n", "-r", CAPTURE, "-T", "fields", "-E", f"occurrence={occurrence}"]
    for field in fields:
        command += ["-e", field]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    for line in run.stdout.splitlines():
        yield line.split("\t")


def as_number(field: str, text: str) -> int:
    """Read what tshark writes: rkeys of IETH are hexadecimal without saying so."""
    return int(text, 16 if field == "infiniband.ieth" else 0)


def sends() -> list[Packet]:
    """List the capture's SENDs of reliable connections."""
    return [packet for packet in capture() if BTH in packet and packet[BTH].opcode in SENDS]


# The capture


def test_every_send_is_dissected_and_nothing_left_over() -> None:
    assert len(sends()) > 100
    for packet in sends():
        body = packet[BTH].payload
        body = body.payload if IETH in packet else body
        assert isinstance(
            body, SMBDirect_Negotiate_Request | SMBDirect_Negotiate_Response | SMBDirect_Data
        )
        assert Padding not in packet
        if isinstance(body, SMBDirect_Data):
            assert len(body.payload.original) == body.DataLength
            assert body.DataLength + body.DataOffset == (len(body.original) if body.payload else 0)


def test_what_is_computed_is_what_was_sent() -> None:
    """Offsets, lengths, padding, pad bytes and the ICRC come out as Linux makes them."""
    for packet in sends():
        frame = bytes(packet.original)
        built = packet.copy()
        bth = built[BTH]
        bth.padcount = bth.pad = bth.icrc = None
        for layer in (IP, UDP):
            built[layer].len = built[layer].chksum = None
        built[UDP].chksum = 0
        if SMBDirect_Data in built:
            data = built[SMBDirect_Data]
            fields = {name: data.fields[name] for name in data.fields if name not in COMPUTED}
            upper = packet[SMBDirect_Data].payload.original
            below = data.underlayer
            below.remove_payload()
            below.add_payload(SMBDirect_Data(**fields))
            if upper:
                below.add_payload(Raw(upper))
        assert bytes(built) == frame


def test_the_icrc_of_all_other_frames() -> None:
    checked = 0
    for packet in capture():
        if BTH in packet and packet[BTH].icrc is not None:
            built = packet.copy()
            built[BTH].icrc = None
            assert bytes(built) == packet.original
            checked += 1
    assert checked > 200


def test_tshark_agrees_frame_by_frame() -> None:
    names = sorted({name for fields in FIELDS.values() for name in fields.values()})
    seen: set[type[Packet]] = set()
    rows = list(tshark(*names, occurrence="f"))
    assert len(rows) == len(capture())
    for number, (packet, row) in enumerate(zip(capture(), rows, strict=True), 1):
        theirs = {
            name: as_number(name, text) for name, text in zip(names, row, strict=True) if text
        }
        ours = {}
        for layer, fields in FIELDS.items():
            if layer in packet:
                seen.add(layer)
                ours |= {
                    tshark_name: int(value)
                    for name, tshark_name in fields.items()
                    if (value := getattr(packet[layer], name)) is not None
                }
        assert ours == theirs, number
    assert seen == set(FIELDS)


def test_tshark_reassembles_the_same_messages() -> None:
    rows = tshark("frame.number", "smb2.cmd", "smb2.msg_id", "smb2.nt_status", occurrence="a")
    theirs = {int(row[0]): row[1:] for row in rows if row[1]}
    ours = {message.frames[-1]: message.commands for message in messages() if message.commands}
    assert ours.keys() == theirs.keys()
    for frame, commands in ours.items():
        numbers, ids, statuses = (
            [int(text, 0) for text in column.split(",") if text] for column in theirs[frame]
        )
        assert [command.Command for command in commands] == numbers, frame
        assert [command.MID for command in commands] == ids, frame
        if statuses:  # only of responses
            assert [command.Status for command in commands] == statuses, frame


def test_the_messages_of_the_capture() -> None:
    assert [type(m.headers[0]).__name__ for m in messages() if m.operation == "CM"] == [
        "ConnectRequest",
        "ConnectReject",
        "ConnectRequest",
        "ConnectReply",
        "ReadyToUse",
        "DisconnectRequest",
        "DisconnectReply",
    ]
    assert [m.headers[0].port for m in messages()[:3:2]] == [5445, 445]
    assert not any(message.broken for message in messages())
    compound = in_frame(92)
    assert compound.frames == [88, 90, 92]
    assert [c.sprintf("%Command%") for c in compound.commands] == [
        "SMB2_CREATE",
        "SMB2_QUERY_INFO",
        "SMB2_CLOSE",
    ]
    write = in_frame(118)
    assert len(write.headers) == 2
    assert write.commands[0].DataLen == 6


def test_a_write_is_fetched_and_a_read_is_put_and_both_are_invalidated() -> None:
    """[MS-SMBD] 3.1.4.2: the SEND of the answer takes back the memory of the request."""
    request = in_frame(148).commands[0]
    (memory,) = descriptors(dict(request.Buffer)["WriteChannelInfo"])
    fetched = [message for message in messages() if message.operation == "READ"]
    assert [message.rkey for message in fetched] == [memory.Token] * 2
    assert sum(message.headers[0].dlen for message in fetched) == memory.Length == 262144
    assert fetched[0].headers[0].va == memory.Offset
    assert [len(m.frames) for m in messages() if m.operation == "READ_DATA"] == [128, 128]
    answers = [message for message in messages() if message.operation == "SEND_INV"]
    assert answers[0].rkey == memory.Token
    assert answers[0].commands[0].Command == 9

    (memory,) = descriptors(dict(in_frame(451).commands[0].Buffer)["ReadChannelInfo"])
    put = next(message for message in messages() if message.operation == "WRITE")
    assert (put.rkey, put.headers[0].va) == (memory.Token, memory.Offset)
    assert put.headers[0].dlen == memory.Length == 131072
    assert answers[1].rkey == memory.Token
    assert answers[1].commands[0].DataRemaining == 131072


def test_sniff_with_the_session_gives_whole_messages() -> None:
    packets = sniff(offline=str(CAPTURE), session=SMBDirectSession)
    found = [packet for packet in packets if SMBDirect_Data in packet and SMB2_Header in packet]
    expected = [message for message in messages() if message.upper is not None]
    for packet, message in zip(found, expected, strict=True):
        assert bytes(packet[SMB2_Header]) == message.data
        assert packet[IP].src == message.source
    assert len([packet for packet in packets if BTH in packet and RETH in packet]) == 4


@pytest.mark.parametrize(
    "line",
    [
        "7 10.9.0.2 > 10.9.0.1 qp 1 CM ConnectRequest port 445",
        "12 10.9.0.1 > 10.9.0.2 qp 18 SEND Negotiate response 255/254 SUCCESS",
        "116-118 10.9.0.2 > 10.9.0.1 qp 17 SEND Data 255/1 2 fragments SMB2 WRITE 6@0",
        "152-279 10.9.0.2 > 10.9.0.1 qp 17 READ_DATA 128 packets",
        "408 10.9.0.1 > 10.9.0.2 qp 18 SEND_INV Data 255/0 SMB2 WRITE SUCCESS rkey 0x46b",
    ],
)
def test_show(line: str) -> None:
    assert line in shown()


@cache
def shown() -> list[str]:
    """Run show.py once; its lines, with single blanks."""
    command = [sys.executable, LAB / "show.py", CAPTURE]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [" ".join(line.split()) for line in run.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.pcap", "no-such-if", "--", "true"], "no interface|needs root|tcpdump is missing"),
        (["out.pcap", "lo", "true"], "usage"),
    ],
)
def test_roce_sh_says_what_is_wrong(arguments: list[str], message: str, tmp_path: Path) -> None:
    command = [LAB / "roce.sh", *arguments]
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 2
    assert any(part in run.stderr for part in message.split("|"))
