"""SMB2 CREATE ([MS-SMB2] 2.2.13, 2.2.14); its contexts are in `create_contexts`."""

from usmbd.protocol.wire.base import u8, u16, u32, u64
from usmbd.protocol.wire.body import Body, Parts, buffer_at
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.header import HEADER_SIZE
from usmbd.protocol.wire.names import decode

# RequestedOplockLevel and OplockLevel
SMB2_OPLOCK_LEVEL_NONE = 0x00
SMB2_OPLOCK_LEVEL_II = 0x01
SMB2_OPLOCK_LEVEL_EXCLUSIVE = 0x08
SMB2_OPLOCK_LEVEL_BATCH = 0x09
SMB2_OPLOCK_LEVEL_LEASE = 0xFF

# ImpersonationLevel
IMPERSONATION_ANONYMOUS = 0x00000000
IMPERSONATION_IDENTIFICATION = 0x00000001
IMPERSONATION_IMPERSONATION = 0x00000002
IMPERSONATION_DELEGATE = 0x00000003

# ShareAccess
FILE_SHARE_READ = 0x00000001
FILE_SHARE_WRITE = 0x00000002
FILE_SHARE_DELETE = 0x00000004
FILE_SHARE_ALL = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE

# CreateDisposition
FILE_SUPERSEDE = 0x00000000
FILE_OPEN = 0x00000001
FILE_CREATE = 0x00000002
FILE_OPEN_IF = 0x00000003
FILE_OVERWRITE = 0x00000004
FILE_OVERWRITE_IF = 0x00000005

# CreateOptions
FILE_DIRECTORY_FILE = 0x00000001
FILE_WRITE_THROUGH = 0x00000002
FILE_SEQUENTIAL_ONLY = 0x00000004
FILE_NO_INTERMEDIATE_BUFFERING = 0x00000008
FILE_SYNCHRONOUS_IO_ALERT = 0x00000010
FILE_SYNCHRONOUS_IO_NONALERT = 0x00000020
FILE_NON_DIRECTORY_FILE = 0x00000040
FILE_CREATE_TREE_CONNECTION = 0x00000080
FILE_COMPLETE_IF_OPLOCKED = 0x00000100
FILE_NO_EA_KNOWLEDGE = 0x00000200
FILE_OPEN_REMOTE_INSTANCE = 0x00000400
FILE_RANDOM_ACCESS = 0x00000800
FILE_DELETE_ON_CLOSE = 0x00001000
FILE_OPEN_BY_FILE_ID = 0x00002000
FILE_OPEN_FOR_BACKUP_INTENT = 0x00004000
FILE_NO_COMPRESSION = 0x00008000
FILE_OPEN_REQUIRING_OPLOCK = 0x00010000
FILE_DISALLOW_EXCLUSIVE = 0x00020000
FILE_RESERVE_OPFILTER = 0x00100000
FILE_OPEN_REPARSE_POINT = 0x00200000
FILE_OPEN_NO_RECALL = 0x00400000
FILE_OPEN_FOR_FREE_SPACE_QUERY = 0x00800000

# Flags of the response
SMB2_CREATE_FLAG_REPARSEPOINT = 0x01

# CreateAction
FILE_SUPERSEDED = 0x00000000
FILE_OPENED = 0x00000001
FILE_CREATED = 0x00000002
FILE_OVERWRITTEN = 0x00000003


class CreateRequest(Body, size=56):
    """SMB2 CREATE Request ([MS-SMB2] 2.2.13), before Buffer."""

    structure_size: u16 = 57
    security_flags: u8 = 0
    requested_oplock_level: u8 = SMB2_OPLOCK_LEVEL_NONE
    impersonation_level: u32 = IMPERSONATION_IMPERSONATION
    smb_create_flags: u64 = 0
    reserved: u64 = 0
    desired_access: u32
    file_attributes: u32 = 0
    share_access: u32
    create_disposition: u32
    create_options: u32 = 0
    name_offset: u16 = 0
    name_length: u16 = 0
    create_contexts_offset: u32 = 0
    create_contexts_length: u32 = 0


class CreateResponse(Body, size=88):
    """SMB2 CREATE Response ([MS-SMB2] 2.2.14), before Buffer."""

    structure_size: u16 = 89
    oplock_level: u8
    flags: u8 = 0
    create_action: u32
    creation_time: u64
    last_access_time: u64
    last_write_time: u64
    change_time: u64
    allocation_size: u64
    end_of_file: u64
    file_attributes: u32
    reserved2: u32 = 0
    persistent: u64
    volatile: u64
    create_contexts_offset: u32 = 0
    create_contexts_length: u32 = 0


_pack_response = CreateResponse.LAYOUT.pack
_CONTEXTS_OFFSET = HEADER_SIZE + CreateResponse.SIZE


def create_name(message: memoryview, request: CreateRequest) -> str:
    r"""Return the name as sent, with `\` separators; "" is the share's root.

    SmbError(INVALID_PARAMETER) when out of bounds, OBJECT_NAME_INVALID when not UTF-16.
    """
    data = buffer_at(message, request.name_offset, request.name_length, CreateRequest.SIZE)
    return decode(data)


def create_contexts_buffer(message: memoryview, request: CreateRequest) -> memoryview:
    """Return the buffer of the create contexts, of which there are some.

    SmbError(INVALID_PARAMETER) out of bounds.
    """
    offset, length = request.create_contexts_offset, request.create_contexts_length
    return buffer_at(message, offset, length, CreateRequest.SIZE)


def build_create_response(
    stat: FileStat,
    persistent: int,
    volatile: int,
    *,
    create_action: int,
    oplock_level: int = SMB2_OPLOCK_LEVEL_NONE,
    flags: int = 0,
    contexts: bytes = b"",
) -> Parts:
    """Return the body for the open (`persistent`, `volatile`) of the file `stat`.

    `contexts` is the whole chain, as of `create_answers`.
    """
    fixed = _pack_response(
        CreateResponse.structure_size,
        oplock_level,
        flags,
        create_action,
        stat.creation_time,
        stat.last_access_time,
        stat.last_write_time,
        stat.change_time,
        stat.allocation,
        stat.size,
        stat.attributes,
        0,
        persistent,
        volatile,
        _CONTEXTS_OFFSET if contexts else 0,
        len(contexts),
    )
    return [fixed + contexts]
