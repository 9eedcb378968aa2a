"""scapy layers of SMB Direct's messages ([MS-SMBD] 2.2), above RoCEv2 and below SMB2.

`rdpcap` of a RoCEv2 capture gives them, told apart by their form; a SEND that is part of a longer
message is told from its bytes alone, so that only `smbdirect.session` gives whole messages.
Offsets and lengths that are None are computed when a packet is built::

    IP(dst="10.9.0.1") / UDP() / BTH(dqpn=17) / SMBDirect_Data(CreditsRequested=255) / SMB2_Header()
"""

from collections.abc import Iterator
from typing import Any

from scapy.fields import (
    FlagsField,
    LEIntEnumField,
    LEIntField,
    LELongField,
    LEShortField,
    StrLenField,
    XLEIntField,
    XLEShortField,
)
from scapy.layers.smb2 import (
    STATUS_ERREF,
    SMB2_Compression_Transform_Header,
    SMB2_Header,
    SMB2_Transform_Header,
)
from scapy.packet import Packet, Padding, Raw, bind_bottom_up, bind_top_down

from smbdirect.roce import (
    BTH,
    IETH,
    SEND_FIRST,
    SEND_ONLY,
    SEND_ONLY_INVALIDATE,
    KeepsPadding,
)

VERSION = 0x0100  # [MS-SMBD] 2.2.1: the one version that there is
REQUEST_SIZE, RESPONSE_SIZE = 20, 32
HEADER_SIZE = 20  # of a data transfer without data
DATA_OFFSET = 24  # the header and four bytes of padding: data begins at a multiple of 8
DESCRIPTOR_SIZE = 16
RESPONSE_REQUESTED = 0x0001
UPPER: dict[bytes, type[Packet]] = {
    b"\xfeSMB": SMB2_Header,
    b"\xfdSMB": SMB2_Transform_Header,
    b"\xfcSMB": SMB2_Compression_Transform_Header,
}


def upper_class(message: bytes) -> type[Packet]:
    """Tell the layer of an upper message by its protocol identifier ([MS-SMB2] 2.2.1, 2.2.41)."""
    return UPPER.get(message[:4], Raw)


class SMBDirect_Negotiate_Request(KeepsPadding):
    """Negotiate Request, 20 bytes ([MS-SMBD] 2.2.1)."""

    name = "SMBDirect Negotiate Request"
    fields_desc = [  # noqa: RUF012 -- scapy's form
        XLEShortField("MinVersion", VERSION),
        XLEShortField("MaxVersion", VERSION),
        LEShortField("Reserved", 0),
        LEShortField("CreditsRequested", 255),
        LEIntField("PreferredSendSize", 1364),
        LEIntField("MaxReceiveSize", 1364),
        LEIntField("MaxFragmentedSize", 1048576),
    ]


class SMBDirect_Negotiate_Response(KeepsPadding):
    """Negotiate Response, 32 bytes ([MS-SMBD] 2.2.2)."""

    name = "SMBDirect Negotiate Response"
    fields_desc = [  # noqa: RUF012
        XLEShortField("MinVersion", VERSION),
        XLEShortField("MaxVersion", VERSION),
        XLEShortField("NegotiatedVersion", VERSION),
        LEShortField("Reserved", 0),
        LEShortField("CreditsRequested", 255),
        LEShortField("CreditsGranted", 255),
        LEIntEnumField("Status", 0, STATUS_ERREF),
        LEIntField("MaxReadWriteSize", 1048576),
        LEIntField("PreferredSendSize", 1364),
        LEIntField("MaxReceiveSize", 1364),
        LEIntField("MaxFragmentedSize", 1048576),
    ]


def _padding_size(packet: Packet) -> int:
    """Say how many bytes lie between the header and the data."""
    return max(0, packet.DataOffset - HEADER_SIZE)


