"""MD4 (RFC 1320), for the NT hash alone.

OpenSSL 3 keeps MD4 in its legacy provider, so that `hashlib.new("md4")` fails on current
systems; the NT hash needs it once for each new password and nowhere else.
"""

import struct

_MASK = 0xFFFFFFFF
# RFC 1320 3.4: for each round the order of the words, the shifts and the added constant.
_ROUNDS = (
    (tuple(range(16)), (3, 7, 11, 19), 0),
    ((0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13), 0x5A827999),
    ((0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15), 0x6ED9EBA1),
)


def _mix(number: int, x: int, y: int, z: int) -> int:
    """Return the auxiliary function of round `number`: select, majority or parity."""
    if number == 0:
        return (x & y) | (~x & z)
    if number == 1:
        return (x & y) | (x & z) | (y & z)
    return x ^ y ^ z


def md4(data: bytes) -> bytes:
    """Return the 16-byte digest of `data`."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    padding = b"\x80" + b"\0" * ((55 - len(data)) % 64)
    message = data + padding + struct.pack("<Q", len(data) * 8 & 0xFFFFFFFFFFFFFFFF)
    for words in struct.iter_unpack("<16I", message):
        a, b, c, d = state
        for number, (order, shifts, constant) in enumerate(_ROUNDS):
            for step, index in enumerate(order):
                value = (a + _mix(number, b, c, d) + words[index] + constant) & _MASK
                shift = shifts[step % 4]
                rotated = (value << shift | value >> (32 - shift)) & _MASK
                a, b, c, d = d, rotated, b, c
        state = [(old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)


def nt_hash(password: str) -> bytes:
    """Return NTOWFv1 of the password ([MS-NLMP] 3.3.1): 16 bytes."""
    return md4(password.encode("utf-16-le", "surrogatepass"))
