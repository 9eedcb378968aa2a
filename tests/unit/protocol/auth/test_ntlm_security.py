"""Signatures of NTLM against [MS-NLMP] 4.2.4.4 and an exchange of Windows."""

from zlib import crc32

from usmbd.protocol.auth.ntlm_security import first_mac, plain_macs, seal_key, sign_key
from usmbd.protocol.auth.rc4 import rc4

# [MS-NLMP] 4.2.4: RandomSessionKey and the flags of the challenge.
FLAGS = 0xE28A8233
SESSION_KEY = b"U" * 16


def test_the_clients_keys_are_those_of_ms_nlmp() -> None:
    assert sign_key(SESSION_KEY, False).hex() == "4788dc861b4782f35d43fd98fe1a2d39"
    assert seal_key(FLAGS, SESSION_KEY, False).hex() == "59f600973cc4960a25480a7c196e4c58"


def test_the_mech_list_mics_are_those_of_windows() -> None:
    # "SMB 2 and SMB 3 security in Windows 10", appendix, 3.1.1 master session.
    session_key = bytes.fromhex("270E1BA896585EEB7AF3472D3B4C75A7")
    mech_list = bytes.fromhex("300C060A2B06010401823702020A")
    flags = 0xE2888215
    assert first_mac(flags, session_key, False, mech_list).hex() == (
        "0100000063775a9a5fd97f0600000000"
    )
    assert first_mac(flags, session_key, True, mech_list).hex() == (
        "010000003b453cdc3524164200000000"
    )


def test_without_session_security_both_sides_sign_from_one_stream() -> None:
    """[MS-NLMP] 4.2.2.4 has what a stream gives after 18 bytes; here it begins."""
    of_client, of_server = plain_macs(SESSION_KEY, b"list")
    stream = rc4(SESSION_KEY, bytes(24))
    crc = crc32(b"list").to_bytes(4, "little")
    for made, at, number in ((of_client, 0, 0), (of_server, 12, 1)):
        clear = bytes(a ^ b for a, b in zip(made[4:], stream[at : at + 12], strict=True))
        assert (made[:4], clear) == (b"\1\0\0\0", bytes(4) + crc + bytes((number, 0, 0, 0)))
