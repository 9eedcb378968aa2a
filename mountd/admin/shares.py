"""Shares that administrators add, change and delete while the server runs ([MS-SRVS] 3.1.4.7)."""

import logging
import os
from collections.abc import Callable
from typing import Protocol

from usmbd.mountd.admin import descriptors
from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.admin.registered import Registered
from usmbd.mountd.admin.registry_store import RegistryStore
from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.config.load import check_share_name
from usmbd.mountd.config.source import share_key
from usmbd.mountd.ipc.administration import (
    AddShare,
    ChangeShare,
    DeleteShare,
    Outcome,
    Result,
    SetServerComment,
)
from usmbd.mountd.ipc.settings import ShareType
from usmbd.mountd.substitute import spelled

log = logging.getLogger("usmbd.auth")

ShareRequest = AddShare | ChangeShare | DeleteShare | SetServerComment

OPEN = {"read only": "no"}
"""What a new share says besides its path: who may write, the files and its own security say."""


class Host(Protocol):
    """What this needs of mountd."""

    @property
    def configuration(self) -> Configuration:
        """The configuration of the moment."""

    def reconfigure(self, share: str | None, *, wanted: bool = True) -> int:
        """Have what the registry says of a share take effect; return the configuration's number."""


class Shares:
    """Does what administrators wish of shares."""

    def __init__(self, store: RegistryStore, registered: Registered, host: Host) -> None:
        """Keep shares in the registry."""
        self._store = store
        self._registered = registered
        self._host = host
        self._handlers: dict[type, Callable[..., str | None]] = {
            AddShare: self._add,
            ChangeShare: self._change,
            DeleteShare: self._delete,
            SetServerComment: self._set_comment,
        }

    def answer(self, message: ShareRequest) -> Outcome:
        """Do it; RefusedError when it is refused, and then nothing has changed."""
        with self._store.changing():
            share = self._handlers[type(message)](message)
            wanted = not isinstance(message, DeleteShare)
            generation = self._host.reconfigure(share, wanted=wanted)
        log.info("by DCE/RPC: %s", _said(message), extra={"user": message.by})
        return Outcome(Result.DONE, generation)

    def _add(self, message: AddShare) -> str:
        name = message.name
        try:
            check_share_name(name)
        except ValueError as error:
            raise RefusedError(Result.INVALID, str(error)) from error
        if self._host.configuration.find_share(name) is not None or self._registered.has(name):
            raise RefusedError(Result.EXISTS)
        if share_key(name) in ("global", "homes"):
            raise RefusedError(Result.INVALID, f"[{name}] is no share's name")
        if not os.path.isabs(message.path) or not os.path.isdir(message.path):
            raise RefusedError(Result.NO_FOLDER)
        parameters = {"path": _text(message.path), "comment": _text(message.comment)}
        uses = {"max connections": str(message.max_uses)}
        self._registered.put(name, {**parameters, **uses, **OPEN})
        self._secure(name, message.security)
        return name

    def _change(self, message: ChangeShare) -> str | None:
        share = self._host.configuration.find_share(message.name)
        if share is None:
            raise RefusedError(Result.NOT_FOUND)
        name, config = share.config.name, share.config
        changes = {}
        if message.comment is not None and message.comment != config.comment:
            changes["comment"] = _text(message.comment)
        if message.max_uses is not None and message.max_uses != config.max_connections:
            changes["max connections"] = str(message.max_uses)
        if message.security is not None and config.type is ShareType.PIPE:
            raise RefusedError(Result.FIXED)
        fixed = share_key(name) not in self._host.configuration.registered
        if share_key(name) in self._host.configuration.usershares:
            raise RefusedError(Result.FIXED, f"[{name}] is a user's (net usershare)")
        if changes and fixed:
            raise RefusedError(Result.FIXED, f"[{name}] is in the configuration file")
        if changes:
            self._registered.put(name, changes)
        if message.security is not None:
            self._secure(name, message.security)
        return None if fixed else name

    def _delete(self, message: DeleteShare) -> str:
        share = self._host.configuration.find_share(message.name)
        if self._registered.has(message.name):
            self._registered.remove(message.name)
        elif share is None:
            raise RefusedError(Result.NOT_FOUND)
        else:
            raise RefusedError(Result.FIXED, f"[{message.name}] is not the registry's")
        return message.name

    def _set_comment(self, message: SetServerComment) -> None:
        self._registered.set_comment(_printable(message.comment))

    def _secure(self, name: str, descriptor: bytes) -> None:
        """Keep who may use a share."""
        if descriptor:
            try:
                descriptors.parse(descriptor)
            except ValueError as error:
                raise RefusedError(Result.INVALID, str(error)) from error
        self._registered.set_security(name, descriptor)


def _printable(value: str) -> str:
    """Return a text; RefusedError(INVALID) for what has no place in one."""
    if not value.isprintable():
        raise RefusedError(Result.INVALID, "a value with control characters")
    return value


def _text(value: str) -> str:
    """Return a text as the value of a parameter that says it; RefusedError(INVALID).

    Substitutions and quotes around a value are the configuration file's: what comes by RPC means
    itself.
    """
    return spelled(_printable(value))


def _said(message: ShareRequest) -> str:
    """Return a wish in words."""
    what = type(message).__name__
    return what if isinstance(message, SetServerComment) else f"{what} {message.name}"
