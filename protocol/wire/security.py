"""ACEs, ACLs and self-relative security descriptors ([MS-DTYP] 2.4.4 to 2.4.6).

What clients send is hostile until parsed: every offset, size and count is checked against the
bytes that are there, and a parse costs no more than the buffer is long. Errors are
SmbError(INVALID_SID | INVALID_ACL | INVALID_SECURITY_DESCR).
"""

import struct
from dataclasses import dataclass, replace
from typing import Self

from usmbd.protocol.wire.access import map_generic
from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.query_info import (
    DACL_SECURITY_INFORMATION,
    GROUP_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION,
    SACL_SECURITY_INFORMATION,
)
from usmbd.protocol.wire.sid import Sid
from usmbd.protocol.wire.status import NtStatus, SmbError

# ACE types ([MS-DTYP] 2.4.4.1).
ACCESS_ALLOWED_ACE_TYPE = 0x00
ACCESS_DENIED_ACE_TYPE = 0x01
SYSTEM_AUDIT_ACE_TYPE = 0x02
SYSTEM_ALARM_ACE_TYPE = 0x03
ACCESS_ALLOWED_OBJECT_ACE_TYPE = 0x05
ACCESS_DENIED_OBJECT_ACE_TYPE = 0x06
SYSTEM_AUDIT_OBJECT_ACE_TYPE = 0x07
SYSTEM_ALARM_OBJECT_ACE_TYPE = 0x08
ACCESS_ALLOWED_CALLBACK_ACE_TYPE = 0x09
ACCESS_DENIED_CALLBACK_ACE_TYPE = 0x0A
ACCESS_ALLOWED_CALLBACK_OBJECT_ACE_TYPE = 0x0B
ACCESS_DENIED_CALLBACK_OBJECT_ACE_TYPE = 0x0C
SYSTEM_AUDIT_CALLBACK_ACE_TYPE = 0x0D
SYSTEM_ALARM_CALLBACK_ACE_TYPE = 0x0E
SYSTEM_AUDIT_CALLBACK_OBJECT_ACE_TYPE = 0x0F
SYSTEM_ALARM_CALLBACK_OBJECT_ACE_TYPE = 0x10
SYSTEM_MANDATORY_LABEL_ACE_TYPE = 0x11
SYSTEM_RESOURCE_ATTRIBUTE_ACE_TYPE = 0x12
SYSTEM_SCOPED_POLICY_ID_ACE_TYPE = 0x13

# ACE flags ([MS-DTYP] 2.4.4.1).
OBJECT_INHERIT_ACE = 0x01
CONTAINER_INHERIT_ACE = 0x02
NO_PROPAGATE_INHERIT_ACE = 0x04
INHERIT_ONLY_ACE = 0x08
INHERITED_ACE = 0x10
SUCCESSFUL_ACCESS_ACE_FLAG = 0x40
FAILED_ACCESS_ACE_FLAG = 0x80

# Flags of an object ACE: which GUIDs follow ([MS-DTYP] 2.4.4.3).
ACE_OBJECT_TYPE_PRESENT = 0x1
ACE_INHERITED_OBJECT_TYPE_PRESENT = 0x2

# SECURITY_DESCRIPTOR control ([MS-DTYP] 2.4.6).
SE_OWNER_DEFAULTED = 0x0001
SE_GROUP_DEFAULTED = 0x0002
SE_DACL_PRESENT = 0x0004
SE_DACL_DEFAULTED = 0x0008
SE_SACL_PRESENT = 0x0010
SE_SACL_DEFAULTED = 0x0020
SE_DACL_AUTO_INHERIT_REQ = 0x0100
SE_SACL_AUTO_INHERIT_REQ = 0x0200
SE_DACL_AUTO_INHERITED = 0x0400
SE_SACL_AUTO_INHERITED = 0x0800
SE_DACL_PROTECTED = 0x1000
SE_SACL_PROTECTED = 0x2000
SE_RM_CONTROL_VALID = 0x4000
SE_SELF_RELATIVE = 0x8000

ACL_REVISION = 2
ACL_REVISION_DS = 4

# Types whose mask is followed by flags and GUIDs before the SID.
_OBJECT_TYPES = frozenset({0x05, 0x06, 0x07, 0x08, 0x0B, 0x0C, 0x0F, 0x10})
_KNOWN_TYPES = frozenset({0x00, 0x01, 0x02, 0x03, *range(0x05, 0x14)})

_ACE_HEAD = struct.Struct("<BBHI")
_ACL_HEAD = struct.Struct("<BBHHH")
_DESCRIPTOR_HEAD = struct.Struct("<BBHIIII")
_GUID_SIZE = 16
_U16_MAX = 0xFFFF


