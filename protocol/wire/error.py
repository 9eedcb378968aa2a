"""SMB2 ERROR Response and its data ([MS-SMB2] 2.2.2)."""

import struct

from usmbd.protocol.wire.base import Wire, u8, u16, u32
from usmbd.protocol.wire.body import Body
from usmbd.protocol.wire.fscc.attributes import IO_REPARSE_TAG_SYMLINK
from usmbd.protocol.wire.names import encode

# ErrorId of an error context
SMB2_ERROR_ID_DEFAULT = 0x00000000
SMB2_ERROR_ID_SHARE_REDIRECT = 0x72645253

SYMLINK_ERROR_TAG = 0x4C4D5953
# Flags of a symbolic link error: whether the target counts from the link's directory
SYMLINK_FLAG_ABSOLUTE = 0x00000000
SYMLINK_FLAG_RELATIVE = 0x00000001


class ErrorResponse(Body, size=8):
    """SMB2 ERROR Response ([MS-SMB2] 2.2.2), before ErrorData."""

    structure_size: u16 = 9
    error_context_count: u8 = 0
    reserved: u8 = 0
    byte_count: u32 = 0


class ErrorContext(Wire, size=8):
    """SMB2 ERROR Context Response ([MS-SMB2] 2.2.2.1), before ErrorContextData."""

    error_data_length: u32
    error_id: u32 = SMB2_ERROR_ID_DEFAULT


class SymbolicLinkError(Wire, size=28):
    """Symbolic Link Error Response ([MS-SMB2] 2.2.2.2.1), before PathBuffer."""

    sym_link_length: u32
    sym_link_error_tag: u32 = SYMLINK_ERROR_TAG
    reparse_tag: u32 = IO_REPARSE_TAG_SYMLINK
    reparse_data_length: u16
    unparsed_path_length: u16
    substitute_name_offset: u16
    substitute_name_length: u16
    print_name_offset: u16
    print_name_length: u16
    flags: u32


# Without data one zero byte follows, which StructureSize counts.
_EMPTY = ErrorResponse().pack() + b"\0"


def build_error_response(error_data: bytes = b"", *, contexts: bool = False) -> bytes:
    """Return the body with `error_data`, in an error context if `contexts` (dialect 3.1.1)."""
    if not error_data:
        return _EMPTY
    if not contexts:
        return ErrorResponse(byte_count=len(error_data)).pack() + error_data
    context = ErrorContext(error_data_length=len(error_data)).pack() + error_data
    return ErrorResponse(error_context_count=1, byte_count=len(context)).pack() + context


def buffer_too_small_data(required: int) -> bytes:
    """Return ErrorData of STATUS_BUFFER_TOO_SMALL: the bytes `required` ([MS-SMB2] 2.2.2.2)."""
    return struct.pack("<I", required)


def symlink_error_data(target: str, unparsed: str, *, relative: bool) -> bytes:
    r"""Return ErrorData of STATUS_STOPPED_ON_SYMLINK ([MS-SMB2] 2.2.2.2.1).

    `target` is what the link holds, with `\` separators; `unparsed` the rest of the
    requested path behind the link.
    """
    name = encode(target)
    fixed = SymbolicLinkError(
        sym_link_length=SymbolicLinkError.SIZE - 4 + 2 * len(name),
        reparse_data_length=12 + 2 * len(name),
        unparsed_path_length=len(encode(unparsed)),
        substitute_name_offset=0,
        substitute_name_length=len(name),
        print_name_offset=len(name),
        print_name_length=len(name),
        flags=SYMLINK_FLAG_RELATIVE if relative else SYMLINK_FLAG_ABSOLUTE,
    )
    return fixed.pack() + name + name
