"""NT ACLs on disk: the extended attribute `security.NTACL` as Samba and ksmbd keep it.

The value is Samba's xattr_NTACL, NDR-encoded (its librpc/idl/xattr.idl); versions 1 to 4 are
read, 4 is written. The descriptor inside counts its offsets from the value's first byte.
Version 4 remembers which POSIX ACL lay on the file when the NT ACL was stored, as a hash: when
the file's mode or POSIX ACL was changed since, the NT ACL is stale and no longer counts.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.security import SecurityDescriptor
from usmbd.protocol.wire.status import NtStatus, SmbError

XATTR_NAME = "security.NTACL"

# xattr_NTACL's hash types.
HASH_TYPE_NONE = 0
HASH_TYPE_SHA256 = 1

#: The description under which both servers keep the hash of a POSIX ACL.
POSIX_ACL = "posix_acl"

#: Both hash fields have room for SHA-512; SHA-256 leaves their second half zero.
HASH_SIZE = 64
#: Version 2 has a field of 16 bytes instead, which is not used.
_HASH_SIZE_V2 = 16

# Referents of NDR pointers: Samba numbers them so, readers look only for zero.
_FIRST_REFERENT = 0x00020000
_SECOND_REFERENT = 0x00020004

# Version, the union's discriminant, the pointer in it: to the descriptor or to its struct.
_HEAD = struct.Struct("<HHI")
_POINTER = struct.Struct("<I")
_HASH_TYPE = struct.Struct("<H")
_TIME = struct.Struct("<Q")

# Tags in the kernel's `system.posix_acl_access`, and Samba's types for the same entries.
_SMB_ACL_TYPES = {0x01: 2, 0x02: 1, 0x04: 4, 0x08: 3, 0x10: 6, 0x20: 5}
_NAMED_TYPES = frozenset({1, 3})
_SMB_ACL_USER_OBJ = 2
_SMB_ACL_GROUP_OBJ = 4
_SMB_ACL_OTHER = 5
_KERNEL_ACL_VERSION = 2
_KERNEL_ACL_HEAD = struct.Struct("<I")
_KERNEL_ACL_ENTRY = struct.Struct("<HHI")


@dataclass(frozen=True, slots=True)
class NtAcl:
    """A stored NT ACL; `time` is a FILETIME, the hashes have HASH_SIZE bytes or none."""

    descriptor: SecurityDescriptor
    version: int = 4
    hash_type: int = HASH_TYPE_NONE
    hash: bytes = b""
    description: str = ""
    time: int = 0
    posix_acl_hash: bytes = b""

    def is_current(self, posix_acl_hash: bytes) -> bool:
        """Whether the file still has the POSIX ACL with which this ACL was stored.

        Versions 1 and 2 and those without a hash never grow stale. Version 3 hashes what
        Samba would have shown for the POSIX ACL, which nobody else can compute: it is trusted.
        """
        if self.version < 4 or self.hash_type == HASH_TYPE_NONE:
            return True
        return self.description == POSIX_ACL and self.posix_acl_hash == posix_acl_hash


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def parse_ntacl(value: Buffer) -> NtAcl:
    """Read the attribute's value; SmbError(INVALID_SECURITY_DESCR) when it is malformed."""
    data = bytes(value)
    try:
        return _parse(data)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise SmbError(NtStatus.INVALID_SECURITY_DESCR) from error


def _parse(data: bytes) -> NtAcl:
    version, level, referent = _HEAD.unpack_from(data)
    position = _HEAD.size
    if version != level or not 1 <= version <= 4 or not referent:
        raise ValueError("no NT ACL of a known version")
    if version == 1:
        return NtAcl(SecurityDescriptor.parse(data, position), version=1)
    (referent,) = _POINTER.unpack_from(data, position)
    position += _POINTER.size
    if not referent:
        raise ValueError("an NT ACL without a descriptor")
    if version == 2:
        start = position + _HASH_SIZE_V2
        return NtAcl(SecurityDescriptor.parse(data, start), version=2)
    (hash_type,) = _HASH_TYPE.unpack_from(data, position)
    position += _HASH_TYPE.size
    digest = data[position : position + HASH_SIZE]
    position += HASH_SIZE
    description = ""
    time = 0
    posix_acl_hash = b""
    if version == 4:
        end = data.index(0, position)
        description = data[position:end].decode()
        position = _aligned(end + 1, 4)
        (time,) = _TIME.unpack_from(data, position)
        position += _TIME.size
        posix_acl_hash = data[position : position + HASH_SIZE]
        position += HASH_SIZE
    descriptor = SecurityDescriptor.parse(data, _aligned(position, 4))
    return NtAcl(descriptor, version, hash_type, digest, description, time, posix_acl_hash)


