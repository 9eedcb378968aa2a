"""NTLMv2 proofs against the example of the document and an independent client's code."""

import pytest

from usmbd.mountd import ntlm
from usmbd.mountd.md4 import nt_hash

SERVER_CHALLENGE = bytes.fromhex("0123456789abcdef")
# [MS-NLMP] 4.2.4: user "User", domain "Domain", password "Password".
BLOB = bytes.fromhex(
    "01010000000000000000000000000000aaaaaaaaaaaaaaaa00000000"
    "02000c0044006f006d00610069006e0001000c005300650072007600650072000000000000000000"
)
PROOF = bytes.fromhex("68cd0ab851e51c96aabc927bebef6a1c")
SESSION_BASE_KEY = bytes.fromhex("8de40ccadbc14a82f15cb0ad0de95ca3")


def test_the_example_of_the_document() -> None:
    """[MS-NLMP] 4.2.4.1.1, 4.2.4.1.2 and 4.2.4.2.2."""
    hashed = nt_hash("Password")
    assert hashed.hex() == "a4f49c406510bdcab6824ee7c30fd852"
    key = ntlm.nt_owf_v2(hashed, "User", "Domain")
    assert key.hex() == "0c868a403bfd7a93a3001ef22ef02e3f"
    found = ntlm.verify(hashed, "User", "Domain", SERVER_CHALLENGE, PROOF + BLOB)
    assert found == SESSION_BASE_KEY


@pytest.mark.parametrize(
    "change",
    [
        {"user": "Usr"},
        {"domain": "DOMAIN"},
        {"server_challenge": b"\0" * 8},
        {"nt_response": PROOF + BLOB + b"\0"},
        {"nt_response": PROOF[:8]},
        {"nt_response": b"\0" * 24},
        {"nt_response": b""},
    ],
)
def test_anything_else_is_refused(change: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "user": "User",
        "domain": "Domain",
        "server_challenge": SERVER_CHALLENGE,
        "nt_response": PROOF + BLOB,
    }
    arguments.update(change)
    assert ntlm.verify(nt_hash("Password"), **arguments) is None  # type: ignore[arg-type]


def test_upper_case_is_one_to_one() -> None:
    assert ntlm.upper("straße é") == "STRAßE É"


def test_impacket_computes_the_same_proof() -> None:
    impacket = pytest.importorskip("impacket.ntlm")
    hashed = nt_hash("pässword")
    pairs = impacket.AV_PAIRS()
    pairs[impacket.NTLMSSP_AV_DNS_HOSTNAME] = "server".encode("utf-16-le")
    response, _, key = impacket.computeResponseNTLMv2(
        0, SERVER_CHALLENGE, b"c" * 8, pairs.getData(), "D", "Üser", "pässword"
    )
    assert ntlm.verify(hashed, "Üser", "D", SERVER_CHALLENGE, response) == key
