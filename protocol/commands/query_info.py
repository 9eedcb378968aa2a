"""SMB2 QUERY_INFO ([MS-SMB2] 3.3.5.20): of files, file systems, security descriptors, quotas."""

import hashlib
from dataclasses import replace

import msgspec

from usmbd.protocol.commands import quotas, security
from usmbd.protocol.commands.request import Answer, Handling, Reply, Request
from usmbd.protocol.effects import Blocking, OnDescriptor, Sliced, Slow
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.pipe import PIPE_STAT
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.vfs import directory_entry, ea, quotactl, time_machine
from usmbd.protocol.vfs.apple import list_streams
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.steps import Steps
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES, FILE_READ_EA
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.fscc import file_info, fs_info, posix
from usmbd.protocol.wire.fscc.attributes import (
    FILE_CASE_PRESERVED_NAMES,
    FILE_CASE_SENSITIVE_SEARCH,
    FILE_FILE_COMPRESSION,
    FILE_NAMED_STREAMS,
    FILE_PERSISTENT_ACLS,
    FILE_READ_ONLY_VOLUME,
    FILE_SUPPORTS_BLOCK_REFCOUNTING,
    FILE_SUPPORTS_REPARSE_POINTS,
    FILE_SUPPORTS_SPARSE_FILES,
    FILE_UNICODE_ON_DISK,
    FILE_VOLUME_QUOTAS,
)
from usmbd.protocol.wire.fscc.file_info import QueriedFile, QueriedStream
from usmbd.protocol.wire.fscc.fs_info import (
    FILE_VC_QUOTA_ENFORCE,
    FILE_VC_QUOTA_TRACK,
    QueriedVolume,
)
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_311
from usmbd.protocol.wire.query_info import (
    SMB2_0_INFO_FILE,
    SMB2_0_INFO_FILESYSTEM,
    SMB2_0_INFO_QUOTA,
    SMB2_0_INFO_SECURITY,
    QueryInfoRequest,
    build_query_info_response,
    query_info_input,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

SECTOR = 512
"""Bytes per sector that are told; allocation units are the file system's blocks."""

_NEEDS_READ_ATTRIBUTES = {
    file_info.FileBasicInformation,
    file_info.FileAllInformation,
    file_info.FileNetworkOpenInformation,
    file_info.FileAttributeTagInformation,
}

_NEEDS_NAMES = {
    file_info.FileNameInformation,
    file_info.FileNormalizedNameInformation,
    file_info.FileAlternateNameInformation,
}
"""Classes that ask for names, with the user's rights."""

_IN_STEPS = {
    file_info.FileAllInformation,
    file_info.FileStreamInformation,
    file_info.FileFullEaInformation,
    file_info.FileEaInformation,
}
"""Classes that ask for attributes, with the user's rights: a file may have thousands of them."""


_SIZES = (fs_info.FileFsSizeInformation, fs_info.FileFsFullSizeInformation)
_SPACE = (*_SIZES, posix.FileFsPosixInformation)
"""Classes that tell how much there is, and what of it is left to the user."""


def query_info(request: Request) -> Answer | Handling:
    """Answer what the client asks of an open, by InfoType."""
    body = parse_body(QueryInfoRequest, request.message)
    connection = request.connection
    if body.output_buffer_length > connection.max_transact_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if connection.supports_multi_credit:
        check_charge(
            request.header.credit_charge, max(body.output_buffer_length, body.input_buffer_length)
        )
    if body.info_type == SMB2_0_INFO_FILE:
        return _file(request, body)
    if body.info_type == SMB2_0_INFO_FILESYSTEM:
        return _file_system(request, body)
    if body.info_type == SMB2_0_INFO_SECURITY:
        return _security(request, body)
    if body.info_type == SMB2_0_INFO_QUOTA:
        return quotas.query(request, body)
    raise SmbError(NtStatus.NOT_SUPPORTED)


def _answer(status: NtStatus, data: bytes) -> Answer:
    """Build the response around the information."""
    parts = build_query_info_response(data)
    return list(parts) if status is NtStatus.SUCCESS else Reply(parts, status)


def _file(request: Request, body: QueryInfoRequest) -> Handling:
    """Answer a file information class ([MS-SMB2] 3.3.5.20.1)."""
    open_, level = request.open, body.file_info_class
    if level == posix.FilePosixInformation and _is_posix(open_):
        open_.require(FILE_READ_ATTRIBUTES)
        told = open_.node.last_stat if _is_seen(request) else None
        data = posix.build_file_posix(told or (yield from OnDescriptor(open_.node.stat)))
        if body.output_buffer_length < len(data):
            raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
        return _answer(NtStatus.SUCCESS, data)
    row = file_info.file_query(level)
    if level == file_info.FileNormalizedNameInformation and (
        request.connection.dialect < SMB2_DIALECT_311
    ):
        raise SmbError(NtStatus.NOT_SUPPORTED)  # a name of 3.1.1 ([MS-SMB2] 3.3.5.20.1)
    if open_.pipe is not None:
        file = QueriedFile(
            stat=PIPE_STAT, name="\\" + open_.pipe.name, granted_access=open_.granted_access
        )
        return _answer(*file_info.query_file(level, file, body.output_buffer_length))
    if level in _NEEDS_READ_ATTRIBUTES:
        open_.require(FILE_READ_ATTRIBUTES)
    if body.output_buffer_length < row.minimum:
        raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
    seen = _is_seen(request)
    if level in _IN_STEPS:
        file = yield from Sliced(_collect_all, request, open_, body, seen)
    else:
        kind = Blocking if level in _NEEDS_NAMES else OnDescriptor
        file = yield from kind(_collect, request, open_, level, seen)
    return _answer(*file_info.query_file(level, file, body.output_buffer_length))


def _is_seen(request: Request) -> bool:
    """Whether the CREATE just before, in the same compound, has looked at the file already."""
    chain, open_ = request.chain, request.open
    return chain is not None and chain.described is open_ and open_.stream is None


def _collect(request: Request, open_: Open, level: int, seen: bool) -> QueriedFile:
    """Ask the file system for what the class needs, but what was `seen`."""
    stat = open_.node.last_stat if seen else (open_.stream or open_.node).stat()
    if open_.tree.zero_file_ids:
        stat = msgspec.structs.replace(stat, ino=0)
    file = QueriedFile(
        stat=stat,
        granted_access=open_.granted_access,
        mode=open_.mode,
        position=open_.position,
    )
    path = open_.tree.disk_path(open_.path)
    pending = request.connection.server.store.pending_names(open_.key, path)
    file.names_pending, file.delete_pending = pending
    if level in (
        file_info.FileAllInformation,
        file_info.FileNameInformation,
        file_info.FileNormalizedNameInformation,
        file_info.FileAlternateNameInformation,
    ):
        file.name = "\\" + open_.node.volume.wire_path(directory_entry.current_path(open_.node))
        if open_.stream is not None:
            file.name += f":{open_.stream.name}"
    if level == file_info.FileAlternateNameInformation:
        file.short_name = directory_entry.short_name(open_.node)
    return file


def _collect_all(
    request: Request, open_: Open, body: QueryInfoRequest, seen: bool
) -> Steps[QueriedFile]:
    """Ask for what a file may have thousands of, too."""
    level = body.file_info_class
    file = _collect(request, open_, level, seen)
    if level == file_info.FileStreamInformation:
        file.streams = yield from _streams(open_)
    elif level == file_info.FileFullEaInformation:
        open_.require(FILE_READ_EA)
        wanted = query_info_input(request.message, body)
        limit = body.output_buffer_length
        if wanted:
            file.eas = yield from ea.choose(open_.node, wanted, limit)
        else:
            file.eas = yield from ea.list_eas(open_.node, limit)
    else:
        file.stat.ea_size = yield from ea.total_size(open_.node)
    return file


def _streams(open_: Open) -> Steps[list[QueriedStream]]:
    """Return the file's data streams: its own, unless it is a directory, then the named ones."""
    node = open_.node
    own = [] if node.is_directory else [("::$DATA", node.stat())]
    found = [QueriedStream(name, stat.size, stat.allocation) for name, stat in own]
    for stream in (yield from list_streams(node, hide_empty=open_.tree.aapl)):
        found.append(QueriedStream(f":{stream.name}:$DATA", stream.size, stream.allocation))
    return found


def _file_system(request: Request, body: QueryInfoRequest) -> Handling:
    """Answer a file system information class ([MS-SMB2] 3.3.5.20.2)."""
    tree = request.tree
    if tree.volume is None:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    node = request.open.node
    has_quotas = False
    if body.file_info_class in _SPACE:
        has_quotas = bool((yield from Blocking(quotactl.flags, node.fd)) & quotactl.COUNTED)
    if body.file_info_class == posix.FileFsPosixInformation and _is_posix(request.open):
        left = (yield from Slow(quotas.left, tree, node)) if has_quotas else None
        data = yield from Blocking(_posix_volume, tree.volume, node, left)
        if body.output_buffer_length < len(data):
            raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
        return _answer(NtStatus.SUCCESS, data)
    fruit = tree.share.fruit
    bounded = fruit is not None and fruit.time_machine and fruit.time_machine_max_size
    # Backups have bands by the hundred thousand, which are counted.
    kind = Slow if bounded and body.file_info_class in _SIZES else Blocking
    volume = yield from kind(_query_volume, request)
    if has_quotas and body.file_info_class in _SIZES:
        volume = yield from Slow(quotas.within, tree, node, volume)
    if fruit is not None and kind is Slow:
        volume = yield from Slow(_bounded, tree.volume, volume, fruit.time_machine_max_size)
    return _answer(*fs_info.query_fs(body.file_info_class, volume, body.output_buffer_length))


def _is_posix(open_: Open) -> bool:
    """Whether the open was made by the POSIX extensions, so that their levels are answered."""
    return open_.pipe is None and open_.node.volume.options.posix


def _posix_volume(volume: Volume, node: Node, left: tuple[int, int] | None) -> bytes:
    """Return FILE_FS_POSIX_INFORMATION; `left` is the user's limit and what he has left of it."""
    space = volume.fs_info(node)
    available = space.available
    if left is not None:
        available = min(available, left[1] // space.block_size)
    return posix.FsPosixInformation(
        optimal_transfer_size=space.block_size,
        block_size=space.block_size,
        total_blocks=space.total,
        blocks_available=space.free,
        user_blocks_available=available,
        total_file_nodes=space.files,
        free_file_nodes=space.files_free,
        file_system_identifier=space.serial,
    ).pack()


def _query_volume(request: Request) -> QueriedVolume:
    """Ask the file system for its sizes and say what the share can.

    That of the open file: another one may be mounted below the share's root.
    """
    tree, node = request.tree, request.open.node
    volume = tree.volume
    assert volume is not None
    space = volume.fs_info(node)
    share = tree.share
    attributes = (
        FILE_CASE_SENSITIVE_SEARCH
        | FILE_CASE_PRESERVED_NAMES
        | FILE_UNICODE_ON_DISK
        | request.connection.server.config.fake_fscaps
    )
    if share.nt_acl_support:
        attributes |= FILE_PERSISTENT_ACLS
    abilities = volume.abilities(node)
    if abilities.holes:
        attributes |= FILE_SUPPORTS_SPARSE_FILES
    if abilities.attributes:
        attributes |= FILE_SUPPORTS_REPARSE_POINTS
    if abilities.clones:
        attributes |= FILE_SUPPORTS_BLOCK_REFCOUNTING
    if abilities.compresses:
        attributes |= FILE_FILE_COMPRESSION
    if share.streams_xattr:
        attributes |= FILE_NAMED_STREAMS
    if not tree.writable or space.read_only:
        attributes |= FILE_READ_ONLY_VOLUME
    counted, enforced = quotactl.kept(node.fd)
    if counted:
        attributes |= FILE_VOLUME_QUOTAS
    return QueriedVolume(
        label=share.name,
        serial=space.serial & 0xFFFFFFFF ^ space.serial >> 32,
        creation_time=_creation_time(volume),
        total_units=space.total,
        available_units=space.available,
        free_units=space.free,
        sectors_per_unit=max(space.block_size // SECTOR, 1),
        bytes_per_sector=SECTOR,
        attributes=attributes,
        maximum_component_length=255,
        trims=abilities.holes and tree.writable,
        quotas=(FILE_VC_QUOTA_ENFORCE if enforced else FILE_VC_QUOTA_TRACK) if counted else 0,
        object_id=hashlib.sha256(f"{space.serial}\0{share.path}".encode()).digest()[:16],
    )


def _bounded(volume: Volume, facts: QueriedVolume, limit: int) -> QueriedVolume:
    """Tell Time Machine of a volume of `limit` bytes that its backups fill, or the disk sooner."""
    free = max(0, limit - time_machine.used(volume.resolver.root))
    unit = facts.sectors_per_unit * facts.bytes_per_sector
    return replace(
        facts,
        total_units=limit // time_machine.UNIT,
        available_units=min(free, facts.available_units * unit) // time_machine.UNIT,
        free_units=min(free, facts.free_units * unit) // time_machine.UNIT,
        sectors_per_unit=time_machine.UNIT // SECTOR,
    )


def _creation_time(volume: Volume) -> int:
    """Return when the volume was made: the birth of its root directory."""
    with volume.lookup("") as root:
        return root.last_stat.creation_time


def _security(request: Request, body: QueryInfoRequest) -> Handling:
    """Answer with the security descriptor ([MS-SMB2] 3.3.5.20.3)."""
    open_ = request.open
    if open_.pipe is not None:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    security.require_for_query(open_, body.additional_information)
    data = yield from Blocking(
        security.query, open_.node, body.additional_information, request.tree
    )
    if len(data) > body.output_buffer_length:
        raise SmbError(NtStatus.BUFFER_TOO_SMALL, len(data).to_bytes(4, "little"))
    return _answer(NtStatus.SUCCESS, data)
