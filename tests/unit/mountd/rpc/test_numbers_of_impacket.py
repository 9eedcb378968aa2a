"""Numbers of the RPC interfaces, by impacket's own tables, which share no code with ours."""

from collections.abc import Collection
from types import ModuleType

from impacket import nt_errors, system_errors
from impacket import ntlm as their_ntlm
from impacket.dcerpc.v5 import dssp, epm, lsad, ndr, rrp, samr, srvs, wkst
from impacket.dcerpc.v5 import mgmt as their_mgmt
from impacket.ldap.ldaptypes import ACCESS_MASK, ACE
from impacket.uuid import bin_to_uuidtup

from usmbd.mountd.admin import (
    computed,
    descriptors,
    registered,
    registry,
    registry_store,
    share_rights,
)
from usmbd.mountd.ipc import sids
from usmbd.mountd.rpc import access, errors, ntstatus, pdu, translate
from usmbd.mountd.rpc.access import Access
from usmbd.mountd.rpc.interfaces import (
    dssetup,
    epmapper,
    mgmt,
    netdfs,
    shares,
    srvsvc,
    srvsvc_changes,
    srvsvc_running,
    srvsvc_server,
    tables,
    wkssvc,
)
from usmbd.mountd.rpc.interfaces.lsarpc import accounts, rights
from usmbd.mountd.rpc.interfaces.lsarpc import base as lsa_base
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.samr import base, changes, secrets
from usmbd.mountd.rpc.interfaces.samr import types as sam
from usmbd.mountd.rpc.interfaces.winreg import base as winreg
from usmbd.mountd.rpc.interfaces.winreg import keys
from usmbd.mountd.rpc.interfaces.winreg import types as winreg_types
from usmbd.mountd.rpc.security import association, exchange, ntlm, ntlm_protection

SAME_NAMES: list[tuple[ModuleType, ModuleType | type, str]] = [
    (
        access,
        samr,
        "MAXIMUM_ALLOWED GENERIC_ALL GENERIC_EXECUTE GENERIC_WRITE GENERIC_READ"
        " ACCESS_SYSTEM_SECURITY",
    ),
    (registry, samr, "MAXIMUM_ALLOWED ACCESS_SYSTEM_SECURITY"),
    (registry, rrp, "KEY_CREATE_SUB_KEY KEY_READ"),
    (share_rights, ACCESS_MASK, "GENERIC_ALL GENERIC_WRITE GENERIC_READ"),
    (descriptors, ACCESS_MASK, "READ_CONTROL WRITE_OWNER"),
    (registered, rrp, "REG_BINARY"),
    (registry_store, rrp, "REG_SZ"),
    (computed, rrp, "REG_MULTI_SZ"),
    (winreg, rrp, "KEY_QUERY_VALUE KEY_SET_VALUE KEY_ENUMERATE_SUB_KEYS"),
    (winreg, samr, "READ_CONTROL WRITE_DAC WRITE_OWNER ACCESS_SYSTEM_SECURITY"),
    (winreg_types, rrp, "REG_CREATED_NEW_KEY REG_OPENED_EXISTING_KEY"),
    (
        lsa_base,
        lsad,
        "POLICY_VIEW_LOCAL_INFORMATION POLICY_VIEW_AUDIT_INFORMATION POLICY_LOOKUP_NAMES"
        " POLICY_CREATE_ACCOUNT POLICY_GET_PRIVATE_INFORMATION POLICY_TRUST_ADMIN"
        " POLICY_CREATE_SECRET POLICY_SERVER_ADMIN SECRET_SET_VALUE SECRET_QUERY_VALUE",
    ),
    (
        shares,
        srvs,
        "STYPE_DISKTREE STYPE_IPC STYPE_SPECIAL SHI1005_FLAGS_DFS SHI1005_FLAGS_DFS_ROOT",
    ),
    (srvsvc, srvs, "SV_TYPE_WORKSTATION SV_TYPE_SERVER SV_TYPE_NT SV_TYPE_SERVER_NT"),
    (srvsvc_running, srvs, "SESS_GUEST PERM_FILE_READ PERM_FILE_WRITE"),
    (changes, samr, "DELETE"),
]

