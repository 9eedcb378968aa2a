"""A client that says whatever a test wants: bodies packed by hand, fields wrong on purpose.

Nothing of usmbd takes part. What a test does not spoil is right: message ids, credits, the
preauthentication hash, signatures (HMAC-SHA256, AES-CMAC) and encryption (AES-128-CCM and -GCM).
"""

import hashlib
import hmac
import os
import socket
import struct
from typing import Any, NamedTuple

import spnego
from cryptography.hazmat.primitives import cmac
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM

from smbtest.server import ALICE, Account, Server

(NEGOTIATE, SESSION_SETUP, LOGOFF, TREE_CONNECT, TREE_DISCONNECT, CREATE, CLOSE, FLUSH, READ,
 WRITE, LOCK, IOCTL, CANCEL, ECHO, QUERY_DIRECTORY, CHANGE_NOTIFY, QUERY_INFO, SET_INFO,
 OPLOCK_BREAK) = range(19)  # fmt: skip

RESPONSE, ASYNC, RELATED, SIGNED = 1, 2, 4, 8
CCM, GCM = 1, 2
ALL_ONES = b"\xff" * 16
NO_SIGNATURE = bytes(16)

SUCCESS = 0
PENDING = 0x103
BUFFER_OVERFLOW, NO_MORE_FILES = 0x80000005, 0x80000006
INVALID_INFO_CLASS, INFO_LENGTH_MISMATCH = 0xC0000003, 0xC0000004
INVALID_PARAMETER, NO_SUCH_FILE = 0xC000000D, 0xC000000F
INVALID_DEVICE_REQUEST, END_OF_FILE = 0xC0000010, 0xC0000011
MORE_PROCESSING_REQUIRED, ACCESS_DENIED, BUFFER_TOO_SMALL = 0xC0000016, 0xC0000022, 0xC0000023
OBJECT_NAME_INVALID, OBJECT_NAME_NOT_FOUND, OBJECT_NAME_COLLISION = (
    0xC0000033, 0xC0000034, 0xC0000035)  # fmt: skip
OBJECT_PATH_NOT_FOUND, OBJECT_PATH_SYNTAX_BAD = 0xC000003A, 0xC000003B
SHARING_VIOLATION, FILE_LOCK_CONFLICT, LOCK_NOT_GRANTED = 0xC0000043, 0xC0000054, 0xC0000055
INVALID_ACL, LOGON_FAILURE, RANGE_NOT_LOCKED = 0xC0000077, 0xC000006D, 0xC000007E
INVALID_SECURITY_DESCR, DISK_FULL, INSUFFICIENT_RESOURCES = 0xC0000079, 0xC000007F, 0xC000009A
FILE_IS_A_DIRECTORY, NOT_SUPPORTED, NETWORK_NAME_DELETED = 0xC00000BA, 0xC00000BB, 0xC00000C9
BAD_NETWORK_NAME, INTERNAL_ERROR, CANCELLED = 0xC00000CC, 0xC00000E5, 0xC0000120
REQUEST_NOT_ACCEPTED = 0xC00000D0
FILE_CLOSED, INVALID_LOCK_RANGE, USER_SESSION_DELETED = 0xC0000128, 0xC00001A1, 0xC0000203
PIPE_DISCONNECTED, PIPE_BROKEN = 0xC00000B0, 0xC000014B

READ_WRITE = 0x0013019F
OPEN, MAKE, OPEN_IF, OVERWRITE_IF = 1, 2, 3, 5
DIRECTORY_FILE, DELETE_ON_CLOSE = 1, 0x1000


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


def context(kind: int, data: bytes, length: int | None = None) -> bytes:
    """Pack a negotiate context, unpadded; `length` may lie."""
    return struct.pack("<HHI", kind, len(data) if length is None else length, 0) + data


PREAUTH = context(1, struct.pack("<HHH", 1, 32, 1) + bytes(32))


