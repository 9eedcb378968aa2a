"""Preauthentication integrity of SMB 3.1.1: the hash chain over the first messages."""

import hashlib
from typing import Self

from usmbd.protocol.wire.base import Buffer

HASH_SIZE = 64
"""Bytes of a SHA-512 digest, the only algorithm of [MS-SMB2] 2.2.3.1.1."""


class PreauthHash:
    """PreauthIntegrityHashValue of a connection or of a session being set up.

    A message is hashed as it lies on the wire, from the SMB2 header on: `value` becomes
    SHA-512(value + message) ([MS-SMB2] 3.3.5.4, 3.3.5.5).
    """

    __slots__ = ("value",)

    def __init__(self, value: bytes = bytes(HASH_SIZE)) -> None:
        """Start the chain at `value`: zeros for a connection."""
        self.value = value

    def update(self, *parts: Buffer) -> None:
        """Take in one message, whole or in parts."""
        digest = hashlib.sha512(self.value)
        for part in parts:
            digest.update(part)
        self.value = digest.digest()

    def copy(self) -> Self:
        """Return a chain that goes on from here: a session's, begun from its connection's."""
        return type(self)(self.value)
