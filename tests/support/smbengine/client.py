"""A client in memory: it negotiates, logs in by NTLM (pyspnego), signs, encrypts, and checks.

Every signed reply's signature is verified and every encrypted one opened with keys that this
side derived from what it sent and received, so a test that goes on has checked them.
"""

import hashlib
import os
import struct
from typing import Any, NamedTuple, TypeVar

from ntlm_client import ntlm_client

from smbengine import requests
from smbengine.requests import FileId
from smbengine.server import Engine
from usmbd.protocol.compression.transform import decompress, original_size, whole
from usmbd.protocol.crypto.encryption import Sealer, make_sealer
from usmbd.protocol.crypto.kdf import SessionKeys, derive_keys
from usmbd.protocol.crypto.signing import Signer, make_signer
from usmbd.protocol.dispatch.dispatcher import Dispatcher
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session
from usmbd.protocol.wire.base import Wire
from usmbd.protocol.wire.create import CreateResponse
from usmbd.protocol.wire.header import (
    HEADER_SIZE,
    SIGNATURE_OFFSET,
    SMB2_FLAGS_ASYNC_COMMAND,
    SMB2_FLAGS_RELATED_OPERATIONS,
    SMB2_FLAGS_SIGNED,
    Command,
    Header,
    TransformHeader,
)
from usmbd.protocol.wire.negotiate import NegotiateRequest, NegotiateResponse
from usmbd.protocol.wire.negotiate_contexts import (
    AES_128_CCM,
    AES_128_GCM,
    POSIX_EXTENSIONS_ID,
    SIGNING_AES_CMAC,
    SIGNING_AES_GMAC,
    SIGNING_HMAC_SHA256,
    NegotiateContexts,
    build_contexts,
    parse_contexts,
)
from usmbd.protocol.wire.read import ReadResponse
from usmbd.protocol.wire.session_setup import SMB2_SESSION_FLAG_BINDING, SessionSetupRequest
from usmbd.protocol.wire.status import NtStatus
from usmbd.transport.base import Transport
from usmbd.transport.smbdirect.limits import Limits

W = TypeVar("W", bound=Wire)

NTLM_NEGOTIATE = b"NTLMSSP\0" + struct.pack("<II", 1, 0xE2888215) + bytes(16)


class Reply(NamedTuple):
    """One reply, from the SMB2 header on."""

    header: Header
    message: bytes

    @property
    def status(self) -> NtStatus:
        """Its status by name."""
        return NtStatus(self.header.status)

    @property
    def signed(self) -> bool:
        """Whether it is signed (then the signature was right)."""
        return bool(self.header.flags & SMB2_FLAGS_SIGNED)

    @property
    def body(self) -> bytes:
        """What follows the header."""
        return self.message[HEADER_SIZE:]

    def parse(self, kind: type[W]) -> W:
        """Read the body's fixed part."""
        return kind.parse(self.message, HEADER_SIZE)

    @property
    def file_id(self) -> FileId:
        """FileId of a CREATE that succeeded."""
        assert self.status is NtStatus.SUCCESS, self.status
        created = self.parse(CreateResponse)
        return created.persistent, created.volatile

    @property
    def data(self) -> bytes:
        """The data of a READ, or the output of a QUERY that lies 8 bytes behind the header."""
        if self.header.command == Command.READ:
            fixed = self.parse(ReadResponse)
            return self.message[fixed.data_offset : fixed.data_offset + fixed.data_length]
        offset, length = struct.unpack_from("<HI", self.message, HEADER_SIZE + 2)
        return self.message[offset : offset + length]


