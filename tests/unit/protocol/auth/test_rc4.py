"""RC4 against [RFC6229] and [MS-NLMP] 4.2.4.2.3."""

from usmbd.protocol.auth.rc4 import rc4


def test_the_keystream_is_that_of_rfc_6229() -> None:
    assert rc4(bytes.fromhex("0102030405"), bytes(16)).hex() == "b2396305f03dc027ccc3524a0a1118a8"
    key = bytes.fromhex("0102030405060708090a0b0c0d0e0f10")
    assert rc4(key, bytes(16)).hex() == "9ac7cc9a609d1ef7b2932899cde41b97"


def test_the_session_key_is_that_of_ms_nlmp() -> None:
    base_key = bytes.fromhex("8de40ccadbc14a82f15cb0ad0de95ca3")
    assert rc4(base_key, bytes.fromhex("c5dad2544fc9799094ce1ce90bc9d03e")) == b"U" * 16
