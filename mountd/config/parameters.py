"""The one table of all parameters: what may be said, where, in which words, with what default.

A parameter with a `field` fills the field of that name in `ServerConfig` (scope G) or
`ShareConfig` (scope S); the others are used by mountd itself. Scope-S parameters may stand in
[global] as the shares' default. Defaults are ksmbd's unless a comment gives the reason.
"""

import difflib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from usmbd.mountd.config import values
from usmbd.mountd.config.samba_names import SAMBA_PARAMETERS
from usmbd.mountd.config.source import Entry, Raw, parameter_key
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.settings import Encryption, MangledNames, MapToGuest, Rdma, Signing


class Scope(StrEnum):
    """Where a parameter may stand."""

    GLOBAL = "G"
    SHARE = "S"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table."""

    name: str
    scope: Scope
    parse: Callable[[Raw], Any]
    default: Callable[[], Any]
    field: str = ""
    synonyms: tuple[str, ...] = ()
    inverted: tuple[str, ...] = ()
    """Names that say the contrary (`writable` for `read only`); boolean only."""
    fixed: bool = False
    """Only the default can be said: usmbd behaves so, and has nothing else."""

    def value(self, entry: Entry) -> Any:
        """Return the entry's value; ConfigError when it is malformed or not to be had."""
        try:
            result = self.parse(entry.value)
        except ValueError as error:
            raise entry.error(f"{entry.name} = {_shown(entry.value)}: {error}") from error
        if parameter_key(entry.name) in map(parameter_key, self.inverted):
            result = not result
        if self.fixed and result != self.default():
            raise entry.error(
                f"{entry.name} = {_shown(entry.value)}: usmbd does not have this; leave it out"
            )
        return result


def _shown(value: Raw) -> str:
    """Return a value as it is shown in a message."""
    return ", ".join(value) if isinstance(value, list) else value


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


def _fixed(scope: Scope, name: str, parse: Callable[[Raw], Any], value: Any) -> Parameter:
    """Return a row for what is always so."""
    return Parameter(name, scope, parse, _constant(value), fixed=True)


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
_MIB = 1024 * 1024
# [MS-SMB2] 3.3.5.4: the maxima are at least 65536; 8 MiB is what Windows and Samba offer, and
# with it a message stays below the 16 MiB of the transport's length field.
_IO_SIZE = values.number(64 * 1024, 8 * _MIB)
_COUNT = values.number(0, 65536)