OTHER_NAMES: list[tuple[ModuleType, ModuleType | type, dict[str, str]]] = [
    (descriptors, ACCESS_MASK, {"WRITE_DAC": "WRITE_DACL"}),
    (
        descriptors,
        ACE,
        {
            "CONTAINER_INHERIT": "CONTAINER_INHERIT_ACE",
            "NO_PROPAGATE": "NO_PROPAGATE_INHERIT_ACE",
            "INHERIT_ONLY": "INHERIT_ONLY_ACE",
            "INHERITED": "INHERITED_ACE",
        },
    ),
    (
        base,
        samr,
        {
            "SERVER_ENUMERATE": "SAM_SERVER_ENUMERATE_DOMAINS",
            "SERVER_LOOKUP": "SAM_SERVER_LOOKUP_DOMAIN",
            "DOMAIN_READ_PASSWORD": "DOMAIN_READ_PASSWORD_PARAMETERS",
            "DOMAIN_READ_OTHER": "DOMAIN_READ_OTHER_PARAMETERS",
            "DOMAIN_MEMBERSHIP": "DOMAIN_GET_ALIAS_MEMBERSHIP",
            "DOMAIN_LIST": "DOMAIN_LIST_ACCOUNTS",
            "DOMAIN_LOOKUP": "DOMAIN_LOOKUP",
            "GROUP_READ": "GROUP_READ_INFORMATION",
            "GROUP_LIST": "GROUP_LIST_MEMBERS",
            "ALIAS_LIST": "ALIAS_LIST_MEMBERS",
            "ALIAS_READ": "ALIAS_READ_INFORMATION",
            "USER_READ_GENERAL": "USER_READ_GENERAL",
            "USER_READ_LOGON": "USER_READ_LOGON",
            "USER_READ_ACCOUNT": "USER_READ_ACCOUNT",
            "USER_LIST_GROUPS": "USER_LIST_GROUPS",
            "NORMAL": "USER_NORMAL_ACCOUNT",
            "NO_EXPIRY": "USER_DONT_EXPIRE_PASSWORD",
        },
    ),
    (
        changes,
        samr,
        {
            "DOMAIN_CREATE_USER": "DOMAIN_CREATE_USER",
            "USER_WRITE": "USER_WRITE_ACCOUNT",
            "USER_FORCE_PASSWORD": "USER_FORCE_PASSWORD_CHANGE",
            "EXPIRED": "USER_ALL_PASSWORDEXPIRED",
        },
    ),
    (accounts, lsad, {"NETWORK_LOGON": "POLICY_MODE_NETWORK"}),
    (sids, samr, {"RID_GUEST": "DOMAIN_USER_RID_GUEST", "RID_USERS": "DOMAIN_GROUP_RID_USERS"}),
    (
        epmapper,
        epm,
        {
            "UUID_FLOOR": "FLOOR_UUID_IDENTIFIER",
            "CONNECTION_FLOOR": "FLOOR_RPCV5_IDENTIFIER",
            "HOST_FLOOR": "FLOOR_MSNB_IDENTIFIER",
            "ALL_ENTRIES": "RPC_C_EP_ALL_ELTS",
            "BY_INTERFACE": "RPC_C_EP_MATCH_BY_IF",
        },
    ),
    (
        ntlm,
        their_ntlm,
        {
            "UNICODE": "NTLMSSP_NEGOTIATE_UNICODE",
            "REQUEST_TARGET": "NTLMSSP_REQUEST_TARGET",
            "SIGN": "NTLMSSP_NEGOTIATE_SIGN",
            "SEAL": "NTLMSSP_NEGOTIATE_SEAL",
            "NTLM": "NTLMSSP_NEGOTIATE_NTLM",
            "ALWAYS_SIGN": "NTLMSSP_NEGOTIATE_ALWAYS_SIGN",
            "TARGET_SERVER": "NTLMSSP_TARGET_TYPE_SERVER",
            "EXTENDED": "NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY",
            "TARGET_INFO": "NTLMSSP_NEGOTIATE_TARGET_INFO",
            "VERSION": "NTLMSSP_NEGOTIATE_VERSION",
            "USE_128": "NTLMSSP_NEGOTIATE_128",
            "KEY_EXCHANGE": "NTLMSSP_NEGOTIATE_KEY_EXCH",
            "USE_56": "NTLMSSP_NEGOTIATE_56",
            "AV_EOL": "NTLMSSP_AV_EOL",
            "AV_COMPUTER": "NTLMSSP_AV_HOSTNAME",
            "AV_DOMAIN": "NTLMSSP_AV_DOMAINNAME",
            "AV_DNS_COMPUTER": "NTLMSSP_AV_DNS_HOSTNAME",
            "AV_FLAGS": "NTLMSSP_AV_FLAGS",
            "AV_TIMESTAMP": "NTLMSSP_AV_TIME",
        },
    ),
]

