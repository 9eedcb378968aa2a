"""The chain of create contexts and the data of each ([MS-SMB2] 2.2.13.2, 2.2.14.2).

Apple's extension and the POSIX extensions, which are not Microsoft's, are in
`create_contexts_aapl` and `create_contexts_posix`.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from usmbd.protocol.wire.base import Layout, Wire, bytes8, bytes16, u16, u32, u64
from usmbd.protocol.wire.status import NtStatus, SmbError

# Names (2.2.13.2); the long ones are GUIDs as bytes in the order of their writing.
SMB2_CREATE_EA_BUFFER = b"ExtA"
SMB2_CREATE_SD_BUFFER = b"SecD"
SMB2_CREATE_DURABLE_HANDLE_REQUEST = b"DHnQ"
SMB2_CREATE_DURABLE_HANDLE_RECONNECT = b"DHnC"
SMB2_CREATE_ALLOCATION_SIZE = b"AlSi"
SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST = b"MxAc"
SMB2_CREATE_TIMEWARP_TOKEN = b"TWrp"
SMB2_CREATE_QUERY_ON_DISK_ID = b"QFid"
SMB2_CREATE_REQUEST_LEASE = b"RqLs"
SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2 = b"DH2Q"
SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2 = b"DH2C"
SMB2_CREATE_APP_INSTANCE_ID = bytes.fromhex("45bca66aefa7f74a9008fa462e144d74")
SMB2_CREATE_APP_INSTANCE_VERSION = bytes.fromhex("b982d0b73b56074fa07b524a8116a010")
SVHDX_OPEN_DEVICE_CONTEXT = bytes.fromhex("9ccbcf9e04c1e643980e158da1f6ec83")

# LeaseState
SMB2_LEASE_NONE = 0x00000000
SMB2_LEASE_READ_CACHING = 0x00000001
SMB2_LEASE_HANDLE_CACHING = 0x00000002
SMB2_LEASE_WRITE_CACHING = 0x00000004

# LeaseFlags
SMB2_LEASE_FLAG_BREAK_IN_PROGRESS = 0x00000002
SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET = 0x00000004

# Flags of the durable contexts of version 2
SMB2_DHANDLE_FLAG_PERSISTENT = 0x00000002

# A name has four bytes or, for a GUID, sixteen (2.2.13.2).
_MINIMUM_NAME = 4
_SHORT = 16 + _MINIMUM_NAME
_SHORT_NAME = struct.pack("<HH", 16, _MINIMUM_NAME)
# Windows' clients send up to eight contexts; hundreds are an attack on our time.
MAXIMUM_CONTEXTS = 64


class ContextHeader(Wire, size=16):
    """SMB2_CREATE_CONTEXT ([MS-SMB2] 2.2.13.2), before Buffer; offsets count from here."""

    next: u32 = 0
    name_offset: u16 = 16
    name_length: u16
    reserved: u16 = 0
    data_offset: u16 = 0
    data_length: u32 = 0


_HEADER_SIZE = ContextHeader.SIZE
_pack_header = ContextHeader.LAYOUT.pack
_unpack_header = Layout(ContextHeader.LAYOUT.format).unpack_from


class DurableReconnect(Wire, size=16):
    """SMB2_CREATE_DURABLE_HANDLE_RECONNECT ([MS-SMB2] 2.2.13.2.4): the lost open's FileId."""

    persistent: u64
    volatile: u64


class DurableRequestV2(Wire, size=32):
    """SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2 (2.2.13.2.11); `timeout` in ms, 0 = ours."""

    timeout: u32
    flags: u32
    reserved: bytes8 = bytes(8)
    create_guid: bytes16


_unpack_durable_v2 = struct.Struct("<II8x16s").unpack


class DurableReconnectV2(Wire, size=36):
    """SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2 ([MS-SMB2] 2.2.13.2.12)."""

    persistent: u64
    volatile: u64
    create_guid: bytes16
    flags: u32


class LeaseV1(Wire, size=32):
    """SMB2_CREATE_REQUEST_LEASE and its response ([MS-SMB2] 2.2.13.2.8, 2.2.14.2.10)."""

    version: ClassVar = 1
    parent_lease_key: ClassVar = bytes(16)
    epoch: ClassVar = 0
    lease_key: bytes16
    lease_state: u32
    lease_flags: u32 = 0
    lease_duration: u64 = 0