def contexts(*packed: bytes) -> bytes:
    """Put contexts one behind the other, each at 8 bytes."""
    return b"".join(c + bytes(-len(c) % 8) for c in packed[:-1]) + packed[-1]


def negotiate_body(
    offered: tuple[int, ...], guid: bytes, extra: bytes = b"", count: int = 0, **wrong: int
) -> bytes:
    """Pack a NEGOTIATE; `extra` are its contexts, `wrong` may set count and offset."""
    head = 36 + 2 * len(offered)
    pad = -(64 + head) % 8 if extra else 0
    offset = wrong.get("offset", 64 + head + pad) if extra else 0
    tail = struct.pack("<IHH", offset, count, 0) if extra else bytes(8)
    return (
        struct.pack(
            "<HHHHI", 36, wrong.get("dialects", len(offered)), wrong.get("mode", 1), 0, 0x7F
        )
        + guid
        + tail
        + struct.pack(f"<{len(offered)}H", *offered)
        + bytes(pad)
        + extra
    )


def setup_body(
    token: bytes,
    flags: int = 0,
    previous: int = 0,
    *,
    mode: int = 1,
    offset: int = 88,
    length: int | None = None,
) -> bytes:
    """Pack a SESSION_SETUP."""
    return (
        struct.pack(
            "<HBBIIHHQ", 25, flags, mode, 1, 0, offset,
            len(token) if length is None else length, previous,
        ) + token
    )  # fmt: skip


def tree_body(path: bytes, offset: int = 72, length: int | None = None) -> bytes:
    """Pack a TREE_CONNECT."""
    return struct.pack("<HHHH", 9, 0, offset, len(path) if length is None else length) + path


def create_body(
    name: bytes | str,
    access: int = READ_WRITE,
    disposition: int = OPEN_IF,
    options: int = 0,
    extra: bytes = b"",
    **wrong: int,
) -> bytes:
    """Pack a CREATE; `extra` are its create contexts."""
    raw = name.encode("utf-16-le", "surrogatepass") if isinstance(name, str) else name
    start = 120 + len(raw) + (-len(raw) % 8)
    return (
        struct.pack(
            "<HBBIQQIIIIIHHII", 57, 0, 0, 2, 0, 0, access, 0, wrong.get("share", 7), disposition,
            options, wrong.get("name_offset", 120), wrong.get("name_length", len(raw)),
            wrong.get("offset", start) if extra else 0,
            wrong.get("length", len(extra)) if extra else 0,
        )
        + raw + (bytes(start - 120 - len(raw)) + extra if extra else b"" if raw else b"\0")
    )  # fmt: skip


def create_context(name: bytes, data: bytes, following: int = 0, **wrong: int) -> bytes:
    """Pack one create context."""
    start = 16 + len(name) + (-len(name) % 8)
    packed = struct.pack(
        "<IHHHHI", following, wrong.get("name_offset", 16), wrong.get("name_length", len(name)), 0,
        wrong.get("offset", start if data else 0), wrong.get("length", len(data)),
    )  # fmt: skip
    return packed + name + bytes(start - 16 - len(name)) + data


def close_body(file_id: bytes, flags: int = 0) -> bytes:
    """Pack a CLOSE."""
    return struct.pack("<HHI", 24, flags, 0) + file_id


def read_body(file_id: bytes, length: int, offset: int = 0, minimum: int = 0) -> bytes:
    """Pack a READ."""
    return (
        struct.pack("<HBBIQ", 49, 0, 0, length, offset)
        + file_id
        + struct.pack("<IIIHHB", minimum, 0, 0, 0, 0, 0)
    )


def write_body(
    file_id: bytes,
    data: bytes,
    offset: int = 0,
    *,
    data_offset: int = 112,
    length: int | None = None,
) -> bytes:
    """Pack a WRITE."""
    size = len(data) if length is None else length
    return (
        struct.pack("<HHIQ", 49, data_offset, size, offset) + file_id + bytes(16) + (data or b"\0")
    )


