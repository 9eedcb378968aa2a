"""A session of SMB 3 by SMB Direct, as Microsoft's tests use it: one open file, RDMA beside it."""

import os
import struct
from typing import NamedTuple

from cryptography.hazmat.primitives import cmac
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
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
        name: str = "file",
    ) -> None:
        """Connect, negotiate, log in, and open the file `name`."""
        self.engine = engine
        self.client = client = Client(engine)
        answer = client.negotiate(
            *(dialects or (0x300, 0x302, 0x311)),
            ciphers=(cipher,),
            algorithms=(algorithm,),
            transforms=transforms,
        )
        self.limits = answer.parse(NegotiateResponse)
        assert client.login().status is NtStatus.SUCCESS
        assert client.connect().status is NtStatus.SUCCESS
        client.seals = encrypted
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
        self, length: int, *buffers: RemoteBuffer, offset: int = 0, channel: int = V1
    ) -> Reply:
        """READ into registered memory."""
        info = requests.descriptors(*buffers)
        body = requests.read_remote(self.file, length, info, channel, offset)
        return self.client.call(Command.READ, body, credit_charge=-(-length // CREDIT))

    def write(
        self, length: int, info: bytes | RemoteBuffer, offset: int = 0, channel: int = V1
    ) -> Reply:
        """WRITE from registered memory."""
        if isinstance(info, RemoteBuffer):
            info = requests.descriptors(info)
        body = requests.write_remote(self.file, length, info, channel, offset)
        return self.client.call(Command.WRITE, body, credit_charge=-(-length // CREDIT))

    def post_read(self, length: int, *buffers: RemoteBuffer, channel: int = V1) -> list[Reply]:
        """READ that may have no answer."""
        body = requests.read_remote(self.file, length, requests.descriptors(*buffers), channel)
        charge = -(-length // CREDIT)
        return self.client.taken(self.client.post(Command.READ, body, credit_charge=charge))

    def post_write(self, length: int, *buffers: RemoteBuffer, channel: int = V1) -> list[Reply]:
        """WRITE that may have no answer."""
        body = requests.write_remote(self.file, length, requests.descriptors(*buffers), channel)
        charge = -(-length // CREDIT)
        return self.client.taken(self.client.post(Command.WRITE, body, credit_charge=charge))

    # -- protection ----------------------------------------------------------------------

    def encrypt(self, data: bytes) -> tuple[bytes, Transform]:
        """Encrypt what the client sends."""
        nonce = os.urandom(11 if self.client.cipher in (CCM_128, CCM_256) else 12)
        sealed = self._aead(self.client.keys.decryption).encrypt(nonce, data, None)
        return sealed[:-16], Transform(ENCRYPTION, sealed[-16:], nonce)

    def decrypt(self, data: bytes, transform: Transform) -> bytes:
        """Decrypt what the server has sent."""
        aead = self._aead(self.client.keys.encryption)
        return aead.decrypt(transform.nonce, data + transform.signature, None)

    def sign(self, data: bytes) -> Transform:
        """Sign what the client sends."""
        nonce = os.urandom(12) if self.client.algorithm == GMAC else b""
        return Transform(SIGNING, self.signature(data, nonce), nonce)

    def signature(self, data: bytes, nonce: bytes) -> bytes:
        """Return the signature of data by the connection's key."""
        key = self.client.keys.signing
        if self.client.algorithm == GMAC:
            return AESGCM(key).encrypt(nonce, b"", data)
        mac = cmac.CMAC(algorithms.AES(key))
        mac.update(data)
        return mac.finalize()

    def _aead(self, key: bytes) -> AESCCM | AESGCM:
        ccm = self.client.cipher in (CCM_128, CCM_256)
        return AESCCM(key) if ccm else AESGCM(key)


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
