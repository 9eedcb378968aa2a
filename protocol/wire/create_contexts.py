"""The chain of create contexts and the data of each ([MS-SMB2] 2.2.13.2, 2.2.14.2).

Apple's extension and the POSIX extensions, which are not Microsoft's, are in
`create_contexts_aapl` and `create_contexts_posix`.
"""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from usmbd.protocol.wire.base import Buffer, Layout, Wire, bytes8, bytes16, u16, u32, u64
from usmbd.protocol.wire.header import HEADER_SIZE
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
_SHAPES = 64
"""Chains whose shape is known, of 1 KiB each."""
_SHAPE_BYTES = 512
"""None of them is longer: what is, has a descriptor or EAs, whose length is seldom the same."""
_FIRST = HEADER_SIZE + 56
"""Where the chain of a CREATE may begin: behind its fixed part."""
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
_unpack_first = struct.Struct(f"{_SHORT}s").unpack_from
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

    lease_key: bytes16
    lease_state: u32
    lease_flags: u32 = 0
    lease_duration: u64 = 0


class LeaseV2(Wire, size=52):
    """SMB2_CREATE_REQUEST_LEASE_V2 and its response ([MS-SMB2] 2.2.13.2.10, 2.2.14.2.11)."""

    lease_key: bytes16
    lease_state: u32
    lease_flags: u32 = 0
    lease_duration: u64 = 0
    parent_lease_key: bytes16 = bytes(16)
    epoch: u16 = 0
    reserved: u16 = 0


class LeaseContext(msgspec.Struct, gc=False):
    """What a lease of either version says; one of version 1 has neither parent nor epoch."""

    version: int
    lease_key: bytes
    lease_state: int
    lease_flags: int
    parent_lease_key: bytes = bytes(16)
    epoch: int = 0


_pack_lease = LeaseV1.LAYOUT.pack
_unpack_lease = struct.Struct("<16sII8x").unpack
_unpack_lease_v2 = struct.Struct("<16sII8x16sH2x").unpack
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


Contexts = dict[bytes, bytes | memoryview]
"""The data of contexts by name; what is long is not copied out of its message."""


_Unpacker = Callable[[memoryview, int], tuple[bytes, ...]]


class _Shape(NamedTuple):
    """A chain whose headers have been read before: all of it is known but the data."""

    heads: _Unpacker | None
    """None: there is only the first, by which it was found."""
    said: tuple[bytes, ...]
    data: _Unpacker
    names: tuple[bytes, ...]


_shapes: dict[tuple[int, tuple[bytes, ...]], _Shape] = {}
"""By the chain's length and its first header with name: clients send few different ones."""


def known_contexts(message: memoryview, start: int, length: int) -> Contexts | None:
    """Return the contexts of a CREATE whose chain has a shape that is known; None: it has not.

    Then `parse_contexts` says what is wrong, if anything is.
    """
    try:
        shape = _shapes.get((length, _unpack_first(message, start)))
        if shape is not None and start >= _FIRST:
            heads, said, parts, names = shape
            if heads is None or heads(message, start) == said:
                return dict(zip(names, parts(message, start), strict=True))
    except struct.error:  # it leaves the message
        pass
    return None


def parse_contexts(data: memoryview) -> Contexts:
    """Return the contexts in `data` by name; of two with one name the first counts.

    SmbError(INVALID_PARAMETER) when an element, its name or its data leaves its bounds, when
    a link is not aligned to 8 or leads nowhere, or there are more than MAXIMUM_CONTEXTS.
    Links only lead forward, so a chain cannot loop. Its shape is known the next time.
    """
    contexts: Contexts = {}
    if not data:
        return contexts
    places: list[tuple[int, int, int]] = []
    at, following = 0, 1
    while following:
        if len(places) == MAXIMUM_CONTEXTS:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        following, name, start, end = _read(data[at:])
        contexts.setdefault(name, data[at + start : at + end])
        places.append((at, at + start, at + end))
        at += following
    if len(contexts) == len(places) and len(data) <= _SHAPE_BYTES:
        _know(data, places, tuple(contexts))
    return contexts


def _know(data: memoryview, places: list[tuple[int, int, int]], names: tuple[bytes, ...]) -> None:
    """Keep the shape of a chain, if its headers with names of four bytes say all of it."""
    if any(bytes(data[at + 4 : at + 8]) != _SHORT_NAME for at, _, _ in places):
        return
    heads = _unpacker(len(data), [(at, at + _SHORT) for at, _, _ in places])
    parts = _unpacker(len(data), [(start, end) for _, start, end in places])
    if len(_shapes) >= _SHAPES:
        del _shapes[next(iter(_shapes))]
    said = heads(data, 0)
    others = heads if len(said) > 1 else None
    _shapes[len(data), said[:1]] = _Shape(others, said, parts, names)


def _unpacker(size: int, parts: list[tuple[int, int]]) -> _Unpacker:
    """Return what takes these parts, in their order, out of a chain of `size` bytes."""
    layout, at = "", 0
    for start, end in parts:
        if start == end:
            layout += "0s"
            continue
        layout += f"{start - at}x{end - start}s"
        at = end
    return struct.Struct(f"{layout}{size - at}x").unpack_from


