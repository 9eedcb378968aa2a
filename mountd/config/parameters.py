"""The one table of all parameters: what may be said, where, in which words, with what default.

A parameter with a `field` fills the field of that name in `ServerConfig` (scope G) or
`ShareConfig` (scope S); the others are used by mountd itself. Scope-S parameters may stand in
[global] as the shares' default. Defaults are ksmbd's unless a comment gives the reason.
"""

import difflib
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from usmbd.mountd.config import values
from usmbd.mountd.config.kerberos import KerberosMethod, NtlmAuth, Security, ServerRole, keytab
from usmbd.mountd.config.parameter import WHO_MAY
from usmbd.mountd.config.parameter import Parameter as Parameter
from usmbd.mountd.config.parameter import Scope as Scope
from usmbd.mountd.config.parameter import shown as shown
from usmbd.mountd.config.samba import Foreign, find_foreign
from usmbd.mountd.config.source import Entry, Raw, parameter_key
from usmbd.mountd.ipc.settings import (
    CscPolicy,
    Durability,
    Encryption,
    FinderInfo,
    InheritOwner,
    MangledNames,
    MapToGuest,
    Rdma,
    ResourceForks,
    Signing,
    Slow,
)
from usmbd.mountd.substitute import STATIC

_MISSPELLED = 0.85
"""How near (difflib) a name is to the one that is meant: `vaild users`, not `ftp write only`."""


def _constant(value: Any) -> Callable[[], Any]:
    """Return a default that is always the same value."""
    return lambda: value


def _row(
    scope: Scope,
    name: str,
    parse: Callable[[Raw], Any],
    default: Any,
    *,
    field: str | None = None,
    **more: Any,
) -> Parameter:
    """Return a row; the field has the parameter's name unless another (or none) is given."""
    if field is None:
        field = name.replace(" ", "_")
    default = default if callable(default) else _constant(default)
    return Parameter(name, scope, parse, default, field, **more)


def netbios_name() -> str:
    """Return the host's name as a NetBIOS name: its first label, upper case, 15 characters."""
    return socket.gethostname().split(".")[0].upper()[:15] or "USMBD"


_SIGNING = values.choice(
    Signing,
    no="disabled",
    off="disabled",
    false="disabled",
    default="auto",
    if_required="auto",
    yes="enabled",
    true="enabled",
    on="enabled",
    desired="enabled",
    required="mandatory",
    force="mandatory",
    forced="mandatory",
    enforced="mandatory",
)
_ENCRYPTION = values.choice(
    Encryption,
    no="off",
    false="off",
    disabled="off",
    default="auto",
    if_required="auto",
    # ksmbd and Samba alike mean by "enabled" that the client decides.
    enabled="auto",
    yes="auto",
    true="auto",
    on="auto",
    mandatory="required",
    force="required",
    forced="required",
    enforced="required",
)
_RDMA = values.choice(
    Rdma,
    off="no",
    false="no",
    disabled="no",
    default="auto",
    on="yes",
    true="yes",
    enabled="yes",
    required="yes",
    mandatory="yes",
)
_MANGLED = values.choice(
    MangledNames,
    **dict.fromkeys(("false", "0", "off", "disable", "disabled"), "no"),
    **dict.fromkeys(("true", "1", "on", "enable", "enabled"), "yes"),
)
_SLOW = values.choice(
    Slow,
    **dict.fromkeys(("false", "0", "off", "local"), "no"),
    **dict.fromkeys(("true", "1", "on", "remote"), "yes"),
)
_SECURITY = values.choice(Security, auto="user", domain="ads")
_ROLE = values.choice(
    ServerRole, auto="standalone server", standalone="standalone server", member="member server"
)
_NTLM_AUTH = values.choice(
    NtlmAuth,
    **dict.fromkeys(("no", "false", "0", "off"), "ntlmv2-only"),
    **dict.fromkeys(("yes", "true", "1", "on"), "ntlmv1-permitted"),
)
_MIB = 1024 * 1024
# [MS-SMB2] 3.3.5.4: the maxima are at least 65536; 8 MiB is what Windows and Samba offer, and
# with it a message stays below the 16 MiB of the transport's length field.
_IO_SIZE = values.number(64 * 1024, 8 * _MIB)
_COUNT = values.number(0, 65536)
_DAYS = values.number(0, 999)