# lmerr.h: from NERR_BASE, which impacket does not have
NETWORK_ERRORS = {
    "NERR_UNKNOWN_DEV_DIR": 16,
    "NERR_DUPLICATE_SHARE": 18,
    "NERR_USER_NOT_FOUND": 121,
    "NERR_NET_NAME_NOT_FOUND": 210,
    "NERR_DEVICE_NOT_SHARED": 211,
    "NERR_CLIENT_NAME_NOT_FOUND": 212,
    "NERR_FILE_ID_NOT_FOUND": 214,
    "NERR_DFS_NO_SUCH_VOLUME": 562,
    "NERR_DFS_INTERNAL_ERROR": 590,
}

# [MS-LSAD] 3.1.1.2.1, from the LUID 2 on
PRIVILEGES = """
CreateToken AssignPrimaryToken LockMemory IncreaseQuota MachineAccount Tcb Security TakeOwnership
LoadDriver SystemProfile Systemtime ProfileSingleProcess IncreaseBasePriority CreatePagefile
CreatePermanent Backup Restore Shutdown Debug Audit SystemEnvironment ChangeNotify RemoteShutdown
Undock SyncAgent EnableDelegation ManageVolume Impersonate CreateGlobal
"""


def test_identifiers_and_versions() -> None:
    for calls, theirs in (
        (base.CALLS, samr.MSRPC_UUID_SAMR),
        (lsa_base.CALLS, lsad.MSRPC_UUID_LSAD),
        (srvsvc.CALLS, srvs.MSRPC_UUID_SRVS),
        (wkssvc.CALLS, wkst.MSRPC_UUID_WKST),
        (winreg.CALLS, rrp.MSRPC_UUID_RRP),
        (epmapper.CALLS, epm.MSRPC_UUID_PORTMAP),
        (mgmt.CALLS, their_mgmt.MSRPC_UUID_MGMT),
        (dssetup.CALLS, dssp.MSRPC_UUID_DSSP),
    ):
        identifier, version = bin_to_uuidtup(theirs)
        ours = calls.syntax
        assert (str(ours.uuid).upper(), f"{ours.major}.{ours.minor}") == (identifier, version)
    netdfs_id = "4fc742e0-4a10-11cf-8273-00aa004ae673"  # [MS-DFSNM] 1.9
    assert str(netdfs.CALLS.syntax.uuid) == netdfs_id
    assert (netdfs.CALLS.syntax.major, netdfs.CALLS.syntax.minor) == (3, 0)
    for syntax, name, major in (  # C706 appendix I, [MS-RPCE] 2.2.4.12
        (pdu.NDR_SYNTAX, "8a885d04-1ceb-11c9-9fe8-08002b104860", 2),
        (pdu.NDR64_SYNTAX, "71710533-beba-4937-8319-b5dbef9ccc36", 1),
        (pdu.NO_SYNTAX, "00000000-0000-0000-0000-000000000000", 0),
    ):
        assert (str(syntax.uuid), syntax.major, syntax.minor) == (name, major, 0)