@dataclass(frozen=True, slots=True)
class Ace:
    """An access control entry ([MS-DTYP] 2.4.4).

    `object_part` holds an object ACE's flags and GUIDs, `application_data` what follows the SID
    (a condition, a resource attribute): both are kept as they are.
    """

    type: int
    flags: int
    mask: int
    sid: Sid
    object_part: bytes = b""
    application_data: bytes = b""

    @classmethod
    def parse(cls, buffer: Buffer) -> Self:
        """Read the one ACE that `buffer` is, AceSize bytes long."""
        kind, flags, _, mask = _ACE_HEAD.unpack_from(buffer)
        if kind not in _KNOWN_TYPES:
            raise SmbError(NtStatus.INVALID_ACL)
        sid_start = _ACE_HEAD.size
        if kind in _OBJECT_TYPES:
            if len(buffer) < sid_start + 4:
                raise SmbError(NtStatus.INVALID_ACL)
            present = int.from_bytes(buffer[sid_start : sid_start + 4], "little")
            sid_start += 4
            sid_start += _GUID_SIZE if present & ACE_OBJECT_TYPE_PRESENT else 0
            sid_start += _GUID_SIZE if present & ACE_INHERITED_OBJECT_TYPE_PRESENT else 0
        sid = Sid.parse(buffer, sid_start)
        return cls(
            kind,
            flags,
            mask,
            sid,
            bytes(buffer[_ACE_HEAD.size : sid_start]),
            bytes(buffer[sid_start + sid.size :]),
        )

    def pack(self) -> bytes:
        """Return the ACE's bytes, a multiple of four; SmbError(INVALID_ACL) past 64 KiB."""
        tail = b"".join((self.object_part, self.sid.pack(), self.application_data))
        tail += bytes(-len(tail) % 4)
        size = _ACE_HEAD.size + len(tail)
        if size > _U16_MAX:
            raise SmbError(NtStatus.INVALID_ACL)
        return _ACE_HEAD.pack(self.type, self.flags, size, self.mask) + tail


@dataclass(frozen=True, slots=True)
class Acl:
    """An access control list ([MS-DTYP] 2.4.5)."""

    aces: tuple[Ace, ...] = ()
    revision: int = ACL_REVISION

    @classmethod
    def parse(cls, buffer: Buffer, offset: int = 0) -> Self:
        """Read an ACL at `offset`: AceCount ACEs, each within AclSize."""
        view = memoryview(buffer)[offset:]
        if len(view) < _ACL_HEAD.size:
            raise SmbError(NtStatus.INVALID_ACL)
        revision, _, acl_size, count, _ = _ACL_HEAD.unpack_from(view)
        # Revision 3 is of kernels before Windows 2000, which Windows and Samba take; smbcacls
        # sends it with each list that is set whole.
        if not ACL_REVISION <= revision <= ACL_REVISION_DS or acl_size > len(view):
            raise SmbError(NtStatus.INVALID_ACL)
        position = _ACL_HEAD.size
        aces = []
        for _ in range(count):
            # An ACE takes 16 bytes at least, so AclSize bounds the loop whatever AceCount says.
            if position + _ACE_HEAD.size > acl_size:
                raise SmbError(NtStatus.INVALID_ACL)
            size = int.from_bytes(view[position + 2 : position + 4], "little")
            if size < _ACE_HEAD.size or size % 4 or position + size > acl_size:
                raise SmbError(NtStatus.INVALID_ACL)
            aces.append(Ace.parse(view[position : position + size]))
            position += size
        return cls(tuple(aces), revision)

    def pack(self) -> bytes:
        """Return the ACL's bytes; SmbError(INVALID_ACL) when they pass 64 KiB."""
        packed = [ace.pack() for ace in self.aces]
        size = _ACL_HEAD.size + sum(map(len, packed))
        if size > _U16_MAX:
            raise SmbError(NtStatus.INVALID_ACL)
        return b"".join((_ACL_HEAD.pack(self.revision, 0, size, len(packed), 0), *packed))


