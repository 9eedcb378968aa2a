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


@pytest.mark.parametrize(("kind", "size"), aes_cts.KINDS.items())
def test_derived_keys(kind: int, size: int) -> None:
    key = crypto.Key(kind, os.urandom(size))
    profile = crypto._get_enctype_profile(kind)
    for usage in (22, 23, 24, 25):
        for purpose in (0xAA, 0x55, 0x99):
            made = profile.derive(key, struct.pack(">IB", usage, purpose))
            assert aes_cts.derive(key.contents, usage, purpose) == made.contents
