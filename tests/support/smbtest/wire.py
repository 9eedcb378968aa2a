"""A client on a bare socket: scapy's SMB2 layers build the requests and dissect the answers.

Nothing of usmbd's own codecs takes part, so that both sides of a mistake cannot agree on it.
"""

import hashlib
import socket
import struct
from typing import Any

import spnego
from cryptography.hazmat.primitives import cmac, hashes
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from scapy.layers.smb2 import (
    SMB2_FILEID,
    DirectTCP,
    SMB2_Close_Request,
    SMB2_Create_Request,
    SMB2_Encryption_Capabilities,
    SMB2_Error_Response,
    SMB2_Header,
    SMB2_Negotiate_Context,
    SMB2_Negotiate_Protocol_Request,
    SMB2_Preauth_Integrity_Capabilities,
    SMB2_Session_Setup_Request,
    SMB2_Signing_Capabilities,
    SMB2_Tree_Connect_Request,
)
from scapy.packet import NoPayload, Packet, Padding, Raw

from smbtest.server import ALICE, Account, Server

COMMANDS = (
    "Negotiate_Protocol",
    "Session_Setup",
    "Session_Logoff",
    "Tree_Connect",
    "Tree_Disconnect",
    "Create",
    "Close",
    "Flush",
    "Read",
    "Write",
    "Lock",
    "IOCTL",
    "Cancel",
    "Echo",
    "Query_Directory",
    "Change_Notify",
    "Query_Info",
    "Set_Info",
)
SUCCESS, MORE_PROCESSING_REQUIRED = 0, 0xC0000016
FLAG_RESPONSE, FLAG_ASYNC, FLAG_RELATED, FLAG_SIGNED = 1, 2, 4, 8
# [MS-SMB2] 2.2.3.1: what one client can be asked to choose from
AES_CMAC = 1


