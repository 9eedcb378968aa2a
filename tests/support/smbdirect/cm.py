"""The messages that make and end a connection: MADs of the communication manager ([IBTA] 12.6).

They go as datagrams to queue pair 1. A ConnectRequest and its ConnectReply name the two queue
pairs of a connection; the service identifier of the request has the TCP-like port ([IBTA] A11).
"""

import struct

from scapy.fields import (
    BitField,
    ByteField,
    IntField,
    ShortField,
    StrFixedLenField,
    XByteField,
    XIntField,
    XLongField,
    XShortField,
    XStrFixedLenField,
)
from scapy.packet import Packet, bind_bottom_up, bind_layers

from smbdirect.roce import DETH

CM_CLASS = 0x07  # management class of the communication manager ([IBTA] 13.4.4)


class MAD(Packet):
    """Common header of management datagrams ([IBTA] 13.4.3), 24 bytes."""

    name = "MAD"
    fields_desc = [  # noqa: RUF012 -- scapy's form
        ByteField("BaseVersion", 1),
        XByteField("MgmtClass", CM_CLASS),
        ByteField("ClassVersion", 2),
        XByteField("Method", 3),
        XShortField("Status", 0),
        XShortField("ClassSpecific", 0),
        XLongField("TransactionID", 0),
        XShortField("AttributeID", 0),
        XShortField("Reserved", 0),
        XIntField("AttributeModifier", 0),
    ]


class ConnectRequest(Packet):
    """REQ ([IBTA] 12.6.5): asks for a connection to `ServiceID`, from queue pair `LocalQPN`."""

    name = "CM ConnectRequest"
    fields_desc = [  # noqa: RUF012
        XIntField("LocalCommID", 0),
        IntField("Reserved1", 0),
        XLongField("ServiceID", 0),
        XLongField("LocalCAGUID", 0),
        IntField("Reserved2", 0),
        XIntField("LocalQKey", 0),
        BitField("LocalQPN", 0, 24),
        BitField("ResponderResources", 0, 8),
        BitField("LocalEECN", 0, 24),
        BitField("InitiatorDepth", 0, 8),
        BitField("RemoteEECN", 0, 24),
        BitField("RemoteCMResponseTimeout", 0, 5),
        BitField("TransportServiceType", 0, 2),
        BitField("EndToEndFlowControl", 0, 1),
        BitField("StartingPSN", 0, 24),
        BitField("LocalCMResponseTimeout", 0, 5),
        BitField("RetryCount", 0, 3),
        XShortField("PartitionKey", 0xFFFF),
        BitField("PathPacketPayloadMTU", 0, 4),
        BitField("RDCExists", 0, 1),
        BitField("RNRRetryCount", 0, 3),
        BitField("MaxCMRetries", 0, 4),
        BitField("SRQ", 0, 1),
        BitField("ExtendedTransport", 0, 3),
        XStrFixedLenField("PrimaryPath", bytes(44), 44),
        XStrFixedLenField("AlternatePath", bytes(44), 44),
        StrFixedLenField("PrivateData", bytes(92), 92),
    ]

    @property
    def port(self) -> int:
        """The port that is asked for: the low half of an RDMA IP service identifier."""
        return int(self.ServiceID) & 0xFFFF


class ConnectReject(Packet):
    """REJ ([IBTA] 12.6.7): no connection, for `Reason`."""

    name = "CM ConnectReject"
    fields_desc = [  # noqa: RUF012
        XIntField("LocalCommID", 0),
        XIntField("RemoteCommID", 0),
        BitField("MessageRejected", 0, 2),
        BitField("Reserved1", 0, 6),
        BitField("RejectInfoLength", 0, 7),
        BitField("Reserved2", 0, 1),
        ShortField("Reason", 0),
        XStrFixedLenField("ARI", bytes(72), 72),
        StrFixedLenField("PrivateData", bytes(148), 148),
    ]


class ConnectReply(Packet):
    """REP ([IBTA] 12.6.8): the answer that accepts, from queue pair `LocalQPN`."""

    name = "CM ConnectReply"
    fields_desc = [  # noqa: RUF012
        XIntField("LocalCommID", 0),
        XIntField("RemoteCommID", 0),
        XIntField("LocalQKey", 0),
        BitField("LocalQPN", 0, 24),
        BitField("Reserved1", 0, 8),
        BitField("LocalEECN", 0, 24),
        BitField("Reserved2", 0, 8),
        BitField("StartingPSN", 0, 24),
        BitField("Reserved3", 0, 8),
        ByteField("ResponderResources", 0),
        ByteField("InitiatorDepth", 0),
        BitField("TargetACKDelay", 0, 5),
        BitField("FailoverAccepted", 0, 2),
        BitField("EndToEndFlowControl", 0, 1),
        BitField("RNRRetryCount", 0, 3),
        BitField("SRQ", 0, 1),
        BitField("Reserved4", 0, 4),
        XLongField("LocalCAGUID", 0),
        StrFixedLenField("PrivateData", bytes(196), 196),
    ]


class ReadyToUse(Packet):
    """RTU ([IBTA] 12.6.9): the connection is there."""

    name = "CM ReadyToUse"
    fields_desc = [  # noqa: RUF012
        XIntField("LocalCommID", 0),
        XIntField("RemoteCommID", 0),
        StrFixedLenField("PrivateData", bytes(224), 224),
    ]


class DisconnectRequest(Packet):
    """DREQ ([IBTA] 12.6.10): the connection with queue pair `RemoteQPN` ends."""

    name = "CM DisconnectRequest"
    fields_desc = [  # noqa: RUF012
        XIntField("LocalCommID", 0),
        XIntField("RemoteCommID", 0),
        BitField("RemoteQPN", 0, 24),
        BitField("Reserved", 0, 8),
        StrFixedLenField("PrivateData", bytes(220), 220),
    ]


class DisconnectReply(ReadyToUse):
    """DREP ([IBTA] 12.6.11): the answer to it."""

    name = "CM DisconnectReply"


MESSAGES = {
    0x10: ConnectRequest,
    0x12: ConnectReject,
    0x13: ConnectReply,
    0x14: ReadyToUse,
    0x15: DisconnectRequest,
    0x16: DisconnectReply,
}


def rdma_ip_service(port: int) -> int:
    """Make the service identifier of a port of the name space RDMA_PS_TCP ([IBTA] A11.3)."""
    return int.from_bytes(b"\0\0\0\0\x01\x06" + struct.pack("!H", port))


bind_bottom_up(DETH, MAD)
for _attribute, _message in MESSAGES.items():
    bind_layers(MAD, _message, AttributeID=_attribute, MgmtClass=CM_CLASS)