_G = (
    ("netbios name", values.machine_name(15), netbios_name),
    ("server string", values.described(STATIC), "SMB SERVER"),
    ("workgroup", values.name_text(15), "WORKGROUP"),
    ("tcp port", values.port, 445),
    ("interfaces", values.interfaces, list),
    ("bind interfaces only", values.boolean, False),
    # ksmbd takes RDMA where there is any; Samba has no such parameter.
    ("rdma", _RDMA, Rdma.AUTO),
    ("workers", values.workers, lambda: values.workers("auto")),
    ("state directory", values.path, ""),
    ("data directory", values.path, ""),
    # Samba's; ksmbd's 4, 4 and 1 MiB refuse the 8 MiB that Windows lists directories with.
    ("smb2 max read", _IO_SIZE, 8 * _MIB),
    ("smb2 max write", _IO_SIZE, 8 * _MIB),
    ("smb2 max trans", _IO_SIZE, 8 * _MIB),
    ("smb2 max credits", values.number(1, 65535), 8192),
    # ksmbd's 256 and 32 (8 by its manual) cut off clusters and terminal servers, which come by
    # hundreds from one address; strangers do not count.
    ("max connections", _COUNT, values.default_connections),
    ("max ip connections", _COUNT, values.default_ip_connections),
    ("max active sessions", _COUNT, values.default_connections),
    ("max open files", values.number(1, 1 << 20), 10000),
    ("deadtime", values.minutes, 0),
    # Ours: smbd has a process for each client, ksmbd the kernel. A disk that wakes up needs 10 s.
    ("worker timeout", values.number(0, 3600), 15),
    # Samba's 300; its kernel then asks 9 times, 75 s apart: 16 minutes. Here it is 3 in all.
    ("keepalive", values.number(0, 32767), 120),
    ("ipc timeout", values.number(0, 3600), 0),
    # Samba's, and ours for what wsdd does beside Samba.
    ("multicast dns register", values.boolean, True),
    ("ws discovery", values.boolean, True),
    ("guest account", values.text, "nobody"),
    # Both Samba's; ksmbd never tells of changes.
    ("change notify", values.boolean, True),
    ("kernel change notify", values.boolean, True),
    # ksmbd's and Samba's 0 tells strangers the shares and who is connected; Windows' is 1.
    ("restrict anonymous", values.number(0, 2), 1),
    # Ours: Samba has no costs.
    ("dfs sites", values.dfs_sites, list),
    ("log level", values.log_level, 1),
    ("log json", values.boolean, False),
)
_S = (
    ("comment", values.described(STATIC + "SUuH"), ""),
    ("path", values.template_path, ""),
    ("guest ok", values.boolean, False),
    ("max connections", _COUNT, 128),
    ("case sensitive", values.auto_boolean("auto", meaning=False), False),
    # Samba's default; ksmbd has none.
    ("mangled names", _MANGLED, MangledNames.ILLEGAL),
    ("csc policy", values.choice(CscPolicy), CscPolicy.MANUAL),
    ("hide dot files", values.boolean, True),
    ("access based share enum", values.boolean, False),
    ("hide unreadable", values.boolean, False),
    ("hide files", values.veto_patterns, list),
    ("hide special files", values.boolean, False),
    ("veto files", values.veto_patterns, list),
    ("delete veto files", values.boolean, False),
    ("delete readonly", values.boolean, False),
    ("follow symlinks", values.boolean, False),
    ("crossmnt", values.boolean, True),
    # Ours: neither ksmbd nor smbd has a loop that others wait for.
    ("slow", _SLOW, Slow.AUTO),
    ("store dos attributes", values.boolean, True),
    ("ea support", values.boolean, True),
    ("create mask", values.mode, 0o744),
    ("directory mask", values.mode, 0o755),
    ("force create mode", values.mode, 0),
    ("force directory mode", values.mode, 0),
    ("inherit permissions", values.boolean, False),
    ("inherit owner", values.choice(InheritOwner, yes="windows and unix"), InheritOwner.NO),
    ("nt acl support", values.boolean, True),
    ("oplocks", values.boolean, True),
    ("kernel oplocks", values.boolean, False),
    # Samba has it on, and no durable handles then; who has both in mind says so.
    ("posix locking", values.boolean, False),
    # Samba's; ksmbd has it for the server as a whole, off.
    ("durable handles", values.boolean, True),
    # ksmbd's and Samba's, in both off.
    ("continuous availability", values.boolean, False),
    ("persistent handles durability", values.choice(Durability), Durability.DATA),
    ("browseable", values.boolean, True),
    ("msdfs root", values.boolean, False),
    ("msdfs proxy", values.dfs_targets, list),
    # Ours, after Windows' New-SmbShare -CompressData: off, as there.
    ("compress data", values.boolean, False),
)
_SYNONYMS = {
    "browseable": ("browsable",),
    "case sensitive": ("casesignames",),
    "create mask": ("create mode",),
    "directory mask": ("directory mode",),
    "guest ok": ("public",),
    "path": ("directory",),
    "root directory": ("root", "root dir"),
    "hosts allow": ("allow hosts",),
    "hosts deny": ("deny hosts",),
    "force group": ("group",),
    "tcp port": ("smb ports", "smb port"),
    "vfs objects": ("vfs object",),
    "log level": ("debug level",),
}

