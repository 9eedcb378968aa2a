"""The negotiate contexts of SMB 3.1.1 ([MS-SMB2] 2.2.3.1, 2.2.4.1).

Data of a received context is checked as [MS-SMB2] 3.3.5.4 asks of the server; what is built
here is the server's answer, with the one algorithm that it selected.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from usmbd.protocol.wire.base import Layout
from usmbd.protocol.wire.status import NtStatus, SmbError

# ContextType
SMB2_PREAUTH_INTEGRITY_CAPABILITIES = 0x0001
SMB2_ENCRYPTION_CAPABILITIES = 0x0002
SMB2_COMPRESSION_CAPABILITIES = 0x0003
SMB2_NETNAME_NEGOTIATE_CONTEXT_ID = 0x0005
SMB2_TRANSPORT_CAPABILITIES = 0x0006
SMB2_RDMA_TRANSFORM_CAPABILITIES = 0x0007
SMB2_SIGNING_CAPABILITIES = 0x0008
# The SMB3 POSIX extensions (smb3-posix-spec, as ksmbd and Samba answer them).
SMB2_POSIX_EXTENSIONS_AVAILABLE = 0x0100

# HashAlgorithms (2.2.3.1.1)
SHA_512 = 0x0001

# Ciphers (2.2.3.1.2)
AES_128_CCM = 0x0001
AES_128_GCM = 0x0002
AES_256_CCM = 0x0003
AES_256_GCM = 0x0004

# CompressionAlgorithms and Flags (2.2.3.1.3)
COMPRESSION_NONE = 0x0000
COMPRESSION_LZNT1 = 0x0001
COMPRESSION_LZ77 = 0x0002
COMPRESSION_LZ77_HUFFMAN = 0x0003
COMPRESSION_PATTERN_V1 = 0x0004
COMPRESSION_LZ4 = 0x0005
SMB2_COMPRESSION_CAPABILITIES_FLAG_NONE = 0x00000000
SMB2_COMPRESSION_CAPABILITIES_FLAG_CHAINED = 0x00000001

# Flags of the transport capabilities (2.2.3.1.5)
SMB2_ACCEPT_TRANSPORT_LEVEL_SECURITY = 0x00000001

# RDMATransformIds (2.2.3.1.6)
SMB2_RDMA_TRANSFORM_NONE = 0x0000
SMB2_RDMA_TRANSFORM_ENCRYPTION = 0x0001
SMB2_RDMA_TRANSFORM_SIGNING = 0x0002

# SigningAlgorithms (2.2.3.1.7)
SIGNING_HMAC_SHA256 = 0x0000
SIGNING_AES_CMAC = 0x0001
SIGNING_AES_GMAC = 0x0002

# Content of the POSIX context: a fixed value that both sides send.
POSIX_EXTENSIONS_ID = bytes.fromhex("93ad25509cb411e7b42383de968bcd7c")

# Windows sends six or seven contexts; a list of hundreds is an attack on our time.
MAXIMUM_CONTEXTS = 64

_CONTEXT = Layout("<HHI")
_COUNT = Layout("<H")
_FLAGS = Layout("<I")


@dataclass(slots=True)
class NegotiateContexts:
    """What the client offers in its contexts; None where it sent no such context.

    Algorithm lists are in the client's order of preference.
    """

    hash_algorithms: tuple[int, ...] | None = None
    salt: bytes = b""
    ciphers: tuple[int, ...] | None = None
    compression_algorithms: tuple[int, ...] | None = None
    compression_flags: int = 0
    netname: str | None = None
    transport_flags: int | None = None
    rdma_transforms: tuple[int, ...] | None = None
    signing_algorithms: tuple[int, ...] | None = None
    posix_extensions: bool = False


def parse_contexts(data: memoryview, count: int) -> NegotiateContexts:
    """Parse `count` contexts at the start of `data`, each aligned to 8 bytes.

    SmbError(INVALID_PARAMETER) when one passes the end, is malformed, or when there are two
    of a type that may come once, or not exactly one preauth integrity context (3.3.5.4).
    Unknown types are passed over.
    """
    if count > MAXIMUM_CONTEXTS:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    contexts = NegotiateContexts()
    seen = set()
    offset = 0
    for _ in range(count):
        kind, length, _reserved = _CONTEXT.unpack_from(data, offset)
        start = offset + _CONTEXT.size
        if start + length > len(data):
            raise SmbError(NtStatus.INVALID_PARAMETER)
        parser = _PARSERS.get(kind)
        if parser is not None:
            if kind in seen:
                raise SmbError(NtStatus.INVALID_PARAMETER)
            seen.add(kind)
            parser(contexts, data[start : start + length])
        offset = (start + length + 7) & ~7
    if contexts.hash_algorithms is None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return contexts


def build_contexts(contexts: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the NegotiateContextList of (ContextType, Data), padded between its elements."""
    out = bytearray()
    for kind, data in contexts:
        out += bytes(-len(out) % 8)
        out += _CONTEXT.pack(kind, len(data), 0)
        out += data
    return bytes(out)


def preauth_integrity_context(salt: bytes) -> tuple[int, bytes]:
    """Return the answer that selects SHA-512 with the server's `salt` (2.2.4.1.1)."""
    data = struct.pack("<HHH", 1, len(salt), SHA_512) + salt
    return SMB2_PREAUTH_INTEGRITY_CAPABILITIES, data