_G = (
    ("netbios name", values.name_text(15), netbios_name),
    ("server string", values.text, "SMB SERVER"),
    ("workgroup", values.name_text(15), "WORKGROUP"),
    ("tcp port", values.number(1, 65535), 445),
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
    ("max connections", _COUNT, 256),
    # ksmbd's manual says 8, which cuts off terminal servers and NAT; its newest code has 32.
    ("max ip connections", _COUNT, 32),
    ("max active sessions", _COUNT, 1024),
    ("max open files", values.number(1, 1 << 20), 10000),
    ("deadtime", values.minutes, 0),
    ("ipc timeout", values.number(0, 3600), 0),
    ("guest account", values.text, "nobody"),
    ("restrict anonymous", values.number(0, 2), 0),
    ("log level", values.number(0, 10), 1),
    ("log json", values.boolean, False),
)
_S = (
    ("comment", values.text, ""),
    ("path", values.path, ""),
    ("guest ok", values.boolean, False),
    ("max connections", _COUNT, 128),
    ("case sensitive", values.boolean, False),
    # Samba's default; ksmbd has none.
    ("mangled names", _MANGLED, MangledNames.ILLEGAL),
    ("hide dot files", values.boolean, True),
    ("hide unreadable", values.boolean, False),
    ("veto files", values.veto_patterns, list),
    ("follow symlinks", values.boolean, False),
    ("crossmnt", values.boolean, True),
    ("store dos attributes", values.boolean, True),
    ("ea support", values.boolean, True),
    ("create mask", values.mode, 0o744),
    ("directory mask", values.mode, 0o755),
    ("force create mode", values.mode, 0),
    ("force directory mode", values.mode, 0),
    ("oplocks", values.boolean, True),
    ("browseable", values.boolean, True),
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
    "tcp port": ("smb ports",),
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
        values.dialect,
        0x0202,
        field="min_protocol",
        synonyms=("min protocol",),
    ),
    _row(
        Scope.GLOBAL,
        "server max protocol",
        values.dialect,
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
    # ksmbd ships with the next three off because they came late there. usmbd was built with
    # them; clients ask only for what they can use, Samba has all three on, and Windows
    # does not even try SMB Direct without multichannel.
    _row(Scope.GLOBAL, "server multi channel support", values.boolean, True, field="multichannel"),
    _row(Scope.GLOBAL, "smb2 leases", values.boolean, True, field="leases"),
    _row(Scope.GLOBAL, "durable handles", values.boolean, True),
    _row(
        Scope.GLOBAL,
        "smbd max io size",
        values.number(512 * 1024, 16 * _MIB),
        8 * _MIB,
        field="max_io_size",
    ),
    _row(
        Scope.GLOBAL,
        "map to guest",
        values.choice(MapToGuest),
        MapToGuest.NEVER,
    ),
    _row(Scope.GLOBAL, "share:fake_fscaps", values.number(0, 0xFFFFFFFF), 64, field="fake_fscaps"),
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
        values.one_of("acl_xattr", "streams_xattr"),
        list,
        field="",
        synonyms=_SYNONYMS["vfs objects"],
    ),
    _row(Scope.SHARE, "force user", values.text, "", field=""),
    _row(Scope.SHARE, "force group", values.text, "", field="", synonyms=("group",)),
    _row(Scope.SHARE, "guest account", values.text, "", field=""),
    *(
        _row(Scope.SHARE, name, values.users, list, field="")
        for name in ("valid users", "invalid users", "read list", "write list", "admin users")
    ),
    *(
        _row(Scope.SHARE, name, values.words, list, field="", synonyms=_SYNONYMS[name])
        for name in ("hosts allow", "hosts deny")
    ),
    # What is always so: said in many smb.conf and ksmbd.conf files, and true.
    _fixed(Scope.GLOBAL, "kerberos support", values.boolean, False),
    _fixed(Scope.GLOBAL, "kerberos service name", values.text, ""),
    _fixed(Scope.GLOBAL, "kerberos keytab file", values.text, ""),
    _fixed(Scope.GLOBAL, "disable netbios", values.boolean, True),
    _fixed(Scope.GLOBAL, "load printers", values.boolean, False),
    _fixed(Scope.GLOBAL, "disable spoolss", values.boolean, True),
    _fixed(Scope.GLOBAL, "encrypt passwords", values.boolean, True),
    _fixed(Scope.GLOBAL, "lanman auth", values.boolean, False),
    _fixed(Scope.GLOBAL, "allow insecure wide links", values.boolean, False),
    _fixed(Scope.SHARE, "wide links", values.boolean, False),
    _fixed(Scope.SHARE, "printable", values.boolean, False),
    _fixed(Scope.SHARE, "inherit owner", values.boolean, False),
    _fixed(Scope.SHARE, "available", values.boolean, True),
    _fixed(Scope.SHARE, "preserve case", values.boolean, True),
    _fixed(Scope.SHARE, "short preserve case", values.boolean, True),
    _fixed(Scope.SHARE, "time machine", values.boolean, False),
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
# Parameters of ksmbd-tools' newest releases that usmbd lacks.
_KSMBD_ONLY = frozenset(map(parameter_key, ("aapl model",)))


def find(entry: Entry, *, in_global: bool) -> Parameter:
    """Return the row that an entry means; ConfigError when it means none or stands wrongly."""
    key = parameter_key(entry.name)
    if in_global and key in GLOBALS:
        return GLOBALS[key]
    if key in SHARES:
        return SHARES[key]
    if key in GLOBALS:
        raise entry.error(f"{entry.name!r} is a global parameter: it belongs in [global]")
    raise _unknown(entry, in_global=in_global)


def _unknown(entry: Entry, *, in_global: bool) -> ConfigError:
    """Return the error for a name that is in no row, with the nearest that is."""
    key = parameter_key(entry.name)
    if key in _KSMBD_ONLY:
        return entry.error(f"{entry.name!r} is a parameter of ksmbd that usmbd does not have")
    if key in SAMBA_PARAMETERS:
        return entry.error(f"{entry.name!r} is a parameter of Samba that usmbd does not have")
    names = {
        name_key: name
        for table in ((GLOBALS, SHARES) if in_global else (SHARES,))
        for row in table.values()
        for name in (row.name, *row.synonyms, *row.inverted)
        for name_key in (parameter_key(name),)
    }
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"; did you mean {names[near[0]]!r}?" if near else ""
    if ":" in entry.name:
        return entry.error(f"{entry.name!r}: usmbd has no such module option{hint}")
    return entry.error(f"{entry.name!r} is not a parameter{hint}")
