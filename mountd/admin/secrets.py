"""LSA's secrets: kept in mountd's database, beside the registry and out of its hives' reach.

A value is kept as it is, as the hashes in the password file are: the database is root's alone.
"""

import logging
import struct
import time
from collections.abc import Callable
from typing import Final

from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.admin.registry_store import EPOCH, Key, RegistryStore, Value
from usmbd.mountd.des import des
from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.secrets import (
    AskSecret,
    DropSecret,
    FindSecret,
    MakeSecret,
    PutSecret,
    SecretRequest,
    SecretValues,
    SetSecret,
)

log = logging.getLogger("usmbd.auth")

SECRETS: Final = ("LSA", "Secrets")
"""No hive of winreg's: nobody comes to it but by these calls."""

MAX_SECRETS: Final = 4096
"""As many as Windows keeps."""

NEW, OLD = "CurrVal", "OldVal"

REG_BINARY: Final = 3

VERSION: Final = 1
"""Of the format of an encrypted value ([MS-LSAD] 5.1.2)."""


def encrypt(value: bytes, key: bytes) -> bytes:
    """Encrypt a secret by DES, each block with the next 7 bytes of a key ([MS-LSAD] 5.1.2)."""
    clear = struct.pack("<II", len(value), VERSION) + value + bytes(-len(value) % 8)
    return _each_block(clear, key, back=False)


def decrypt(cipher: bytes, key: bytes) -> bytes:
    """Return what `encrypt` was given; ValueError for what another key has encrypted."""
    if not cipher or len(cipher) % 8:
        raise ValueError("no encrypted secret")
    clear = _each_block(cipher, key, back=True)
    length, version = struct.unpack_from("<II", clear)
    if version != VERSION or length > len(clear) - 8:
        raise ValueError("encrypted with another key")
    return clear[8 : 8 + length]


def _each_block(data: bytes, key: bytes, *, back: bool) -> bytes:
    key = key[:16]
    out, at = [], 0
    for start in range(0, len(data), 8):
        if at + 7 > len(key):
            at = len(key) - at
        out.append(des(key[at : at + 7], data[start : start + 8], back=back))
        at += 7
    return b"".join(out)


class Secrets:
    """Answers what administrators ask of secrets, and keeps them."""

    def __init__(self, store: RegistryStore) -> None:
        """Keep them in this database."""
        self._store = store
        with store.changing():
            store.make(SECRETS)
        self._handlers: dict[type, Callable[..., SecretValues | Outcome]] = {
            MakeSecret: self._make,
            FindSecret: self._look,
            SetSecret: self._set,
            PutSecret: self._put,
            AskSecret: self._ask,
            DropSecret: self._drop,
        }

    def answer(self, message: SecretRequest) -> SecretValues | Outcome:
        """Answer one question; RefusedError."""
        return self._handlers[type(message)](message)

    @staticmethod
    def _path(name: str) -> tuple[str, ...]:
        """Return where a secret is: in hexadecimal, for keys' names are equal in any case."""
        return (*SECRETS, name.encode().hex())

    def _find(self, name: str) -> Key:
        return self._store.get(self._path(name))

    def _look(self, message: FindSecret) -> Outcome:
        self._find(message.name)
        return Outcome(Result.DONE)

    def _make(self, message: MakeSecret) -> Outcome:
        with self._store.changing():
            if self._store.find(self._path(message.name)) is not None:
                raise RefusedError(Result.EXISTS)
            self._write(self._add(message.name), (b"", 0), (b"", 0))
        log.info("an administrator makes a secret", extra={"user": message.by})
        return Outcome(Result.DONE)

    def _add(self, name: str) -> Key:
        above = self._store.get(SECRETS)
        if self._store.totals(above).subkeys >= MAX_SECRETS:
            raise RefusedError(Result.FAILED, "there are too many secrets")
        return self._store.make(self._path(name))

    def _set(self, message: SetSecret) -> Outcome:
        """Set both values: the one that is not given is the new one that was ([MS-LSAD] 3.1.4.6.3).

        Where no new one is given there is none any more, and both are of now.
        """
        new, old = (
            None if each is None else self._decrypted(each, message.key)
            for each in (message.new, message.old)
        )
        now = _now()
        with self._store.changing():
            key = self._find(message.name)
            previous = self._read(key, NEW)
            self._write(key, (new or b"", now), previous if old is None else (old, now))
        return Outcome(Result.DONE)

    def _put(self, message: PutSecret) -> Outcome:
        value = self._decrypted(message.new, message.key)
        with self._store.changing():
            key = self._store.find(self._path(message.name)) or self._add(message.name)
            self._write(key, (value, _now()), self._read(key, NEW))
        return Outcome(Result.DONE)

    def _ask(self, message: AskSecret) -> SecretValues:
        key = self._find(message.name)
        (new, new_time), (old, old_time) = (self._read(key, which) for which in (NEW, OLD))
        told = (encrypt(each, message.key) if each else None for each in (new, old))
        return SecretValues(next(told), new_time, next(told), old_time)

    def _drop(self, message: DropSecret) -> Outcome:
        self._store.remove(self._find(message.name))
        log.info("an administrator forgets a secret", extra={"user": message.by})
        return Outcome(Result.DONE)

    @staticmethod
    def _decrypted(cipher: bytes, key: bytes) -> bytes:
        try:
            return decrypt(cipher, key)
        except ValueError as error:
            raise RefusedError(Result.INVALID, str(error)) from error

    def _read(self, key: Key, which: str) -> tuple[bytes, int]:
        """Return a value, empty where there is none, and when it was set."""
        found = self._store.value(key, which)
        if found is None or len(found.data) < 8:
            return b"", 0
        return found.data[8:], int.from_bytes(found.data[:8], "little")

    def _write(self, key: Key, new: tuple[bytes, int], old: tuple[bytes, int]) -> None:
        for which, (value, when) in ((NEW, new), (OLD, old)):
            data = when.to_bytes(8, "little") + value
            self._store.set(key, Value(which, REG_BINARY, data))


def _now() -> int:
    """Return the time as a FILETIME."""
    return time.time_ns() // 100 + EPOCH * 10_000_000
