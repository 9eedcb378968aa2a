#!/usr/bin/env python3
"""A RoCEv2 capture's SMB Direct exchange, one line a message.

`.venv/bin/python lab/capture/show.py FILE [--qp NUMBER]`: frame numbers, direction and queue pair,
operation, SMB Direct's kind and credits (requested/granted), the SMB2 command and status. Lines
are in the order of the frames: what a client sent over rxe can have another clock's timestamps.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from scapy.error import Scapy_Exception
from scapy.layers.smb2 import SMB2_Header, SMB2_Read_Request, SMB2_Write_Request
from scapy.packet import Packet
from scapy.utils import PcapReader
from smbdirect import cm, layers
from smbdirect.session import Message, SMBDirectSession


def _name(packet: Packet, field: str, prefix: str) -> str:
    """Name a field's value as scapy does, without what all names begin with."""
    return str(packet.sprintf(f"%{field}%")).removeprefix(prefix)


def _command(header: SMB2_Header) -> str:
    """Describe one command of an SMB2 message; for READ and WRITE with the client's memory."""
    text = _name(header, "Command", "SMB2_")
    if header.Flags.SMB2_FLAGS_SERVER_TO_REDIR:
        return f"{text} {_name(header, 'Status', 'STATUS_')}"
    body = header.payload
    info = b""
    if isinstance(body, SMB2_Read_Request):
        text += f" {body.Length}@{body.Offset}"
        info = dict(body.Buffer).get("ReadChannelInfo", b"")
    elif isinstance(body, SMB2_Write_Request):
        text += f" {body.DataLen or body.RemainingBytes}@{body.Offset}"
        info = dict(body.Buffer).get("WriteChannelInfo", b"")
    for one in layers.descriptors(info) if len(info) % layers.DESCRIPTOR_SIZE == 0 else ():
        text += f" rkey {one.Token:#x} va {one.Offset:#x} length {one.Length}"
    return text


def _kind(message: Message) -> str:
    """Describe what a SEND is to SMB Direct, its credits, and the message in it."""
    header = message.headers[-1]
    requested = getattr(header, "CreditsRequested", "-")
    if isinstance(header, layers.SMBDirect_Negotiate_Request):
        return f"Negotiate request {requested}/-"
    granted = sum(getattr(one, "CreditsGranted", 0) for one in message.headers)
    if isinstance(header, layers.SMBDirect_Negotiate_Response):
        return f"Negotiate response {requested}/{granted} {_name(header, 'Status', 'STATUS_')}"
    text = f"Data {requested}/{granted}"
    if any(getattr(one, "Flags", 0) for one in message.headers):
        text += " RESPONSE_REQUESTED"
    if len(message.headers) > 1:
        text += f" {len(message.headers)} fragments"
    return text


def describe(message: Message) -> str:
    """Make a message's line."""
    first, last = message.frames[0], message.frames[-1]
    frames = str(first) if first == last else f"{first}-{last}"
    text = f"{frames:<11} {message.source} > {message.destination} qp {message.qp:<5}"
    text += f" {message.operation:<9} "
    if message.operation.startswith("SEND"):
        text += _kind(message)
        commands = [_command(header) for header in message.commands]
        if commands:
            text += " SMB2 " + "; ".join(commands)
        elif message.data:
            text += f" {layers.upper_class(message.data).__name__} {len(message.data)} bytes"
    elif message.operation == "CM":
        text += message.headers[0].name.removeprefix("CM ")
        if isinstance(message.headers[0], cm.ConnectRequest):
            text += f" port {message.headers[0].port}"
    elif message.headers:
        reth = message.headers[0]
        text += f"va {reth.va:#x} length {reth.dlen}"
    else:
        text += f"{len(message.frames)} packets"
    if message.rkey is not None:
        text += f" rkey {message.rkey:#x}"
    return text + (f" BROKEN: {message.broken}" if message.broken else "")


def lines(path: Path, qp: int | None = None) -> Iterator[str]:
    """Read a capture, of any length, and give a line a message, of one queue pair or of all."""
    session = SMBDirectSession()
    with PcapReader(str(path)) as packets:
        for packet in packets:
            message = session.message(packet)
            if message is not None and qp in (None, message.qp):
                yield describe(message)


def main() -> int:
    """Show the capture; 0, or 1 if there is none or nothing of RoCE in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--qp", type=lambda text: int(text, 0), help="destination queue pair")
    arguments = parser.parse_args()
    count = 0
    try:
        for count, line in enumerate(lines(arguments.capture, arguments.qp), 1):  # noqa: B007
            print(line)
        sys.stdout.flush()
    except (OSError, Scapy_Exception) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"{arguments.capture}: {error}", file=sys.stderr)
        return 1
    if not count:
        print(
            f"{arguments.capture}: no RoCEv2 messages (TCP and iWARP: tshark -r FILE)",
            file=sys.stderr,
        )
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
