"""Encryption against published messages and an independent implementation."""

import os
from types import ModuleType

import pytest
from Cryptodome.Cipher import AES

from usmbd.protocol.crypto.encryption import STREAM_THRESHOLD, Nonces, Sealer, make_sealer
from usmbd.protocol.wire.negotiate_contexts import (
    AES_128_CCM,
    AES_128_GCM,
    AES_256_CCM,
    AES_256_GCM,
)
from usmbd.protocol.wire.status import MalformedError

KEY_SIZES = {AES_128_CCM: 16, AES_128_GCM: 16, AES_256_CCM: 32, AES_256_GCM: 32}
SESSION_ID = 0x8E40014000011


def pair(cipher: int) -> tuple[Sealer, Sealer, bytes]:
    """Return the two ends of a session and the first one's encryption key."""
    one, other = os.urandom(KEY_SIZES[cipher]), os.urandom(KEY_SIZES[cipher])
    return make_sealer(cipher, one, other), make_sealer(cipher, other, one), one


def test_messages_of_windows_are_opened(vectors: ModuleType) -> None:
    for cipher, key, sealed, plain in [
        (AES_128_CCM, vectors.CCM_CLIENT_KEY, vectors.CCM_REQUEST, vectors.CCM_REQUEST_PLAIN),
        (AES_128_CCM, vectors.CCM_SERVER_KEY, vectors.CCM_RESPONSE, vectors.CCM_RESPONSE_PLAIN),
        (AES_128_GCM, vectors.GCM_CLIENT_KEY, vectors.GCM_REQUEST, vectors.GCM_REQUEST_PLAIN),
        (AES_128_GCM, vectors.GCM_SERVER_KEY, vectors.GCM_RESPONSE, vectors.GCM_RESPONSE_PLAIN),
    ]:
        assert make_sealer(cipher, bytes(16), key).open(memoryview(sealed)) == plain


@pytest.mark.parametrize("size", [1, 80, 4176, STREAM_THRESHOLD + 5])
@pytest.mark.parametrize("cipher", KEY_SIZES)
def test_what_one_end_seals_the_other_and_the_oracle_open(cipher: int, size: int) -> None:
    server, client, key = pair(cipher)
    plain = os.urandom(size)
    parts = [plain[:64], bytearray(plain[64:70]), memoryview(plain)[70:]]
    header, ciphertext = server.seal(parts, SESSION_ID)
    assert len(header) == 52
    assert header[36:40] == size.to_bytes(4, "little")
    assert header[40:44] == b"\0\0\1\0"
    assert header[44:52] == SESSION_ID.to_bytes(8, "little")
    gcm = cipher in (AES_128_GCM, AES_256_GCM)
    nonce = bytes(header[20:32] if gcm else header[20:31])
    oracle = AES.new(key, AES.MODE_GCM if gcm else AES.MODE_CCM, nonce=nonce)
    oracle.update(bytes(header[20:52]))
    assert oracle.decrypt_and_verify(bytes(ciphertext), bytes(header[4:20])) == plain
    assert client.open(memoryview(b"".join((header, ciphertext)))) == plain


@pytest.mark.parametrize("size", [80, STREAM_THRESHOLD + 5])
@pytest.mark.parametrize("cipher", KEY_SIZES)
def test_a_changed_byte_anywhere_is_refused(cipher: int, size: int) -> None:
    server, client, _ = pair(cipher)
    message = bytearray(b"".join(server.seal([bytes(size)], SESSION_ID)))
    # One byte of each field. Behind the nonce a field of zeros is covered by the tag too.
    for position in (0, 4, 19, 20, 30, 35, 36, 39, 40, 42, 44, 51, 52, len(message) - 1):
        message[position] ^= 0x10
        with pytest.raises(MalformedError, match=r"."):
            client.open(memoryview(message))
        message[position] ^= 0x10
    assert client.open(memoryview(message)) == bytes(size)


def test_a_lying_size_and_short_messages_are_refused() -> None:
    server, client, _ = pair(AES_128_GCM)
    message = b"".join(server.seal([bytes(80)], SESSION_ID))
    for size in (0, 3, 51, 52, len(message) - 1):
        with pytest.raises(MalformedError, match=r"."):
            client.open(memoryview(message)[:size])
    with pytest.raises(MalformedError, match="lies"):
        client.open(memoryview(message + b"\0"))


def test_no_nonce_comes_twice_and_the_last_one_is_the_last() -> None:
    nonces = Nonces(12)
    assert len({nonces.take() for _ in range(1000)}) == 1000
    nonces = Nonces(11, first=2**64 - 1)
    assert len(nonces.take()) == 11
    for _ in range(2):
        with pytest.raises(OverflowError):
            nonces.take()


@pytest.mark.parametrize(("cipher", "size"), [(0, 16), (5, 16), (AES_128_GCM, 32), (3, 16)])
def test_unknown_ciphers_and_wrong_keys_are_refused(cipher: int, size: int) -> None:
    with pytest.raises(ValueError, match="cipher"):
        make_sealer(cipher, bytes(size), bytes(size))


@pytest.mark.parametrize("cipher", KEY_SIZES)
@pytest.mark.parametrize("size", [0, 1, 100, STREAM_THRESHOLD + 1])
def test_data_beside_messages_against_pycryptodome(cipher: int, size: int) -> None:
    one, other, key = pair(cipher)
    plain = os.urandom(size)
    sealed, tag, nonce = one.seal_data(memoryview(bytearray(plain)))
    assert len(nonce) == (11 if cipher in (AES_128_CCM, AES_256_CCM) else 12)
    mode = AES.MODE_CCM if cipher in (AES_128_CCM, AES_256_CCM) else AES.MODE_GCM
    assert AES.new(key, mode, nonce).decrypt_and_verify(bytes(sealed), tag) == plain
    assert other.open_data(memoryview(bytearray(sealed)), tag, nonce) == plain


@pytest.mark.parametrize("cipher", KEY_SIZES)
def test_data_that_was_changed_is_refused(cipher: int) -> None:
    one, other, _ = pair(cipher)
    sealed, tag, nonce = one.seal_data(memoryview(bytearray(100)))
    sealed = memoryview(bytearray(sealed))
    for wrong in (
        (sealed[:-1], tag, nonce),
        (sealed, tag[:-1], nonce),
        (sealed, b"", nonce),
        (sealed, tag + b"\0", nonce),
        (sealed, bytes(16), nonce),
        (sealed, tag, nonce[:-1]),
        (sealed, tag, nonce + b"\0"),
        (sealed, tag, bytes(len(nonce))),
    ):
        with pytest.raises(MalformedError, match="another"):
            other.open_data(memoryview(bytearray(wrong[0])), wrong[1], wrong[2])


def test_data_and_messages_share_the_nonces() -> None:
    one, _, _ = pair(AES_128_GCM)
    message, _ = one.seal([bytes(64)], SESSION_ID)
    first = bytes(message)[20:32]
    _, _, second = one.seal_data(memoryview(bytearray(1)))
    assert int.from_bytes(second[:8], "little") == int.from_bytes(first[:8], "little") + 1
    assert second[8:] == first[8:]
