"""A session of SMB 3 by SMB Direct: one open file, RDMA beside it, and what protects that.

The client's side is built by hand and with other implementations of the ciphers: what the server
makes of its own structures proves nothing.
"""

import os
import struct
from typing import NamedTuple

from Cryptodome.Cipher import AES
from Cryptodome.Hash import CMAC as CmacHash
from smbdirect.client import Client as SmbDirectClient
from smbdirect.client import Region

from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.server import Engine
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.negotiate import NegotiateResponse
from usmbd.protocol.wire.read import ReadResponse
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.wire.write import WriteResponse
from usmbd.transport.base import RemoteBuffer
from usmbd.transport.smbdirect.limits import Limits

V1, V1_INVALIDATE, TRANSFORM = 1, 2, 3
"""Channel ([MS-SMB2] 2.2.19)."""

ENCRYPTION, SIGNING = 1, 2
"""RDMATransformIds, and TransformType too ([MS-SMB2] 2.2.3.1.6, 2.2.43.1)."""

CCM_128, GCM_128, CCM_256, GCM_256 = 1, 2, 3, 4
"""Ciphers ([MS-SMB2] 2.2.3.1.2)."""

CMAC, GMAC = 1, 2
"""SigningAlgorithms ([MS-SMB2] 2.2.3.1.7)."""

CREDIT = 65536
"""Bytes that one credit pays for."""

SIZE = 100_000
CONTENT = os.urandom(SIZE)
"""What a file has for tests of the least that matters."""


class Transform(NamedTuple):
    """A SMB2_RDMA_CRYPTO_TRANSFORM ([MS-SMB2] 2.2.43.1)."""

    kind: int
    signature: bytes
    nonce: bytes

    def pack(self) -> bytes:
        """Build it, padded to 8 bytes."""
        packed = struct.pack("<4H", self.kind, len(self.signature), len(self.nonce), 0)
        packed += self.signature + self.nonce
        return packed + bytes(-len(packed) % 8)


def build_transform(transform: Transform, info: bytes, channel: int, count: int = 1) -> bytes:
    """Build a WRITE's channel information ([MS-SMB2] 2.2.43)."""
    crypto = transform.pack()
    fixed = struct.pack("<HHIHHI", 16 + len(crypto), len(info), channel, count, 0, 0)
    return fixed + crypto + info


def parse_transform(data: bytes) -> Transform:
    """Take a READ response's buffer apart, every byte of it."""
    assert struct.unpack_from("<HHIHHI", data) == (0, 0, 0, 1, 0, 0)
    kind, signed, nonced, reserved = struct.unpack_from("<4H", data, 16)
    transform = Transform(kind, data[24 : 24 + signed], data[24 + signed : 24 + signed + nonced])
    assert reserved == 0
    assert data[16:] == transform.pack()
    return transform