class WireClient:
    """A connection whose messages are seen as bytes and as scapy's layers.

    Unsigned below 3.1.1; AES-128-CMAC in 3.1.1, where TREE_CONNECT has to be signed.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.socket = socket.create_connection((server.host, server.port), timeout=10)
        self.message_id = 0
        self.session_id = 0
        self.tree_id = 0
        self.dialect = 0
        self.preauth = bytes(64)
        self.signing_key = b""
        self.received: list[bytes] = []

    def __enter__(self) -> "WireClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # --- frames ---------------------------------------------------------------------------

    def send_frame(self, message: bytes) -> None:
        """Send a message with its four bytes of length."""
        self.socket.sendall(bytes(DirectTCP() / message))

    def receive_frame(self) -> bytes:
        """Wait for one message; b"" when the server hung up."""
        head = self._exactly(4)
        if not head:
            return b""
        assert head[0] == 0
        message = self._exactly(struct.unpack(">I", head)[0])
        self.received.append(message)
        return message

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            try:
                part = self.socket.recv(length - len(data))
            except ConnectionResetError:
                return b""
            if not part:
                assert not data, "hung up within a message"
                return b""
            data += part
        return data

    # --- requests -------------------------------------------------------------------------

    def header(self, command: int, **fields: Any) -> Packet:
        """Build a request's header; the message id is the next one."""
        values: dict[str, Any] = {
            "Command": command,
            "CreditCharge": int(self.dialect > 0x0202),
            "CreditRequest": 31,
            "MID": self.message_id,
            "PID": 0xFEFF,
            "TID": self.tree_id,
            "SessionId": self.session_id,
        }
        self.message_id += 1
        return SMB2_Header(**(values | fields))

    def sign(self, message: bytes) -> bytes:
        """Sign a request with AES-128-CMAC ([MS-SMB2] 3.1.4.1)."""
        flags = struct.unpack_from("<I", message, 16)[0] | FLAG_SIGNED
        message = (
            message[:16] + struct.pack("<I", flags) + message[20:48] + bytes(16) + message[64:]
        )
        return message[:48] + self._mac(message) + message[64:]

    def _mac(self, message: bytes) -> bytes:
        mac = cmac.CMAC(algorithms.AES(self.signing_key))
        mac.update(message)
        return mac.finalize()

    def call(self, command: int, request: Packet, **fields: Any) -> Packet:
        """Send one request, wait for its answer, check what every answer has to have."""
        header = self.header(command, **fields)
        message = bytes(header / request)
        if self.signing_key:
            message = self.sign(message)
        if command <= 1:
            self._extend_preauth(message)
        self.send_frame(message)
        answer = self.receive_frame()
        packet = dissect(answer)
        assert packet.MID == header.MID
        assert packet.Command == command
        assert packet.Flags.SMB2_FLAGS_SERVER_TO_REDIR
        assert packet.CreditRequest > 0
        if command == 0 or (command == 1 and packet.Status == MORE_PROCESSING_REQUIRED):
            self._extend_preauth(answer)
        if self.signing_key and command > 1:
            assert answer[48:64] == self._mac(answer[:48] + bytes(16) + answer[64:])
        return packet

    def _extend_preauth(self, message: bytes) -> None:
        self.preauth = hashlib.sha512(self.preauth + message).digest()

    def negotiate(self, *dialects: int) -> Packet:
        """NEGOTIATE; with 3.1.1 among the dialects, its contexts are sent as well."""
        request = SMB2_Negotiate_Protocol_Request(
            Dialects=list(dialects),
            SecurityMode=1,
            Capabilities=0x7F if max(dialects) >= 0x0300 else 0,
            ClientGUID="12345678-1234-5678-1234-567812345678",
        )
        if 0x0311 in dialects:
            request.NegotiateContexts = [
                SMB2_Negotiate_Context()
                / SMB2_Preauth_Integrity_Capabilities(HashAlgorithms=[1], Salt=bytes(32)),
                SMB2_Negotiate_Context() / SMB2_Encryption_Capabilities(Ciphers=[2, 1, 4, 3]),
                SMB2_Negotiate_Context() / SMB2_Signing_Capabilities(SigningAlgorithms=[AES_CMAC]),
            ]
        answer = self.call(0, request)
        self.dialect = answer.DialectRevision
        return answer

    def login(self, account: Account = ALICE) -> list[Packet]:
        """SESSION_SETUP by NTLM in SPNEGO: all answers, the last one successful."""
        context = spnego.client(
            account.name, account.password, hostname=self.server.host, protocol="ntlm"
        )
        answers: list[Packet] = []
        token = context.step()
        while True:
            request = SMB2_Session_Setup_Request(SecurityMode=1, Capabilities=1)
            request.SecurityBlob = Raw(token)
            answer = self.call(1, request)
            answers.append(answer)
            self.session_id = answer.SessionId
            if answer.Status == SUCCESS:
                break
            assert answer.Status == MORE_PROCESSING_REQUIRED
            token = context.step(bytes(answer.Security))
        if self.dialect == 0x0311:
            self.signing_key = KBKDFHMAC(
                algorithm=hashes.SHA256(),
                mode=Mode.CounterMode,
                length=16,
                rlen=4,
                llen=4,
                location=CounterLocation.BeforeFixed,
                label=b"SMBSigningKey\0",
                context=self.preauth,
                fixed=None,
            ).derive(context.session_key[:16])
            final = self.received[-1]
            assert final[48:64] == self._mac(final[:48] + bytes(16) + final[64:])
        return answers

    def connect(self, share: str = "data") -> Packet:
        """TREE_CONNECT."""
        path = rf"\\{self.server.host}\{share}"
        answer = self.call(3, SMB2_Tree_Connect_Request(Buffer=[("Path", path)]))
        assert answer.Status == SUCCESS, hex(answer.Status)
        self.tree_id = answer.TID
        return answer

    def create(self, name: str, access: int, disposition: int = 1, options: int = 0) -> Packet:
        """CREATE; the answer, successful or not."""
        return self.call(
            5,
            SMB2_Create_Request(
                ImpersonationLevel=2,
                DesiredAccess=access,
                ShareAccess=7,
                CreateDisposition=disposition,
                CreateOptions=options,
                Buffer=[("Name", name)],
            ),
        )

    def close(self, file_id: SMB2_FILEID, flags: int = 0) -> Packet:
        """CLOSE."""
        return self.call(6, SMB2_Close_Request(FileId=file_id, Flags=flags))


def dissect(message: bytes) -> Packet:
    """Dissect one answer; nothing may be left over that no layer knows."""
    packet = SMB2_Header(message)
    assert packet.Start == b"\xfeSMB"
    assert packet.StructureSize == 64
    assert not isinstance(packet.payload, NoPayload)
    rest = packet.lastlayer()
    if SMB2_Error_Response in packet and isinstance(rest, Raw):
        assert rest.load == b"\0", (
            rest.load
        )  # the one byte of ErrorData that stands for none (2.2.2)
    else:
        assert not isinstance(rest, Raw | Padding), f"{packet.summary()}: {bytes(rest)!r}"
    return packet


def split(message: bytes) -> list[bytes]:
    """Take a compound answer apart by NextCommand."""
    parts = []
    while True:
        (following,) = struct.unpack_from("<I", message, 20)
        if not following:
            return [*parts, message]
        assert following % 8 == 0
        parts.append(message[:following])
        message = message[following:]
