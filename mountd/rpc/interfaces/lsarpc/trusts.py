"""Trusted domains, of which a server of its own has none ([MS-LSAD] 3.1.4.7).

It has none to find, and makes none: that takes a directory.
"""

from usmbd.mountd.rpc.access import need
from usmbd.mountd.rpc.calls import Status
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.lsarpc.base import (
    CALLS,
    POLICY_TRUST_ADMIN,
    POLICY_VIEW_LOCAL_INFORMATION,
    Policy,
)
from usmbd.mountd.rpc.ndr.types import U32, Enum, Handle, Sid, UnicodeString
from usmbd.mountd.rpc.ntstatus import (
    STATUS_DIRECTORY_SERVICE_REQUIRED,
    STATUS_INVALID_PARAMETER,
    STATUS_NO_MORE_ENTRIES,
    STATUS_NO_SUCH_DOMAIN,
    STATUS_OBJECT_NAME_NOT_FOUND,
)
from usmbd.mountd.rpc.view import View

LEVELS = range(1, 14)
"""TRUSTED_INFORMATION_CLASS ([MS-LSAD] 2.2.7.2)."""


@CALLS.call(13, 50)
def enumerate_trusted_domains(
    view: View, handle: Handle, resume: U32, size: U32
) -> tuple[U32, lsa.TrustedDomains]:
    """LsarEnumerateTrustedDomains and -Ex ([MS-LSAD] 3.1.4.7.8, 3.1.4.7.7)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    raise Status(STATUS_NO_MORE_ENTRIES, 0, lsa.TrustedDomains(None))


@CALLS.call(12, 51, 59)
def create_trusted_domain(view: View, handle: Handle) -> Handle:
    """LsarCreateTrustedDomain and its later versions ([MS-LSAD] 3.1.4.7.10 to 3.1.4.7.12)."""
    need(view.handles.get(handle, Policy).granted, POLICY_TRUST_ADMIN)
    raise Status(STATUS_DIRECTORY_SERVICE_REQUIRED)


@CALLS.call(25)
def open_trusted_domain(view: View, handle: Handle, sid: Sid, desired: U32) -> Handle:
    """LsarOpenTrustedDomain ([MS-LSAD] 3.1.4.7.1)."""
    view.handles.get(handle, Policy)
    raise Status(STATUS_NO_SUCH_DOMAIN)


@CALLS.call(55)
def open_trusted_domain_by_name(
    view: View, handle: Handle, name: UnicodeString, desired: U32
) -> Handle:
    """LsarOpenTrustedDomainByName ([MS-LSAD] 3.1.4.7.9)."""
    view.handles.get(handle, Policy)
    raise Status(STATUS_OBJECT_NAME_NOT_FOUND)


@CALLS.call(39)
def query_trusted_domain(view: View, handle: Handle, sid: Sid, level: Enum) -> lsa.NoTrustPointer:
    """LsarQueryTrustedDomainInfo ([MS-LSAD] 3.1.4.7.2)."""
    raise _none(view, handle, level, STATUS_NO_SUCH_DOMAIN)


@CALLS.call(48)
def query_trusted_domain_by_name(
    view: View, handle: Handle, name: UnicodeString, level: Enum
) -> lsa.NoTrustPointer:
    """LsarQueryTrustedDomainInfoByName ([MS-LSAD] 3.1.4.7.5)."""
    raise _none(view, handle, level, STATUS_OBJECT_NAME_NOT_FOUND)


def _none(view: View, handle: bytes, level: int, status: int) -> Status:
    view.handles.get(handle, Policy)
    return Status(status if level in LEVELS else STATUS_INVALID_PARAMETER)


@CALLS.call(41)
def delete_trusted_domain(view: View, handle: Handle, sid: Sid) -> None:
    """LsarDeleteTrustedDomain ([MS-LSAD] 3.1.4.7.4)."""
    need(view.handles.get(handle, Policy).granted, POLICY_TRUST_ADMIN)
    raise Status(STATUS_NO_SUCH_DOMAIN)


@CALLS.call(73)
def query_forest_trust(
    view: View, handle: Handle, name: UnicodeString, highest: Enum
) -> lsa.NoTrustPointer:
    """LsarQueryForestTrustInformation ([MS-LSAD] 3.1.4.7.15)."""
    view.handles.get(handle, Policy)
    raise Status(STATUS_OBJECT_NAME_NOT_FOUND)
