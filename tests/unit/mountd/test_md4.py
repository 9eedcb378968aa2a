"""MD4 against RFC 1320's vectors and the NT hash against a known one."""

import pytest

from usmbd.mountd.md4 import md4, nt_hash


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_the_vectors_of_rfc_1320(text: bytes, digest: str) -> None:
    assert md4(text).hex() == digest


@pytest.mark.parametrize("size", [55, 56, 57, 63, 64, 65])
def test_padding_at_the_block_boundaries(size: int) -> None:
    # impacket brings it along.
    other = pytest.importorskip("Cryptodome.Hash.MD4")
    assert md4(b"x" * size) == other.new(b"x" * size).digest()


def test_the_nt_hash_of_password() -> None:
    assert nt_hash("password").hex() == "8846f7eaee8fb117ad06bdd830b7586c"
