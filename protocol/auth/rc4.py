"""RC4, which NTLM uses for session keys and checksums ([MS-NLMP] 6).

Its own 20 lines, for OpenSSL has it only where the legacy provider is installed; NTLM feeds
it 24 bytes a login.
"""


def rc4(key: bytes, data: bytes) -> bytes:
    """Return `data` (en- or decrypted, the same operation) under a fresh keystream of `key`."""
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) & 0xFF
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) & 0xFF
        j = (j + state[i]) & 0xFF
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) & 0xFF])
    return bytes(out)
