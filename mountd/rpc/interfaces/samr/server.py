"""The server and its domains ([MS-SAMR] 3.1.5.1, 3.1.5.5)."""

from typing import Annotated, Final

from usmbd.mountd.ipc.accounts import (
    Kind,
)
from usmbd.mountd.rpc.access import Access, is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.samr import types as sam
from usmbd.mountd.rpc.interfaces.samr.asked import all_aliases, count_accounts
from usmbd.mountd.rpc.interfaces.samr.base import (
    ALIAS,
    CALLS,
    DOMAIN,
    DOMAIN_READ_OTHER,
    DOMAIN_READ_PASSWORD,
    GROUP,
    MIN_PASSWORD,
    PRIMARY,
    SERVER,
    SERVER_ENABLED,
    SERVER_ENUMERATE,
    SERVER_LOOKUP,
    USER,
    Domain,
    OpenAlias,
    OpenGroup,
    OpenUser,
    Server,
)
from usmbd.mountd.rpc.interfaces.samr.times import span
from usmbd.mountd.rpc.ndr.types import (
    U32,
    UINT16,
    Enum,
    Handle,
    Sid,
    SidPointer,
    UnicodeString,
    Unique,
    WideStringPointer,
)
from usmbd.mountd.rpc.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_INVALID_INFO_CLASS,
    STATUS_INVALID_PARAMETER,
    STATUS_NO_SUCH_DOMAIN,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.translate import (
    BUILTIN,
    BUILTIN_SID,
)
from usmbd.mountd.rpc.view import View


def _connect(view: View, desired: int) -> Asking[bytes]:
    """Open the server, to users alone: who they are is nothing that guests may see."""
    if not view.may_enumerate or view.caller.guest:
        raise Status(STATUS_ACCESS_DENIED)
    granted = SERVER.granted(desired, (yield from is_administrator(view)))
    return view.handles.add(Server(granted))


@CALLS.call(0)
def connect(
    view: View, server: Annotated[int | None, Unique(UINT16)], desired: U32
) -> Asking[Handle]:
    """SamrConnect: of the server's name one character comes ([MS-SAMR] 3.1.5.1.4)."""
    return (yield from _connect(view, desired))


@CALLS.call(57)
def connect2(view: View, server: WideStringPointer, desired: U32) -> Asking[Handle]:
    """SamrConnect2 ([MS-SAMR] 3.1.5.1.3)."""
    return (yield from _connect(view, desired))


@CALLS.call(62)
def connect4(view: View, server: WideStringPointer, revision: U32, desired: U32) -> Asking[Handle]:
    """SamrConnect4 ([MS-SAMR] 3.1.5.1.2)."""
    return (yield from _connect(view, desired))


@CALLS.call(64)
def connect5(
    view: View,
    server: WideStringPointer,
    desired: U32,
    version: U32,
    revision: Annotated[tuple[int, sam.Revision | None], sam.REVISION],
) -> Asking[tuple[U32, Annotated[tuple[int, sam.Revision | None], sam.REVISION], Handle]]:
    """SamrConnect5 ([MS-SAMR] 3.1.5.1.1)."""
    answer = sam.Revision(3, 0)
    try:
        handle = yield from _connect(view, desired)
    except Status as status:
        raise Status(status.code, 1, (1, answer), bytes(20)) from status
    return 1, (1, answer), handle


@CALLS.call(1)
def close(view: View, handle: Handle) -> Handle:
    """SamrCloseHandle ([MS-SAMR] 3.1.5.13.1)."""
    return view.handles.close(handle)


@CALLS.call(3)
def query_security(view: View, handle: Handle, what: U32) -> lsa.DescriptorPointer:
    """SamrQuerySecurityObject ([MS-SAMR] 3.1.5.12.2)."""
    found = view.handles.get(handle, object)
    kinds: dict[type, Access] = {
        **{Server: SERVER, Domain: DOMAIN, OpenUser: USER, OpenGroup: GROUP, OpenAlias: ALIAS}
    }
    data = kinds[type(found)].descriptor()
    return lsa.Descriptor(len(data), data)


def _domains(view: View) -> dict[str, tuple[str, str]]:
    """Return the domains by folded names: the name and the SID."""
    host = view.snapshot.config.netbios_name
    return {
        host.casefold(): (host, view.snapshot.machine_sid),
        BUILTIN.casefold(): ("Builtin", BUILTIN_SID),
    }


@CALLS.call(5)
def lookup_domain(view: View, handle: Handle, name: UnicodeString) -> SidPointer:
    """SamrLookupDomainInSamServer ([MS-SAMR] 3.1.5.11.1)."""
    need(view.handles.get(handle, Server).granted, SERVER_LOOKUP)
    found = _domains(view).get((name or "").casefold())
    if not name:
        raise Status(STATUS_INVALID_PARAMETER)
    if found is None:
        raise Status(STATUS_NO_SUCH_DOMAIN)
    return found[1]


