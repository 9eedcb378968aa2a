r"""Which account a Kerberos principal is.

A ticket's name is looked for among the system's accounts and the users of the password file, in
the spellings that winbind (`DOMAIN\user`) and sssd (`user@realm`) give the accounts of a domain,
and by its bare name. For a realm that the server is not in only the spelling with the realm counts:
whoever runs one that this one trusts could call a user, or a domain, of his as he likes.
"""

from dataclasses import dataclass

from usmbd.mountd.identity import Accounts
from usmbd.mountd.users import UserTable

MAX_PRINCIPAL = 256
"""Characters; Windows' names have 20, realms are DNS names."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A user of a realm."""

    name: str
    realm: str
    is_own: bool
    """The realm is the server's."""

    def __str__(self) -> str:
        return f"{self.name}@{self.realm}"


def parse_principal(text: str, own_realm: str) -> Principal:
    """Read `user@REALM` as the library shows it; ValueError for what is no user's name.

    `user/instance@REALM` is another principal than the user's, and a backslash escapes what would
    be read otherwise ([RFC1964] 2.1.3): neither is an account.
    """
    name, at, realm = text.rpartition("@")
    if not at or not name or not realm or len(text) > MAX_PRINCIPAL:
        raise ValueError(f"{text!r} is no user of a realm")
    if "/" in name or "\\" in text or "@" in name or not text.isprintable():
        raise ValueError(f"{text!r} is no user's name")
    return Principal(name, realm, realm == own_realm)


@dataclass(frozen=True, slots=True)
class Mapping:
    """How principals become accounts."""

    workgroup: str
    """The domain's short name, where the ticket's PAC says none."""
    realm: str = ""
    """`realm`: the server's own, where the keytab has others, too; "" for any of the keytab."""
    separator: str = "\\"
    """`winbind separator`."""
    least_uid: int = 1000
    """`min domain uid`: accounts below are this machine's alone (CVE-2020-25717)."""

    others: bool = True
    """`allow trusted domains`: whether anybody of another realm than the server's counts."""

    def admits(self, principal: Principal) -> bool:
        """Whether the principal may be anybody's here."""
        return self.others or self._is_own(principal)

    def _is_own(self, principal: Principal) -> bool:
        return principal.is_own and (not self.realm or principal.realm == self.realm.upper())

    def spellings(self, principal: Principal, domain: str = "") -> list[str]:
        """Return the names that the principal's account may have, the surest first."""
        is_own = self._is_own(principal)
        names = []
        for name in dict.fromkeys((principal.name, principal.name.lower())):
            if is_own:
                names.append(f"{domain or self.workgroup}{self.separator}{name}")
            names += [f"{name}@{principal.realm}", f"{name}@{principal.realm.lower()}"]
            if is_own:
                names.append(name)
        return names

    def qualified(self, principal: Principal, domain: str) -> str:
        """Return the name of an account that only the domain has."""
        if principal.is_own:
            return f"{domain}{self.separator}{principal.name}"
        return f"{principal.name}@{principal.realm}"

    def find(
        self, principal: Principal, users: UserTable, accounts: Accounts, domain: str = ""
    ) -> str | None:
        """Return the account's name, None when there is none that may be used."""
        if not self.admits(principal):
            return None
        for name in self.spellings(principal, domain):
            stored = users.find(name)
            uid = accounts.uid(stored or name)
            if uid is not None:
                return (stored or name) if uid >= self.least_uid else None
            if stored is not None:
                return stored
        return None
