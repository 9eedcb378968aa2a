"""Data of the FSCTLs that [MS-SMB2] defines (2.2.31.1 to 2.2.31.4, 2.2.32.1 to 2.2.32.6)."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from usmbd.protocol.wire.base import Wire, bytes16, bytes24, u16, u32, u64
from usmbd.protocol.wire.fscc.chain import build_chain
from usmbd.protocol.wire.names import encode
from usmbd.protocol.wire.status import NtStatus, SmbError

# Capability of a network interface
RSS_CAPABLE = 0x00000001
RDMA_CAPABLE = 0x00000002

# Family of a SockAddr_Storage (Windows' numbers)
SOCKADDR_INET = 0x0002
SOCKADDR_INET6 = 0x0017
_SOCKADDR_STORAGE_SIZE = 128

# Dialects in VALIDATE_NEGOTIATE_INFO: five exist; more than this is no client's list.
MAXIMUM_DIALECTS = 64


class CopychunkCopy(Wire, size=32):
    """SRV_COPYCHUNK_COPY ([MS-SMB2] 2.2.31.1), before its chunks."""

    source_key: bytes24
    chunk_count: u32
    reserved: u32 = 0


class Copychunk(Wire, size=24):
    """SRV_COPYCHUNK ([MS-SMB2] 2.2.31.1.1)."""

    source_offset: u64
    target_offset: u64
    length: u32
    reserved: u32 = 0


class CopychunkResponse(Wire, size=12):
    """SRV_COPYCHUNK_RESPONSE ([MS-SMB2] 2.2.32.1).

    With STATUS_INVALID_PARAMETER the fields hold the server's limits instead: number of
    chunks, bytes of a chunk, bytes of a request.
    """

    chunks_written: u32
    chunk_bytes_written: u32
    total_bytes_written: u32


class ResumeKeyResponse(Wire, size=32):
    """SRV_REQUEST_RESUME_KEY Response ([MS-SMB2] 2.2.32.3); Windows sends an empty Context."""

    resume_key: bytes24
    context_length: u32 = 0
    context: u32 = 0


class ResiliencyRequest(Wire, size=8):
    """NETWORK_RESILIENCY_REQUEST ([MS-SMB2] 2.2.31.3); `timeout` in milliseconds."""

    timeout: u32
    reserved: u32 = 0


class ValidateNegotiateRequest(Wire, size=24):
    """VALIDATE_NEGOTIATE_INFO Request ([MS-SMB2] 2.2.31.4), before Dialects."""

    capabilities: u32
    guid: bytes16
    security_mode: u16
    dialect_count: u16


class ValidateNegotiateResponse(Wire, size=24):
    """VALIDATE_NEGOTIATE_INFO Response ([MS-SMB2] 2.2.32.6)."""

    capabilities: u32
    guid: bytes16
    security_mode: u16
    dialect: u16


class NetworkInterfaceInfo(Wire, size=24):
    """NETWORK_INTERFACE_INFO ([MS-SMB2] 2.2.32.5), before SockAddr_Storage."""

    next: u32 = 0
    if_index: u32
    capability: u32
    reserved: u32 = 0
    link_speed: u64


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """One address of an interface of the server; `link_speed` in bits per second."""

    index: int
    address: IPv4Address | IPv6Address
    link_speed: int
    capability: int = 0


_SNAPSHOTS = struct.Struct("<III")


def parse_copychunks(data: memoryview, copy: CopychunkCopy) -> list[Copychunk]:
    """Return the chunks behind `copy`; SmbError(INVALID_PARAMETER) when cut off.

    The caller refuses a `chunk_count` above its limit first.
    """
    end = CopychunkCopy.SIZE + copy.chunk_count * Copychunk.SIZE
    if end > len(data):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return [
        Copychunk.parse(data, offset) for offset in range(CopychunkCopy.SIZE, end, Copychunk.SIZE)
    ]


def parse_validate_negotiate(
    data: memoryview,
) -> tuple[ValidateNegotiateRequest, tuple[int, ...]]:
    """Return the request and its dialects; SmbError(INVALID_PARAMETER) when cut off."""
    request = ValidateNegotiateRequest.parse(data)
    count = request.dialect_count
    if count > MAXIMUM_DIALECTS or ValidateNegotiateRequest.SIZE + 2 * count > len(data):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return request, struct.unpack_from(f"<{count}H", data, ValidateNegotiateRequest.SIZE)


def build_network_interfaces(interfaces: Iterable[NetworkInterface]) -> bytes:
    """Return the chain of NETWORK_INTERFACE_INFO, one for each address."""
    return build_chain(
        (
            NetworkInterfaceInfo(
                if_index=interface.index,
                capability=interface.capability,
                link_speed=interface.link_speed,
            ).pack()
            + _sockaddr(interface.address)
            for interface in interfaces
        ),
        8,
    )


def build_snapshot_array(labels: Sequence[str], maximum: int) -> bytes:
    """Return SRV_SNAPSHOT_ARRAY ([MS-SMB2] 2.2.32.2) of `@GMT-` labels in `maximum` bytes.

    When they do not fit, none is returned, with the size that they need. SmbError(
    INVALID_PARAMETER) when `maximum` does not hold the smallest answer.
    """
    names = encode("".join(f"{label}\0" for label in labels) + "\0")
    # Windows answers with at least 16 bytes: the fixed part and an empty list with padding.
    if maximum < _SNAPSHOTS.size + 4:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if labels and _SNAPSHOTS.size + len(names) <= maximum:
        return _SNAPSHOTS.pack(len(labels), len(labels), len(names)) + names
    return _SNAPSHOTS.pack(len(labels), 0, len(names)) + bytes(4)


def _sockaddr(address: IPv4Address | IPv6Address) -> bytes:
    """Return SockAddr_Storage ([MS-SMB2] 2.2.32.5.1): port 0, the address in network order."""
    if isinstance(address, IPv4Address):
        storage = struct.pack("<HH", SOCKADDR_INET, 0) + address.packed
    else:
        storage = struct.pack("<HHI", SOCKADDR_INET6, 0, 0) + address.packed
    return storage.ljust(_SOCKADDR_STORAGE_SIZE, b"\0")
