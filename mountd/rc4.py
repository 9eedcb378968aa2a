"""RC4, which NTLM seals with and SAM encrypts passwords with ([MS-NLMP] 3.4.4, [MS-SAMR] 3.2.2.1).

Its own lines, for OpenSSL has it only where the legacy provider is installed.
"""


class Rc4:
    """A key stream that goes on from one call to the next."""

    def __init__(self, key: bytes) -> None:
        """Begin with a key."""
        state = list(range(256))
        j = 0
        for i in range(256):
            j = (j + state[i] + key[i % len(key)]) & 0xFF
            state[i], state[j] = state[j], state[i]
        self._state, self._i, self._j = state, 0, 0

    def update(self, data: bytes) -> bytes:
        """Return data en- or decrypted, which is the same."""
        state, i, j = self._state, self._i, self._j
        stream = bytearray(len(data))
        for at in range(len(data)):
            i = (i + 1) & 0xFF
            first = state[i]
            j = (j + first) & 0xFF
            second = state[i] = state[j]
            state[j] = first
            stream[at] = state[(first + second) & 0xFF]
        self._i, self._j = i, j
        size = len(data)
        mixed = int.from_bytes(stream, "big") ^ int.from_bytes(data, "big")
        return mixed.to_bytes(size, "big")
