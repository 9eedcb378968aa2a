"""Packets built with the SMB Direct layers: what users compute by hand comes out right and back."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib import roce
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.smb2 import SMB2_Echo_Request, SMB2_Header
from scapy.packet import Packet, Padding, Raw
from scapy.utils import rdpcap, wrpcap
from smbdirect.cm import MAD, ConnectReply, ConnectRequest, rdma_ip_service
from smbdirect.layers import (
    SMBDirect_Buffer_Descriptor_V1,
    SMBDirect_Data,
    SMBDirect_Negotiate_Request,
    SMBDirect_Negotiate_Response,
    descriptors,
    fragments,
)
from smbdirect.roce import (
    BTH,
    DETH,
    IETH,
    READ_RESPONSE_ONLY,
    RETH,
    SEND_FIRST,
    SEND_LAST,
    SEND_LAST_INVALIDATE,
    SEND_MIDDLE,
    SEND_ONLY,
    WRITE_ONLY,
    WRITE_ONLY_IMMEDIATE,
    ImmDt,
)
from smbdirect.session import MAX_MESSAGE, Message, SMBDirectSession, reassemble

# Addresses that are given are not asked for on a network.
ETHER = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
MTU = 1024  # of the RDMA path, in bytes of payload
QP = 0x11
# More credits than any sender has are no error to the layers.
u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


def packets_of(message: bytes, psn: int, rkey: int | None = None) -> list[Packet]:
    """Send a message to QP: ONLY, or FIRST, MIDDLE and LAST, the last with invalidation if asked.

    The packets are dissected from their bytes, as out of a capture.
    """
    parts = [message[at : at + MTU] for at in range(0, len(message), MTU)] or [b""]
    built = []
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        opcode = SEND_ONLY if last else SEND_FIRST
        if index:
            opcode = SEND_LAST if last else SEND_MIDDLE
        bth = BTH(opcode=opcode, dqpn=QP, psn=(psn + index) & 0xFFFFFF)
        if last and rkey is not None:
            bth.opcode = 0x17 if len(parts) == 1 else SEND_LAST_INVALIDATE
            bth /= IETH(rkey=rkey)
        frame = ETHER / IP(src="10.9.0.2", dst="10.9.0.1") / UDP(sport=50000) / bth / Raw(part)
        built.append(Ether(bytes(frame)))
    return built


def sent(*transfers: bytes, psn: int = 0) -> list[Packet]:
    """Send several messages, each in its packets."""
    packets: list[Packet] = []
    for transfer in transfers:
        packets += packets_of(transfer, psn + len(packets))
    return packets


def only(packets: list[Packet]) -> Message:
    """Reassemble the one message that there is."""
    (message,) = reassemble(packets)
    return message


def test_a_message_from_ip_to_smb2() -> None:
    echo = SMB2_Header(Command=13, MID=7) / SMB2_Echo_Request()
    built = IP(src="10.9.0.2", dst="10.9.0.1") / UDP() / BTH(dqpn=QP) / SMBDirect_Data() / echo
    packet = IP(bytes(built))
    assert packet[UDP].dport == 4791
    assert packet[BTH].opcode == SEND_ONLY
    assert (packet[SMBDirect_Data].DataOffset, packet[SMBDirect_Data].DataLength) == (24, 68)
    assert packet[SMB2_Header].MID == 7
    assert SMB2_Echo_Request in packet
    assert Padding not in packet
    assert only([packet]).upper.MID == 7


def test_negotiation_and_an_empty_transfer() -> None:
    """[MS-SMBD] 2.2.1 to 2.2.3: their sizes, and their defaults make them recognizable."""
    request, response = SMBDirect_Negotiate_Request(), SMBDirect_Negotiate_Response()
    assert bytes(request).hex() == "00010001" + "0000ff00" + "54050000" * 2 + "00001000"
    assert len(bytes(response)) == 32
    assert bytes(SMBDirect_Data(CreditsGranted=9)).hex() == "ff000900" + "00" * 16
    for layer in (request, response, SMBDirect_Data(Flags="SMB_DIRECT_RESPONSE_REQUESTED")):
        packet = IP(bytes(IP() / UDP() / BTH(dqpn=QP) / layer))
        assert type(packet[BTH].payload) is type(layer)
        assert Padding not in packet


def test_only_the_first_message_of_a_queue_pair_negotiates() -> None:
    """A later message of the same form is a data transfer, until the queue pair is another's."""
    request = bytes(SMBDirect_Negotiate_Request())
    first, second = reassemble(sent(request, request))
    assert isinstance(first.headers[0], SMBDirect_Negotiate_Request)
    assert isinstance(second.headers[0], SMBDirect_Data)

    base = ETHER / IP(src="10.9.0.2", dst="10.9.0.1") / UDP() / BTH(dqpn=1) / DETH() / MAD()
    asked = ConnectRequest(LocalCommID=5, LocalQPN=0x12, ServiceID=rdma_ip_service(445))
    assert asked.port == 445
    reply = ConnectReply(LocalCommID=6, RemoteCommID=5, LocalQPN=QP)
    back = ETHER / IP(src="10.9.0.1", dst="10.9.0.2") / UDP() / BTH(dqpn=1) / DETH() / MAD()
    exchange = [Ether(bytes(base / asked)), Ether(bytes(back / reply))]
    again = [*sent(request, request), *exchange, *sent(request, psn=900)]
    last = reassemble(again)[-1]
    assert isinstance(last.headers[0], SMBDirect_Negotiate_Request)


