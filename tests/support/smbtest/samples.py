"""Contents and names to put through a server: cheap to make, unlike each other, never trivial."""

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KIB = 1024
MIB = 1024 * KIB
# Around the sizes where clients and servers cut: a page, a credit's 64 KiB, a megabyte, 8 MiB.
ODD_SIZES = (0, 1, 511, 4095, 4097, 65535, 65536, 65537, MIB - 1, MIB + 3, 8 * MIB + 5)

NAMES = (
    "plain.txt",
    "with blanks and  two.txt",
    "Grüße aus Köln ß.txt",
    "日本語のファイル.txt",
    "Привет.txt",
    "😀 beyond the BMP 𝄞.bin",
    "e\u0301 decomposed.txt",
    "é composed.txt",
    "-dash.txt",
    "[brackets] {braces} (round) & + = @ # % ! ~ ' $.txt",
    ".hidden",
    "no extension",
    "x" * 255,
    "ÿ" * 127,  # 254 bytes on the disk
)


def fill(path: Path, size: int, seed: int = 1) -> None:
    """Write `size` pseudo-random bytes, which no compression or deduplication makes cheaper."""
    keystream = Cipher(algorithms.AES(seed.to_bytes(16, "big")), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(MIB)
    with path.open("wb") as file:
        for left in range(size, 0, -MIB):
            file.write(keystream.update(zeros[: min(left, MIB)]))


def content(size: int, seed: int = 1) -> bytes:
    """Return the bytes that `fill` writes."""
    cipher = Cipher(algorithms.AES(seed.to_bytes(16, "big")), modes.CTR(bytes(16)))
    return cipher.encryptor().update(bytes(size))


def checksum(path: Path) -> str:
    """Return a file's checksum; SHA-1 is the fastest of hashlib's and no enemy is at work here."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()
