"""Kerberos' encryption against impacket's, and the vectors of RFC 3961 and RFC 3962."""

import os
import struct

import pytest
from impacket.krb5 import crypto

from usmbd.mountd.rpc.security import aes_cts


def test_fold() -> None:
    vector = "6b65726265726f737b9b5b2b93132b93"  # [RFC3961] appendix A.1
    assert aes_cts.fold(b"kerberos").hex() == vector
    for size in range(1, 40):
        text = os.urandom(size)
        assert aes_cts.fold(text) == bytes(crypto._nfold(text, 16))


def test_ciphertext_stealing() -> None:
    key = b"chicken teriyaki"  # [RFC3962] appendix B
    data = b"I would like the General Gau's Chicken, please, and wonton soup."
    for size, wanted in (
        (17, "c6353568f2bf8cb4d8a580362da7ff7f97"),
        (31, "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5"),
        (32, "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584"),
    ):
        assert aes_cts.encrypt(key, data[:size]).hex() == wanted
    for size in range(16, 65):
        assert aes_cts.decrypt(key, aes_cts.encrypt(key, data[:size])) == data[:size]
    with pytest.raises(ValueError, match="block"):
        aes_cts.decrypt(key, bytes(15))


@pytest.mark.parametrize(
    ("kind", "base", "keys"),
    [
        (
            19, "3705D96080C17728A0E800EAB6E0D23C",
            {
                0x99: "B31A018A48F54776F403E9A396325DC3",
                0xAA: "9B197DD1E8C5609D6E67C3E37C62C72E",
                0x55: "9FDA0E56AB2D85E1569A688696C26A6C",
            },
        ),
        (
            20, "6D404D37FAF79F9DF0D33568D320669800EB4836472EA8A026D16B7182460C52",
            {
                0x99: "EF5718BE86CC84963D8BBB5031E9F5C4BA41F28FAF69E73D",
                0xAA: "56AB22BEE63D82D7BC5227F6773F8EA7A5EB1C825160C38312980C442E5C7E49",
                0x55: "69B16514E3CD8E56B82010D5C73012B622C4D00FFC23ED1F",
            },
        ),
    ],
)  # fmt: skip
def test_keys_by_sha_2(kind: int, base: str, keys: dict[int, str]) -> None:
    for purpose, wanted in keys.items():  # [RFC8009] appendix A
        made = aes_cts.KINDS[kind].derive(bytes.fromhex(base), 2, purpose)
        assert made.hex().upper() == wanted


@pytest.mark.parametrize("kind", [17, 18])
def test_derived_keys(kind: int) -> None:
    key = crypto.Key(kind, os.urandom(aes_cts.KINDS[kind].key))
    profile = crypto._get_enctype_profile(kind)
    for usage in (22, 23, 24, 25):
        for purpose in (0xAA, 0x55, 0x99):
            made = profile.derive(key, struct.pack(">IB", usage, purpose))
            assert aes_cts.derive(key.contents, usage, purpose) == made.contents
