"""Users that administrators make, remove and give passwords, and who change their own.

[MS-SAMR] 3.1.5.4.4, 3.1.5.6.4, 3.1.5.10. The password file is written whole, in one step.
"""

import logging
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Protocol

from usmbd.mountd.account_facts import AccountFacts
from usmbd.mountd.admin import passwords
from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.messages import LoginStatus
from usmbd.mountd.ipc.users import (
    ChangePassword,
    CreateUser,
    DeleteUser,
    Scheme,
    SetPassword,
    SetStanding,
    UsersRequest,
)
from usmbd.mountd.users import NO_PASSWORD, NT_HASH_SIZE, UserTable, check_user_name, hash_password

log = logging.getLogger("usmbd.auth")


class Derived(NamedTuple):
    """A key by which a new password is encrypted, and the old hash that gives it."""

    old: bytes
    key: bytes


def _derive(old: bytes, salt: bytes, iterations: int) -> Derived:
    """Derive, which takes long."""
    return Derived(old, passwords.aes_key(old, salt, iterations))


class Host(Protocol):
    """What this needs of mountd."""

    @property
    def configuration(self) -> Configuration:
        """The configuration of the moment."""

    @property
    def users(self) -> UserTable:
        """The users of the moment."""

    def edit_users(self, change: Callable[[UserTable], None]) -> None:
        """Write the password file anew, changed; what `change` raises stops it."""