def _read(data: memoryview) -> tuple[int, bytes, int, int]:
    """Return of a context where the next one is (0: it is the last), its name, and (start, end).

    SmbError(INVALID_PARAMETER).
    """
    length = len(data)
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
    chain = b""
    for name, data in reversed(contexts):
        chain = before(chain, name, data)
    return chain


def before(chain: bytes, name: bytes, data: bytes) -> bytes:
    """Return `chain` with one more context at its head, where it may be seen whether it is last."""
    begin, padding = _around(name, len(data), not chain)
    return begin + data + padding + chain


@lru_cache(maxsize=64)
def _around(name: bytes, length: int, last: bool) -> tuple[bytes, bytes]:
    """Return what stands before and behind the data of a context, of few lengths in practice."""
    offset = (_HEADER_SIZE + len(name) + 7) & ~7
    size = offset + length if length else _HEADER_SIZE + len(name)
    padding = b"" if last else bytes(-size % 8)
    following = 0 if last else size + len(padding)
    header = _pack_header(following, _HEADER_SIZE, len(name), 0, offset if length else 0, length)
    return header + name + bytes(offset - _HEADER_SIZE - len(name) if length else 0), padding


def parse_u64(data: Buffer) -> int:
    """Return the data of AlSi (bytes) or TWrp (FILETIME); another size is an error.

    SmbError(INVALID_PARAMETER), as for all contexts of fixed size (2.2.13.2.6, 2.2.13.2.7).
    """
    _require(data, 8)
    return int.from_bytes(data, "little")


def parse_maximal_access(data: Buffer) -> int | None:
    """Return the FILETIME of a MxAc request, or None when it has none (2.2.13.2.5)."""
    return parse_u64(data) if data else None


def parse_durable_request(data: Buffer) -> None:
    """Check the 16 reserved bytes of DHnQ (2.2.13.2.3)."""
    if len(data) != 16:
        raise SmbError(NtStatus.INVALID_PARAMETER)


def parse_durable_reconnect(data: Buffer) -> DurableReconnect:
    """Return the data of DHnC."""
    _require(data, DurableReconnect.SIZE)
    return DurableReconnect.parse(data)


def parse_durable_request_v2(data: Buffer) -> tuple[int, int, bytes]:
    """Return timeout, flags and CreateGuid of DH2Q."""
    try:
        return _unpack_durable_v2(data)
    except struct.error:
        raise SmbError(NtStatus.INVALID_PARAMETER) from None


def parse_durable_reconnect_v2(data: Buffer) -> DurableReconnectV2:
    """Return the data of DH2C."""
    _require(data, DurableReconnectV2.SIZE)
    return DurableReconnectV2.parse(data)


def parse_lease(data: Buffer) -> LeaseContext:
    """Return the data of RqLs, whose size tells its version."""
    try:
        if len(data) > LeaseV1.SIZE:
            return LeaseContext(2, *_unpack_lease_v2(data))
        return LeaseContext(1, *_unpack_lease(data))
    except struct.error:
        raise SmbError(NtStatus.INVALID_PARAMETER) from None


def parse_app_instance_id(data: Buffer) -> bytes:
    """Return the 16 bytes of AppInstanceId; none is a bad parameter (2.2.13.2.13)."""
    _require(data, AppInstanceId.SIZE)
    context = AppInstanceId.parse(data)
    if context.structure_size != AppInstanceId.structure_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return context.app_instance_id


def parse_app_instance_version(data: Buffer) -> tuple[int, int]:
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


def durable_response_v2(timeout: int, flags: int) -> tuple[bytes, bytes]:
    """Return DH2Q with the `timeout` granted in ms and the flags (2.2.14.2.12)."""
    return SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2, struct.pack("<II", timeout, flags)


@lru_cache(maxsize=64)
def durable_element(version: int, timeout: int, persistent: bool, last: bool) -> bytes:
    """Return one of these as it stands in a chain, at the end of it or not: few are different."""
    flags = SMB2_DHANDLE_FLAG_PERSISTENT if persistent else 0
    name, data = durable_response() if version == 1 else durable_response_v2(timeout, flags)
    begin, padding = _around(name, len(data), last)
    return begin + data + padding


def lease_response(key: bytes, state: int, flags: int) -> tuple[bytes, bytes]:
    """Return RqLs with the lease as granted (2.2.14.2.10)."""
    return SMB2_CREATE_REQUEST_LEASE, _pack_lease(key, state, flags, 0)


_AROUND_LEASE_V2 = [
    _around(SMB2_CREATE_REQUEST_LEASE, LeaseV2.SIZE, last) for last in (False, True)
]


def lease_element_v2(
    key: bytes, state: int, flags: int, parent_key: bytes, epoch: int, last: bool
) -> bytes:
    """Return RqLs with the lease as granted (2.2.14.2.11), as it stands in a chain."""
    begin, padding = _AROUND_LEASE_V2[last]
    return begin + _pack_lease_v2(key, state, flags, 0, parent_key, epoch, 0) + padding


def _require(data: Buffer, size: int) -> None:
    """Raise SmbError(INVALID_PARAMETER) unless `data` has exactly `size` bytes."""
    if len(data) != size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
