"""SMB2 TREE_CONNECT ([MS-SMB2] 2.2.9, 2.2.10)."""

from usmbd.protocol.wire.base import u8, u16, u32
from usmbd.protocol.wire.body import Body, buffer_at
from usmbd.protocol.wire.names import decode
from usmbd.protocol.wire.status import NtStatus, SmbError

# Flags of a 3.1.1 request
SMB2_TREE_CONNECT_FLAG_CLUSTER_RECONNECT = 0x0001
SMB2_TREE_CONNECT_FLAG_REDIRECT_TO_OWNER = 0x0002
SMB2_TREE_CONNECT_FLAG_EXTENSION_PRESENT = 0x0004

# ShareType
SMB2_SHARE_TYPE_DISK = 0x01
SMB2_SHARE_TYPE_PIPE = 0x02
SMB2_SHARE_TYPE_PRINT = 0x03

# ShareFlags
SMB2_SHAREFLAG_MANUAL_CACHING = 0x00000000
SMB2_SHAREFLAG_AUTO_CACHING = 0x00000010
SMB2_SHAREFLAG_VDO_CACHING = 0x00000020
SMB2_SHAREFLAG_NO_CACHING = 0x00000030
SMB2_SHAREFLAG_DFS = 0x00000001
SMB2_SHAREFLAG_DFS_ROOT = 0x00000002
SMB2_SHAREFLAG_RESTRICT_EXCLUSIVE_OPENS = 0x00000100
SMB2_SHAREFLAG_FORCE_SHARED_DELETE = 0x00000200
SMB2_SHAREFLAG_ALLOW_NAMESPACE_CACHING = 0x00000400
SMB2_SHAREFLAG_ACCESS_BASED_DIRECTORY_ENUM = 0x00000800
SMB2_SHAREFLAG_FORCE_LEVELII_OPLOCK = 0x00001000
SMB2_SHAREFLAG_ENABLE_HASH_V1 = 0x00002000
SMB2_SHAREFLAG_ENABLE_HASH_V2 = 0x00004000
SMB2_SHAREFLAG_ENCRYPT_DATA = 0x00008000
SMB2_SHAREFLAG_IDENTITY_REMOTING = 0x00040000
SMB2_SHAREFLAG_COMPRESS_DATA = 0x00100000
SMB2_SHAREFLAG_ISOLATED_TRANSPORT = 0x00200000

# Capabilities
SMB2_SHARE_CAP_DFS = 0x00000008
SMB2_SHARE_CAP_CONTINUOUS_AVAILABILITY = 0x00000010
SMB2_SHARE_CAP_SCALEOUT = 0x00000020
SMB2_SHARE_CAP_CLUSTER = 0x00000040
SMB2_SHARE_CAP_ASYMMETRIC = 0x00000080
SMB2_SHARE_CAP_REDIRECT_TO_OWNER = 0x00000100

# A share's name has at most 80 characters ([MS-SMB2] 2.2.9) and a server's at most 256.
MAXIMUM_PATH_BYTES = 2 * (2 + 256 + 1 + 80)


class TreeConnectRequest(Body, size=8):
    """SMB2 TREE_CONNECT Request ([MS-SMB2] 2.2.9), before Buffer; `flags` from 3.1.1 on."""

    structure_size: u16 = 9
    flags: u16 = 0
    path_offset: u16 = 0
    path_length: u16 = 0


class TreeConnectResponse(Body, size=16):
    """SMB2 TREE_CONNECT Response ([MS-SMB2] 2.2.10)."""

    structure_size: u16 = 16
    share_type: u8
    reserved: u8 = 0
    share_flags: u32 = 0
    capabilities: u32 = 0
    maximal_access: u32


def share_path(message: memoryview, request: TreeConnectRequest) -> str:
    r"""Return the path `\\server\share` as sent.

    SmbError(INVALID_PARAMETER) when out of bounds, BAD_NETWORK_NAME when no share can
    have such a name.
    """
    data = buffer_at(message, request.path_offset, request.path_length, TreeConnectRequest.SIZE)
    if len(data) > MAXIMUM_PATH_BYTES or len(data) & 1:
        raise SmbError(NtStatus.BAD_NETWORK_NAME)
    return decode(data)


def split_share_path(path: str) -> tuple[str, str]:
    r"""Return server and share of `\\server\share`; SmbError(BAD_NETWORK_NAME) otherwise."""
    server, separator, share = path[2:].partition("\\")
    if not path.startswith("\\\\") or not separator or not share or "\\" in share:
        raise SmbError(NtStatus.BAD_NETWORK_NAME)
    return server, share
