"""A client that says whatever a test wants, with nothing spoiled but what the test spoils.

Nothing of usmbd takes part. What a test does not spoil is right: message ids, credits, the
preauthentication hash, signatures (HMAC-SHA256, AES-CMAC) and encryption (AES-128-CCM and -GCM).
"""

import hashlib
import hmac
import os
import socket
import struct
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import cmac
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from ntlm_client import ntlm_client

from smbtest.server import ALICE, Account, Server
from smbtest.smb2 import (
    CANCEL,
    CCM,
    CREATE,
    ECHO,
    ECHO_BODY,
    GCM,
    MORE_PROCESSING_REQUIRED,
    NEGOTIATE,
    NO_SIGNATURE,
    PENDING,
    PREAUTH,
    RESPONSE,
    SESSION_SETUP,
    SIGNED,
    SUCCESS,
    TREE_CONNECT,
    context,
    contexts,
    create_body,
    negotiate_body,
    setup_body,
    tree_body,
)

_VERSION = b"\x0a\0\x61\x4a\0\0\0\x0f"
_EMPTY_FIELD = struct.pack("<HHI", 0, 0, 89)
NTLM_NEGOTIATE = b"NTLMSSP\0" + struct.pack("<II", 1, 0xE2088297) + bytes(16) + _VERSION
NTLM_NOBODY = (
    b"NTLMSSP\0" + struct.pack("<IHHI", 3, 1, 1, 88) + _EMPTY_FIELD * 5
    + struct.pack("<I", 0xA2088287) + _VERSION + bytes(16) + b"\0"
)  # fmt: skip
"""An AUTHENTICATE_MESSAGE without a user ([MS-NLMP] 3.2.5.1.2)."""


class Reply(NamedTuple):
    """One reply; `body` begins behind the header, `message` with it."""

    status: int
    command: int
    credits: int
    flags: int
    message_id: int
    tree_id: int
    session_id: int
    body: bytes
    message: bytes

    @property
    def file_id(self) -> bytes:
        """FileId of a CREATE response."""
        assert self.status == SUCCESS, hex(self.status)
        return self.body[64:80]


class Closed(ConnectionError):
    """The server ended the connection."""


def derive(key: bytes, label: bytes, context: bytes) -> bytes:
    """Derive a key of 16 bytes (SP800-108 counter mode, [MS-SMB2] 3.1.4.2)."""
    data = b"\0\0\0\1" + label + b"\0" + context + struct.pack(">I", 128)
    return hmac.digest(key, data, "sha256")[:16]


ANSWER_SECONDS = 12.0
"""It tells a hang from a busy machine, and what the server ends at once from what it ends after
15 s of silence."""


