"""What scapy's RoCE layer lacks of a reliable connection ([IBTA] volume 1, chapter 9).

`scapy.contrib.roce` has the BTH with the ICRC, the AETH of acknowledgements, and no more. Here are
the pad bytes and SEND with invalidate in the BTH, the other extended headers (DETH, RETH, ImmDt,
IETH), and the AETH of RDMA READ responses. Importing this module puts `BTH` in the place of scapy's
above UDP port 4791; `packet[BTH]` finds it by either class.
"""

import struct
from typing import Any
from zlib import crc32

from scapy.contrib import roce
from scapy.contrib.roce import AETH
from scapy.fields import (
    BitField,
    ByteEnumField,
    FCSField,
    IntField,
    StrLenField,
    TrailerField,
    XIntField,
    XLongField,
)
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw, bind_bottom_up, bind_top_down, split_layers

PORT = 4791  # of RoCEv2 in UDP ([IBTA] A17.3)
ICRC_SIZE = 4
# Opcodes of a reliable connection ([IBTA] 9.2.1, table 38), and the datagram that carries the CM.
SEND_FIRST, SEND_MIDDLE, SEND_LAST, SEND_LAST_IMMEDIATE = 0x00, 0x01, 0x02, 0x03
SEND_ONLY, SEND_ONLY_IMMEDIATE = 0x04, 0x05
WRITE_FIRST, WRITE_MIDDLE, WRITE_LAST, WRITE_LAST_IMMEDIATE = 0x06, 0x07, 0x08, 0x09
WRITE_ONLY, WRITE_ONLY_IMMEDIATE = 0x0A, 0x0B
READ_REQUEST = 0x0C
READ_RESPONSE_FIRST, READ_RESPONSE_MIDDLE, READ_RESPONSE_LAST = 0x0D, 0x0E, 0x0F
READ_RESPONSE_ONLY = 0x10
ACKNOWLEDGE = 0x11
SEND_LAST_INVALIDATE, SEND_ONLY_INVALIDATE = 0x16, 0x17
UD_SEND_ONLY = 0x64
# Sets of them: what begins a message, what ends it.
SENDS = frozenset(
    {SEND_FIRST, SEND_MIDDLE, SEND_LAST, SEND_LAST_IMMEDIATE, SEND_ONLY, SEND_ONLY_IMMEDIATE}
    | {SEND_LAST_INVALIDATE, SEND_ONLY_INVALIDATE}
)
WRITES = frozenset(range(WRITE_FIRST, WRITE_ONLY_IMMEDIATE + 1))
READ_RESPONSES = frozenset(range(READ_RESPONSE_FIRST, READ_RESPONSE_ONLY + 1))
FIRST = frozenset({SEND_FIRST, WRITE_FIRST, READ_RESPONSE_FIRST})
MIDDLE = frozenset({SEND_MIDDLE, WRITE_MIDDLE, READ_RESPONSE_MIDDLE})
ONLY = frozenset(
    {SEND_ONLY, SEND_ONLY_IMMEDIATE, SEND_ONLY_INVALIDATE}
    | {WRITE_ONLY, WRITE_ONLY_IMMEDIATE, READ_RESPONSE_ONLY}
)


class KeepsPadding(Packet):
    """A layer whose length says where it ends: scapy's `Padding` within goes before its trailer.

    Scapy puts the padding of all layers at the end of the frame, which is behind the ICRC.
    """

    def do_build_payload(self) -> bytes:
        """Build what is above with its padding."""
        return bytes(self.payload.build())

    def build_padding(self) -> bytes:
        """Leave nothing to the layers below."""
        return b""


class _IcrcField(FCSField):
    """The invariant CRC at the end of a frame; None where the capture cut the frame off."""

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, int | None]:
        """Take the last four bytes, if they were captured."""
        if pkt.is_cut_off(s):
            return s, None
        rest, value = super().getfield(pkt, s)
        return rest, value


class _PadField(TrailerField):
    """The zero to three bytes between the payload and the ICRC ([IBTA] 9.2.4)."""

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, bytes]:
        """Take as many bytes as the BTH announces from the end."""
        if pkt.icrc is None or not pkt.padcount:
            return s, b""
        return s[: -pkt.padcount], s[-pkt.padcount :]


