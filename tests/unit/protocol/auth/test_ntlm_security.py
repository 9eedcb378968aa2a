"""Signatures of NTLM against [MS-NLMP] 4.2.4.4 and an exchange of Windows."""

from usmbd.protocol.auth.ntlm_security import first_mac, seal_key, sign_key

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
