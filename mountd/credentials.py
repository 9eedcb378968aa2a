"""Numbers that stand for passwords: another password, another number.

A worker keeps the number of each session and asks after a reload whether it still stands. The
numbers are made with a key that lies in the state directory, so that they outlast a mountd: a
password that was changed while none ran ends its sessions too. Who knows a number and not the key
cannot try passwords on it.
"""

import contextlib
import hmac
import logging
import os
import secrets
import tempfile
from pathlib import Path

log = logging.getLogger("usmbd.auth")

KEY_NAME = "credentials.key"
_KEY_SIZE = 32
_SEAL = b"sealed for a worker\0"
"""Before what is sealed: no number of a password is ever the seal of something."""
_SEAL_SIZE = 32
_NUMBER_SIZE = 7
"""Bytes of a number: it stays below 2^63, and a wrong one fits once in 2^56."""


class Credentials:
    """Makes the numbers by one key."""

    def __init__(self, key: bytes = b"") -> None:
        """Take the key; without one, a new one that nobody keeps."""
        self.key = key or secrets.token_bytes(_KEY_SIZE)

    def number(self, user: str, digest: bytes) -> int:
        """Return the number of a user's NT hash, which is never 0."""
        code = hmac.digest(self.key, digest + user.encode(), "sha256")
        return int.from_bytes(code[:_NUMBER_SIZE], "big") or 1

    def seal(self, data: bytes) -> bytes:
        """Return data that a worker keeps and cannot change."""
        return hmac.digest(self.key, _SEAL + data, "sha256") + data

    def open(self, sealed: bytes) -> bytes | None:
        """Return what was sealed, by this mountd or an earlier one; None: it never was."""
        code, data = sealed[:_SEAL_SIZE], sealed[_SEAL_SIZE:]
        right = hmac.digest(self.key, _SEAL + data, "sha256")
        return data if hmac.compare_digest(code, right) else None


def load_key(directory: Path) -> bytes:
    """Return the key of a state directory, made where there is none; OSError.

    One that is not as it was made is replaced: all sessions end at the next reload.
    """
    path = directory / KEY_NAME
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == _KEY_SIZE:
            return key
        log.warning("%s has %d bytes, not %d: it is made anew", path, len(key), _KEY_SIZE)
    key = secrets.token_bytes(_KEY_SIZE)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{KEY_NAME}.", dir=directory)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return key