def test_constants() -> None:
    for ours, theirs, words in SAME_NAMES:
        for name in words.split():
            assert getattr(ours, name) == getattr(theirs, name), f"{ours.__name__}.{name}"
    for ours, theirs, pairs in OTHER_NAMES:
        for name, their in pairs.items():
            assert getattr(ours, name) == getattr(theirs, their), f"{ours.__name__}.{name}"


def test_errors() -> None:
    for name in (name for name in vars(errors) if name.startswith("ERROR_")):
        assert getattr(errors, name) == getattr(system_errors, name), name
    for name in (name for name in vars(ntstatus) if name.startswith("STATUS_")):
        assert getattr(ntstatus, name) == getattr(nt_errors, name), name
    found = {name: code - 2100 for name, code in vars(errors).items() if name.startswith("NERR_")}
    assert found == NETWORK_ERRORS


def test_rights_of_accounts() -> None:
    """Generic rights of each kind of object; everybody reads, as with Samba."""
    for ours, prefix in (
        (base.SERVER, "SAM_SERVER"),
        (base.DOMAIN, "DOMAIN"),
        (base.GROUP, "GROUP"),
        (base.ALIAS, "ALIAS"),
        (base.USER, "USER"),
    ):
        read, execute = getattr(samr, f"{prefix}_READ"), getattr(samr, f"{prefix}_EXECUTE")
        assert ours == Access(
            all=getattr(samr, f"{prefix}_ALL_ACCESS"),
            read=read,
            write=getattr(samr, f"{prefix}_WRITE"),
            execute=execute,
            everybody=read | execute,
        ), prefix


def test_rights_of_the_policy() -> None:
    """[MS-LSAD] 2.2.1.1.2, 2.2.1.1.3."""
    read = samr.READ_CONTROL
    execute = read | lsad.POLICY_VIEW_LOCAL_INFORMATION | lsad.POLICY_LOOKUP_NAMES
    every = sum(value for name, value in vars(lsad).items() if _is_policy_right(name, value))
    audited = lsad.POLICY_VIEW_AUDIT_INFORMATION | lsad.POLICY_GET_PRIVATE_INFORMATION
    assert Access(
        all=0xF0000 | every,
        read=read | audited,
        write=read | every & ~audited & ~execute & ~lsad.POLICY_NOTIFICATION,
        execute=execute,
        everybody=execute,
    ) == (lsa_base.POLICY)
    changing = (
        lsad.ACCOUNT_ADJUST_PRIVILEGES
        | lsad.ACCOUNT_ADJUST_QUOTAS
        | lsad.ACCOUNT_ADJUST_SYSTEM_ACCESS
    )
    assert Access(
        all=0xF0000 | lsad.ACCOUNT_VIEW | changing,
        read=read | lsad.ACCOUNT_VIEW,
        write=read | changing,
        execute=read,
        everybody=0,
    ) == (lsa_base.ACCOUNT)


def _is_policy_right(name: str, value: object) -> bool:
    others = ("POLICY_MODE_", "POLICY_AUDIT_EVENT_", "POLICY_KERBEROS_")
    return isinstance(value, int) and name.startswith("POLICY_") and not name.startswith(others)