class BTH(KeepsPadding, roce.BTH):
    """Base transport header ([IBTA] 9.2), the pad bytes and the ICRC at the end of the frame.

    `padcount`, `pad` and `icrc` are computed where they are None.
    """

    name = "BTH"
    match_subclass = True
    fields_desc = [  # noqa: RUF012 -- scapy's form
        ByteEnumField(
            "opcode",
            SEND_ONLY,
            roce._bth_opcodes
            | {
                SEND_LAST_INVALIDATE: "RC_SEND_LAST_WITH_INVALIDATE",
                SEND_ONLY_INVALIDATE: "RC_SEND_ONLY_WITH_INVALIDATE",
            },
        ),
        *(
            BitField("padcount", None, 2) if field.name == "padcount" else field
            for field in roce.BTH.fields_desc[1:-1]
        ),
        _IcrcField("icrc", None, fmt="!I"),
        _PadField(StrLenField("pad", None, length_from=lambda packet: packet.padcount)),
    ]

    def is_cut_off(self, payload: bytes) -> bool:
        """Tell whether UDP announces more than `payload` (all behind the header) holds."""
        udp = self.underlayer
        return isinstance(udp, UDP) and bool(udp.len) and udp.len - 20 > len(payload)

    def post_build(self, p: bytes, pay: bytes) -> bytes:
        """Pad to four bytes and compute the ICRC, where they are not given."""
        body, icrc = pay[:-ICRC_SIZE], pay[-ICRC_SIZE:]
        if self.padcount is None:
            count = -len(body) % 4
            body += bytes(count)
            p = bytes([p[0], p[1] | count << 4]) + p[2:]
        elif self.pad is None:
            body += bytes(self.padcount)
        if self.icrc is None:
            icrc = self.compute_icrc(p + body)
        return p + body + icrc

    def compute_icrc(self, p: bytes) -> bytes:
        """Compute the CRC over `p` and the headers below, what routers change being ones.

        [IBTA] A17.3.3; scapy's own does not know of pad bytes. Zero without IP and UDP below.
        """
        udp = self.underlayer
        ip = udp.underlayer if isinstance(udp, UDP) else None
        if not isinstance(ip, IP | IPv6):
            return bytes(ICRC_SIZE)
        ip, length = ip.copy(), 8 + len(p) + ICRC_SIZE
        ip.remove_payload()
        if isinstance(ip, IP):
            ip.tos, ip.ttl, ip.chksum, ip.proto = 0xFF, 0xFF, 0xFFFF, 17
            ip.len = len(bytes(ip)) + length
        else:
            ip.tc, ip.fl, ip.hlim, ip.nh, ip.plen = 0xFF, 0xFFFFF, 0xFF, 17, length
        ports = struct.pack("!HHHH", udp.sport, udp.dport, length, 0xFFFF)
        masked = p[:4] + b"\xff" + p[5:]  # FECN, BECN and the reserved bits beside them
        return crc32(bytes(8 * [0xFF]) + bytes(ip) + ports + masked).to_bytes(4, "little")


class DETH(Packet):
    """Datagram extended transport header ([IBTA] 9.3.2)."""

    name = "DETH"
    fields_desc = [  # noqa: RUF012
        XIntField("qkey", 0x80010000),
        BitField("reserved", 0, 8),
        BitField("sqpn", 1, 24),
    ]


class RETH(Packet):
    """RDMA extended transport header ([IBTA] 9.3.3): the peer's memory of a READ or WRITE."""

    name = "RETH"
    fields_desc = [  # noqa: RUF012
        XLongField("va", 0),
        XIntField("rkey", 0),
        IntField("dlen", 0),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """Tell a WRITE with immediate data, which has one more header."""
        if self.underlayer is not None and self.underlayer.opcode == WRITE_ONLY_IMMEDIATE:
            return ImmDt
        return Raw


class ImmDt(Packet):
    """Immediate data ([IBTA] 9.3.5)."""

    name = "ImmDt"
    fields_desc = [XIntField("data", 0)]  # noqa: RUF012


class IETH(Packet):
    """Invalidate extended transport header ([IBTA] 9.3.6): whose rkey a SEND takes back."""

    name = "IETH"
    fields_desc = [XIntField("rkey", 0)]  # noqa: RUF012


def _bind() -> None:
    """Put the headers where their opcodes say ([IBTA] 9.2.1, table 38)."""
    split_layers(UDP, roce.BTH, dport=PORT)
    bind_bottom_up(UDP, BTH, dport=PORT)
    # First: scapy's own source port is DNS', whose layer would take our packets where it is loaded.
    UDP.payload_guess.insert(0, UDP.payload_guess.pop())
    bind_top_down(UDP, BTH, dport=PORT)
    extended: dict[Any, tuple[int, ...]] = {
        DETH: (UD_SEND_ONLY,),
        RETH: (WRITE_FIRST, WRITE_ONLY, WRITE_ONLY_IMMEDIATE, READ_REQUEST),
        ImmDt: (SEND_LAST_IMMEDIATE, SEND_ONLY_IMMEDIATE, WRITE_LAST_IMMEDIATE),
        IETH: (SEND_LAST_INVALIDATE, SEND_ONLY_INVALIDATE),
        AETH: (READ_RESPONSE_FIRST, READ_RESPONSE_LAST, READ_RESPONSE_ONLY, ACKNOWLEDGE),
    }
    for layer, opcodes in extended.items():
        for opcode in opcodes:
            bind_bottom_up(BTH, layer, opcode=opcode)
        bind_top_down(BTH, layer, opcode=opcodes[-1])


_bind()