@dataclass(frozen=True, slots=True)
class SecurityDescriptor:
    """A security descriptor ([MS-DTYP] 2.4.6).

    With SE_DACL_PRESENT in `control` and no `dacl` everything is allowed (a NULL DACL); a
    `dacl` without ACEs allows nothing.
    """

    owner: Sid | None = None
    group: Sid | None = None
    dacl: Acl | None = None
    sacl: Acl | None = None
    control: int = 0

    @classmethod
    def parse(cls, buffer: Buffer, start: int = 0, origin: int = 0) -> Self:
        """Read a self-relative descriptor at `start`, whose offsets count from `origin`.

        On the wire both are zero; Samba's extended attribute counts from its own beginning.
        """
        body = start + _DESCRIPTOR_HEAD.size
        if len(buffer) < body:
            raise SmbError(NtStatus.INVALID_SECURITY_DESCR)
        revision, _, control, owner_offset, group_offset, sacl_offset, dacl_offset = (
            _DESCRIPTOR_HEAD.unpack_from(buffer, start)
        )
        if revision != 1:
            raise SmbError(NtStatus.INVALID_SECURITY_DESCR)

        def place(offset: int) -> int:
            if not body <= origin + offset < len(buffer):
                raise SmbError(NtStatus.INVALID_SECURITY_DESCR)
            return origin + offset

        has_dacl = control & SE_DACL_PRESENT and dacl_offset
        has_sacl = control & SE_SACL_PRESENT and sacl_offset
        return cls(
            owner=Sid.parse(buffer, place(owner_offset)) if owner_offset else None,
            group=Sid.parse(buffer, place(group_offset)) if group_offset else None,
            dacl=Acl.parse(buffer, place(dacl_offset)) if has_dacl else None,
            sacl=Acl.parse(buffer, place(sacl_offset)) if has_sacl else None,
            control=control,
        )

    def pack(self, origin_distance: int = 0) -> bytes:
        """Return the self-relative form: owner, group, SACL, DACL, each at a multiple of four.

        `origin_distance` is how many bytes precede the descriptor in what its offsets count.
        """
        control = self.control | SE_SELF_RELATIVE
        control |= SE_DACL_PRESENT if self.dacl is not None else 0
        control |= SE_SACL_PRESENT if self.sacl is not None else 0
        position = origin_distance + _DESCRIPTOR_HEAD.size
        offsets = []
        parts = []
        for part in (self.owner, self.group, self.sacl, self.dacl):
            packed = part.pack() if part is not None else b""
            offsets.append(position if part is not None else 0)
            parts.append(packed)
            position += len(packed)
        return b"".join((_DESCRIPTOR_HEAD.pack(1, 0, control, *offsets), *parts))

    @property
    def parts(self) -> int:
        """The parts that are there, as `*_SECURITY_INFORMATION`."""
        return (
            (OWNER_SECURITY_INFORMATION if self.owner is not None else 0)
            | (GROUP_SECURITY_INFORMATION if self.group is not None else 0)
            | (DACL_SECURITY_INFORMATION if self.control & SE_DACL_PRESENT else 0)
            | (SACL_SECURITY_INFORMATION if self.control & SE_SACL_PRESENT else 0)
        )

    def select(self, information: int) -> "SecurityDescriptor":
        """Return only the parts that a QUERY_INFO asks for (`*_SECURITY_INFORMATION`)."""
        dacl = information & DACL_SECURITY_INFORMATION
        sacl = information & SACL_SECURITY_INFORMATION
        control = (_DACL_CONTROL if dacl else 0) | (_SACL_CONTROL if sacl else 0)
        return SecurityDescriptor(
            owner=self.owner if information & OWNER_SECURITY_INFORMATION else None,
            group=self.group if information & GROUP_SECURITY_INFORMATION else None,
            dacl=self.dacl if dacl else None,
            sacl=self.sacl if sacl else None,
            control=self.control & control,
        )

    def with_parts(self, new: "SecurityDescriptor", information: int) -> "SecurityDescriptor":
        """Return this descriptor with the parts of `new` that a SET_INFO names.

        An owner and a group that are not in `new` stay. An ACL that is named and not in `new`
        becomes a NULL ACL, which for the DACL allows everything, as Windows and Samba have it
        ([MS-FSA] 2.1.5.17 assigns what came). Generic rights in `new` are mapped. An ACL
        counts as inherited automatically only when the client both says and requests so
        ([MS-DTYP] 2.5.3.4.2).
        """
        changes = self
        if information & OWNER_SECURITY_INFORMATION and new.owner is not None:
            changes = replace(changes, owner=new.owner)
        if information & GROUP_SECURITY_INFORMATION and new.group is not None:
            changes = replace(changes, group=new.group)
        if information & DACL_SECURITY_INFORMATION:
            control = changes.control & ~_DACL_CONTROL | _canonical(new.control) & _DACL_CONTROL
            control |= SE_DACL_PRESENT
            changes = replace(changes, dacl=_mapped(new.dacl), control=control)
        if information & SACL_SECURITY_INFORMATION:
            control = changes.control & ~_SACL_CONTROL | _canonical(new.control) & _SACL_CONTROL
            changes = replace(changes, sacl=_mapped(new.sacl), control=control)
        return changes


_DACL_CONTROL = (
    SE_DACL_PRESENT
    | SE_DACL_DEFAULTED
    | SE_DACL_AUTO_INHERIT_REQ
    | SE_DACL_AUTO_INHERITED
    | SE_DACL_PROTECTED
)
_SACL_CONTROL = (
    SE_SACL_PRESENT
    | SE_SACL_DEFAULTED
    | SE_SACL_AUTO_INHERIT_REQ
    | SE_SACL_AUTO_INHERITED
    | SE_SACL_PROTECTED
)


def _canonical(control: int) -> int:
    """Return `control` with each AUTO_INHERITED bit only where its request bit is set too."""
    requests = control & (SE_DACL_AUTO_INHERIT_REQ | SE_SACL_AUTO_INHERIT_REQ)
    # AUTO_INHERITED is the bit two above AUTO_INHERIT_REQ, for the DACL as for the SACL.
    inherited = control & requests << 2
    both = SE_DACL_AUTO_INHERITED | SE_SACL_AUTO_INHERITED
    return control & ~(requests | both) | inherited


def _mapped(acl: Acl | None) -> Acl | None:
    """Return `acl` with the generic rights of its effective ACEs mapped."""
    if acl is None:
        return None
    return replace(
        acl,
        aces=tuple(
            ace if ace.flags & INHERIT_ONLY_ACE else replace(ace, mask=map_generic(ace.mask))
            for ace in acl.aces
        ),
    )