def test_what_a_user_has_bits_for() -> None:
    """WhichFields of UserAll: [MS-SAMR] 2.2.1.8."""
    every = {value for name, value in vars(samr).items() if name.startswith("USER_ALL_")}
    own = {bit for bit in every if bit < samr.USER_ALL_NTPASSWORDPRESENT and bit.bit_count() == 1}
    changeable = samr.USER_ALL_ACCOUNTEXPIRES, samr.USER_ALL_USERACCOUNTCONTROL
    assert changeable == (changes.EXPIRES_FIELD, changes.CONTROL_FIELD)
    assert set(changes.OWN_FIELDS) == own - set(changeable) - set(changes.TEXT_FIELDS)
    texts = {bit: name for bit, name in changes.TEXT_FIELDS.items() if bit in own}
    assert texts == {
        samr.USER_ALL_FULLNAME: "full_name",
        samr.USER_ALL_ADMINCOMMENT: "description",
        samr.USER_ALL_USERCOMMENT: "comment",
        samr.USER_ALL_HOMEDIRECTORY: "home",
        samr.USER_ALL_HOMEDIRECTORYDRIVE: "home_drive",
        samr.USER_ALL_SCRIPTPATH: "script",
        samr.USER_ALL_PROFILEPATH: "profile",
    }
    assert sum(own) == base.FIELDS
    assert changes.OWN_FIELDS[samr.USER_ALL_LOGONCOUNT] == "logons"
    assert changes.PASSWORDS == samr.USER_ALL_NTPASSWORDPRESENT | samr.USER_ALL_LMPASSWORDPRESENT
    mandatory = samr.SE_GROUP_MANDATORY | samr.SE_GROUP_ENABLED_BY_DEFAULT | samr.SE_GROUP_ENABLED
    assert mandatory == base.MEMBER
    assert (
        samr.DOMAIN_SERVER_ENABLE_STATE.enumItems.DomainServerEnabled.value == base.SERVER_ENABLED
    )
    assert samr.DOMAIN_SERVER_ROLE.enumItems.DomainServerRolePrimary.value == base.PRIMARY


def test_privileges() -> None:
    names = [f"Se{name}Privilege" for name in PRIVILEGES.split()]
    found = {name: luid for name, (luid, _) in rights.PRIVILEGES.items()}
    samba = {"SeDiskOperatorPrivilege": 0x1003}  # librpc/idl/security.idl
    assert found == {name: luid for luid, name in enumerate(names, start=2)} | samba


def test_levels() -> None:
    """What each call knows; of some, levels that impacket has and the documents do not allow."""
    _compare(sam.DOMAIN.arms, samr.SAMPR_DOMAIN_INFO_BUFFER)
    _compare(sam.GROUP.arms, samr.SAMPR_GROUP_INFO_BUFFER)
    _compare(sam.ALIAS.arms, samr.SAMPR_ALIAS_INFO_BUFFER)
    _compare(sam.DISPLAY.arms, samr.SAMPR_DISPLAY_INFO_BUFFER)
    _compare(sam.REVISION.arms, samr.SAMPR_REVISION_INFO)
    secret = {18, 23, 24, 25, 26, 31, 32}  # [MS-SAMR] 2.2.6.29; impacket has 30 for 31 and 32
    _compare(sam.USER.arms, samr.SAMPR_USER_INFO_BUFFER, without={18, 23, 24, 25, 26, 30})
    _compare(secrets.USER_SET.arms, samr.SAMPR_USER_INFO_BUFFER, without={30}, besides={31, 32})
    assert secret == changes.SECRET_LEVELS
    # [MS-LSAD] 3.1.4.4.4: 10 and 11 are of the audit log, and refused
    _compare(lsa.POLICY.arms, lsad.LSAPR_POLICY_INFORMATION, without={10, 11})

    # Of 1007 Samba's client alone has a structure, which is not sent.
    assert {1004, 1005, 1006, 1007, 1501} == shares.SAMBA_LEVELS
    _compare(shares.INFO.arms, srvs.SHARE_INFO, besides={1007})
    _compare(shares.LIST.arms, srvs.SHARE_ENUM_UNION, besides=shares.SAMBA_LEVELS)
    _compare(shares.LIST_LEVELS, srvs.SHARE_ENUM_UNION)
    _compare(srvsvc.STICKY_LEVELS, srvs.SHARE_ENUM_UNION, without={501, 503})
    _compare(tables.CONNECTIONS.arms, srvs.CONNECT_ENUM_UNION)
    _compare(tables.FILES.arms, srvs.FILE_ENUM_UNION)
    _compare(tables.SESSIONS.arms, srvs.SESSION_ENUM_UNION)
    _compare(srvsvc_running.SESSION, srvs.SESSION_ENUM_UNION)
    _compare(srvsvc_running.FILE_INFO.arms, srvs.FILE_INFO)
    numbers = set(srvsvc_changes.NUMBERS)  # one value each, of which none can be another here
    assert set(srvsvc_changes.SERVER_INFO.arms) == {101, 102, 1005} | numbers
    assert {2, 502, 503} == srvsvc_changes.ADD_LEVELS
    _compare(srvsvc_changes.SET_LEVELS, srvs.SHARE_INFO, without={0, 501})
    # [MS-SRVS] 2.2.3.7, [MS-WKST] 2.2.4.1: impacket leaves most of the last ones out
    known = set(srvsvc.SERVER_INFO.arms) - {*srvsvc.SAMBA_LEVELS}
    assert {level for level in known if level < 1501} == _levels(srvs.SERVER_INFO, below=1501) - {
        103
    }
    assert {level for level in known if level >= 1501} == set(range(1501, 1557))
    known = set(wkssvc.INFO.arms)
    assert _levels(wkst.WKSTA_INFO) <= known
    assert known == {100, 101, 102, 502, 1010, 1011, 1012, 1013, 1018, 1023, 1027, 1028} | set(
        range(1032, 1063)
    )