class Session:
    """One connection, logged in, with one open file."""

    def __init__(
        self,
        engine: Engine,
        *dialects: int,
        transforms: tuple[int, ...] | None = None,
        cipher: int = GCM_128,
        algorithm: int = GMAC,
        encrypted: bool = False,
        share: str = "data",
        name: str = "file",
        limits: Limits | None = None,
    ) -> None:
        """Connect with these `limits` of SMB Direct, negotiate, log in, and open a file."""
        self.engine = engine
        self.client = client = Client(engine, limits=limits)
        answer = client.negotiate(
            *(dialects or (0x300, 0x302, 0x311)),
            ciphers=(cipher,),
            algorithms=(algorithm,),
            transforms=transforms,
        )
        self.sizes = answer.parse(NegotiateResponse)
        assert client.login().status is NtStatus.SUCCESS
        client.seals = encrypted
        assert client.connect(share).status is NtStatus.SUCCESS
        client.asks = 512
        self.file = client.open(name)
        self.path = engine.files / name

    @property
    def rdma(self) -> SmbDirectClient:
        """The client's end of the connection."""
        assert isinstance(self.client.transport, SmbDirectClient)
        return self.client.transport

    def register(self, content: int | bytes) -> Region:
        """Register memory for the server."""
        return self.rdma.register(content)

    def read(
        self,
        size: int,
        *buffers: RemoteBuffer,
        offset: int = 0,
        channel: int = V1,
        **fields: int,
    ) -> Reply:
        """READ into registered memory."""
        (reply,) = self.post_read(size, *buffers, offset=offset, channel=channel, **fields)
        return reply

    def write(
        self,
        size: int,
        info: bytes | RemoteBuffer,
        offset: int = 0,
        channel: int = V1,
        **fields: int,
    ) -> Reply:
        """WRITE from registered memory."""
        (reply,) = self.post_write(size, info, offset, channel, **fields)
        return reply

    def post_read(
        self,
        size: int,
        *buffers: RemoteBuffer,
        offset: int = 0,
        channel: int = V1,
        **fields: int,
    ) -> list[Reply]:
        """READ that may have no answer (yet)."""
        info = requests.descriptors(*buffers)
        body = requests.read_remote(self.file, size, info, channel, offset, **fields)
        return self._post(Command.READ, body, size)

    def post_write(
        self,
        size: int,
        info: bytes | RemoteBuffer,
        offset: int = 0,
        channel: int = V1,
        **fields: int,
    ) -> list[Reply]:
        """WRITE that may have no answer (yet)."""
        if isinstance(info, RemoteBuffer):
            info = requests.descriptors(info)
        body = requests.write_remote(self.file, size, info, channel, offset, **fields)
        return self._post(Command.WRITE, body, size)

    def settled(self) -> list[Reply]:
        """Let the engine work; return and forget all replies that have come."""
        self.engine.settle()
        replies, self.client.replies = self.client.replies, []
        return replies

    def be_slow(self) -> None:
        """Have the share's volume send all calls to threads."""
        tree = self.client.session.tree_connect_table[self.client.tree_id]
        tree.speed.slow_until = float("inf")

    def _post(self, command: Command, body: bytes, size: int) -> list[Reply]:
        charge = min(max(1, -(-size // CREDIT)), self.client.credits)
        return self.client.taken(self.client.post(command, body, credit_charge=charge))

    # -- protection ----------------------------------------------------------------------

    def encrypt(self, data: bytes) -> tuple[bytes, Transform]:
        """Encrypt what the client sends."""
        nonce = os.urandom(11 if self.client.cipher in (CCM_128, CCM_256) else 12)
        mode = self._mode
        sealed, tag = AES.new(self.client.keys.decryption, mode, nonce).encrypt_and_digest(data)
        return sealed, Transform(ENCRYPTION, tag, nonce)

    def decrypt(self, data: bytes, transform: Transform) -> bytes:
        """Decrypt what the server has sent."""
        cipher = AES.new(self.client.keys.encryption, self._mode, transform.nonce)
        return cipher.decrypt_and_verify(data, transform.signature)

    def sign(self, data: bytes) -> Transform:
        """Sign what the client sends."""
        nonce = os.urandom(12) if self.client.algorithm == GMAC else b""
        return Transform(SIGNING, self.signature(data, nonce), nonce)

    def signature(self, data: bytes, nonce: bytes) -> bytes:
        """Return the signature of data by the connection's key."""
        key = self.client.keys.signing
        if self.client.algorithm == GMAC:
            return AES.new(key, AES.MODE_GCM, nonce).update(data).digest()
        return CmacHash.new(key, data, AES).digest()

    @property
    def _mode(self) -> int:
        return AES.MODE_CCM if self.client.cipher in (CCM_128, CCM_256) else AES.MODE_GCM


def check_read(reply: Reply, length: int) -> None:
    """Assert what a READ by RDMA without a transform is answered with: 80 bytes, no more."""
    assert reply.status is NtStatus.SUCCESS
    response = reply.parse(ReadResponse)
    assert (response.data_offset, response.data_length) == (80, 0)
    assert (response.data_remaining, response.flags) == (length, 0)
    assert len(reply.message) == 80


def check_written(reply: Reply, length: int) -> None:
    """Assert that a WRITE has succeeded."""
    assert reply.status is NtStatus.SUCCESS
    assert reply.parse(WriteResponse).count == length