class Users:
    """Changes the password file."""

    def __init__(self, host: Host) -> None:
        """Change the users of `host`."""
        self._host = host
        self._handlers: dict[type, Callable[..., None]] = {
            CreateUser: self._create,
            DeleteUser: self._delete,
            SetPassword: self._set_password,
            SetStanding: self._set_standing,
        }

    def answer(self, message: UsersRequest) -> Outcome:
        """Do what an administrator wishes; RefusedError when it is refused."""
        self._handlers[type(message)](message)
        user = message.name if isinstance(message, CreateUser | DeleteUser) else message.user
        log.info("%s: %s", type(message).__name__, user, extra={"user": message.by})
        return Outcome(Result.DONE)

    def _create(self, message: CreateUser) -> None:
        try:
            name = check_user_name(message.name)
        except ValueError as error:
            raise RefusedError(Result.INVALID, str(error)) from error
        if self._host.users.find(name) is not None:
            raise RefusedError(Result.EXISTS)

        def change(users: UserTable) -> None:
            if name.casefold() in map(str.casefold, users.hashes):
                raise RefusedError(Result.EXISTS)
            users.hashes[name] = secrets.token_bytes(
                NT_HASH_SIZE
            )  # no password is known that has it

        self._edit(change)

    def _delete(self, message: DeleteUser) -> None:
        name = self._find(message.name)
        if places := self._host.configuration.naming(name):
            raise RefusedError(Result.FIXED, f"{name!r} is named in {', '.join(places)}")
        self._edit(lambda users: self._drop(users, name))

    @staticmethod
    def _drop(users: UserTable, name: str) -> None:
        if users.hashes.pop(name, None) is None:
            raise RefusedError(Result.NOT_FOUND)

    def _set_password(self, message: SetPassword) -> None:
        name = self._find(message.user)
        try:
            if message.scheme is Scheme.HASH:
                digest = passwords.decrypted_hash(message.data[:16], message.key)
                if digest == NO_PASSWORD:
                    raise ValueError("an empty password")
            else:
                digest = self._hash(self._decrypted(message))
        except (ValueError, struct.error) as error:
            raise RefusedError(Result.WRONG_PASSWORD) from error
        self._put(name, digest, must_change=message.must_change)

    def _set_standing(self, message: SetStanding) -> None:
        name = self._find(message.user)
        names = ("disabled", "lasting", "must_change", "ends", "texts")
        wishes = {each: getattr(message, each) for each in names}
        said = {each: value for each, value in wishes.items() if value is not None}

        def change(users: UserTable) -> None:
            if name not in users.hashes:
                raise RefusedError(Result.NOT_FOUND)
            users.facts[name] = replace(users.facts_of(name), **said)

        self._edit(change)

    def _decrypted(self, message: SetPassword) -> str:
        """Return a new password that an administrator's session key protects."""
        if message.scheme is Scheme.RC4:
            return passwords.by_rc4(message.data, message.key)
        return passwords.by_aes(message.data, message.salt, message.authenticator, message.key)

    @staticmethod
    def _hash(password: str) -> bytes:
        """Return the hash of a password; RefusedError(RESTRICTED) when it cannot be one."""
        try:
            return hash_password(password)
        except ValueError as error:
            raise RefusedError(Result.RESTRICTED, str(error)) from error

    def deriving(self, message: ChangePassword) -> Callable[[], Derived] | None:
        """Return what derives the key of a change, on any thread; None where there is none."""
        if message.scheme is not Scheme.AES or not passwords.is_usual(message.iterations):
            return None
        _, old = self._find_old(message.user)
        return partial(_derive, old, message.salt, message.iterations)

    def _find_old(self, user: str) -> tuple[str | None, bytes]:
        """Return a user's name and hash.

        For a user that does not exist the same is computed, so that nobody learns of it.
        """
        name = self._host.users.find(user)
        return name, self._host.users.hashes[name] if name is not None else bytes(NT_HASH_SIZE)

    def change_own(self, message: ChangePassword, derived: Derived | None = None) -> None:
        """Change a password for who knows the old one; `derived`: what `deriving` came to.

        RefusedError: WRONG_PASSWORD, or RESTRICTED where the new one cannot be one.
        """
        name, old = self._find_old(message.user)
        try:
            if message.scheme is Scheme.AES:
                if derived is None or derived.old != old:
                    raise ValueError("no key, or of another password")
                salt, key = message.salt, derived.key
                new = passwords.by_aes(message.data, salt, message.authenticator, key)
            else:
                new = passwords.by_rc4(message.data, old)
                if not passwords.proves(old, new, message.verifier):
                    raise ValueError("the old password is another")
        except (ValueError, struct.error) as error:
            raise RefusedError(Result.WRONG_PASSWORD) from error
        if name is None or old == NO_PASSWORD:
            raise RefusedError(Result.WRONG_PASSWORD)
        digest = self._hash(new)
        self._check_age(self._host.users.facts_of(name), is_same=digest == old)
        self._put(name, digest, old)
        log.info("a user changed his password", extra={"user": name, "client": message.address})

    def _check_age(self, facts: AccountFacts, *, is_same: bool) -> None:
        """RefusedError where a user may not change his password now, or not to the same."""
        policy, now = self._host.configuration.policy, time.time()
        why = policy.refusal(facts, now)
        if why in (LoginStatus.ACCOUNT_DISABLED, LoginStatus.ACCOUNT_EXPIRED):
            raise RefusedError(Result.DENIED)
        if policy.is_too_young(facts, now):
            raise RefusedError(Result.RESTRICTED, "it was changed a short while ago")
        if why is not None and is_same:
            raise RefusedError(Result.RESTRICTED, "it has to become another")

    def _put(
        self, name: str, digest: bytes, old: bytes | None = None, *, must_change: bool = False
    ) -> None:
        """Write a user's new hash, unless another has written one meanwhile."""

        def change(users: UserTable) -> None:
            if name not in users.hashes:
                raise RefusedError(Result.NOT_FOUND)
            if old is not None and users.hashes[name] != old:
                raise RefusedError(Result.WRONG_PASSWORD)
            users.put(name, digest, must_change=must_change)

        self._edit(change)

    def _find(self, name: str) -> str:
        found = self._host.users.find(name)
        if found is None:
            raise RefusedError(Result.NOT_FOUND)
        return found

    def _edit(self, change: Callable[[UserTable], None]) -> None:
        try:
            self._host.edit_users(change)
        except (OSError, ConfigError) as error:
            log.error("the password file cannot be written: %s", error)
            raise RefusedError(Result.FAILED) from error