def encryption_context(cipher: int) -> tuple[int, bytes]:
    """Return the answer that selects `cipher`; 0 when none is common (2.2.4.1.2)."""
    return SMB2_ENCRYPTION_CAPABILITIES, struct.pack("<HH", 1, cipher)


def compression_context(algorithms: tuple[int, ...], flags: int) -> tuple[int, bytes]:
    """Return the answer with the common `algorithms`, or NONE when there are none (2.2.4.1.3)."""
    chosen = algorithms or (COMPRESSION_NONE,)
    data = struct.pack(f"<HHI{len(chosen)}H", len(chosen), 0, flags, *chosen)
    return SMB2_COMPRESSION_CAPABILITIES, data


def transport_context(flags: int) -> tuple[int, bytes]:
    """Return the answer about transport level security (2.2.4.1.5)."""
    return SMB2_TRANSPORT_CAPABILITIES, struct.pack("<I", flags)


def rdma_transform_context(transforms: tuple[int, ...]) -> tuple[int, bytes]:
    """Return the answer with the common RDMA `transforms`, or NONE (2.2.4.1.6)."""
    chosen = transforms or (SMB2_RDMA_TRANSFORM_NONE,)
    data = struct.pack(f"<HHI{len(chosen)}H", len(chosen), 0, 0, *chosen)
    return SMB2_RDMA_TRANSFORM_CAPABILITIES, data


def signing_context(algorithm: int) -> tuple[int, bytes]:
    """Return the answer that selects the signing `algorithm` (2.2.4.1.7)."""
    return SMB2_SIGNING_CAPABILITIES, struct.pack("<HH", 1, algorithm)


def posix_extensions_context() -> tuple[int, bytes]:
    """Return the answer that turns the SMB3 POSIX extensions on."""
    return SMB2_POSIX_EXTENSIONS_AVAILABLE, POSIX_EXTENSIONS_ID


def _algorithms(data: memoryview, offset: int) -> tuple[int, ...]:
    """Return the u16 list at `offset` whose count is the first u16; never an empty one."""
    (count,) = _COUNT.unpack_from(data)
    if not count or offset + 2 * count > len(data):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return struct.unpack_from(f"<{count}H", data, offset)


def _preauth(contexts: NegotiateContexts, data: memoryview) -> None:
    """SMB2_PREAUTH_INTEGRITY_CAPABILITIES (2.2.3.1.1)."""
    contexts.hash_algorithms = _algorithms(data, 4)
    (salt_length,) = _COUNT.unpack_from(data, 2)
    start = 4 + 2 * len(contexts.hash_algorithms)
    if start + salt_length > len(data):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    contexts.salt = bytes(data[start : start + salt_length])


def _encryption(contexts: NegotiateContexts, data: memoryview) -> None:
    """SMB2_ENCRYPTION_CAPABILITIES (2.2.3.1.2)."""
    contexts.ciphers = _algorithms(data, 2)


def _compression(contexts: NegotiateContexts, data: memoryview) -> None:
    """SMB2_COMPRESSION_CAPABILITIES (2.2.3.1.3)."""
    contexts.compression_algorithms = _algorithms(data, 8)
    (contexts.compression_flags,) = _FLAGS.unpack_from(data, 4)


def _netname(contexts: NegotiateContexts, data: memoryview) -> None:
    """SMB2_NETNAME_NEGOTIATE_CONTEXT_ID (2.2.3.1.4); bad UTF-16 is a bad parameter here."""
    try:
        contexts.netname = str(data, "utf-16-le").rstrip("\0")
    except UnicodeDecodeError:
        raise SmbError(NtStatus.INVALID_PARAMETER) from None


def _transport(contexts: NegotiateContexts, data: memoryview) -> None:
    """SMB2_TRANSPORT_CAPABILITIES (2.2.3.1.5)."""
    (contexts.transport_flags,) = _FLAGS.unpack_from(data)


def _rdma_transform(contexts: NegotiateContexts, data: memoryview) -> None:
    """SMB2_RDMA_TRANSFORM_CAPABILITIES (2.2.3.1.6)."""
    contexts.rdma_transforms = _algorithms(data, 8)


def _signing(contexts: NegotiateContexts, data: memoryview) -> None:
    """SMB2_SIGNING_CAPABILITIES (2.2.3.1.7)."""
    contexts.signing_algorithms = _algorithms(data, 2)


def _posix(contexts: NegotiateContexts, data: memoryview) -> None:
    """SMB2_POSIX_EXTENSIONS_AVAILABLE: any other content asks for another version of them."""
    contexts.posix_extensions = data == POSIX_EXTENSIONS_ID


_PARSERS: dict[int, Callable[[NegotiateContexts, memoryview], None]] = {
    SMB2_PREAUTH_INTEGRITY_CAPABILITIES: _preauth,
    SMB2_ENCRYPTION_CAPABILITIES: _encryption,
    SMB2_COMPRESSION_CAPABILITIES: _compression,
    SMB2_NETNAME_NEGOTIATE_CONTEXT_ID: _netname,
    SMB2_TRANSPORT_CAPABILITIES: _transport,
    SMB2_RDMA_TRANSFORM_CAPABILITIES: _rdma_transform,
    SMB2_SIGNING_CAPABILITIES: _signing,
    SMB2_POSIX_EXTENSIONS_AVAILABLE: _posix,
}
