"""FSCTLs that tell what a file is, or that a feature of NTFS is not there ([MS-FSA] 2.1.5.10)."""

from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.commands.telling import tell
from usmbd.protocol.effects import Blocking, OnDescriptor, Slow
from usmbd.protocol.state.notify.change import modified
from usmbd.protocol.state.open import Open
from usmbd.protocol.vfs.inode_flags import set_compressed
from usmbd.protocol.vfs.node import OFFSET_MAX
from usmbd.protocol.vfs.snapshots import snapshot_times
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import FILE_WRITE_DATA
from usmbd.protocol.wire.base import Layout
from usmbd.protocol.wire.change_notify import FILE_NOTIFY_CHANGE_ATTRIBUTES
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_COMPRESSED
from usmbd.protocol.wire.fsctl_smb2 import build_snapshot_array
from usmbd.protocol.wire.ioctl import IoctlRequest, build_ioctl_response
from usmbd.protocol.wire.snapshot_tokens import token
from usmbd.protocol.wire.status import NtStatus, SmbError

_U16 = Layout("<H")


def get_compression(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_GET_COMPRESSION ([MS-FSA] 2.1.5.10.9).

    Where nothing can be compressed that is said, not refused: so do ReFS and Samba.
    """
    open_ = _file(request)
    if body.max_output_response < _U16.size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    state = fsctl.COMPRESSION_FORMAT_NONE
    if open_.stream is None:
        stat = yield from Blocking(open_.node.stat)
        if stat.attributes & FILE_ATTRIBUTE_COMPRESSED:
            state = fsctl.COMPRESSION_FORMAT_LZNT1
    return list(build_ioctl_response(body, _U16.pack(state)))


def set_compression(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_SET_COMPRESSION ([MS-FSA] 2.1.5.10.30); by which algorithm is the file system's choice.

    A named stream is an attribute of its file and is never compressed. NOT_SUPPORTED is what ReFS
    and Samba answer where nothing can be.
    """
    open_ = _file(request)
    open_.require(FILE_WRITE_DATA)
    (state,) = _U16.unpack_from(data)
    if state not in fsctl.COMPRESSION_FORMATS:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    wanted = state != fsctl.COMPRESSION_FORMAT_NONE
    able = (
        open_.stream is None
        and (yield from Blocking(open_.node.volume.abilities, open_.node)).compresses
    )
    if able:
        yield Blocking(set_compressed, open_.node, wanted)
        yield from tell(open_, modified(FILE_NOTIFY_CHANGE_ATTRIBUTES))
    elif wanted:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    return list(build_ioctl_response(body))


def object_id(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_CREATE_OR_GET_ and GET_OBJECT_ID ([MS-FSCC] 2.3.1): of device and inode, so it lasts.

    Nobody can set another one, or delete it.
    """
    open_ = _file(request)
    if body.max_output_response < fsctl.FileObjectId.SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    stat = yield from Blocking(open_.node.stat)
    own = stat.ino.to_bytes(8, "little") + stat.dev.to_bytes(8, "little")
    volume = stat.dev.to_bytes(16, "little")
    output = fsctl.FileObjectId(object_id=own, birth_volume_id=volume, birth_object_id=own)
    return list(build_ioctl_response(body, output.pack()))


def query_file_regions(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_QUERY_FILE_REGIONS ([MS-FSA] 2.1.5.10.24): all of a file is valid data."""
    open_ = _file(request)
    asked = fsctl.FileRegionInput(length=OFFSET_MAX)
    if data:
        asked = fsctl.FileRegionInput.parse(data)
    stream = open_.data
    if asked.desired_usage not in fsctl.FILE_REGION_USAGES or stream is None or stream.is_directory:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if min(asked.file_offset, asked.length) < 0 or asked.file_offset + asked.length > OFFSET_MAX:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if body.max_output_response < fsctl.FileRegionOutput.SIZE + fsctl.FileRegionInfo.SIZE:
        raise SmbError(NtStatus.BUFFER_TOO_SMALL)
    end = (yield from OnDescriptor(stream.stat)).size
    length = min(asked.length, end - asked.file_offset)
    output = b""
    if length > 0:
        output = fsctl.FileRegionInfo(
            file_offset=asked.file_offset, length=length, desired_usage=asked.desired_usage
        ).pack()
    count = int(length > 0)
    head = fsctl.FileRegionOutput(total_region_entry_count=count, region_entry_count=count)
    return list(build_ioctl_response(body, head.pack() + output))


def enumerate_snapshots(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_SRV_ENUMERATE_SNAPSHOTS ([MS-SMB2] 3.3.5.15.1): the times of the share's snapshots."""
    _file(request)
    volume = request.tree.volume
    assert volume is not None
    times: list[int] = []
    if volume.options.snapshots is not None:
        times = yield from Slow(snapshot_times, volume)
    output = build_snapshot_array([token(each) for each in times], body.max_output_response)
    return list(build_ioctl_response(body, output))


def _file(request: Request) -> Open:
    """Return the open of a file, directory or stream."""
    if request.open is None:
        raise SmbError(NtStatus.FILE_CLOSED)
    if request.open.pipe is not None:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    return request.open