class Client:
    """One connection, at most one session and one tree of which it speaks by default."""

    def __init__(
        self,
        engine: Engine,
        guid: bytes = b"",
        server: Server | None = None,
        *,
        limits: Limits | None = None,
        by_memory: bool = False,
    ) -> None:
        """Connect to the engine, or to another worker of it; the others as `Engine.join`."""
        self.engine = engine
        self.guid = guid or os.urandom(16)
        self.transport = engine.join(
            self, lambda t: self._accept(server or engine.server, t), limits, by_memory
        )
        self.message_id = 0
        self.credits = 1
        self.asks = 64
        self.dialect = self.session_id = self.tree_id = 0
        self.preauth = bytes(64)
        self.contexts = NegotiateContexts()
        self.cipher = 0
        self.algorithm = SIGNING_HMAC_SHA256
        self.keys = SessionKeys(b"", b"", b"", b"")
        """As the server names them: the client encrypts with `decryption`."""
        self.signer: Signer | None = None
        self.sealer: Sealer | None = None
        self.signs = True
        self.seals = False
        self.replies: list[Reply] = []
        self.opened = 0
        """Messages of the server that were encrypted."""
        self.compressed = 0
        """Bytes that the server has spared by compression."""
        self.lost = ""

    def _accept(self, server: Server, transport: Transport) -> Dispatcher:
        """Be accepted by a worker."""
        self.dispatcher = Dispatcher(server, transport)
        return self.dispatcher

    # -- what it looks at in the engine ----------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The engine's side of this connection."""
        return self.dispatcher.connection

    @property
    def session(self) -> Session:
        """The engine's session of this client."""
        return self.connection.session_table[self.session_id]

    def open_of(self, file_id: FileId) -> Open:
        """Return the engine's open with this FileId."""
        return self.session.open_table[file_id[1]]

    # -- messages --------------------------------------------------------------------------

    @property
    def message_limit(self) -> int:
        """What the client takes."""
        return 16 << 20

    def message_received(self, message: memoryview) -> None:
        """Take a message of the server apart and check it."""
        sealed = message[:4] == b"\xfdSMB"
        if sealed:
            assert self.sealer is not None
            assert TransformHeader.parse(message).session_id == self.session_id
            message = self.sealer.open(message)
            self.opened += 1
        if message[:4] == b"\xfcSMB":
            compression = self.connection.compression
            assert compression is not None
            size = original_size(message, compression, 1 << 24, 1 << 24)
            self.compressed += size - len(message)
            message = whole(decompress(message, compression, size))
        while True:
            header = Header.parse(message)
            end = header.next_command or len(message)
            assert end % 8 == 0 or end == len(message)
            self._keep(header, message[:end], sealed)
            if not header.next_command:
                return
            message = message[end:]

    def _keep(self, header: Header, message: memoryview, sealed: bool) -> None:
        self.credits += header.credits
        if header.flags & SMB2_FLAGS_SIGNED:
            assert not sealed or header.command == Command.SESSION_SETUP
            # The last reply to a login is signed with the key that it brings: see `login`.
            if self.signer is not None and header.command != Command.SESSION_SETUP:
                assert self.signer.verify(message, is_server=True), "a reply's signature is wrong"
        self.replies.append(Reply(header, bytes(message)))

    def connection_lost(self, reason: str) -> None:
        """Remember why the connection ended."""
        self.lost = reason

    def pack(self, command: int, body: bytes, **fields: Any) -> bytes:
        """Return a request, signed if the client signs (or `sign` says so)."""
        sign = fields.pop("sign", self.signs and not self.seals and self.signer is not None)
        charge = fields.setdefault("credit_charge", 1 if self.dialect > 0x202 else 0)
        if "message_id" not in fields:
            fields["message_id"] = self.message_id
            if command != Command.CANCEL:
                self.message_id += max(charge, 1)
                self.credits -= max(charge, 1)
        header = Header(
            command=command,
            credits=fields.pop("credits", self.asks),
            flags=fields.pop("flags", 0) | (SMB2_FLAGS_SIGNED if sign else 0),
            tree_id=fields.pop("tree_id", self.tree_id),
            session_id=fields.pop("session_id", self.session_id),
            signature=bytes(16),
            **fields,
        )
        message = header.pack() + body
        return self.sign(message) if sign else message

    def sign(self, message: bytes) -> bytes:
        """Put the signature into a request."""
        assert self.signer is not None
        header = Header.parse(message)
        cancel = header.command == Command.CANCEL
        signature = self.signer.sign(message, header.message_id, False, cancel)
        return message[:SIGNATURE_OFFSET] + signature + message[HEADER_SIZE:]

    def send(self, message: bytes) -> None:
        """Send a message, encrypted if the client encrypts."""
        if self.seals and message[:4] == b"\xfeSMB":
            assert self.sealer is not None
            self.transport.send(self.sealer.seal([message], self.session_id))
        else:
            self.transport.send([message])

    def post(self, command: int, body: bytes, **fields: Any) -> int:
        """Send a request and let the engine work; return its MessageId."""
        message = self.pack(command, body, **fields)
        self.send(message)
        self.engine.settle()
        return Header.parse(message).message_id

    def taken(self, message_id: int) -> list[Reply]:
        """Return and forget the replies to one request."""
        found = [r for r in self.replies if r.header.message_id == message_id]
        self.replies = [r for r in self.replies if r.header.message_id != message_id]
        return found

    def call(self, command: int, body: bytes, **fields: Any) -> Reply:
        """Send a request and return its one reply."""
        replies = self.taken(self.post(command, body, **fields))
        assert len(replies) == 1, (replies, self.lost)
        return replies[0]

    def pending(self, command: int, body: bytes, **fields: Any) -> tuple[int, int]:
        """Send a request that has to wait; return its MessageId and AsyncId."""
        message_id = self.post(command, body, **fields)
        (interim,) = self.taken(message_id)
        assert interim.status is NtStatus.PENDING
        assert interim.header.flags & SMB2_FLAGS_ASYNC_COMMAND
        assert not interim.signed
        return message_id, interim.header.async_id

    def cancel(self, message_id: int, async_id: int = 0, **fields: Any) -> None:
        """CANCEL a waiting request, by its AsyncId if there is one."""
        if async_id:
            fields |= {"process_id": async_id & 0xFFFFFFFF, "tree_id": async_id >> 32}
            fields["flags"] = SMB2_FLAGS_ASYNC_COMMAND
        fields.setdefault("credit_charge", 0)
        self.post(Command.CANCEL, requests.EMPTY, message_id=message_id, **fields)

    def compound(self, *elements: tuple[int, bytes], related: bool = True) -> list[Reply]:
        """Send a compound, all but the first related; return the replies in their order."""
        packed = []
        for index, (command, body) in enumerate(elements):
            last = index == len(elements) - 1
            padded = body if last else body + bytes(-len(body) % 8)
            flags = SMB2_FLAGS_RELATED_OPERATIONS if related and index else 0
            following = 0 if last else HEADER_SIZE + len(padded)
            packed.append(self.pack(command, padded, flags=flags, next_command=following))
        before = len(self.replies)
        self.send(b"".join(packed))
        self.engine.settle()
        replies, self.replies = self.replies[before:], self.replies[:before]
        return replies

    # -- the usual beginning -----------------------------------------------------------------

    def negotiate(
        self,
        *dialects: int,
        ciphers: tuple[int, ...] = (AES_128_GCM,),
        algorithms: tuple[int, ...] = (SIGNING_AES_GMAC, SIGNING_AES_CMAC),
        transforms: tuple[int, ...] | None = None,
        mode: int = 1,
        capabilities: int = 0x7F,
        posix: bool | bytes = False,
        compression: tuple[int, ...] | None = None,
        chained: bool = True,
    ) -> Reply:
        """NEGOTIATE; 3.1.1 when no dialect is given, with the contexts that are asked for."""
        dialects = dialects or (0x311,)
        body = NegotiateRequest(
            dialect_count=len(dialects),
            security_mode=mode,
            capabilities=capabilities,
            client_guid=self.guid,
        )
        tail = struct.pack(f"<{len(dialects)}H", *dialects)
        if 0x311 in dialects:
            chosen = [
                (1, struct.pack("<HHH", 1, 32, 1) + bytes(32)),
                (2, struct.pack(f"<H{len(ciphers)}H", len(ciphers), *ciphers)),
                (8, struct.pack(f"<H{len(algorithms)}H", len(algorithms), *algorithms)),
            ]
            if transforms is not None:
                count = len(transforms)
                chosen.append((7, struct.pack(f"<H6x{count}H", count, *transforms)))
            if compression is not None:
                count = len(compression)
                chosen.append((3, struct.pack(f"<HxxI{count}H", count, chained, *compression)))
            if posix:
                chosen.append((0x100, POSIX_EXTENSIONS_ID if posix is True else posix))
            tail += bytes(-(HEADER_SIZE + NegotiateRequest.SIZE + len(tail)) % 8)
            body.negotiate_context_offset = HEADER_SIZE + NegotiateRequest.SIZE + len(tail)
            body.negotiate_context_count = len(chosen)
            tail += build_contexts(chosen)
        message = self.pack(Command.NEGOTIATE, body.pack() + tail)
        self.send(message)
        self.engine.settle()
        if not self.replies:
            assert self.lost
            raise ConnectionError(self.lost)
        reply = self.replies.pop()
        if reply.status is NtStatus.SUCCESS:
            self._negotiated(message, reply, capabilities)
        return reply

    def _negotiated(self, message: bytes, reply: Reply, capabilities: int) -> None:
        response = reply.parse(NegotiateResponse)
        self.dialect = response.dialect_revision
        if self.dialect == 0x311:
            self.preauth = hashlib.sha512(self.preauth + message).digest()
            self.preauth = hashlib.sha512(self.preauth + reply.message).digest()
            contexts = memoryview(reply.message)[response.negotiate_context_offset :]
            self.contexts = parse_contexts(contexts, response.negotiate_context_count)
            (self.cipher,) = self.contexts.ciphers or (0,)
            (self.algorithm,) = self.contexts.signing_algorithms or (SIGNING_AES_CMAC,)
        elif self.dialect >= 0x300:
            self.cipher = AES_128_CCM if response.capabilities & capabilities & 0x40 else 0
            self.algorithm = SIGNING_AES_CMAC

    def setup(self, token: bytes, **options: Any) -> tuple[bytes, list[Reply]]:
        """Send one SESSION_SETUP; return the message and its replies."""
        fields = {k: v for k, v in options.items() if k in ("session_id", "sign", "message_id")}
        body = SessionSetupRequest(
            flags=options.get("flags", 0),
            security_mode=options.get("mode", 1),
            security_buffer_offset=HEADER_SIZE + SessionSetupRequest.SIZE,
            security_buffer_length=len(token),
            previous_session_id=options.get("previous", 0),
        )
        fields.setdefault("sign", False)
        message = self.pack(Command.SESSION_SETUP, body.pack() + token, tree_id=0, **fields)
        self.send(message)
        self.engine.settle()
        return message, self.taken(Header.parse(message).message_id)

    def login(
        self, user: str = "alice", password: str = "secret", *, domain: str = "", **options: Any
    ) -> Reply:
        """SESSION_SETUP by NTLM up to the last reply; the keys are kept when it is a success."""
        name = f"{domain}\\{user}" if domain else user
        security = ntlm_client(name, password)
        options.setdefault("session_id", self.session_id)
        digest = self.preauth
        token = security.step() or b""
        while True:
            message, replies = self.setup(token, **options)
            digest = hashlib.sha512(digest + message).digest()
            assert replies, self.lost or "no reply"
            (reply,) = replies
            options["session_id"] = reply.header.session_id
            if reply.status is not NtStatus.MORE_PROCESSING_REQUIRED:
                break
            digest = hashlib.sha512(digest + reply.message).digest()
            token = security.step(challenge_of(reply)) or b""
        if reply.status is NtStatus.SUCCESS and reply.header.session_id != self.session_id:
            self.session_id = reply.header.session_id
            self._derive(security.session_key, digest)
        elif reply.status is NtStatus.SUCCESS and options.get("flags", 0):
            self._derive(security.session_key, digest, binding=True)
        if reply.signed:
            assert self.signer is not None
            assert self.signer.verify(memoryview(bytearray(reply.message)), is_server=True)
        return reply

    def _derive(self, key: bytes, digest: bytes, binding: bool = False) -> None:
        """Derive this side's keys ([MS-SMB2] 3.2.5.3)."""
        keys = derive_keys(self.dialect, key[:16], key, digest, self.cipher)
        self.keys = keys
        self.signer = make_signer(self.algorithm, keys.signing)
        if self.cipher and not binding:
            self.sealer = make_sealer(self.cipher, keys.decryption, keys.encryption)

    def bind(self, first: "Client", user: str = "alice", password: str = "secret") -> Reply:
        """Bind this connection to the session of `first` ([MS-SMB2] 3.2.4.2.3.1)."""
        self.session_id, self.signer, self.sealer = first.session_id, first.signer, first.sealer
        return self.login(user, password, flags=SMB2_SESSION_FLAG_BINDING, sign=True)

    def anonymous(self, **options: Any) -> Reply:
        """Log in as nobody ([MS-NLMP] 3.2.5.1.2); with a `session_id`, again."""
        options.setdefault("session_id", 0)
        _, (reply,) = self.setup(NTLM_NEGOTIATE, **options)
        fields = struct.pack("<HHI", 0, 0, 64) * 6
        token = b"NTLMSSP\0" + struct.pack("<I", 3) + fields + struct.pack("<I", 0x00088A15)
        _, (reply,) = self.setup(token, **options | {"session_id": reply.header.session_id})
        if reply.status is NtStatus.SUCCESS:
            self.session_id = reply.header.session_id
        return reply

    def connect(self, share: str = "data") -> Reply:
        """TREE_CONNECT; the tree is the one that is used from now on."""
        reply = self.call(Command.TREE_CONNECT, requests.tree_connect(share), tree_id=0)
        if reply.status is NtStatus.SUCCESS:
            self.tree_id = reply.header.tree_id
        return reply

    def ready(self, dialect: int = 0x311, share: str = "data", user: str = "alice") -> "Client":
        """Negotiate, log in and connect."""
        passwords = {"alice": "secret", "bob": "hidden"}
        assert self.negotiate(dialect).status is NtStatus.SUCCESS
        assert self.login(user, passwords[user]).status is NtStatus.SUCCESS
        assert self.connect(share).status is NtStatus.SUCCESS
        return self

    # -- shorthands ----------------------------------------------------------------------------

    def open(self, name: str, *args: Any, **options: Any) -> FileId:
        """CREATE that has to succeed; return its FileId."""
        return self.call(Command.CREATE, requests.create(name, *args, **options)).file_id

    def create(self, name: str, *args: Any, **options: Any) -> NtStatus:
        """CREATE; return its status."""
        return self.call(Command.CREATE, requests.create(name, *args, **options)).status

    def close(self, file_id: FileId) -> NtStatus:
        """CLOSE; return its status."""
        return self.call(Command.CLOSE, requests.close(file_id)).status

    def disconnect(self) -> None:
        """Cut the connection."""
        self.engine.run(lambda: self.transport.close("the client is gone"))
        self.engine.settle()


def prove_with(client: Client, previous: int) -> int:
    """Send the last message of a login that names a previous session; return its MessageId."""
    security = ntlm_client("alice", "secret")
    _, (reply,) = client.setup(security.step() or b"", previous=previous)
    client.session_id = reply.header.session_id
    client.setup(
        security.step(challenge_of(reply)) or b"",
        previous=previous,
        session_id=client.session_id,
    )
    return client.message_id - 1


def challenge_of(reply: Reply) -> bytes:
    """Return the security token of a SESSION_SETUP reply."""
    offset, length = struct.unpack_from("<HH", reply.message, HEADER_SIZE + 4)
    return reply.message[offset : offset + length]
