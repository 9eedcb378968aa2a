"""What protects calls by NTLM, against the examples of the document ([MS-NLMP] 4.2)."""

import hashlib

import pytest

from usmbd.mountd.rpc.security import ntlm_protection as ntlm

PLAIN_TEXT = "Plaintext".encode("utf-16-le")
RANDOM_SESSION_KEY = b"\x55" * 16
V1_KEY = bytes.fromhex("eb93429a8bd952f8b89c55b87f475edc")
"""KeyExchangeKey of 4.2.3.1.3, which is the session key there."""


def as_client(protection: ntlm.Protection) -> ntlm.Protection:
    """Turn a protection round."""
    outgoing, incoming = protection._incoming, protection._outgoing
    protection._incoming, protection._outgoing = incoming, outgoing
    return protection


@pytest.mark.parametrize(
    ("protection", "data", "signature"),
    [
        # 4.2.2.4: without extended session security
        (
            ntlm.PlainProtection(RANDOM_SESSION_KEY),
            "56fe04d861f9319af0d7238a2e3b4d457fb8",
            "0100000045c844e509dcd1df2e459d36",
        ),
        # 4.2.3.4: with it, 56 bits and no key exchange
        (
            as_client(ntlm.Protection(V1_KEY, flags=ntlm.EXTENDED | ntlm.USE_56)),
            "a02372f6530273f3aa1eb90190ce5200c99d",
            "01000000ff2aeb52f681793a00000000",
        ),
        # 4.2.4.4: 128 bits, and a key that was exchanged
        (
            as_client(ntlm.Protection(RANDOM_SESSION_KEY)),
            "54e50165bf1936dc996020c1811b0f06fb5f",
            "010000007fb38ec5c55d497600000000",
        ),
    ],
)
def test_the_examples(
    protection: ntlm.Protection | ntlm.PlainProtection, data: str, signature: str
) -> None:
    sealed = protection.close(PLAIN_TEXT, 0, len(PLAIN_TEXT), sealed=True)
    assert sealed.hex() == data + signature


def test_forty_bits() -> None:
    """[MS-NLMP] 3.4.5.3: with neither 56 nor 128 bits five bytes of the key are left."""
    made = as_client(ntlm.Protection(V1_KEY, flags=ntlm.EXTENDED))
    magic = b"session key to client-to-server sealing key magic constant\0"
    stream = ntlm.Rc4(hashlib.md5(V1_KEY[:5] + magic).digest())
    sealed = made.close(PLAIN_TEXT, 0, len(PLAIN_TEXT), sealed=True)
    assert sealed[: len(PLAIN_TEXT)] == stream.update(PLAIN_TEXT)


@pytest.mark.parametrize("sealed", [True, False])
def test_without_session_security_one_stream_serves_both_directions(sealed: bool) -> None:
    server, client = (ntlm.PlainProtection(RANDOM_SESSION_KEY) for _ in range(2))
    message = b"header" + PLAIN_TEXT + b"trailer"
    start, end = 6, 6 + len(PLAIN_TEXT)
    for sends, takes in ((client, server), (server, client), (client, server)):
        made = sends.close(message, start, end, sealed=sealed)
        signed, token = made[:-16], made[-16:]
        assert (signed == message) is not sealed
        changed = b"HEADER" + signed[6:]  # no headers are signed
        assert takes.open(changed, start, end, token, sealed=sealed) == b"HEADER" + message[6:]


@pytest.mark.parametrize("place", [6, -8, -1])
def test_what_was_changed_on_the_way_is_refused(place: int) -> None:
    server, client = (ntlm.PlainProtection(RANDOM_SESSION_KEY) for _ in range(2))
    made = bytearray(client.close(b"header" + PLAIN_TEXT, 6, 24, sealed=True))
    made[place] ^= 1
    with pytest.raises(ValueError, match="wrong"):
        server.open(bytes(made[:-16]), 6, 24, bytes(made[-16:]), sealed=True)


def test_what_comes_twice_is_refused() -> None:
    server, client = (ntlm.PlainProtection(RANDOM_SESSION_KEY) for _ in range(2))
    made = client.close(PLAIN_TEXT, 0, len(PLAIN_TEXT), sealed=False)
    assert server.open(made[:-16], 0, 18, made[-16:], sealed=False) == PLAIN_TEXT
    with pytest.raises(ValueError, match="wrong"):
        server.open(made[:-16], 0, 18, made[-16:], sealed=False)
