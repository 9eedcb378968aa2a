"""What mountd tells the RPC process: of the configuration, which it could not read, and of the log.

Frames on its standard input: a length (u32, little-endian) and so many bytes of JSON.
"""

import os
from collections.abc import Iterable, Iterator

import msgspec

from usmbd.mountd.account_facts import PasswordPolicy
from usmbd.mountd.config.load import Configuration
from usmbd.mountd.homes import home_of
from usmbd.mountd.identity import Accounts
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig
from usmbd.mountd.rpc.view import Snapshot
from usmbd.mountd.shares import Share
from usmbd.mountd.substitute import fill

READ_SIZE = 1 << 16
"""Bytes taken from mountd at a time: what a pipe holds."""

_LENGTH_SIZE = 4


class Home(msgspec.Struct, array_like=True):
    """What a user's home has apart from [homes]."""

    path: str
    comment: str


class RpcConfiguration(msgspec.Struct, tag=True):
    """All that the interfaces may know, and how much is to be logged."""

    server: ServerConfig
    log_level: int
    """At least the configuration's."""
    shares: list[ShareConfig]
    homes: ShareConfig | None = None
    """The share [homes], where there is one."""
    home: dict[str, Home] = {}
    """The homes of the users of the password file, by name."""
    machine_sid: str = ""
    """The machine's domain."""
    generation: int = 0
    securities: dict[str, bytes] = {}
    """The descriptors of shares that have their own, by `share_key`."""
    policy: PasswordPolicy = msgspec.field(default_factory=PasswordPolicy)
    usershares: bool = False

    def snapshot(self) -> Snapshot:
        """Return it as the interfaces see it."""
        shares = [*self.shares, *([self.homes] if self.homes is not None else [])]
        return Snapshot(
            self.server,
            tuple(shares),
            self.machine_sid,
            home=self._home_share,
            securities=self.securities,
            policy=self.policy,
            usershares=self.usershares,
        )

    def _home_share(self, user: str) -> ShareConfig | None:
        """Return the share of a user's home, if he has one."""
        found = self.home.get(user)
        if found is None or self.homes is None:
            return None
        return msgspec.structs.replace(
            self.homes, name=user, path=found.path, comment=found.comment
        )


class Debugging(msgspec.Struct, tag=True):
    """The areas of the log whose debug messages are wanted; no others."""

    areas: list[str]


Told = RpcConfiguration | Debugging


def describe(
    configuration: Configuration,
    users: Iterable[str],
    accounts: Accounts,
    log_level: int,
    machine_sid: str = "",
) -> RpcConfiguration:
    """Return what may be known, with the homes of these users where there are any."""
    home, homes = {}, configuration.homes
    if homes is not None:
        # All at once: a system that looks each up in a file of all of them takes minutes.
        known = accounts.homes()
        for user in users:
            if directory := known.get(user) or accounts.home(user):
                share = home_of(homes, user, directory).config
                home[user] = Home(str(share.path), str(share.comment))
    return RpcConfiguration(
        configuration.server,
        log_level,
        list(map(_plain, configuration.shares.values())),
        _plain(homes) if homes is not None else None,
        home,
        machine_sid,
        policy=configuration.policy,
        usershares=configuration.base is not None and configuration.base.rules is not None,
    )


def frame(told: Told) -> bytes:
    """Return the bytes of one frame."""
    data = msgspec.json.encode(told)
    return len(data).to_bytes(_LENGTH_SIZE, "little") + data


def _plain(share: Share) -> ShareConfig:
    """Return a share whose texts are nothing but texts: templates are for mountd."""
    comment = str(fill(share.config.comment, share.substitutions))
    return msgspec.structs.replace(share.config, path=str(share.config.path), comment=comment)


_decoder = msgspec.json.Decoder(Told)


class Frames:
    """Puts frames together from what comes, and decodes them; mountd alone writes there."""

    def __init__(self, descriptor: int) -> None:
        """Read from `descriptor`."""
        self.descriptor = descriptor
        self.ended = False
        """Nothing more comes: mountd is gone."""
        self._data = bytearray()

    def read(self) -> None:
        """Take what has come, or wait for it."""
        data = os.read(self.descriptor, READ_SIZE)
        self.ended = not data
        self._data += data

    def complete(self) -> Iterator[Told]:
        """Yield what has come whole, each once."""
        while len(self._data) >= _LENGTH_SIZE:
            end = _LENGTH_SIZE + int.from_bytes(self._data[:_LENGTH_SIZE], "little")
            if len(self._data) < end:
                return
            data = bytes(self._data[_LENGTH_SIZE:end])
            del self._data[:end]
            yield _decoder.decode(data)

    def first(self) -> RpcConfiguration | None:
        """Wait for the first configuration, which comes before all else; None: mountd is gone."""
        while not self.ended:
            self.read()
            for told in self.complete():
                if isinstance(told, RpcConfiguration):
                    return told
        return None