def _levels(union: type[ndr.NDRUNION], below: int = 1 << 32) -> set[int]:
    return {level for level in union.union if level < below}


def _compare(
    ours: Collection[int],
    theirs: type[ndr.NDRUNION],
    without: Collection[int] = (),
    besides: Collection[int] = (),
) -> None:
    assert set(ours) == _levels(theirs) - set(without) | set(besides), theirs.__name__


def test_sizes_of_shares() -> None:
    """Bytes of an element of a list, without what its pointers lead to."""
    kinds = {
        0: srvs.SHARE_INFO_0,
        1: srvs.SHARE_INFO_1,
        2: srvs.SHARE_INFO_2,
        501: srvs.SHARE_INFO_501,
        502: srvs.SHARE_INFO_502,
        503: srvs.SHARE_INFO_503,
    }
    assert {
        level: 4 * len(kind.structure) for level, kind in kinds.items()
    } == shares.FIXED_SIZES  # numbers and pointers alone


def test_names_that_all_know() -> None:
    """RIDs of BUILTIN and the SIDs of NT AUTHORITY ([MS-DTYP] 2.4.2.4)."""
    aliases = (
        "Administrators|Users|Guests|Power Users|Account Operators|Server Operators"
        "|Print Operators|Backup Operators|Replicator"
    )
    first = samr.DOMAIN_ALIAS_RID_ADMINS
    expected = dict(enumerate(aliases.split("|"), first))
    assert {rid: name for rid, (name, _) in translate.ALIASES.items()} == expected
    authority = {
        int(each.sid.rpartition("-")[2]): each.name
        for each in translate._WELL_KNOWN
        if each.sid.startswith("S-1-5-") and each.domain == translate.NT_AUTHORITY
    }
    assert authority == {
        **{1: "DIALUP", 2: "NETWORK", 3: "BATCH", 4: "INTERACTIVE", 6: "SERVICE"},
        **{7: "ANONYMOUS LOGON", 8: "PROXY", 9: "ENTERPRISE DOMAIN CONTROLLERS", 10: "SELF"},
        **{11: "Authenticated Users", 12: "RESTRICTED", 13: "TERMINAL SERVER USER"},
        **{14: "REMOTE INTERACTIVE LOGON", 15: "This Organization", 17: "IUSR", 18: "SYSTEM"},
        **{19: "LOCAL SERVICE", 20: "NETWORK SERVICE"},
    }