def build_ntacl(descriptor: SecurityDescriptor, time: int, posix_acl_hash: bytes | None) -> bytes:
    """Return the attribute's value, version 4.

    `time` is the FILETIME of the change, `posix_acl_hash` that of the POSIX ACL which the file
    has now; without it the ACL never grows stale. The other hash is the descriptor's own, as ksmbd
    has it; Samba compares it with a descriptor made of the POSIX ACL, and only where the hash of
    that differs.
    """
    hash_type, digest = HASH_TYPE_NONE, bytes(HASH_SIZE)
    if posix_acl_hash is None:
        posix_acl_hash = bytes(HASH_SIZE)
    else:
        hash_type = HASH_TYPE_SHA256
        digest = hashlib.sha256(descriptor.pack()).digest().ljust(HASH_SIZE, b"\0")
    head = b"".join(
        (
            _HEAD.pack(4, 4, _FIRST_REFERENT),
            _POINTER.pack(_SECOND_REFERENT),
            _HASH_TYPE.pack(hash_type),
            digest,
            POSIX_ACL.encode() + b"\0",
        )
    )
    head = head.ljust(_aligned(len(head), 4), b"\0") + _TIME.pack(time) + posix_acl_hash
    return head + descriptor.pack(len(head))


def posix_acl_hash(
    uid: int,
    gid: int,
    mode: int,
    access: bytes | None,
    default: bytes | None,
    *,
    is_directory: bool,
) -> bytes:
    """Return the hash that stands for a file's POSIX permissions, HASH_SIZE bytes.

    `mode` is st_mode with the file's type, `access` and `default` are the values of
    `system.posix_acl_access` and `system.posix_acl_default`, None where there is none; without
    an access ACL the mode's nine bits are one. ValueError when a value is malformed.

    What is hashed is Samba's smb_acl_wrapper, NDR-encoded (its librpc/idl/smb_acl.idl).
    """
    entries = _kernel_acl(access) if access is not None else _mode_acl(mode)
    acls = [entries]
    if is_directory:
        acls.append(_kernel_acl(default) if default is not None else [])
    blob = bytearray()
    for number in range(2):
        blob += _POINTER.pack(_FIRST_REFERENT + 4 * number if number < len(acls) else 0)
    blob += struct.pack("<QQI", uid, gid, mode)
    for acl in acls:
        _append_acl(blob, acl)
    return hashlib.sha256(blob).digest().ljust(HASH_SIZE, b"\0")


_AclEntry = tuple[int, int, int]


def _mode_acl(mode: int) -> list[_AclEntry]:
    """Return the POSIX ACL that a mode is: (type, permissions, id)."""
    return [
        (_SMB_ACL_USER_OBJ, mode >> 6 & 7, 0),
        (_SMB_ACL_GROUP_OBJ, mode >> 3 & 7, 0),
        (_SMB_ACL_OTHER, mode & 7, 0),
    ]


def _kernel_acl(value: bytes) -> list[_AclEntry]:
    """Read the kernel's form of a POSIX ACL: (type, permissions, id)."""
    body = value[_KERNEL_ACL_HEAD.size :]
    if (
        len(value) < _KERNEL_ACL_HEAD.size
        or _KERNEL_ACL_HEAD.unpack_from(value) != (_KERNEL_ACL_VERSION,)
        or len(body) % _KERNEL_ACL_ENTRY.size
    ):
        raise ValueError("no POSIX ACL")
    try:
        return [
            (_SMB_ACL_TYPES[tag], permissions, identity)
            for tag, permissions, identity in _KERNEL_ACL_ENTRY.iter_unpack(body)
        ]
    except KeyError as error:
        raise ValueError("a POSIX ACL with an unknown tag") from error


def _append_acl(blob: bytearray, entries: Iterable[_AclEntry]) -> None:
    """Append an smb_acl_t: a conformant array, its elements aligned to 8 as they hold ids."""
    entries = list(entries)
    blob += struct.pack("<I", len(entries))
    blob += bytes(-len(blob) % 8)
    blob += struct.pack("<II", len(entries), 0)
    for kind, permissions, identity in entries:
        blob += bytes(-len(blob) % 8)
        blob += struct.pack("<HH", kind, kind)
        if kind in _NAMED_TYPES:
            blob += bytes(-len(blob) % 8)
            blob += struct.pack("<Q", identity)
        blob += struct.pack("<I", permissions)