class Raw:
    """One connection, and at most one session and one tree of which it speaks by default."""

    def __init__(
        self,
        server: Server,
        guid: bytes | None = None,
        timeout: float = ANSWER_SECONDS,
        source: str = "",
    ) -> None:
        """Connect, from an address of its own: wrong passwords make the server slow to it alone."""
        self.server = server
        self.guid = guid or os.urandom(16)
        source = source or "127.{}.{}.{}".format(*os.urandom(3))
        self.socket = socket.create_connection(
            (server.host, server.port), timeout=timeout, source_address=(source, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.message_id = 0
        self.session_id = 0
        self.tree_id = 0
        self.dialect = 0
        self.cipher = 0
        self.preauth = bytes(64)
        self.session_key = b""
        self.signing_key = b""
        self.keys: tuple[bytes, bytes] = b"", b""  # to the server, from it
        self.signs = False
        self.seals = False
        self.sent = b""
        self.credits = 1

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut the connection."""
        self.socket.close()

    @property
    def port(self) -> int:
        """Our port."""
        port: int = self.socket.getsockname()[1]
        return port

    # --- frames ---------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send one message in its frame."""
        self.socket.sendall(struct.pack(">I", len(message)) + message)

    def receive(self) -> bytes:
        """Return the next message; `Closed` when the server hung up, TimeoutError when it waits."""
        head = self._exactly(4)
        assert head[0] == 0, head
        return self._exactly(int.from_bytes(head, "big"))

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            try:
                part = self.socket.recv(min(length - len(data), 1 << 20))
            except (ConnectionResetError, BrokenPipeError) as error:
                raise Closed from error
            if not part:
                raise Closed
            data += part
        return bytes(data)

    def closed(self) -> bool:
        """Say whether the server ends the connection, whatever it sends before."""
        try:
            while True:
                self.receive()
        except Closed:
            return True

    # --- messages -------------------------------------------------------------------------

    def header(self, command: int, **fields: Any) -> bytes:
        """Pack a request's header and count its message id, unless one is given."""
        charge = fields.get("charge", 1 if self.dialect > 0x0202 else 0)
        if "message_id" not in fields:
            fields["message_id"] = self.message_id
            if command != CANCEL:
                self.message_id += max(charge, 1)
        return struct.pack(
            "<4sHHIHHIIQIIQ16s", b"\xfeSMB", fields.get("size", 64), charge,
            fields.get("status", 0), command, fields.get("credits", 64), fields.get("flags", 0),
            fields.get("next", 0), fields["message_id"], fields.get("process_id", 0xFEFF),
            fields.get("tree_id", self.tree_id), fields.get("session_id", self.session_id),
            fields.get("signature", NO_SIGNATURE),
        )  # fmt: skip

    def mac(self, message: bytes) -> bytes:
        """Return the signature of a message, which is taken as unsigned."""
        message = message[:48] + NO_SIGNATURE + message[64:]
        if self.dialect < 0x0300:
            return hmac.digest(self.signing_key, message, "sha256")[:16]
        code = cmac.CMAC(algorithms.AES(self.signing_key))
        code.update(message)
        return code.finalize()

    def sign(self, message: bytes) -> bytes:
        """Return the message with the flag and its signature."""
        flags = struct.unpack_from("<I", message, 16)[0] | SIGNED
        message = message[:16] + struct.pack("<I", flags) + message[20:]
        return message[:48] + self.mac(message) + message[64:]

    def seal(self, message: bytes, **wrong: Any) -> bytes:
        """Encrypt a message; `wrong` may replace nonce, size, flags and session_id."""
        length = 11 if self.cipher == CCM else 12
        nonce: bytes = wrong.get("nonce", os.urandom(length))
        data = nonce.ljust(16, b"\0") + struct.pack(
            "<IHHQ", wrong.get("size", len(message)), 0, wrong.get("flags", 1),
            wrong.get("session_id", self.session_id),
        )  # fmt: skip
        aead = AESCCM(self.keys[0]) if self.cipher == CCM else AESGCM(self.keys[0])
        sealed = aead.encrypt(nonce, message, data)
        return b"\xfdSMB" + sealed[-16:] + data + sealed[:-16]

    def unseal(self, message: bytes) -> bytes:
        """Decrypt a message of the server."""
        aead = AESCCM(self.keys[1]) if self.cipher == CCM else AESGCM(self.keys[1])
        nonce = message[20 : 31 if self.cipher == CCM else 32]
        return aead.decrypt(nonce, message[52:] + message[4:20], message[20:52])

    def post(self, command: int, body: bytes, **fields: Any) -> bytes:
        """Send a request, protected as the client is set, and return its plain bytes."""
        message = self.header(command, **fields) + body
        if self.signs and not self.seals:
            message = self.sign(message)
        self.sent = message
        self.send(self.seal(message) if self.seals else message)
        return message

    def reply(self) -> Reply:
        """Wait for a reply; a signed one is checked."""
        message = self.receive()
        if message[:4] == b"\xfdSMB":
            message = self.unseal(message)
        return self.parse(message)

    def parse(self, message: bytes) -> Reply:
        """Take a reply apart."""
        assert message[:4] == b"\xfeSMB", message[:16]
        _, _, _, status, command, credits, flags, _, message_id, _, tree_id, session_id, mac = (
            struct.unpack_from("<4sHHIHHIIQIIQ16s", message)
        )  # fmt: skip
        assert flags & RESPONSE
        if flags & SIGNED and self.signing_key:
            assert mac == self.mac(message), "a reply's signature is wrong"
        return Reply(
            status, command, credits, flags, message_id, tree_id, session_id, message[64:], message
        )

    def call(self, command: int, body: bytes, **fields: Any) -> Reply:
        """Send a request and wait for its reply, interim ones passed over."""
        self.post(command, body, **fields)
        while True:
            reply = self.reply()
            if reply.status != PENDING:
                return reply

    # --- the usual beginning --------------------------------------------------------------

    def negotiate(self, *dialects: int, ciphers: tuple[int, ...] = (GCM,), mode: int = 1) -> Reply:
        """NEGOTIATE; 3.1.1 when no dialect is given."""
        dialects = dialects or (0x0311,)
        extra, count = b"", 0
        if 0x0311 in dialects:
            chosen = [PREAUTH, context(8, struct.pack("<HH", 1, 1))]
            if ciphers:
                chosen.append(context(2, struct.pack(f"<H{len(ciphers)}H", len(ciphers), *ciphers)))
            extra, count = contexts(*chosen), len(chosen)
        body = negotiate_body(dialects, self.guid, extra, count, mode=mode)
        reply = self.call(NEGOTIATE, body)
        assert reply.status == SUCCESS, hex(reply.status)
        self.preauth = hashlib.sha512(self.preauth + self.sent).digest()
        self.preauth = hashlib.sha512(self.preauth + reply.message).digest()
        (self.dialect,) = struct.unpack_from("<H", reply.body, 4)
        if self.dialect >= 0x0300:
            self.cipher = ciphers[0] if self.dialect == 0x0311 and ciphers else CCM
        return reply

    def login(
        self,
        account: Account = ALICE,
        *,
        flags: int = 0,
        previous: int = 0,
        session_id: int = 0,
        mode: int = 1,
        domain: str | None = None,
    ) -> int:
        """SESSION_SETUP by NTLM: the final status; the keys are kept when it succeeds."""
        name = f"{domain}\\{account.name}" if domain is not None else account.name
        security = ntlm_client(name, account.password)
        token = security.step() or b""
        digest, session = self.preauth, session_id
        while True:
            message = self.header(SESSION_SETUP, session_id=session)
            message += setup_body(token, flags, previous, mode=mode)
            if flags & 1:
                message = self.sign(message)
            self.sent = message
            digest = hashlib.sha512(digest + message).digest()
            self.send(message)
            reply = self.parse_unchecked(self.receive())
            session = reply.session_id
            if reply.status != MORE_PROCESSING_REQUIRED:
                break
            digest = hashlib.sha512(digest + reply.message).digest()
            (offset, length) = struct.unpack_from("<HH", reply.body, 4)
            token = security.step(reply.message[offset : offset + length]) or b""
        if reply.status == SUCCESS:
            self.session_id = session
            self._derive(security.session_key[:16], digest, bool(flags & 1))
            assert reply.message[48:64] == self.mac(reply.message)
        return reply.status

    def anonymous(self) -> int:
        """SESSION_SETUP by NTLM as nobody: the final status. Nothing is signed then."""
        session = 0
        for token in (NTLM_NEGOTIATE, NTLM_NOBODY):
            self.send(self.header(SESSION_SETUP, session_id=session) + setup_body(token))
            reply = self.parse_unchecked(self.receive())
            session = reply.session_id
        if reply.status == SUCCESS:
            self.session_id = session
        return reply.status

    def begin_login(self, padding: int = 0) -> int:
        """Take the first step of a login, and none after it: its status."""
        token = NTLM_NEGOTIATE + bytes(padding)
        self.send(self.header(SESSION_SETUP, session_id=0, credits=10) + setup_body(token))
        return self.parse_unchecked(self.receive()).status

    def parse_unchecked(self, message: bytes) -> Reply:
        """Take a reply apart whose key is not known yet."""
        key, self.signing_key = self.signing_key, b""
        try:
            return self.parse(message)
        finally:
            self.signing_key = key

    def _derive(self, key: bytes, digest: bytes, binding: bool) -> None:
        """Compute the keys of [MS-SMB2] 3.2.5.3."""
        labels = (
            (b"SMBSigningKey\0", digest),
            (b"SMBC2SCipherKey\0", digest),
            (b"SMBS2CCipherKey\0", digest),
        )
        if self.dialect < 0x0311:
            labels = (
                (b"SMB2AESCMAC\0", b"SmbSign\0"),
                (b"SMB2AESCCM\0", b"ServerIn \0"),
                (b"SMB2AESCCM\0", b"ServerOut\0"),
            )
        self.session_key = key
        if self.dialect < 0x0300:
            self.signing_key = key
            return
        self.signing_key = derive(key, *labels[0])
        if not binding:
            self.keys = derive(key, *labels[1]), derive(key, *labels[2])

    def connect(self, share: str = "data") -> Reply:
        """TREE_CONNECT, signed; the tree is the one that is used from now on."""
        path = rf"\\{self.server.host}\{share}".encode("utf-16-le")
        signs, self.signs = self.signs, bool(self.signing_key)
        reply = self.call(TREE_CONNECT, tree_body(path), tree_id=0)
        self.signs = signs
        if reply.status == SUCCESS:
            self.tree_id = reply.tree_id
        return reply

    def ready(
        self,
        dialect: int = 0x0311,
        share: str = "data",
        account: Account = ALICE,
        ciphers: tuple[int, ...] = (GCM,),
    ) -> "Raw":
        """Negotiate, log in and connect, and ask for many credits."""
        self.negotiate(dialect, ciphers=ciphers)
        assert self.login(account) == SUCCESS
        reply = self.connect(share)
        assert reply.status == SUCCESS, hex(reply.status)
        assert self.call(ECHO, ECHO_BODY, credits=8000).status == SUCCESS
        return self

    def open(self, name: str, *args: Any, **kwargs: Any) -> bytes:
        """CREATE a file or directory that must succeed: its FileId."""
        return self.call(CREATE, create_body(name, *args, **kwargs)).file_id
