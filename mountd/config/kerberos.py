"""Kerberos as the configuration says it: by Samba's parameters or ksmbd's.

Samba: `kerberos method` with `dedicated keytab file`, for a member of a domain `security = ads`.
ksmbd: `kerberos support`, `kerberos keytab file`, `kerberos service name`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from usmbd.mountd.config import values as parsers
from usmbd.mountd.config.source import Raw


class KerberosMethod(StrEnum):
    """`kerberos method`: where the keys are."""

    DEFAULT = "default"
    """Samba's secrets.tdb, which is not read here."""
    SECRETS_ONLY = "secrets only"
    SYSTEM_KEYTAB = "system keytab"
    DEDICATED_KEYTAB = "dedicated keytab"
    SECRETS_AND_KEYTAB = "secrets and keytab"
    """`net ads join` keeps the system's keytab beside Samba's own file."""


class Security(StrEnum):
    """`security`: whose users there are."""

    USER = "user"
    ADS = "ads"
    """Of a domain: they come by Kerberos."""


class ServerRole(StrEnum):
    """`server role`, as far as it can be had."""

    STANDALONE = "standalone server"
    MEMBER = "member server"


class NtlmAuth(StrEnum):
    """`ntlm auth`: which versions of NTLM are taken."""

    NTLMV1 = "ntlmv1-permitted"
    NTLMV2 = "ntlmv2-only"
    MSCHAPV2 = "mschapv2-and-ntlmv2-only"
    """NTLMv1 from clients that promise to have got it by MSCHAPv2: by SMB none can."""
    DISABLED = "disabled"


_KIND = re.compile("([A-Za-z]+):")
"""What a keytab is, before where it is; none: a file."""


def keytab(value: Raw) -> str:
    """Return a keytab as the library names it, or nothing; a file by its absolute path."""
    name = parsers.text(value)
    kind = _KIND.match(name)
    path = name[kind.end() :] if kind else name
    if name and (kind is None or kind[1] in ("FILE", "WRFILE")) and not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    return name


@dataclass(frozen=True, slots=True)
class KerberosConfig:
    """What mountd needs for Kerberos."""

    keytab: str = ""
    """As the library names it; empty: its own default, /etc/krb5.keytab mostly."""
    service: str = ""
    realm: str = ""
    separator: str = "\\"
    least_uid: int = 1000
    others: bool = True
    """`allow trusted domains`: tickets of other realms than the server's count."""


def kerberos_of(values: Mapping[str, Any]) -> KerberosConfig | None:
    """Return what the [global] values say; None where Kerberos is not asked for.

    ValueError where they do not go together.
    """
    method: KerberosMethod = values["kerberos method"]
    where = ""
    if method is KerberosMethod.DEDICATED_KEYTAB:
        where = values["dedicated keytab file"]
        if not where:
            raise ValueError("write the file's name as `dedicated keytab file`")
    elif values["kerberos support"]:
        where = values["kerberos keytab file"]
    elif not (
        method in (KerberosMethod.SYSTEM_KEYTAB, KerberosMethod.SECRETS_AND_KEYTAB)
        or values["security"] is Security.ADS
        or values["server role"] is ServerRole.MEMBER
    ):
        return None
    return KerberosConfig(
        where,
        values["kerberos service name"] if values["kerberos support"] else "",
        "" if values["realm"] == "*" else values["realm"],
        values["winbind separator"] or "\\",
        values["min domain uid"],
        values["allow trusted domains"],
    )