TABLE: tuple[Parameter, ...] = (
    *(_row(Scope.GLOBAL, n, p, d, synonyms=_SYNONYMS.get(n, ())) for n, p, d in _G),
    *(_row(Scope.SHARE, n, p, d, synonyms=_SYNONYMS.get(n, ())) for n, p, d in _S),
    # 2.0.2 costs nothing more, and the oldest clients that are not SMB1 speak it.
    _row(
        Scope.GLOBAL,
        "server min protocol",
        values.lowest_dialect,
        0x0202,
        field="min_protocol",
        synonyms=("min protocol",),
    ),
    _row(
        Scope.GLOBAL,
        "server max protocol",
        values.highest_dialect,
        0x0311,
        field="max_protocol",
        synonyms=("max protocol", "protocol"),
    ),
    _row(Scope.GLOBAL, "server signing", _SIGNING, Signing.AUTO, field="signing"),
    _row(
        Scope.GLOBAL,
        "smb3 encryption",
        _ENCRYPTION,
        Encryption.AUTO,
        field="encryption",
        synonyms=("server smb encrypt", "smb encrypt"),
    ),
    # Ours: Windows' DisableCompression; the ksmbd of Linux 7.2 always has it, Samba 4.25 has none.
    _row(Scope.GLOBAL, "smb3 compression", values.boolean, True, field="compression"),
    # ksmbd ships with it off because it came late there. Clients ask only for what they can use,
    # Samba has it on, and Windows does not even try SMB Direct without it.
    _row(Scope.GLOBAL, "server multi channel support", values.boolean, True, field="multichannel"),
    # ksmbd has it off by default; on Samba it is on, and clients cache far less without.
    _row(Scope.GLOBAL, "smb2 leases", values.boolean, True, field="leases"),
    # As with ksmbd and Samba 4.23; only clients that ask for them notice.
    _row(Scope.GLOBAL, "smb3 unix extensions", values.boolean, True, field="posix_extensions"),
    # Samba has it on. With it Linux clients believe names that others have changed for as long as
    # they look at them: protocol/state/README.md.
    _row(
        Scope.GLOBAL,
        "smb3 directory leases",
        values.auto_boolean("auto", meaning=False),
        False,
        field="directory_leases",
    ),
    # Many ksmbd.conf and smb.conf have it: it is read, and says that it does nothing yet.
    _row(
        Scope.GLOBAL,
        "smbd max io size",
        values.number(512 * 1024, 16 * _MIB),
        8 * _MIB,
        field="max_io_size",
    ),
    _row(Scope.GLOBAL, "map to guest", values.choice(MapToGuest), MapToGuest.NEVER),
    _row(Scope.GLOBAL, "host msdfs", values.boolean, True, field=""),
    _row(Scope.SHARE, "msdfs shuffle referrals", values.boolean, False, field="msdfs_shuffle"),
    _row(Scope.GLOBAL, "username map", values.path, "", field=""),
    # Samba keeps them in a database (`pdbedit -P`), in seconds; days as Windows has them.
    _row(Scope.GLOBAL, "maximum password age", _DAYS, 0, field=""),
    _row(Scope.GLOBAL, "minimum password age", _DAYS, 0, field=""),
    # Samba's, with its defaults; Debian's smbd has 100 of them and says so in no file.
    *(
        _row(Scope.GLOBAL, f"usershare {name}", parse, default, field="")
        for name, parse, default in (
            ("max shares", values.number(0, 10000), 0),
            ("path", values.path, "/var/lib/samba/usershares"),
            ("allow guests", values.boolean, False),
            ("owner only", values.boolean, True),
            ("prefix allow list", values.words, list),
            ("prefix deny list", values.words, list),
            ("template share", values.text, ""),
        )
    ),
    # Whose users there are, and how they come: what of it is said decides `config.kerberos`.
    *(
        _row(Scope.GLOBAL, name, parse, default, field="")
        for name, parse, default in (
            ("security", _SECURITY, Security.USER),
            ("server role", _ROLE, ServerRole.STANDALONE),
            ("ntlm auth", _NTLM_AUTH, NtlmAuth.NTLMV2),
            ("realm", values.text, ""),
            ("kerberos method", values.choice(KerberosMethod), KerberosMethod.DEFAULT),
            ("dedicated keytab file", keytab, ""),
            # ksmbd's three, with its defaults.
            ("kerberos support", values.boolean, False),
            ("kerberos keytab file", keytab, ""),
            ("kerberos service name", values.text, ""),
            # Empty is Samba's backslash, which at a line's end goes on with the next line.
            ("winbind separator", values.separator, ""),
            ("min domain uid", values.number(0, 0xFFFFFFFF), 1000),
            ("allow trusted domains", values.boolean, True),
        )
    ),
    _row(Scope.GLOBAL, "share:fake_fscaps", values.number(0, 0xFFFFFFFF), 0, field="fake_fscaps"),
    _row(
        Scope.GLOBAL,
        "smbd:FSCTL_SMBTORTURE",
        values.boolean,
        False,
        field="fsctl_smbtorture",
    ),
    _row(
        Scope.GLOBAL,
        "root directory",
        values.path,
        "",
        field="",
        synonyms=_SYNONYMS["root directory"],
    ),
    _row(
        Scope.SHARE,
        "read only",
        values.boolean,
        True,
        inverted=("writable", "writeable", "write ok"),
    ),
    _row(
        Scope.SHARE,
        "server smb encrypt",
        _ENCRYPTION,
        Encryption.AUTO,
        field="",
        synonyms=("smb encrypt",),
    ),
    _row(
        Scope.SHARE,
        "vfs objects",
        values.vfs_objects,
        list,
        field="",
        synonyms=_SYNONYMS["vfs objects"],
    ),
    # vfs_shadow_copy2's, with its defaults.
    *(
        _row(Scope.SHARE, f"shadow:{name}", parse, default, field="")
        for name, parse, default in (
            ("snapdir", values.snapshot_directory, ".snapshots"),
            ("mountpoint", values.path, ""),
            ("basedir", values.path, ""),
            ("snapsharepath", values.inner_path, ""),
            ("format", values.time_format, "@GMT-%Y.%m.%d-%H.%M.%S"),
            ("localtime", values.boolean, False),
            ("sscanf", values.boolean, False),
            ("sort", values.sort_order, "desc"),
            ("fixinodes", values.boolean, False),
        )
    ),
    # vfs_fruit's, with its defaults.
    *(
        _row(Scope.SHARE, f"fruit:{name}", parse, default, field="", synonyms=synonyms)
        for name, parse, default, synonyms in (
            ("aapl", values.boolean, True, ()),
            ("metadata", values.choice(FinderInfo), FinderInfo.NETATALK, ()),
            ("resource", values.fruit_resource, ResourceForks.FILE, ("fruit:ressource",)),
            ("veto_appledouble", values.boolean, True, ()),
            ("convert_adouble", values.boolean, True, ()),
            ("wipe_intentionally_left_blank_rfork", values.boolean, False, ()),
            ("delete_empty_adfiles", values.boolean, False, ()),
            ("model", values.text, "MacSamba", ()),
            ("copyfile", values.boolean, False, ()),
            ("nfs_aces", values.boolean, True, ()),
            ("posix_rename", values.boolean, True, ()),
            ("zero_file_id", values.boolean, True, ()),
            ("time machine", values.boolean, False, ("time machine",)),
            ("time machine max size", values.byte_size, 0, ("time machine max size",)),
        )
    ),
    *(
        _row(Scope.SHARE, f"readdir_attr:{name}", values.boolean, True, field="")
        for name in ("aapl_rsize", "aapl_finder_info", "aapl_max_access")
    ),
    _row(Scope.SHARE, "force user", values.template, "", field=""),
    _row(Scope.SHARE, "force group", values.template, "", field="", synonyms=("group",)),
    _row(Scope.SHARE, "guest account", values.text, "", field=""),
    *(
        _row(Scope.SHARE, name, values.users, list, field="")
        for name in ("valid users", "invalid users", "read list", "write list", "admin users")
    ),
    *(
        _row(Scope.SHARE, name, values.words, list, field="", synonyms=_SYNONYMS[name])
        for name in ("hosts allow", "hosts deny")
    ),
    _row(Scope.SHARE, "guest only", values.boolean, False, field="", synonyms=("only guest",)),
    # What keeps a section from being a share at all.
    _row(Scope.SHARE, "available", values.boolean, True, field=""),
    _row(Scope.SHARE, "-valid", values.boolean, True, field=""),
    _row(Scope.SHARE, "printable", values.boolean, False, field="", synonyms=("print ok",)),
)