class LeaseV2(Wire, size=52):
    """SMB2_CREATE_REQUEST_LEASE_V2 and its response ([MS-SMB2] 2.2.13.2.10, 2.2.14.2.11)."""

    version: ClassVar = 2
    lease_key: bytes16
    lease_state: u32
    lease_flags: u32 = 0
    lease_duration: u64 = 0
    parent_lease_key: bytes16 = bytes(16)
    epoch: u16 = 0
    reserved: u16 = 0


_pack_lease = LeaseV1.LAYOUT.pack
_pack_lease_v2 = LeaseV2.LAYOUT.pack


class AppInstanceId(Wire, size=20):
    """SMB2_CREATE_APP_INSTANCE_ID ([MS-SMB2] 2.2.13.2.13)."""

    structure_size: u16 = 20
    reserved: u16 = 0
    app_instance_id: bytes16


class AppInstanceVersion(Wire, size=24):
    """SMB2_CREATE_APP_INSTANCE_VERSION ([MS-SMB2] 2.2.13.2.15)."""

    structure_size: u16 = 24
    reserved: u16 = 0
    padding: u32 = 0
    app_instance_version_high: u64
    app_instance_version_low: u64


def parse_contexts(data: memoryview) -> dict[bytes, memoryview]:
    """Return the contexts in `data` by name; of two with one name the first counts.

    SmbError(INVALID_PARAMETER) when an element, its name or its data leaves its bounds, when
    a link is not aligned to 8 or leads nowhere, or there are more than MAXIMUM_CONTEXTS.
    Links only lead forward, so a chain cannot loop.
    """
    if not data:
        return {}
    following, name, start, end = _places(bytes(data[:_SHORT]), len(data)) or _read(data)
    contexts = {name: data[start:end]}
    left = MAXIMUM_CONTEXTS
    while following:
        left -= 1
        if not left:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        data = data[following:]
        following, name, start, end = _places(bytes(data[:_SHORT]), len(data)) or _read(data)
        contexts.setdefault(name, data[start:end])
    return contexts


@lru_cache(maxsize=256)
def _places(head: bytes, length: int) -> tuple[int, bytes, int, int] | None:
    """Return what `_read` does where `head`, a header and a name of four bytes, says all of it.

    Clients send few different ones: to look them up is a third of the work.
    """
    if len(head) < _SHORT or head[4:8] != _SHORT_NAME:
        return None
    return _read(memoryview(head), length)


def _read(data: memoryview, length: int | None = None) -> tuple[int, bytes, int, int]:
    """Return of a context where the next one is (0: it is the last), its name, and (start, end).

    `length` is that of the whole rest, if `data` is its beginning; SmbError(INVALID_PARAMETER).
    """
    length = len(data) if length is None else length
    following, name_offset, name_length, _, data_offset, data_length = _unpack_header(data)
    if following % 8 or following > length or 0 < following < _HEADER_SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    size = following or length
    name_end = name_offset + name_length
    end = data_offset + data_length
    if (
        name_length < _MINIMUM_NAME
        or name_offset < _HEADER_SIZE
        or name_end > size
        # DataOffset counts only if there is data.
        or (data_length and (data_offset % 8 or data_offset < name_end or end > size))
    ):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    start, end = (data_offset, end) if data_length else (0, 0)
    return following, bytes(data[name_offset:name_end]), start, end


