"""DES with keys of 7 bytes, as NTLMv1, SAM and LSA use it ([MS-NLMP] 6, [MS-SAMR] 2.2.11.1.2)."""

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes


def des(key: bytes, block: bytes, *, back: bool = False) -> bytes:
    """Encrypt one block of 8 bytes, or decrypt it."""
    bits = int.from_bytes(key, "big")
    wide = bytes((bits >> (49 - 7 * at) & 0x7F) << 1 for at in range(8))
    cipher = Cipher(TripleDES(wide * 3), modes.ECB())
    return (cipher.decryptor() if back else cipher.encryptor()).update(block)


def desl(key: bytes, block: bytes) -> bytes:
    """Return DESL: a block, encrypted with each third of a key of 16 bytes ([MS-NLMP] 6)."""
    wide = key + bytes(5)
    return b"".join(des(wide[at : at + 7], block) for at in (0, 7, 14))