@given(
    message=st.binary(min_size=1, max_size=9000),
    max_send_size=st.integers(40, 4000),
    psn=st.integers(0, 0xFFFFFF),
    granted=u16,
)
@settings(max_examples=60, deadline=None)
def test_fragments_and_packets_come_back_whole(
    message: bytes, max_send_size: int, psn: int, granted: int
) -> None:
    """[MS-SMBD] 3.1.5.8, over the wrap of the packet sequence number as well."""
    transfers = [bytes(part) for part in fragments(message, max_send_size, CreditsGranted=granted)]
    assert max(map(len, transfers)) <= max_send_size
    whole = only(sent(*transfers, psn=psn))
    assert whole.data == message
    assert not whole.broken
    assert len(whole.headers) == len(transfers)
    assert {header.CreditsGranted for header in whole.headers} == {granted}


@given(
    requested=u16,
    granted=u16,
    flags=u16,
    reserved=u16,
    remaining=u32,
    padding=st.binary(max_size=12),
    data=st.binary(max_size=200),
)
@settings(max_examples=100, deadline=None)
def test_a_data_transfer_round_trips(
    requested: int,
    granted: int,
    flags: int,
    reserved: int,
    remaining: int,
    padding: bytes,
    data: bytes,
) -> None:
    fields = {
        "CreditsRequested": requested,
        "CreditsGranted": granted,
        "Flags": flags,
        "Reserved": reserved,
        "RemainingDataLength": remaining,
    }
    built = SMBDirect_Data(Padding=padding if data else None, **fields)
    if data:
        built /= Raw(data)
    parsed = SMBDirect_Data(bytes(built))
    assert {name: int(getattr(parsed, name)) for name in fields} == fields
    assert parsed.DataLength == len(data)
    assert parsed.DataOffset == (20 + len(padding) if data else 0)
    assert parsed.payload.original == data
    parsed.clear_cache()
    assert bytes(parsed) == bytes(built)


