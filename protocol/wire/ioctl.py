"""SMB2 IOCTL ([MS-SMB2] 2.2.31, 2.2.32); the codes and their data are in `fsctl`."""

from usmbd.protocol.wire.base import Buffer, u16, u32, u64
from usmbd.protocol.wire.body import Body, Parts, buffer_at
from usmbd.protocol.wire.header import HEADER_SIZE

# Flags: without it the code is an IOCTL of the driver, which is refused.
SMB2_0_IOCTL_IS_FSCTL = 0x00000001


class IoctlRequest(Body, size=56):
    """SMB2 IOCTL Request ([MS-SMB2] 2.2.31), before Buffer."""

    structure_size: u16 = 57
    reserved: u16 = 0
    ctl_code: u32
    persistent: u64
    volatile: u64
    input_offset: u32 = 0
    input_count: u32 = 0
    max_input_response: u32 = 0
    output_offset: u32 = 0
    output_count: u32 = 0
    max_output_response: u32 = 0
    flags: u32 = SMB2_0_IOCTL_IS_FSCTL
    reserved2: u32 = 0


class IoctlResponse(Body, size=48):
    """SMB2 IOCTL Response ([MS-SMB2] 2.2.32), before Buffer."""

    structure_size: u16 = 49
    reserved: u16 = 0
    ctl_code: u32
    persistent: u64
    volatile: u64
    input_offset: u32 = HEADER_SIZE + 48
    input_count: u32 = 0
    output_offset: u32 = HEADER_SIZE + 48
    output_count: u32 = 0
    flags: u32 = 0
    reserved2: u32 = 0


_pack_response = IoctlResponse.LAYOUT.pack
_BUFFER_OFFSET = HEADER_SIZE + IoctlResponse.SIZE


def ioctl_input(message: memoryview, request: IoctlRequest) -> memoryview:
    """Return the input buffer; SmbError(INVALID_PARAMETER) when out of bounds."""
    return buffer_at(message, request.input_offset, request.input_count, IoctlRequest.SIZE)


def build_ioctl_response(request: IoctlRequest, output: Buffer = b"") -> Parts:
    """Return the body that answers `request` (its code and FileId) with `output`."""
    fixed = _pack_response(
        49,
        0,
        request.ctl_code,
        request.persistent,
        request.volatile,
        _BUFFER_OFFSET,
        0,
        _BUFFER_OFFSET,
        len(output),
        0,
        0,
    )
    return [fixed, output] if output else [fixed]