def _index(scope: Scope) -> dict[str, Parameter]:
    """Return the rows of one scope by every name they have."""
    return {
        parameter_key(name): row
        for row in TABLE
        if row.scope is scope
        for name in (row.name, *row.synonyms, *row.inverted)
    }


GLOBALS = _index(Scope.GLOBAL)
SHARES = _index(Scope.SHARE)


def find(entry: Entry, *, in_global: bool) -> Parameter | Foreign:
    """Return what an entry means, also if that is nothing here; ConfigError as of `_unknown`."""
    key = parameter_key(entry.name)
    if in_global and key in GLOBALS:
        return GLOBALS[key]
    if key in SHARES:
        return SHARES[key]
    if key in GLOBALS:
        return Foreign(entry.name, "it belongs in [global]", harmless=True, misplaced=True)
    return find_foreign(entry.name) or _unknown(entry, in_global=in_global)


def _unknown(entry: Entry, *, in_global: bool) -> Foreign:
    """Return what a name in no row comes to: it is left out, as by smbd, and the nearest is told.

    ConfigError where that decides who may do what: it would be open without.
    """
    deciding, foreign = _nearest(entry.name, in_global)
    if deciding:
        raise entry.error(f"{entry.name!r} is not a parameter; did you mean {deciding!r}?")
    return foreign


@lru_cache(256)  # each share of an appliance has the same ones
def _nearest(unknown: str, in_global: bool) -> tuple[str, Foreign]:
    """Return which name that decides who may do what is meant, if one is; and what to say."""
    key = parameter_key(unknown)
    rows = {
        parameter_key(name): (name, row)
        for table in ((GLOBALS, SHARES) if in_global else (SHARES, GLOBALS))
        for row in table.values()
        for name in (row.name, *row.synonyms, *row.inverted)
    }
    deciding = [name for name, (_, row) in rows.items() if row.name in WHO_MAY]
    meant = difflib.get_close_matches(key, deciding, n=1, cutoff=_MISSPELLED)
    near = difflib.get_close_matches(key, rows, n=1)
    hint = f"; did you mean {rows[near[0]][0]!r}?" if near else ""
    what = "module option" if ":" in unknown else "parameter"
    reason = f"neither usmbd nor Samba has such a {what}{hint}"
    foreign = Foreign(unknown, reason, harmless=True, misplaced=True)
    return rows[meant[0]][0] if meant else "", foreign
