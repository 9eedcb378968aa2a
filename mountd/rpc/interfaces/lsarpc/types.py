"""The structures of LSA ([MS-LSAD] 2.2, [MS-LSAT] 2.2)."""

from collections.abc import Sequence
from typing import Annotated, Any

from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.streams import NdrError
from usmbd.mountd.rpc.ndr.types import (
    U8,
    U16,
    U32,
    U64,
    Array,
    Counted,
    Enum,
    LargeString,
    Octets,
    Reader,
    SidPointer,
    SizeT,
    Type,
    UnicodeString,
    Union,
    Unique,
    Uuid,
    WideStringPointer,
    Writer,
    structure,
)


@structure
class QualityOfService:
    """SECURITY_QUALITY_OF_SERVICE ([MS-LSAD] 2.2.2.7)."""

    length: SizeT
    impersonation_level: U16
    tracking_mode: U8
    effective_only: U8


@structure
class ObjectAttributes:
    """LSAPR_OBJECT_ATTRIBUTES ([MS-LSAD] 2.2.2.4): of it nothing is used."""

    length: SizeT
    root_directory: Annotated[int | None, Unique(ndr.UINT8)]
    object_name: WideStringPointer
    attributes: U32
    security_descriptor: Annotated[int | None, Unique(ndr.UINT8)]
    quality: Annotated[QualityOfService | None, Unique(ndr.of(QualityOfService))]


@structure
class Domain:
    """LSAPR_TRUST_INFORMATION, LSAPR_POLICY_ACCOUNT_DOM_INFO ([MS-LSAD] 2.2.4.5)."""

    name: LargeString
    sid: SidPointer


@structure
class DnsDomain:
    """LSAPR_POLICY_DNS_DOMAIN_INFO ([MS-LSAD] 2.2.4.14)."""

    name: LargeString
    dns_domain: LargeString
    dns_forest: LargeString
    guid: Uuid
    sid: SidPointer


@structure
class AuditLog:
    """POLICY_AUDIT_LOG_INFO ([MS-LSAD] 2.2.4.3)."""

    percent_full: U32
    maximum_size: U32
    retention: U64
    shutdown: U8
    time_to_shutdown: U64
    next_record: U32


@structure
class AuditEvents:
    """LSAPR_POLICY_AUDIT_EVENTS_INFO ([MS-LSAD] 2.2.4.4)."""

    mode: U32
    settings: Annotated[list[int] | None, Unique(Array(ndr.UINT32))]
    count: U32


@structure
class Text:
    """LSAPR_POLICY_PD_ACCOUNT_INFO ([MS-LSAD] 2.2.4.6)."""

    name: UnicodeString


@structure
class Role:
    """POLICY_LSA_SERVER_ROLE_INFO ([MS-LSAD] 2.2.4.8)."""

    role: U32


@structure
class Replica:
    """LSAPR_POLICY_REPLICA_SRCE_INFO ([MS-LSAD] 2.2.4.9)."""

    source: UnicodeString
    account: UnicodeString


@structure
class Modification:
    """POLICY_MODIFICATION_INFO ([MS-LSAD] 2.2.4.11)."""

    modified: U64
    created: U64


_DOMAIN, _DNS = ndr.of(Domain), ndr.of(DnsDomain)
POLICY = Union(
    ndr.Enumeration(),
    {
        1: ndr.of(AuditLog),
        2: ndr.of(AuditEvents),
        3: _DOMAIN,
        4: ndr.of(Text),
        5: _DOMAIN,
        6: ndr.of(Role),
        7: ndr.of(Replica),
        9: ndr.of(Modification),
        12: _DNS,
        13: _DNS,
        14: _DOMAIN,
    },
)
"""LSAPR_POLICY_INFORMATION ([MS-LSAD] 2.2.4.2)."""

PolicyPointer = Annotated[tuple[int, Any] | None, Unique(POLICY)]


@structure
class SidHolder:
    """LSAPR_SID_INFORMATION ([MS-LSAT] 2.2.17)."""

    sid: SidPointer


@structure
class Sids:
    """LSAPR_SID_ENUM_BUFFER ([MS-LSAT] 2.2.18)."""

    sids: Annotated[list[SidHolder] | None, Counted(ndr.of(SidHolder))]


@structure
class Domains:
    """LSAPR_REFERENCED_DOMAIN_LIST ([MS-LSAT] 2.2.12), LSAPR_TRUSTED_ENUM_BUFFER with a size."""

    domains: Annotated[list[Domain] | None, Counted(_DOMAIN)]
    size: U32


DomainsPointer = Annotated[Domains | None, Unique(ndr.of(Domains))]


@structure
class TrustedDomains:
    """LSAPR_TRUSTED_ENUM_BUFFER ([MS-LSAD] 2.2.7.19), and its Ex brother, which are empty here."""

    domains: Annotated[list[Domain] | None, Counted(_DOMAIN)]


@structure
class TranslatedSid:
    """LSA_TRANSLATED_SID ([MS-LSAT] 2.2.13)."""

    use: Enum
    rid: U32
    domain: U32


