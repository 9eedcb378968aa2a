"""Calls signed and sealed by Kerberos ([RFC4121] 4.2, [MS-KILE] 3.4.5.4, [MS-RPCE] 3.3.1.5.2).

The library has the ticket in mountd; here is the key that came of it. Its own messages go by
numbers, from what both sides said at the login. Sealed data stays where it is (DCE style): what it
is longer by goes to the front of the token, which has to be turned back for that (RRC).
"""

import hmac
import os
import struct
from dataclasses import dataclass, field
from typing import Final

from usmbd.mountd.rpc.security import aes_cts
from usmbd.mountd.rpc.security.aes_cts import BLOCK, KINDS
from usmbd.mountd.rpc.security.kerberos_rc4 import ARCFOUR, Rc4Protection

HEAD: Final = struct.Struct(">HBB")
SIZE: Final = 16
"""Bytes of a token's header."""

RC4_KEY: Final = 16

MIC, WRAP = 0x0404, 0x0504
SENT_BY_ACCEPTOR, SEALED, ACCEPTOR_SUBKEY = 1, 2, 4
"""TOK_ID and Flags ([RFC4121] 4.2.2)."""

ACCEPTOR_SEAL, ACCEPTOR_SIGN, INITIATOR_SEAL, INITIATOR_SIGN = 22, 23, 24, 25
"""Key usages ([RFC4121] 2)."""


@dataclass(slots=True)
class Keys:
    """What mountd tells of a security context ([RFC4121] 2): the key and who counts from where."""

    kind: int
    key: bytes = field(repr=False)
    subkey: bool
    """It is the acceptor's."""
    sending: int
    receiving: int


class Protection:
    """The signatures and the sealing of both directions, in order."""

    def __init__(self, keys: Keys, *, whole: bool) -> None:
        """Take a context's keys; `whole`: headers are signed, too. ValueError for other ciphers."""
        kind = KINDS.get(keys.kind)
        if kind is None or kind.key != len(keys.key):
            raise ValueError(f"a key of type {keys.kind}")
        self._kind = kind
        self._turn = SIZE + kind.checksum
        """RRC of what is sealed: the header's copy and the checksum ([MS-KILE] 3.4.5.4.1)."""
        self._subkey = ACCEPTOR_SUBKEY if keys.subkey else 0
        self._sending, self._receiving = keys.sending, keys.receiving
        self._whole = whole
        derive = kind.derive
        self._sign = derive(keys.key, ACCEPTOR_SIGN, 0x99)
        self._check = derive(keys.key, INITIATOR_SIGN, 0x99)
        self._seal = derive(keys.key, ACCEPTOR_SEAL, 0xAA), derive(keys.key, ACCEPTOR_SEAL, 0x55)
        self._unseal = (
            *(derive(keys.key, INITIATOR_SEAL, 0xAA), derive(keys.key, INITIATOR_SEAL, 0x55)),
        )

    def size(self, *, sealed: bool) -> int:
        """Return the bytes of a token."""
        return SIZE + (self._turn + BLOCK if sealed else self._kind.checksum)

    def open(self, message: bytes, start: int, end: int, token: bytes, *, sealed: bool) -> bytes:
        """Return a message in the clear, whose stub is there; ValueError for a wrong token."""
        head, rest = token[:SIZE], token[SIZE:]
        self._check_head(head, sealed=sealed)
        if not sealed:
            covered = message if self._whole else message[start:end]
            if not hmac.compare_digest(self._kind.made(self._check, covered, head), rest):
                raise ValueError("a signature that is wrong")
            return message
        filled, turned = struct.unpack_from(">HH", head, 4)
        by = turned + filled  # as Windows turns, and MIT's library for it: with what is filled up
        if turned != self._turn or len(rest) != by + BLOCK:
            raise ValueError("a token of another length")
        data = rest[by:] + message[start:end] + rest[:by]
        data, said = data[: -self._kind.checksum], data[-self._kind.checksum :]
        crypt, check = self._unseal
        plain = aes_cts.decrypt(crypt, data)
        stub, tail = plain[BLOCK : BLOCK + end - start], plain[BLOCK + end - start :]
        clear = message[:start] + stub + message[end:]
        made = self._sealed_checksum(check, (clear, message), start, end, (plain, data))
        if not hmac.compare_digest(made, said):
            raise ValueError("a signature that is wrong")
        if tail[filled:] != head[:4] + struct.pack(">HH", filled, 0) + head[8:]:
            raise ValueError("a header that is another inside")
        return clear

    def _sealed_checksum(
        self,
        key: bytes,
        messages: tuple[bytes, bytes],
        start: int,
        end: int,
        all_data: tuple[bytes, bytes],
    ) -> bytes:
        """Return the checksum of sealed data, of which there are the clear and the sealed form.

        In `messages` the stub stands in its place; the data has the confounder before and the copy
        of the header behind it.
        """
        sealed = self._kind.of_ciphertext
        message, data = messages[sealed], all_data[sealed]
        covered = message if self._whole else message[start:end]
        parts = data[:BLOCK], covered, data[BLOCK + end - start :]
        return self._kind.made(key, *([bytes(BLOCK)] if sealed else []), *parts)

    def _check_head(self, head: bytes, *, sealed: bool) -> None:
        """Count a token; ValueError unless it is the next one of the client's."""
        if len(head) != SIZE:
            raise ValueError("a token that is short")
        kind, flags, filler = HEAD.unpack_from(head)
        wanted = (WRAP, self._subkey | SEALED) if sealed else (MIC, self._subkey)
        if (kind, flags) != wanted or filler != 0xFF:
            raise ValueError("a token of another kind")
        if int.from_bytes(head[8:], "big") != self._receiving:
            raise ValueError("a token that comes again, or is missing")
        self._receiving += 1

    def close(self, message: bytes, start: int, end: int, *, sealed: bool) -> bytes:
        """Return a message with its token behind it, its part sealed or not."""
        number = self._sending.to_bytes(8, "big")
        self._sending += 1
        flags = SENT_BY_ACCEPTOR | self._subkey
        if not sealed:
            head = HEAD.pack(MIC, flags, 0xFF) + b"\xff" * 4 + number
            covered = message if self._whole else message[start:end]
            return message + head + self._kind.made(self._sign, covered, head)
        head = HEAD.pack(WRAP, flags | SEALED, 0xFF)
        inside = head + bytes(4) + number
        stub, turn = message[start:end], self._turn
        clear = os.urandom(BLOCK) + stub + inside
        crypt, check = self._seal
        data = aes_cts.encrypt(crypt, clear)
        sealed_stub = data[BLOCK : BLOCK + len(stub)]
        closed = message[:start] + sealed_stub + message[end:]
        data += self._sealed_checksum(check, (message, closed), start, end, (clear, data))
        data = data[-turn:] + data[:-turn]
        first = len(data) - len(stub)
        token = head + struct.pack(">HH", 0, turn) + number + data[:first]
        return message[:start] + data[first:] + message[end:] + token


def protection(keys: Keys, *, whole: bool) -> Protection | Rc4Protection:
    """Return what protects calls by a context's keys; ValueError for a cipher that is not known."""
    if keys.kind == ARCFOUR and len(keys.key) == RC4_KEY:
        return Rc4Protection(keys.key, keys.sending, keys.receiving, whole=whole)
    return Protection(keys, whole=whole)