def test_bits_of_access() -> None:
    """[MS-SMB2] 2.2.13.1.1 and [MS-DTYP] 2.4.3: to read, to write, and what is generic."""
    generic = ACCESS_MASK
    read, write, append, execute = 0x01, 0x02, 0x04, 0x20
    assert read | generic.GENERIC_READ | generic.GENERIC_ALL == share_rights.READ
    assert write | generic.GENERIC_WRITE | generic.GENERIC_ALL == share_rights.WRITE
    assert read | execute == srvsvc_running.READS
    assert write | append == srvsvc_running.WRITES
    assert dict(registry.GENERIC) == {
        generic.GENERIC_ALL: registry.KEY_ALL,
        generic.GENERIC_EXECUTE: registry.KEY_READ,
        generic.GENERIC_WRITE: registry.KEY_WRITE,
        generic.GENERIC_READ: registry.KEY_READ,
    }
    # [MS-RRP] 2.2.3: KEY_WRITE is to set values and to create keys, KEY_ALL every right there is
    assert registry.KEY_WRITE == samr.READ_CONTROL | rrp.KEY_SET_VALUE | rrp.KEY_CREATE_SUB_KEY
    assert (
        registry.KEY_ALL == 0xF0000 | registry.KEY_READ | registry.KEY_WRITE | rrp.KEY_CREATE_LINK
    )
    assert registry.WOW64 == rrp.KEY_WOW64_64KEY | rrp.KEY_WOW64_32KEY
    assert (descriptors.SE_DACL_PRESENT, descriptors.SE_SELF_RELATIVE) == (1 << 2, 1 << 15)
    assert (descriptors.ACCESS_ALLOWED, descriptors.ACCESS_DENIED) == (0, 1)  # 2.4.4.1
    assert (keys.OWNER, keys.GROUP, keys.DACL, keys.SACL) == (1, 2, 4, 8)  # 2.4.7
    assert winreg_types.REG_OPTION_VOLATILE == 1
    assert winreg_types.REG_OPTION_CREATE_LINK == 2
    assert sids.HASHED == 1 << 31


def test_ntlm_of_a_bind() -> None:
    """[MS-NLMP] 2.2.2.5: what has to be there, and what is known."""
    needed = ntlm.UNICODE + ntlm.EXTENDED + ntlm.USE_128 + ntlm.KEY_EXCHANGE
    assert needed == ntlm.NEEDED
    more = ntlm.SIGN + ntlm.SEAL + ntlm.NTLM + ntlm.ALWAYS_SIGN + ntlm.REQUEST_TARGET
    assert needed + more + ntlm.VERSION + ntlm.USE_56 == ntlm.KNOWN
    # [MS-RPCE] 2.2.1.1.7: SPNEGO, NTLM, Kerberos
    types = exchange.AUTHN_GSS_NEGOTIATE, exchange.AUTHN_WINNT, exchange.AUTHN_GSS_KERBEROS
    assert types == (9, 10, 16)
    assert association.PAD == ntlm_protection.MAC_SIZE == 16
    assert ntlm.MIC_PROVIDED == 2
    assert ntlm._MIC_AT == 72  # of AUTHENTICATE_MESSAGE: 2.2.1.3
    assert bytes((6, 1, 0, 0, 0, 0, 0, 15)) == ntlm._OWN_VERSION  # 2.2.2.10


def test_epmapper_and_names() -> None:
    assert epmapper.PIPE_FLOOR == 0x0F  # C706 appendix I
    assert (epmapper.BY_OBJECT, epmapper.BY_BOTH) == (2, 3)  # C706 appendix O
    assert epmapper.NOT_REGISTERED == 0x16C9A0D6  # C706 appendix E
    assert epmapper.MAX_ENTRIES == 500  # [MS-RPCE] 2.2.1.2.4
    assert epmapper.MAX_TOWER == 2000  # 2.2.1.2.5
    assert srvsvc_server.MAX_SHARE_NAME == 80  # [MS-SRVS] 2.2.4.22
    assert srvsvc_server.NAMETYPE_SHARE == 9  # [MS-SRVS] 2.2.2.9
    assert range(1, 15) == srvsvc_server.NAMETYPES
    assert set(map(chr, range(32))) | set('"/\\[]:|<>+=;,*?') <= srvsvc_server.FORBIDDEN
    assert " " not in srvsvc_server.FORBIDDEN
