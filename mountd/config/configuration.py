"""Everything that the configuration says, as mountd and the tools use it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from usmbd.mountd.account_facts import PasswordPolicy
from usmbd.mountd.config.base import Base
from usmbd.mountd.config.idmap import IdmapRange
from usmbd.mountd.config.kerberos import KerberosConfig
from usmbd.mountd.config.source import share_key
from usmbd.mountd.config.username_map import UsernameMap
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.mountd.shares import HostAccess, Share


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that a configuration file says."""

    path: Path
    server: ServerConfig
    hosts: HostAccess
    shares: dict[str, Share]
    """By `share_key`, IPC$ included."""
    kerberos: KerberosConfig | None = None
    """What is asked for; whether it can be had is `mountd.kerberos.offer`'s to find out."""
    idmap: list[IdmapRange] = field(default_factory=list)
    """Of domains: which ids their users have that the system does not know."""
    username_map: UsernameMap = field(default_factory=UsernameMap)
    """Whom clients mean by the names that they log in with."""
    policy: PasswordPolicy = field(default_factory=PasswordPolicy)
    """How old passwords may get, and have to."""
    homes: Share | None = None
    """[homes]: what a share of a user's home directory is made from."""
    warnings: list[str] = field(default_factory=list)
    """What works and is probably not meant, as `file:line: message`."""
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The values that count, by section and parameter, as far as the files say them."""
    registered: frozenset[str] = frozenset()
    """The shares, by `share_key`, that the registry has and not the file."""
    usershares: dict[str, bytes] = field(default_factory=dict)
    """The shares, by `share_key`, that users of the machine have made, and who may use each."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Shares of the registry that are not served, and why."""
    base: Base | None = field(default=None, compare=False, repr=False)
    """What the file says of it, for changes of the registry."""

    @property
    def administrators(self) -> tuple[str, ...]:
        """`admin users` of [global]: who administrates the server by DCE/RPC."""
        return tuple(self.said.get("global", {}).get("admin users", ()))

    def naming(self, user: str) -> list[str]:
        """Return the names of the shares (or `global`) whose settings name the user."""
        folded = user.casefold()
        shares = [
            share.config.name
            for share in self.shares.values()
            if folded in map(str.casefold, share.access.names())
        ]
        is_guest = folded == self.server.guest_account.casefold()
        return [*shares, "global"] if is_guest else shares

    def find_share(self, name: str) -> Share | None:
        """Return the share of that name in any case."""
        return self.shares.get(share_key(name))
