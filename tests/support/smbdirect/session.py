"""Whole messages out of a RoCEv2 capture: packets of a SEND, then fragments, are joined.

`reassemble(packets)` lists what went by; `sniff(offline=path, session=SMBDirectSession)` gives the
packets with the whole SMB2 message in the one that ends it. The order is that of the capture:
frames that a client sent over rxe can have another clock's timestamps.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from scapy.contrib.roce import AETH
from scapy.layers.smb2 import SMB2_Header
from scapy.packet import Packet, Raw
from scapy.sessions import DefaultSession

from smbdirect.cm import CM_CLASS, MAD, MESSAGES, ConnectReply, ConnectRequest
from smbdirect.layers import HEADER_SIZE, SMBDirect_Data, negotiation_class, upper_class
from smbdirect.roce import (
    BTH,
    FIRST,
    IETH,
    MIDDLE,
    ONLY,
    READ_REQUEST,
    READ_RESPONSES,
    RETH,
    SENDS,
    WRITES,
    ImmDt,
)

PSN_MASK = 0xFFFFFF  # packet sequence numbers have 24 bits ([IBTA] 9.2.1)
HALF_PSN = 0x800000
# More than any MaxFragmentedSize in use: a capture cannot make the reader hold more than this.
MAX_MESSAGE = 64 << 20

# A queue pair as its peer addresses it: the address and the destination QP.
Queue = tuple[str, int]


@dataclass(slots=True)
class Message:
    """One exchange as a reader thinks of it: an upper message, an RDMA operation, a CM message."""

    operation: str
    """SEND, SEND_INV, WRITE, READ (the request), READ_DATA (the responses), CM."""
    frames: list[int]
    """Numbers of the frames it came in, from 1, without acknowledgements."""
    source: str
    destination: str
    qp: int
    """The destination queue pair."""
    headers: list[Packet] = field(default_factory=list)
    """SEND: the SMB Direct header of each fragment; CM: the message; READ and WRITE: the RETH."""
    data: bytes | bytearray = b""
    """SEND: the upper message; WRITE and READ_DATA: the data as far as it was captured."""
    rkey: int | None = None
    """SEND_INV: what is invalidated; READ and WRITE: the memory in question."""
    broken: str = ""
    """Why `data` is not whole, where it is not."""

    @property
    def upper(self) -> Packet | None:
        """The upper message dissected; None if there is none or not all of it."""
        if not self.data or self.broken or not self.operation.startswith("SEND"):
            return None
        return upper_class(self.data)(self.data)

    @property
    def commands(self) -> list[Packet]:
        """The SMB2 headers of the upper message, more than one in a compound."""
        found: list[Packet] = []
        upper = self.upper
        while upper is not None and (header := upper.getlayer(SMB2_Header)) is not None:
            found.append(header)
            upper = header.payload
        return found


@dataclass(slots=True)
class _Flow:
    """What goes to one queue pair."""

    psn: int | None = None
    negotiated: bool = False
    """Whether its first SEND went by."""
    partial: Message | None = None
    """A SEND or WRITE whose LAST packet is to come."""
    response: Message | None = None
    """RDMA READ responses whose LAST packet is to come."""
    fragments: Message | None = None
    """SENDs with data of a message that is not yet whole."""


class SMBDirectSession(DefaultSession):
    """Follows the connections of a capture; packets are given in the order of their frames."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.frame = 0
        self.flows: dict[Queue, _Flow] = {}
        self._requests: dict[tuple[str, int], Queue] = {}  # (client, LocalCommID) -> its queue pair

    def process(self, pkt: Packet) -> Packet | None:
        """Give the packet; None for a part, and the whole upper message with the part that ends it.

        The SMB Direct header above is the last fragment's, as it was sent.
        """
        message = self.message(pkt)
        if BTH not in pkt or pkt[BTH].opcode not in SENDS:
            return pkt
        if message is None or message.broken:
            return None
        whole = pkt.copy()
        whole[BTH].remove_payload()
        if message.rkey is not None:
            whole[BTH].add_payload(IETH(rkey=message.rkey))
        header = message.headers[-1].copy()
        header.remove_payload()
        whole[BTH].add_payload(header)
        if (upper := message.upper) is not None:
            whole[BTH].add_payload(upper)
        return whole

    def message(self, packet: Packet) -> Message | None:
        """Count a frame; give the message that it ends, if any."""
        self.frame += 1
        bth = packet.getlayer(BTH)
        network = bth.underlayer.underlayer if bth is not None and bth.underlayer else None
        if network is None:
            return None
        ends = network.src, network.dst
        if MAD in packet:
            return self._cm(packet[MAD], *ends)
        flow = self.flows.setdefault((ends[1], bth.dqpn), _Flow())
        if bth.opcode in READ_RESPONSES:
            flow.response, whole = self._join(flow.response, bth, ends)
            return whole
        if bth.opcode not in SENDS | WRITES | {READ_REQUEST}:
            return None
        if not self._in_order(flow, bth):
            return None
        if bth.opcode == READ_REQUEST:
            reth = bth[RETH]
            return Message("READ", [self.frame], *ends, bth.dqpn, [reth], rkey=reth.rkey)
        flow.partial, whole = self._join(flow.partial, bth, ends)
        if whole is None or bth.opcode in WRITES:
            return whole
        return self._transfer(flow, whole)

    def _cm(self, mad: Packet, source: str, destination: str) -> Message | None:
        """Note whose queue pairs a new connection has: what they carried before is another's."""
        body = mad.payload
        if mad.MgmtClass != CM_CLASS or type(body) not in MESSAGES.values():
            return None
        if isinstance(body, ConnectRequest):
            self._requests[source, body.LocalCommID] = (source, body.LocalQPN)
        elif isinstance(body, ConnectReply):
            self.flows.pop((source, body.LocalQPN), None)
            if client := self._requests.pop((destination, body.RemoteCommID), None):
                self.flows.pop(client, None)
        return Message("CM", [self.frame], source, destination, 1, [body])

    @staticmethod
    def _in_order(flow: _Flow, bth: Packet) -> bool:
        """Drop what was sent again; after a gap the parts before it are of no use."""
        ahead = 1 if flow.psn is None else (bth.psn - flow.psn) & PSN_MASK
        if ahead == 0 or ahead >= HALF_PSN:
            return False
        if ahead != 1:
            flow.partial = None
        flow.psn = bth.psn
        return True

    def _join(
        self, partial: Message | None, bth: Packet, ends: tuple[str, str]
    ) -> tuple[Message | None, Message | None]:
        """Add a packet to the SEND, WRITE or READ response it is of: (still partial, whole)."""
        opcode = bth.opcode
        if opcode in FIRST or opcode in ONLY:
            partial = Message("", [], *ends, bth.dqpn)
            if RETH in bth:
                partial.headers, partial.rkey = [bth[RETH]], bth[RETH].rkey
        if partial is None:
            return None, None  # its beginning was not captured
        partial.frames.append(self.frame)
        body = bth.payload
        while isinstance(body, RETH | IETH | ImmDt | AETH):
            body = body.payload
        partial.data = partial.data or bytearray()
        partial.data += body.original or bytes(body)
        if len(partial.data) > MAX_MESSAGE:
            return None, None
        if opcode in FIRST or opcode in MIDDLE:
            return partial, None
        partial.operation = "WRITE" if opcode in WRITES else "READ_DATA"
        if opcode in SENDS:
            partial.operation = "SEND"
        if IETH in bth:
            partial.operation, partial.rkey = "SEND_INV", bth[IETH].rkey
        partial.data = bytes(partial.data)
        return None, partial

    @staticmethod
    def _transfer(flow: _Flow, sent: Message) -> Message | None:
        """Take the SMB Direct header off a SEND and join fragments ([MS-SMBD] 3.1.5.8)."""
        first, flow.negotiated = not flow.negotiated, True
        negotiation = negotiation_class(sent.data) if first else None
        if negotiation is not None:
            sent.headers, sent.data = [negotiation(sent.data)], b""
            return sent
        if len(sent.data) < HEADER_SIZE:
            sent.headers, sent.broken = [Raw(sent.data)], "shorter than a data transfer"
            return sent
        header = SMBDirect_Data(sent.data)
        begin, length = header.DataOffset, header.DataLength
        sent.headers, part = [header], sent.data[begin : begin + length] if length else b""
        sent.data = part
        collected, flow.fragments = flow.fragments, None
        if len(part) != length or (length and begin < HEADER_SIZE):
            sent.broken = "data outside of the message"
        elif collected is not None:
            if collected.headers[-1].RemainingDataLength != length + header.RemainingDataLength:
                sent.broken = "does not continue the fragments before"
            sent.frames = collected.frames + sent.frames
            sent.headers = collected.headers + sent.headers
            sent.data = collected.data + part
        if sent.broken or not header.RemainingDataLength:
            return sent
        if len(sent.data) + header.RemainingDataLength > MAX_MESSAGE:
            sent.broken = f"more than {MAX_MESSAGE} bytes"
            return sent
        flow.fragments = sent
        return None


def reassemble(packets: Iterable[Packet]) -> list[Message]:
    """List the messages of a capture in the order in which they became whole."""
    session = SMBDirectSession()
    return [found for packet in packets if (found := session.message(packet)) is not None]