class SMBDirect_Data(KeepsPadding):
    """Data Transfer ([MS-SMBD] 2.2.3): credits, and a message or a fragment of one as payload.

    `DataOffset` and `DataLength` that are None are those of the payload, `Padding` is four bytes;
    what is given is sent as it is, be it wrong.
    """

    name = "SMBDirect Data Transfer"
    fields_desc = [  # noqa: RUF012
        LEShortField("CreditsRequested", 255),
        LEShortField("CreditsGranted", 0),
        FlagsField("Flags", 0, -16, {RESPONSE_REQUESTED: "SMB_DIRECT_RESPONSE_REQUESTED"}),
        XLEShortField("Reserved", 0),
        LEIntField("RemainingDataLength", 0),
        LEIntField("DataOffset", None),
        LEIntField("DataLength", None),
        StrLenField("Padding", None, length_from=_padding_size),
    ]

    def post_build(self, p: bytes, pay: bytes) -> bytes:
        """Compute what is None."""
        offset, length = self.DataOffset, self.DataLength
        if pay and self.Padding is None:
            p += bytes(DATA_OFFSET - HEADER_SIZE)
        if offset is None:
            offset = len(p) if pay else 0
        if length is None:
            length = len(pay)
        return p[:12] + offset.to_bytes(4, "little") + length.to_bytes(4, "little") + p[20:] + pay

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Cut what lies behind the data."""
        return s[: self.DataLength], s[self.DataLength :]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """Dissect the last or only fragment if it looks like a message; others are bytes."""
        whole = self.RemainingDataLength == 0 and len(payload) == self.DataLength
        return upper_class(payload) if whole else Raw


class SMBDirect_Buffer_Descriptor_V1(Packet):
    """Buffer Descriptor V1, 16 bytes ([MS-SMBD] 2.2.3.1): the client's memory for READ and WRITE.

    They are the channel information of the SMB2 requests ([MS-SMB2] 2.2.19, 2.2.21).
    """

    name = "SMBDirect Buffer Descriptor V1"
    fields_desc = [  # noqa: RUF012
        LELongField("Offset", 0),
        XLEIntField("Token", 0),
        LEIntField("Length", 0),
    ]

    def default_payload_class(self, payload: bytes) -> type[Packet]:
        """Leave what follows to the next descriptor of a scapy list."""
        return Padding


def descriptors(channel_info: bytes) -> list[SMBDirect_Buffer_Descriptor_V1]:
    """Dissect channel information; ValueError if it is no whole number of descriptors."""
    if len(channel_info) % DESCRIPTOR_SIZE:
        raise ValueError(f"{len(channel_info)} bytes of channel information")
    return [
        SMBDirect_Buffer_Descriptor_V1(channel_info[start : start + DESCRIPTOR_SIZE])
        for start in range(0, len(channel_info), DESCRIPTOR_SIZE)
    ]


def fragments(message: bytes, max_send_size: int, **fields: Any) -> Iterator[SMBDirect_Data]:
    """Cut an upper message into data transfers of at most `max_send_size` bytes each.

    `fields` go into all of them ([MS-SMBD] 3.1.5.1). ValueError if there is no place for data.
    """
    step = max_send_size - DATA_OFFSET
    if step <= 0:
        raise ValueError(f"no data fits into {max_send_size} bytes")
    for start in range(0, len(message), step):
        part = message[start : start + step]
        remaining = len(message) - start - len(part)
        yield SMBDirect_Data(RemainingDataLength=remaining, **fields) / Raw(part)


def negotiation_class(message: bytes) -> type[Packet] | None:
    """Tell a negotiation message by its form ([MS-SMBD] 2.2.1, 2.2.2), None for anything else.

    A data transfer of as many bytes and credits has 0 where the request has its credits, and 24,
    the offset of its data, where the response has a status: only hostile messages are ambiguous.
    """
    versions = VERSION.to_bytes(2, "little") * 2
    if len(message) == REQUEST_SIZE and message[:6] == versions + bytes(2):
        return SMBDirect_Negotiate_Request if any(message[6:8]) else None
    if len(message) == RESPONSE_SIZE and message[:4] == versions:
        data = int.from_bytes(message[12:16], "little") == DATA_OFFSET
        return None if data else SMBDirect_Negotiate_Response
    return None


def _is_data(message: bytes, whole: bool) -> bool:
    """Tell whether the header fits what follows ([MS-SMBD] 3.1.5.8), `whole` or to be continued."""
    if len(message) < HEADER_SIZE:
        return False
    offset = int.from_bytes(message[12:16], "little")
    length = int.from_bytes(message[16:20], "little")
    if length == 0:
        return offset % 8 == 0
    return (
        offset >= HEADER_SIZE and offset % 8 == 0 and (offset + length <= len(message) or not whole)
    )


class _SMBDirect(Packet):
    """What stands for the three messages in the bindings: chooses by their form."""

    @classmethod
    def dispatch_hook(cls, _pkt: bytes = b"", *_args: Any, **kargs: Any) -> type[Packet]:
        """Give the class of the message; Raw if it is another protocol's or cut off."""
        below = kargs.get("_underlayer")
        while below is not None and not isinstance(below, BTH):
            below = below.underlayer
        opcode = SEND_ONLY if below is None else below.opcode
        if opcode not in (SEND_FIRST, SEND_ONLY, SEND_ONLY_INVALIDATE):
            return Raw  # the rest of a SEND has no header of its own
        message = bytes(_pkt)
        if negotiation := negotiation_class(message):
            return negotiation
        return SMBDirect_Data if _is_data(message, opcode != SEND_FIRST) else Raw


for _opcode in (SEND_FIRST, SEND_ONLY):
    bind_bottom_up(BTH, _SMBDirect, opcode=_opcode)
bind_bottom_up(IETH, _SMBDirect)
for _layer in (SMBDirect_Negotiate_Request, SMBDirect_Negotiate_Response, SMBDirect_Data):
    bind_top_down(BTH, _layer, opcode=SEND_ONLY)
