r"""What of the configuration the registry has: shares, their security, the server's comment.

Shares lie where Samba's `registry shares` has them, HKLM\SOFTWARE\Samba\smbconf, a key each with
the parameters of smb.conf as values, so that `net rpc conf` changes them. The security of shares
lies where Windows has it. The configuration file comes first: nobody writes it but its owner.
"""

import dataclasses
from collections.abc import Sequence

import msgspec

from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.admin.registry_store import REG_SZ, Key, RegistryStore, Value, read_text, text
from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.config.source import GLOBAL, Entry, Section, share_key
from usmbd.mountd.ipc.administration import Result

REG_BINARY = 3

SMBCONF = ("HKLM", "SOFTWARE", "Samba", "smbconf")
SERVER = ("HKLM", "SYSTEM", "CurrentControlSet", "Services", "LanmanServer")
PARAMETERS = (*SERVER, "Parameters")
SHARES = (*SERVER, "Shares")
SECURITY = (*SHARES, "Security")
COMMENT = "srvcomment"

Parameters = dict[str, str]


class Registered:
    """The registry's part of the configuration."""

    def __init__(self, store: RegistryStore) -> None:
        """Use the registry, in which the keys are made that everybody expects."""
        self._store = store
        with store.changing():
            for path in (SMBCONF, PARAMETERS, SECURITY):
                store.make(path)

    def sections(self) -> list[Section]:
        """Return the shares as a configuration file has them; those without a path are none yet."""
        keys = self._store.subkeys(self._store.get(SMBCONF))
        return [section for key in keys if (section := self._section(key)) is not None]

    def section(self, name: str) -> Section | None:
        """Return one share as a configuration file has it, if it is one."""
        key = self._store.find((*SMBCONF, name))
        return self._section(key) if key is not None else None

    def _section(self, key: Key) -> Section | None:
        where = f"the registry's share {key.name}"
        section = Section(key.name, where, 0)
        for value in self._store.values(key):
            if value.type == REG_SZ:
                section.entries.append(Entry(value.name, read_text(value.data), where, 0))
        paths = (entry.name.casefold() in ("path", "directory") for entry in section.entries)
        return section if any(paths) else None

    def securities(self) -> dict[str, bytes]:
        """Return the descriptors of shares, by `share_key`."""
        key = self._store.get(SECURITY)
        return {share_key(value.name): value.data for value in self._store.values(key)}

    @property
    def comment(self) -> str | None:
        """What the server says of itself, where an administrator has set it."""
        value = self._store.value(self._store.get(PARAMETERS), COMMENT)
        return read_text(value.data) if value is not None and value.type == REG_SZ else None

    def has(self, name: str) -> bool:
        """Tell whether there is such a share in the registry."""
        return self._store.find((*SMBCONF, name)) is not None

    def put(self, name: str, parameters: Parameters) -> None:
        """Set parameters of a share, which is made when it is new."""
        key = self._store.make((*SMBCONF, name))
        for parameter, value in parameters.items():
            self._store.set(key, Value(parameter, REG_SZ, text(value)))

    def remove(self, name: str) -> None:
        """Remove a share and its security."""
        self._store.remove(self._store.get((*SMBCONF, name)))
        self.set_security(name, b"")

    def set_security(self, name: str, descriptor: bytes) -> None:
        """Set a share's descriptor; an empty one removes it."""
        key = self._store.get(SECURITY)
        if descriptor:
            self._store.set(key, Value(name, REG_BINARY, descriptor))
        else:
            self._store.unset(key, name)

    def set_comment(self, comment: str) -> None:
        """Set what the server says of itself."""
        self._store.set(self._store.get(PARAMETERS), Value(COMMENT, REG_SZ, text(comment)))


def commented(configuration: Configuration, comment: str | None) -> Configuration:
    """Return a configuration with what an administrator has the server say of itself."""
    if comment is None:
        return configuration
    server = msgspec.structs.replace(configuration.server, server_string=comment)
    return dataclasses.replace(configuration, server=server)


def share_of(path: Sequence[str]) -> str | None:
    """Return the share whose key a path is or leads to; None: it is not among the shares."""
    inside = len(path) > len(SMBCONF) and all(
        own.casefold() == wanted.casefold()
        for own, wanted in zip(path[: len(SMBCONF)], SMBCONF, strict=True)
    )
    return path[len(SMBCONF)] if inside else None


def is_settings(path: Sequence[str]) -> bool:
    """Tell whether a key holds what the configuration is made of besides shares."""
    folded = tuple(each.casefold() for each in path)
    return folded in {tuple(each.casefold() for each in key) for key in (PARAMETERS, SECURITY)}


def check(path: Sequence[str], value: Value | None = None) -> None:
    """RefusedError(INVALID) for a change among the shares that cannot mean anything."""
    share = share_of(path)
    if share is None:
        return
    if share_key(share) == GLOBAL:
        raise RefusedError(Result.INVALID, "[global] is the configuration file's alone")
    if len(path) > len(SMBCONF) + 1:
        raise RefusedError(Result.INVALID, "a share has no keys in it")
    if value is not None and value.type != REG_SZ:
        raise RefusedError(Result.INVALID, f"{value.name} is no text (REG_SZ)")


def is_security(path: Sequence[str]) -> bool:
    """Tell whether the values of a key are the descriptors of shares."""
    return tuple(each.casefold() for each in path) == tuple(each.casefold() for each in SECURITY)