def lock_body(
    file_id: bytes, ranges: list[tuple[int, int, int]], count: int | None = None
) -> bytes:
    """Pack a LOCK of (offset, length, flags)."""
    packed = b"".join(struct.pack("<QQII", *element, 0) for element in ranges)
    return struct.pack("<HHI", 48, len(ranges) if count is None else count, 0) + file_id + packed


def query_body(
    file_id: bytes,
    kind: int,
    level: int,
    size: int = 4096,
    data: bytes = b"",
    additional: int = 0,
    **wrong: int,
) -> bytes:
    """Pack a QUERY_INFO."""
    return (
        struct.pack(
            "<HBBIHHIII", 41, kind, level, size, wrong.get("offset", 104 if data else 0), 0,
            wrong.get("length", len(data)), additional, 0,
        ) + file_id + (data or b"\0")
    )  # fmt: skip


def set_body(
    file_id: bytes, kind: int, level: int, data: bytes, additional: int = 0, **wrong: int
) -> bytes:
    """Pack a SET_INFO."""
    return (
        struct.pack(
            "<HBBIHHI", 33, kind, level, wrong.get("length", len(data)),
            wrong.get("offset", 96), 0, additional,
        ) + file_id + (data or b"\0")
    )  # fmt: skip


def directory_body(
    file_id: bytes,
    pattern: bytes | str = "*",
    size: int = 65536,
    level: int = 37,
    flags: int = 0,
    **wrong: int,
) -> bytes:
    """Pack a QUERY_DIRECTORY."""
    raw = pattern.encode("utf-16-le") if isinstance(pattern, str) else pattern
    return (
        struct.pack("<HBBI", 33, level, flags, 0)
        + file_id
        + struct.pack("<HHI", wrong.get("offset", 96), wrong.get("length", len(raw)), size)
        + (raw or b"\0")
    )


def ioctl_body(
    file_id: bytes, code: int, data: bytes = b"", size: int = 65536, **wrong: int
) -> bytes:
    """Pack an IOCTL."""
    return (
        struct.pack("<HHI", 57, 0, code)
        + file_id
        + struct.pack(
            "<IIIIIIII", wrong.get("offset", 120), wrong.get("length", len(data)),
            wrong.get("max_input", 0), 120, 0, size, wrong.get("flags", 1), 0,
        ) + (data or b"\0")
    )  # fmt: skip


ECHO_BODY = LOGOFF_BODY = TREE_DISCONNECT_BODY = CANCEL_BODY = b"\4\0\0\0"


class Raw:
    """One connection, and at most one session and one tree of which it speaks by default."""

    def __init__(
        self, server: Server, guid: bytes | None = None, timeout: float = 4, source: str = ""
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
        security = spnego.client(name, account.password, protocol="ntlm")
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
        signs, self.signs = self.signs, True
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
        assert self.connect(share).status == SUCCESS
        assert self.call(ECHO, ECHO_BODY, credits=8000).status == SUCCESS
        return self

    def open(self, name: str, *args: Any, **kwargs: Any) -> bytes:
        """CREATE a file or directory that must succeed: its FileId."""
        return self.call(CREATE, create_body(name, *args, **kwargs)).file_id


def compound(*elements: bytes) -> bytes:
    """Join requests (header and body each) with NextCommand set."""
    message = b""
    for element in elements[:-1]:
        padded = element + bytes(-len(element) % 8)
        message += padded[:20] + struct.pack("<I", len(padded)) + padded[24:]
    return message + elements[-1]


def split(message: bytes) -> list[bytes]:
    """Take a compound reply apart."""
    parts = []
    while True:
        (following,) = struct.unpack_from("<I", message, 20)
        if not following:
            return [*parts, message]
        parts.append(message[:following])
        message = message[following:]
