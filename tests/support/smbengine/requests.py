"""Bodies of requests, built from the codecs of `protocol.wire`."""

import struct
from collections.abc import Sequence
from dataclasses import replace

from usmbd.protocol.wire.change_notify import FILE_NOTIFY_CHANGE_ALL, ChangeNotifyRequest
from usmbd.protocol.wire.channel import SMB2_CHANNEL_RDMA_V1
from usmbd.protocol.wire.close import CloseRequest
from usmbd.protocol.wire.create import (
    FILE_OPEN_IF,
    FILE_SHARE_ALL,
    SMB2_OPLOCK_LEVEL_NONE,
    CreateRequest,
)
from usmbd.protocol.wire.create_contexts import build_contexts
from usmbd.protocol.wire.flush import FlushRequest
from usmbd.protocol.wire.fscc.set_info import FileRenameInformation
from usmbd.protocol.wire.header import HEADER_SIZE, RELATED_ID
from usmbd.protocol.wire.ioctl import IoctlRequest
from usmbd.protocol.wire.lock import LockElement, LockRequest
from usmbd.protocol.wire.query_directory import QueryDirectoryRequest
from usmbd.protocol.wire.query_info import SMB2_0_INFO_FILE, QueryInfoRequest
from usmbd.protocol.wire.read import ReadRequest
from usmbd.protocol.wire.set_info import SetInfoRequest
from usmbd.protocol.wire.tree_connect import TreeConnectRequest
from usmbd.protocol.wire.write import WriteRequest
from usmbd.transport.base import RemoteBuffer

FileId = tuple[int, int]

RELATED: FileId = (RELATED_ID, RELATED_ID)
READ_WRITE_DELETE = 0x001301FF & ~0x00000040
"""All of a file but FILE_DELETE_CHILD: DELETE, READ_CONTROL, SYNCHRONIZE and the file's own."""

EMPTY = b"\4\0\0\0"
"""The body of ECHO, LOGOFF, TREE_DISCONNECT and CANCEL."""


def tree_connect(share: str, server: str = "server") -> bytes:
    """TREE_CONNECT to a share."""
    path = rf"\\{server}\{share}".encode("utf-16-le")
    fixed = TreeConnectRequest(path_offset=HEADER_SIZE + 8, path_length=len(path))
    return fixed.pack() + path


def create(
    name: str,
    access: int = READ_WRITE_DELETE,
    disposition: int = FILE_OPEN_IF,
    *,
    share: int = FILE_SHARE_ALL,
    options: int = 0,
    attributes: int = 0,
    contexts: Sequence[tuple[bytes, bytes]] = (),
    oplock: int = SMB2_OPLOCK_LEVEL_NONE,
) -> bytes:
    """CREATE of a path below the share."""
    raw = name.encode("utf-16-le")
    chain = build_contexts(contexts) if contexts else b""
    start = HEADER_SIZE + CreateRequest.SIZE
    padding = bytes(-len(raw) % 8)
    fixed = CreateRequest(
        requested_oplock_level=oplock,
        desired_access=access,
        file_attributes=attributes,
        share_access=share,
        create_disposition=disposition,
        create_options=options,
        name_offset=start,
        name_length=len(raw),
        create_contexts_offset=start + len(raw) + len(padding) if chain else 0,
        create_contexts_length=len(chain),
    )
    return fixed.pack() + ((raw + padding + chain) or bytes(8))


def close(file_id: FileId, flags: int = 0) -> bytes:
    """CLOSE."""
    return CloseRequest(flags=flags, persistent=file_id[0], volatile=file_id[1]).pack()


def flush(file_id: FileId) -> bytes:
    """FLUSH."""
    return FlushRequest(persistent=file_id[0], volatile=file_id[1]).pack()


def read(file_id: FileId, length: int, offset: int = 0, minimum: int = 0, flags: int = 0) -> bytes:
    """READ."""
    fixed = ReadRequest(
        length=length,
        offset=offset,
        persistent=file_id[0],
        volatile=file_id[1],
        minimum_count=minimum,
        flags=flags,
    )
    return fixed.pack() + b"\0"


def write(file_id: FileId, data: bytes, offset: int = 0, flags: int = 0) -> bytes:
    """WRITE."""
    fixed = WriteRequest(
        data_offset=HEADER_SIZE + WriteRequest.SIZE,
        length=len(data),
        offset=offset,
        persistent=file_id[0],
        volatile=file_id[1],
        flags=flags,
    )
    return fixed.pack() + (data or b"\0")


def read_remote(
    file_id: FileId,
    size: int,
    info: bytes,
    channel: int = SMB2_CHANNEL_RDMA_V1,
    offset: int = 0,
    **fields: int,
) -> bytes:
    """READ into memory that `info` describes."""
    fixed = ReadRequest(
        length=size,
        offset=offset,
        persistent=file_id[0],
        volatile=file_id[1],
        channel=channel,
        remaining_bytes=size,
        read_channel_info_offset=HEADER_SIZE + ReadRequest.SIZE,
        read_channel_info_length=len(info),
    )
    return replace(fixed, **fields).pack() + (info or b"\0")


