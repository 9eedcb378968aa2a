"""NTLM proofs against the example of the document and an independent client's code."""

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


# [MS-NLMP] 4.2.1: the client's challenge.
CLIENT_CHALLENGE = b"\xaa" * 8


@pytest.mark.parametrize(
    ("client_challenge", "response", "key"),
    [
        # 4.2.2.2.1 and, with neither LM_KEY nor NON_NT_SESSION_KEY, 4.2.2.1.3
        (
            b"",
            "67c43011f30298a2ad35ece64f16331c44bdbed927841f94",
            "d87262b0cde4b1cb7499becccdf10784",
        ),
        # 4.2.3.2.2 and 4.2.3.1.3
        (
            CLIENT_CHALLENGE,
            "7537f803ae367128ca458204bde7caf81e97ed2683267232",
            "eb93429a8bd952f8b89c55b87f475edc",
        ),
    ],
)
def test_the_examples_of_version_1(client_challenge: bytes, response: str, key: str) -> None:
    hashed, proof = nt_hash("Password"), bytes.fromhex(response)
    found = ntlm.verify_v1(hashed, SERVER_CHALLENGE, proof, client_challenge)
    assert found == bytes.fromhex(key)
    assert ntlm.verify_v1(nt_hash("Passwor"), SERVER_CHALLENGE, proof, client_challenge) is None
    assert ntlm.verify_v1(hashed, SERVER_CHALLENGE, proof, b"c" * 8) is None
    assert ntlm.verify_v1(hashed, bytes(8), proof, client_challenge) is None
    assert ntlm.verify_v1(hashed, SERVER_CHALLENGE, bytes(24), client_challenge) is None


@pytest.mark.parametrize("client_challenge", [b"", b"c" * 8])
def test_impacket_computes_the_same_of_version_1(client_challenge: bytes) -> None:
    impacket = pytest.importorskip("impacket.ntlm")
    flags = impacket.NTLMSSP_NEGOTIATE_NTLM
    if client_challenge:
        flags |= impacket.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY
    response, lm_response, base = impacket.computeResponseNTLMv1(
        flags, SERVER_CHALLENGE, client_challenge, b"", "D", "user", "pässword"
    )
    key = impacket.KXKEY(flags, base, lm_response, SERVER_CHALLENGE, "pässword", b"", b"", False)
    hashed = nt_hash("pässword")
    assert ntlm.verify_v1(hashed, SERVER_CHALLENGE, response, client_challenge) == key