@CALLS.call(6)
def enumerate_domains(
    view: View, handle: Handle, resume: U32, limit: U32
) -> tuple[U32, sam.EntriesPointer, U32]:
    """SamrEnumerateDomainsInSamServer ([MS-SAMR] 3.1.5.2.1)."""
    need(view.handles.get(handle, Server).granted, SERVER_ENUMERATE)
    found = [sam.Entry(0, name) for name, _ in _domains(view).values()][resume:]
    return resume + len(found), sam.Entries(found), len(found)


@CALLS.call(7)
def open_domain(view: View, handle: Handle, desired: U32, sid: Sid) -> Asking[Handle]:
    """SamrOpenDomain ([MS-SAMR] 3.1.5.1.5)."""
    need(view.handles.get(handle, Server).granted, SERVER_LOOKUP)
    granted = DOMAIN.granted(desired, (yield from is_administrator(view)))
    for name, own in _domains(view).values():
        if own == sid:
            return view.handles.add(Domain(name, sid, granted))
    raise Status(STATUS_NO_SUCH_DOMAIN)


@CALLS.call(8, 46)
def query_domain(view: View, handle: Handle, level: Enum) -> Asking[sam.DomainPointer]:
    """SamrQueryInformationDomain and its second version ([MS-SAMR] 3.1.5.5.1)."""
    domain = view.handles.get(handle, Domain)
    if level not in sam.DOMAIN.arms:
        raise Status(STATUS_INVALID_INFO_CLASS)
    need(
        domain.granted,
        {1: DOMAIN_READ_PASSWORD, 11: DOMAIN_READ_PASSWORD | DOMAIN_READ_OTHER}.get(
            level, DOMAIN_READ_PASSWORD if level == 12 else DOMAIN_READ_OTHER
        ),
    )
    config, policy = view.snapshot.config, view.snapshot.policy
    if level in (2, 11):
        users = 0 if domain.builtin else (yield from count_accounts(Kind.USER))
        aliases = yield from all_aliases(view, domain)
        general = sam.DomainGeneral(
            *(sam.NO_LOGOFF, config.server_string, domain.name, "", sam.ZERO),
            *(SERVER_ENABLED, PRIMARY, 1, users, 0 if domain.builtin else 1, len(aliases)),
        )
        return level, general if level == 2 else sam.DomainGeneral2(general, *_LOCKOUT)
    simple: dict[int, object] = {
        1: sam.DomainPassword(
            *(MIN_PASSWORD, 0, 0, span(policy.maximum_age) if policy.maximum_age else sam.FOREVER),
            span(policy.minimum_age),
        ),
        3: sam.OneTime(sam.NO_LOGOFF),
        4: sam.OneText(config.server_string),
        5: sam.OneText(domain.name),
        6: sam.OneText(""),
        7: sam.OneNumber(PRIMARY),
        8: sam.DomainModified(sam.ZERO, sam.ZERO),
        9: sam.OneNumber(SERVER_ENABLED),
        12: sam.DomainLockout(*_LOCKOUT),
        13: sam.DomainModified2(sam.ZERO, sam.ZERO, sam.ZERO),
    }
    return level, simple[level]


_LOCKOUT: Final = (0, 0, 0)
"""Nobody is locked out: wrong passwords are delayed."""


@CALLS.call(56)
def domain_password_rules(view: View, server: lsa.StringPointer) -> sam.PasswordRules:
    """SamrGetDomainPasswordInformation ([MS-SAMR] 3.1.5.13.3)."""
    return sam.PasswordRules(MIN_PASSWORD, 0)


@CALLS.call(44)
def user_password_rules(view: View, handle: Handle) -> sam.PasswordRules:
    """SamrGetUserDomainPasswordInformation ([MS-SAMR] 3.1.5.13.2)."""
    view.handles.get(handle, OpenUser)
    return sam.PasswordRules(MIN_PASSWORD, 0)


@CALLS.call(65)
def rid_to_sid(view: View, handle: Handle, rid: U32) -> SidPointer:
    """SamrRidToSid, of the domain of an open object ([MS-SAMR] 3.1.5.13.7)."""
    found = view.handles.get(handle, object)
    return f"{found.sid if isinstance(found, Domain) else view.snapshot.machine_sid}-{rid}"


@CALLS.call(67)
def validate_password(view: View) -> None:
    """SamrValidatePassword: over TCP alone, and encrypted ([MS-SAMR] 3.1.5.13.7)."""
    raise CallError(Fault.ACCESS_DENIED)