def write_remote(
    file_id: FileId,
    size: int,
    info: bytes,
    channel: int = SMB2_CHANNEL_RDMA_V1,
    offset: int = 0,
    **fields: int,
) -> bytes:
    """WRITE from memory that `info` describes."""
    fixed = WriteRequest(
        length=0,
        offset=offset,
        persistent=file_id[0],
        volatile=file_id[1],
        channel=channel,
        remaining_bytes=size,
        write_channel_info_offset=HEADER_SIZE + WriteRequest.SIZE,
        write_channel_info_length=len(info),
    )
    return replace(fixed, **fields).pack() + (info or b"\0")


def descriptors(*buffers: RemoteBuffer) -> bytes:
    """Channel information that describes memory ([MS-SMBD] 2.2.3.1)."""
    return b"".join(struct.pack("<QII", *buffer) for buffer in buffers)


def lock(file_id: FileId, *ranges: tuple[int, int, int], sequence: int = 0) -> bytes:
    """LOCK of (offset, length, flags)."""
    fixed = LockRequest(
        lock_count=len(ranges),
        lock_sequence=sequence,
        persistent=file_id[0],
        volatile=file_id[1],
    )
    return fixed.pack() + b"".join(
        LockElement(offset=offset, length=length, flags=flags).pack()
        for offset, length, flags in ranges
    )


def ioctl(file_id: FileId, code: int, data: bytes = b"", limit: int = 65536) -> bytes:
    """IOCTL of a file system control code."""
    fixed = IoctlRequest(
        ctl_code=code,
        persistent=file_id[0],
        volatile=file_id[1],
        input_offset=HEADER_SIZE + IoctlRequest.SIZE,
        input_count=len(data),
        max_output_response=limit,
    )
    return fixed.pack() + (data or b"\0")


def change_notify(
    file_id: FileId,
    completion_filter: int = FILE_NOTIFY_CHANGE_ALL,
    length: int = 4096,
    flags: int = 0,
) -> bytes:
    """CHANGE_NOTIFY of a directory."""
    return ChangeNotifyRequest(
        flags=flags,
        output_buffer_length=length,
        persistent=file_id[0],
        volatile=file_id[1],
        completion_filter=completion_filter,
    ).pack()


def query_directory(
    file_id: FileId,
    level: int,
    pattern: str = "*",
    flags: int = 0,
    limit: int = 65536,
    index: int = 0,
) -> bytes:
    """QUERY_DIRECTORY."""
    raw = pattern.encode("utf-16-le")
    fixed = QueryDirectoryRequest(
        file_information_class=level,
        flags=flags,
        file_index=index,
        persistent=file_id[0],
        volatile=file_id[1],
        file_name_offset=HEADER_SIZE + QueryDirectoryRequest.SIZE,
        file_name_length=len(raw),
        output_buffer_length=limit,
    )
    return fixed.pack() + (raw or b"\0")


def query_info(
    file_id: FileId,
    level: int,
    kind: int = SMB2_0_INFO_FILE,
    *,
    limit: int = 65536,
    additional: int = 0,
    data: bytes = b"",
) -> bytes:
    """QUERY_INFO."""
    fixed = QueryInfoRequest(
        info_type=kind,
        file_info_class=level,
        output_buffer_length=limit,
        input_buffer_offset=HEADER_SIZE + QueryInfoRequest.SIZE if data else 0,
        input_buffer_length=len(data),
        additional_information=additional,
        persistent=file_id[0],
        volatile=file_id[1],
    )
    return fixed.pack() + data


def set_info(
    file_id: FileId,
    level: int,
    data: bytes,
    kind: int = SMB2_0_INFO_FILE,
    additional: int = 0,
) -> bytes:
    """SET_INFO."""
    fixed = SetInfoRequest(
        info_type=kind,
        file_info_class=level,
        buffer_length=len(data),
        buffer_offset=HEADER_SIZE + SetInfoRequest.SIZE,
        additional_information=additional,
        persistent=file_id[0],
        volatile=file_id[1],
    )
    return fixed.pack() + (data or b"\0")


def named(name: str, *, replace: bool = False) -> bytes:
    """FileRenameInformation or FileLinkInformation ([MS-FSCC] 2.4.42.2, 2.4.27.2)."""
    raw = name.encode("utf-16-le")
    return struct.pack("<B7xQI", replace, 0, len(raw)) + raw


def rename(file_id: FileId, name: str, *, replace: bool = False) -> bytes:
    """SET_INFO of a new name."""
    return set_info(file_id, FileRenameInformation, named(name, replace=replace))