@given(message=st.binary(max_size=120), first=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_dissected_and_built_again(message: bytes, first: bool) -> None:
    """Hostile headers raise nothing, and no byte is lost or moved behind the ICRC."""
    packet = packets_of(message, 0)[0]
    frame = packet.original
    packet[BTH].icrc = None
    assert bytes(packet) == frame
    before = [] if first else sent(bytes(SMBDirect_Data()))
    assert len(reassemble([*before, *packets_of(message, 1)])) in (len(before), len(before) + 1)


@pytest.mark.parametrize(
    ("fields", "data", "reason"),
    [
        ({"DataOffset": 24, "DataLength": 99}, b"1234", "outside"),
        ({"DataOffset": 0xFFFFFFF8, "DataLength": 8}, b"12345678", "outside"),
        ({"DataOffset": 8, "DataLength": 4}, b"1234", "outside"),
        ({"RemainingDataLength": MAX_MESSAGE}, b"1234", "more than"),
    ],
)
def test_what_a_receiver_has_to_refuse(fields: dict[str, int], data: bytes, reason: str) -> None:
    """[MS-SMBD] 3.1.5.8: `DataOffset` and `DataLength` are as given, and the message is broken."""
    hostile = SMBDirect_Data(**fields) / Raw(data)
    parsed = SMBDirect_Data(bytes(hostile))
    assert all(getattr(parsed, name) == value for name, value in fields.items())
    message = only(sent(bytes(hostile)))
    assert reason in message.broken
    assert message.upper is None


def test_lost_and_repeated_packets() -> None:
    one, two, three = (bytes(part) for part in fragments(b"\xfeSMB" + bytes(3000), 1500))
    packets = sent(one, two, three)
    assert len(packets) == 5
    repeated = [packets[0], *packets[:3], packets[2], *packets[3:], packets[4]]
    assert only(repeated).data == b"\xfeSMB" + bytes(3000)
    broken = only(packets[:2] + packets[4:])  # without the second fragment
    assert "does not continue" in broken.broken
    assert reassemble(packets[1:2]) == []  # a LAST whose FIRST is not in the capture


def test_send_with_invalidate_in_several_packets() -> None:
    body = bytes(SMBDirect_Data() / Raw(b"\xfeSMB" + bytes(2000)))
    packets = packets_of(body, 5, rkey=0xABC)
    assert [packet[BTH].opcode for packet in packets] == [0x00, 0x16]
    message = only(packets)
    assert (message.operation, message.rkey, len(message.data)) == ("SEND_INV", 0xABC, 2004)
    session = SMBDirectSession()
    first, last = (session.process(packet) for packet in packets)
    assert first is None
    assert last[IETH].rkey == 0xABC
    assert bytes(last[SMB2_Header]) == message.data


def test_rdma_headers_and_their_data() -> None:
    for opcode, headers in (
        (WRITE_ONLY, RETH(va=1 << 40, rkey=7, dlen=5)),
        (WRITE_ONLY_IMMEDIATE, RETH(va=2, rkey=7, dlen=5) / ImmDt(data=3)),
    ):
        bth = BTH(opcode=opcode, dqpn=QP)
        packet = Ether(bytes(ETHER / IP(src="1.1.1.1") / UDP() / bth / headers / Raw(b"12345")))
        assert packet[BTH].pad == bytes(3)
        message = only([packet])
        assert (message.operation, message.data, message.rkey) == ("WRITE", b"12345", 7)
    response = BTH(opcode=READ_RESPONSE_ONLY, dqpn=QP) / Raw(bytes(4) + b"data")
    message = only([Ether(bytes(ETHER / IP(src="1.1.1.1") / UDP() / response))])
    assert (message.operation, message.data) == ("READ_DATA", b"data")


def test_buffer_descriptors() -> None:
    """[MS-SMBD] 2.2.3.1: 16 bytes, several of them are channel information."""
    given_ones = [
        SMBDirect_Buffer_Descriptor_V1(Offset=1 << 63, Token=0x1234, Length=4096),
        SMBDirect_Buffer_Descriptor_V1(Offset=3, Token=5, Length=7),
    ]
    info = b"".join(map(bytes, given_ones))
    assert info[:16].hex() == "0000000000000080" + "34120000" + "00100000"
    assert [(one.Offset, one.Token, one.Length) for one in descriptors(info)] == [
        (1 << 63, 0x1234, 4096),
        (3, 5, 7),
    ]
    with pytest.raises(ValueError, match="17 bytes"):
        descriptors(bytes(17))
    with pytest.raises(ValueError, match="no data fits"):
        next(fragments(b"data", 24))


@pytest.mark.parametrize("ip", [IP(src="1.1.1.1", dst="1.1.1.2"), IPv6(src="::1", dst="::2")])
def test_the_icrc_is_scapys_where_nothing_is_padded(ip: Packet) -> None:
    data = Raw(b"data" * 9)
    theirs = ip / UDP(dport=4791) / roce.BTH(opcode=SEND_ONLY, dqpn=QP, psn=5, ackreq=1) / data
    ours = ip / UDP() / BTH(opcode=SEND_ONLY, dqpn=QP, psn=5, ackreq=1) / data
    assert bytes(ours) == bytes(theirs)


def test_ipv6_and_a_capture_of_its_own(tmp_path: Path) -> None:
    built = ETHER / IPv6(src="fd00::2", dst="fd00::1") / UDP() / BTH(dqpn=QP)
    built /= SMBDirect_Data() / Raw(b"abcde")
    path = str(tmp_path / "own.pcap")
    wrpcap(path, [built])
    (packet,) = rdpcap(path)
    packet[BTH].icrc = None
    assert bytes(packet) == bytes(packet.original) == bytes(built)
    assert only([packet]).data == b"abcde"
    assert only([built]).data == b"abcde"  # without having been dissected
