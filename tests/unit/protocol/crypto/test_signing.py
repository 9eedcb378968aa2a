"""Signatures against published messages and an independent implementation."""

import hashlib
import hmac
import os
from types import ModuleType

import pytest
from Cryptodome.Cipher import AES
from Cryptodome.Hash import CMAC

from usmbd.protocol.crypto.signing import STREAM_THRESHOLD, Signer, make_signer
from usmbd.protocol.wire.negotiate_contexts import (
    SIGNING_AES_CMAC,
    SIGNING_AES_GMAC,
    SIGNING_HMAC_SHA256,
)

KEY = bytes(range(16))
ALGORITHMS = [SIGNING_HMAC_SHA256, SIGNING_AES_CMAC, SIGNING_AES_GMAC]
MESSAGE_ID = 0x1122334455667788


def signed_request(signer: Signer, command: int = 9, size: int = 124) -> bytearray:
    """Return a message of a client with its signature."""
    message = bytearray(b"\xfeSMB" + os.urandom(size - 4))
    message[12:14] = command.to_bytes(2, "little")
    message[24:32] = MESSAGE_ID.to_bytes(8, "little")
    message[48:64] = bytes(16)
    message[48:64] = signer.sign(message, MESSAGE_ID, False, command == 0x0C)
    return message


def test_cmac_verifies_a_response_of_windows(vectors: ModuleType) -> None:
    signer = make_signer(SIGNING_AES_CMAC, vectors.SIGNING_KEY)
    message = bytearray(vectors.SESSION_SETUP_RESPONSE_2)
    assert signer.verify(memoryview(message))
    assert message == vectors.SESSION_SETUP_RESPONSE_2


@pytest.mark.parametrize("size", [124, STREAM_THRESHOLD + 77])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parts_sign_like_the_whole_and_like_the_oracle(algorithm: int, size: int) -> None:
    whole = os.urandom(size)
    signer = make_signer(algorithm, KEY)
    if algorithm == SIGNING_HMAC_SHA256:
        expected = hmac.new(KEY, whole, hashlib.sha256).digest()[:16]
    elif algorithm == SIGNING_AES_CMAC:
        expected = CMAC.new(KEY, whole, ciphermod=AES).digest()
    else:
        nonce = MESSAGE_ID.to_bytes(8, "little") + b"\1\0\0\0"
        expected = AES.new(KEY, AES.MODE_GCM, nonce=nonce).update(whole).digest()
    parts = [whole[:64], bytearray(whole[64:80]), memoryview(whole)[80:]]
    assert signer.sign(whole, MESSAGE_ID, True, False) == expected
    assert signer.sign([whole], MESSAGE_ID, True, False) == expected
    assert signer.sign(parts, MESSAGE_ID, True, False) == expected


def test_gmac_marks_a_cancel_in_its_nonce() -> None:
    message = signed_request(make_signer(SIGNING_AES_GMAC, KEY), command=0x0C)
    oracle = AES.new(KEY, AES.MODE_GCM, nonce=MESSAGE_ID.to_bytes(8, "little") + b"\2\0\0\0")
    oracle.update(bytes(message[:48]) + bytes(16) + bytes(message[64:]))
    assert message[48:64] == oracle.digest()


@pytest.mark.parametrize("command", [0x09, 0x0C])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_verify_notices_any_change_and_restores_the_message(algorithm: int, command: int) -> None:
    signer = make_signer(algorithm, KEY)
    message = signed_request(signer, command)
    before = bytes(message)
    assert signer.verify(memoryview(message))
    assert message == before
    for position in (5, 48, 63, 64, 123):
        message[position] ^= 1
        assert not signer.verify(memoryview(message))
        message[position] ^= 1
    assert message == before
    assert not make_signer(algorithm, bytes(16)).verify(memoryview(message))


def test_gmac_refuses_a_message_sent_back_to_its_sender() -> None:
    signer = make_signer(SIGNING_AES_GMAC, KEY)
    message = signed_request(signer)
    assert not signer.verify(memoryview(message), is_server=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_message_shorter_than_a_header_is_not_signed(algorithm: int) -> None:
    assert not make_signer(algorithm, KEY).verify(memoryview(bytearray(63)))


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="3"):
        make_signer(3, KEY)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_data_beside_messages(algorithm: int) -> None:
    signer = make_signer(algorithm, KEY)
    data = os.urandom(1000)
    nonce = signer.data_nonce(MESSAGE_ID)
    expected = {
        SIGNING_HMAC_SHA256: lambda: hmac.digest(KEY, data, "sha256")[:16],
        SIGNING_AES_CMAC: lambda: CMAC.new(KEY, data, AES).digest(),
        SIGNING_AES_GMAC: lambda: AES.new(KEY, AES.MODE_GCM, nonce).update(data).digest(),
    }
    signature = signer.sign_data(memoryview(bytearray(data)), nonce)
    assert signature == expected[algorithm]()
    assert signer.verify_data(data, signature, nonce)
    assert not signer.verify_data(data + b"\0", signature, nonce)
    assert not signer.verify_data(data, signature[:-1], nonce)
    assert not signer.verify_data(data, b"", nonce)


def test_only_gmac_has_a_nonce_and_never_a_messages() -> None:
    assert make_signer(SIGNING_AES_CMAC, KEY).data_nonce(1) == b""
    signer = make_signer(SIGNING_AES_GMAC, KEY)
    data = os.urandom(100)
    for is_server in (False, True):
        for is_cancel in (False, True):
            message = signer.sign(data, MESSAGE_ID, is_server, is_cancel)
            assert message != signer.sign_data(data, signer.data_nonce(MESSAGE_ID))
    for size in (0, 11, 13):
        assert not signer.verify_data(data, signer.sign_data(data, bytes(12)), bytes(size))
