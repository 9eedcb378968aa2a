"""What the interfaces may know: the server, its shares, and who asks."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import msgspec

from usmbd.mountd.account_facts import PasswordPolicy
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig, ShareType
from usmbd.mountd.rpc.handles import Handles
from usmbd.mountd.rpc.pdu import Syntax
from usmbd.mountd.rpc.traffic import Traffic

IPC_SHARE = ShareConfig(name="IPC$", type=ShareType.PIPE, comment="Remote IPC", max_connections=0)
"""The share of the named pipes, which exists whether it is configured or not."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The configuration at one moment; a reload makes a new one."""

    config: ServerConfig
    shares: tuple[ShareConfig, ...]
    machine_sid: str = "S-1-5-21-0-0-0"
    """The machine's domain."""
    home: Callable[[str], ShareConfig | None] = lambda user: None
    """Returns the share of a user's home ([homes]), if he has one."""
    securities: Mapping[str, bytes] = field(default_factory=dict)
    """The descriptors of shares that have their own, by `share_key`."""
    policy: PasswordPolicy = field(default_factory=PasswordPolicy)
    usershares: bool = False
    """Users of this machine share folders (`net usershare`)."""

    def seen_by(self, caller: "Caller") -> "Snapshot":
        """Return what a caller sees: his home, too, as in Samba, whatever [homes] says of browsing.

        Homes of others are not listed. Only users whom mountd let in come here.
        """
        home = None if caller.guest or caller.anonymous else self.home(caller.user)
        if home is None or self.share(home.name) is not None:
            return self
        own = msgspec.structs.replace(home, browseable=True)
        return replace(self, shares=(*self.shares, own))

    def share(self, name: str) -> ShareConfig | None:
        """Return the share of that name in any case, IPC$ included."""
        folded = name.casefold()
        for share in self.all_shares():
            if share.name.casefold() == folded:
                return share
        return None

    def all_shares(self) -> tuple[ShareConfig, ...]:
        """Return the configured shares, with IPC$ at the end when it is not among them."""
        if any(share.name.casefold() == "ipc$" for share in self.shares):
            return self.shares
        return (*self.shares, IPC_SHARE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who opened the pipe."""

    user: str = ""
    domain: str = ""
    uid: int = 65534
    guest: bool = False
    anonymous: bool = False
    address: str = ""
    key: bytes = field(default=b"", repr=False)
    """The application key of his session."""
    credential: int = field(default=0, repr=False)
    ticket: bytes = field(default=b"", repr=False)
    """By what mountd vouches for him: see `LoginResponse`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An interface on a pipe."""

    syntax: Syntax
    pipe: str


@dataclass(slots=True)
class View:
    """What the calls of one opened pipe work on."""

    snapshot: Snapshot
    """As the caller sees it; another after a reload."""
    caller: Caller
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    handles: Handles = field(default_factory=Handles)
    """What the client holds open."""
    syntaxes: tuple[Syntax, ...] = ()
    """The interfaces on the same pipe, for the one that tells of them."""
    endpoints: tuple[Endpoint, ...] = ()
    """The interfaces of all pipes, for the one that tells of them."""
    rights: dict[str, bool] = field(default_factory=dict)
    """What mountd said that the caller may do."""
    traffic: Traffic = field(default_factory=Traffic)
    """Of all clients."""
    listeners: dict[int, Callable[[], None]] = field(default_factory=dict)
    """Calls that wait for another configuration, by what they wait for."""

    def changed(self) -> None:
        """Have all that waits look at the new configuration."""
        listeners, self.listeners = self.listeners, {}
        for each in listeners.values():
            each()

    @property
    def may_enumerate(self) -> bool:
        """Whether the caller may list what is here: null sessions by `restrict anonymous`."""
        return not self.caller.anonymous or self.snapshot.config.restrict_anonymous == 0

    @property
    def may_look_up(self) -> bool:
        """Whether the caller may ask who is meant by a name.

        `net usershare` does, by a null session from this machine, whose accounts all know there.
        """
        if self.may_enumerate:
            return True
        return self.snapshot.usershares and ip_address(self.caller.address or "::").is_loopback

    @property
    def may_see_paths(self) -> bool:
        """Whether the caller may learn where shares lie: if `is_administrator` has said that he is.

        Windows refuses others the levels with paths; smbd tells them all. Here they get the rest.
        """
        return self.rights.get("administrator", False)