def build_contexts(contexts: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the chain of (name, data), each element and each data aligned to 8."""
    left = len(contexts)
    if left == 1:
        ((name, data),) = contexts
        return _around(name, len(data), True)[0] + data
    parts: list[bytes] = []
    for name, data in contexts:
        left -= 1
        begin, padding = _around(name, len(data), not left)
        parts += (begin, data, padding)
    return b"".join(parts)


@lru_cache(maxsize=64)
def _around(name: bytes, length: int, last: bool) -> tuple[bytes, bytes]:
    """Return what stands before and behind the data of a context, of few lengths in practice."""
    offset = (_HEADER_SIZE + len(name) + 7) & ~7
    size = offset + length if length else _HEADER_SIZE + len(name)
    padding = b"" if last else bytes(-size % 8)
    following = 0 if last else size + len(padding)
    header = _pack_header(following, _HEADER_SIZE, len(name), 0, offset if length else 0, length)
    return header + name + bytes(offset - _HEADER_SIZE - len(name) if length else 0), padding


def parse_u64(data: memoryview) -> int:
    """Return the data of AlSi (bytes) or TWrp (FILETIME); another size is an error.

    SmbError(INVALID_PARAMETER), as for all contexts of fixed size (2.2.13.2.6, 2.2.13.2.7).
    """
    _require(data, 8)
    return int.from_bytes(data, "little")


def parse_maximal_access(data: memoryview) -> int | None:
    """Return the FILETIME of a MxAc request, or None when it has none (2.2.13.2.5)."""
    return parse_u64(data) if data else None


def parse_durable_request(data: memoryview) -> None:
    """Check the 16 reserved bytes of DHnQ (2.2.13.2.3)."""
    _require(data, 16)


def parse_durable_reconnect(data: memoryview) -> DurableReconnect:
    """Return the data of DHnC."""
    _require(data, DurableReconnect.SIZE)
    return DurableReconnect.parse(data)


def parse_durable_request_v2(data: memoryview) -> tuple[int, int, bytes]:
    """Return timeout, flags and CreateGuid of DH2Q."""
    try:
        return _unpack_durable_v2(data)
    except struct.error:
        raise SmbError(NtStatus.INVALID_PARAMETER) from None


def parse_durable_reconnect_v2(data: memoryview) -> DurableReconnectV2:
    """Return the data of DH2C."""
    _require(data, DurableReconnectV2.SIZE)
    return DurableReconnectV2.parse(data)


def parse_lease(data: memoryview) -> LeaseV1 | LeaseV2:
    """Return the data of RqLs, whose size tells its version."""
    size = len(data)
    if size == LeaseV2.SIZE:
        return LeaseV2.parse(data)
    if size != LeaseV1.SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return LeaseV1.parse(data)


def parse_app_instance_id(data: memoryview) -> bytes:
    """Return the 16 bytes of AppInstanceId; none is a bad parameter (2.2.13.2.13)."""
    _require(data, AppInstanceId.SIZE)
    context = AppInstanceId.parse(data)
    if context.structure_size != AppInstanceId.structure_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return context.app_instance_id


def parse_app_instance_version(data: memoryview) -> tuple[int, int]:
    """Return the version (high, low) of 2.2.13.2.15, which compares as a tuple."""
    _require(data, AppInstanceVersion.SIZE)
    context = AppInstanceVersion.parse(data)
    if context.structure_size != AppInstanceVersion.structure_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return context.app_instance_version_high, context.app_instance_version_low


def maximal_access_response(status: int, access: int) -> tuple[bytes, bytes]:
    """Return MxAc with QueryStatus and MaximalAccess (2.2.14.2.5)."""
    return SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST, struct.pack("<II", status, access)


def on_disk_id_response(file_id: int, volume_id: int) -> tuple[bytes, bytes]:
    """Return QFid with DiskFileId and VolumeId, both u64 (2.2.14.2.9)."""
    return SMB2_CREATE_QUERY_ON_DISK_ID, struct.pack("<QQ16x", file_id, volume_id)


def durable_response() -> tuple[bytes, bytes]:
    """Return DHnQ: the open is durable (2.2.14.2.3)."""
    return SMB2_CREATE_DURABLE_HANDLE_REQUEST, bytes(8)


@lru_cache(maxsize=64)
def durable_response_v2(timeout: int, flags: int) -> tuple[bytes, bytes]:
    """Return DH2Q with the `timeout` granted in ms and the flags (2.2.14.2.12)."""
    return SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2, struct.pack("<II", timeout, flags)


def lease_response(key: bytes, state: int, flags: int) -> tuple[bytes, bytes]:
    """Return RqLs with the lease as granted (2.2.14.2.10)."""
    return SMB2_CREATE_REQUEST_LEASE, _pack_lease(key, state, flags, 0)


def lease_response_v2(
    key: bytes, state: int, flags: int, parent_key: bytes, epoch: int
) -> tuple[bytes, bytes]:
    """Return RqLs with the lease as granted (2.2.14.2.11)."""
    return SMB2_CREATE_REQUEST_LEASE, _pack_lease_v2(key, state, flags, 0, parent_key, epoch, 0)


def _require(data: memoryview, size: int) -> None:
    """Raise SmbError(INVALID_PARAMETER) unless `data` has exactly `size` bytes."""
    if len(data) != size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