@structure
class TranslatedSidEx:
    """LSAPR_TRANSLATED_SID_EX ([MS-LSAT] 2.2.23)."""

    use: Enum
    rid: U32
    domain: U32
    flags: U32


@structure
class TranslatedSidEx2:
    """LSAPR_TRANSLATED_SID_EX2 ([MS-LSAT] 2.2.25)."""

    use: Enum
    sid: SidPointer
    domain: U32
    flags: U32


@structure
class TranslatedName:
    """LSAPR_TRANSLATED_NAME ([MS-LSAT] 2.2.19)."""

    use: Enum
    name: UnicodeString
    domain: U32


@structure
class TranslatedNameEx:
    """LSAPR_TRANSLATED_NAME_EX ([MS-LSAT] 2.2.21)."""

    use: Enum
    name: UnicodeString
    domain: U32
    flags: U32


@structure
class TranslatedSids:
    """LSAPR_TRANSLATED_SIDS ([MS-LSAT] 2.2.15)."""

    sids: Annotated[list[TranslatedSid] | None, Counted(ndr.of(TranslatedSid))]


@structure
class TranslatedSidsEx:
    """LSAPR_TRANSLATED_SIDS_EX ([MS-LSAT] 2.2.24)."""

    sids: Annotated[list[TranslatedSidEx] | None, Counted(ndr.of(TranslatedSidEx))]


@structure
class TranslatedSidsEx2:
    """LSAPR_TRANSLATED_SIDS_EX2 ([MS-LSAT] 2.2.26)."""

    sids: Annotated[list[TranslatedSidEx2] | None, Counted(ndr.of(TranslatedSidEx2))]


@structure
class TranslatedNames:
    """LSAPR_TRANSLATED_NAMES ([MS-LSAT] 2.2.20)."""

    names: Annotated[list[TranslatedName] | None, Counted(ndr.of(TranslatedName))]


@structure
class TranslatedNamesEx:
    """LSAPR_TRANSLATED_NAMES_EX ([MS-LSAT] 2.2.22)."""

    names: Annotated[list[TranslatedNameEx] | None, Counted(ndr.of(TranslatedNameEx))]


Names = Annotated[list[str], Array(ndr.UNICODE_STRING)]


@structure
class Luid:
    """LUID ([MS-DTYP] 2.3.7)."""

    low: U32
    high: U32


@structure
class Privilege:
    """LSAPR_POLICY_PRIVILEGE_DEF ([MS-LSAD] 2.2.8.1)."""

    name: LargeString
    luid: Luid


@structure
class Privileges:
    """LSAPR_PRIVILEGE_ENUM_BUFFER ([MS-LSAD] 2.2.8.2)."""

    privileges: Annotated[list[Privilege] | None, Counted(ndr.of(Privilege))]


class PrivilegeSetType(Type):
    """LSAPR_PRIVILEGE_SET ([MS-LSAD] 2.2.5.5): an array at its end, whose count stands before."""

    smallest = 12

    def alignment(self, ndr64: bool) -> int:
        """Return the alignment of the counts."""
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> list[tuple[int, int]]:
        """Read the LUIDs."""
        elements = reader.elements(12)
        count, _ = reader.number(4), reader.number(4)
        if count != elements:
            raise NdrError("a set whose count lies")
        found = []
        for _ in range(count):
            low, high, _ = reader.number(4), reader.number(4), reader.number(4)
            found.append((low, high))
        return found

    def write(self, writer: Writer, value: Sequence[tuple[int, int]]) -> None:
        """Write LUIDs of privileges that are not switched on by themselves."""
        writer.count(len(value))
        for number in (len(value), 0):
            writer.number(number, 4)
        for low, high in value:
            for number in (low, high, 0):
                writer.number(number, 4)


PrivilegeSet = Annotated[list[tuple[int, int]], PrivilegeSetType()]
PrivilegeSetPointer = Annotated[list[tuple[int, int]] | None, Unique(PrivilegeSetType())]


@structure
class Rights:
    """LSAPR_USER_RIGHT_SET ([MS-LSAD] 2.2.5.4)."""

    rights: Annotated[list[str] | None, Counted(ndr.CountedString(large=True))]


@structure
class Descriptor:
    """LSAPR_SR_SECURITY_DESCRIPTOR ([MS-LSAD] 2.2.2.3)."""

    size: U32
    data: Annotated[bytes | None, Unique(Octets())]


@structure
class Cipher:
    """LSAPR_CR_CIPHER_VALUE ([MS-LSAD] 2.2.6.1)."""

    length: U32
    size: U32
    data: Annotated[bytes | None, Unique(Octets(varying=True))]


NoTrustPointer = Annotated[int | None, Unique(ndr.UINT32)]
"""What is told of a trusted domain, of which there is none: always null."""

DescriptorPointer = Annotated[Descriptor | None, Unique(ndr.of(Descriptor))]
StringPointer = Annotated[str | None, Unique(ndr.UNICODE_STRING)]
LargePointer = Annotated[str | None, Unique(ndr.CountedString(large=True))]
