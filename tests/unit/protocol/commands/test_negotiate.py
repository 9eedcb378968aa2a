"""NEGOTIATE: the dialect, what follows from it, and what an attacker may change."""

import struct
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.marks import BY_MEMORY
from smbengine.server import GUID, Engine

from usmbd.mountd.ipc.settings import Encryption, Signing
from usmbd.protocol.wire.fsctl import FSCTL_VALIDATE_NEGOTIATE_INFO
from usmbd.protocol.wire.fsctl_smb2 import ValidateNegotiateRequest, ValidateNegotiateResponse
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.negotiate import (
    SMB2_DIALECT_WILDCARD,
    SMB2_GLOBAL_CAP_DIRECTORY_LEASING,
    SMB2_GLOBAL_CAP_ENCRYPTION,
    SMB2_GLOBAL_CAP_LARGE_MTU,
    SMB2_GLOBAL_CAP_LEASING,
    SMB2_GLOBAL_CAP_MULTI_CHANNEL,
    SMB2_NEGOTIATE_SIGNING_ENABLED,
    SMB2_NEGOTIATE_SIGNING_REQUIRED,
    NegotiateResponse,
)
from usmbd.protocol.wire.negotiate_contexts import (
    AES_128_CCM,
    AES_128_GCM,
    AES_256_CCM,
    AES_256_GCM,
    SIGNING_AES_CMAC,
    SIGNING_AES_GMAC,
    SIGNING_HMAC_SHA256,
)
from usmbd.protocol.wire.status import NtStatus

LARGE = SMB2_GLOBAL_CAP_LARGE_MTU | SMB2_GLOBAL_CAP_LEASING
LARGE_3 = LARGE | SMB2_GLOBAL_CAP_DIRECTORY_LEASING
ALL_3 = LARGE_3 | SMB2_GLOBAL_CAP_MULTI_CHANNEL | SMB2_GLOBAL_CAP_ENCRYPTION


@pytest.mark.parametrize(
    ("offered", "chosen", "capabilities", "size"),
    [
        ((0x202,), 0x202, 0, 65536),
        ((0x210, 0x202), 0x210, LARGE, 8 << 20),
        ((0x202, 0x210, 0x300), 0x300, ALL_3, 8 << 20),
        ((0x302, 0x300), 0x302, ALL_3, 8 << 20),
        ((0x202, 0x311, 0x302), 0x311, LARGE_3 | SMB2_GLOBAL_CAP_MULTI_CHANNEL, 8 << 20),
        ((0x202, 0x9999), 0x202, 0, 65536),
    ],
)
def test_the_newest_common_dialect(
    engine: Engine, offered: tuple[int, ...], chosen: int, capabilities: int, size: int
) -> None:
    client = Client(engine)
    response = client.negotiate(*offered).parse(NegotiateResponse)
    assert response.dialect_revision == client.connection.dialect == chosen
    assert response.capabilities == capabilities
    assert response.max_read_size == response.max_write_size == size
    # By RDMA a reply is a message that the client puts together, of 1 MiB at most.
    assert response.max_transact_size == (size if engine.network is None else min(size, 0xF0000))
    assert response.server_guid == GUID
    assert response.security_mode == SMB2_NEGOTIATE_SIGNING_ENABLED
    assert client.connection.client_guid == client.guid


@pytest.mark.parametrize("asked", [0, SMB2_GLOBAL_CAP_MULTI_CHANNEL, SMB2_GLOBAL_CAP_ENCRYPTION])
def test_only_what_the_client_can_is_promised(engine: Engine, asked: int) -> None:
    client = Client(engine)
    response = client.negotiate(0x300, capabilities=asked).parse(NegotiateResponse)
    assert response.capabilities == LARGE_3 | asked
    assert client.connection.cipher_id == (
        AES_128_CCM if asked == SMB2_GLOBAL_CAP_ENCRYPTION else 0
    )


@pytest.mark.parametrize("offered", [(0x9999,), (0x2FF,), (0x201, 0x312)])
def test_no_common_dialect(engine: Engine, offered: tuple[int, ...]) -> None:
    client = Client(engine)
    assert client.negotiate(*offered).status is NtStatus.NOT_SUPPORTED
    assert not client.connection.negotiated


def test_the_configuration_bounds_the_dialects(tmp_path: Any) -> None:
    engine = Engine(tmp_path, min_protocol=0x210, max_protocol=0x302)
    try:
        client = Client(engine)
        assert client.negotiate(0x202).status is NtStatus.NOT_SUPPORTED
        client = Client(engine)
        client.negotiate(0x202, 0x302, 0x311)
        assert client.dialect == 0x302
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((AES_128_CCM, AES_128_GCM), AES_128_GCM),
        ((AES_256_CCM, AES_256_GCM, AES_128_GCM), AES_256_GCM),
        ((AES_256_CCM, AES_128_CCM), AES_256_CCM),
        ((77,), 0),
    ],
)
def test_gcm_before_ccm_then_the_clients_order(
    engine: Engine, offered: tuple[int, ...], chosen: int
) -> None:
    client = Client(engine)
    client.negotiate(ciphers=offered)
    assert client.cipher == client.connection.cipher_id == chosen


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((SIGNING_HMAC_SHA256, SIGNING_AES_CMAC, SIGNING_AES_GMAC), SIGNING_AES_GMAC),
        ((SIGNING_HMAC_SHA256, SIGNING_AES_CMAC), SIGNING_AES_CMAC),
        ((SIGNING_HMAC_SHA256,), SIGNING_HMAC_SHA256),
    ],
)
def test_the_fastest_signature(engine: Engine, offered: tuple[int, ...], chosen: int) -> None:
    client = Client(engine)
    client.negotiate(algorithms=offered)
    assert client.algorithm == client.connection.signing_algorithm_id == chosen
    assert client.login().signed  # and it is the one that is used


def test_an_unknown_signing_algorithm_leaves_cmac_untold(engine: Engine) -> None:
    client = Client(engine)
    client.negotiate(algorithms=(99,))
    assert client.contexts.signing_algorithms is None
    assert client.connection.signing_algorithm_id == SIGNING_AES_CMAC


def test_encryption_that_is_off_is_not_offered(tmp_path: Any) -> None:
    engine = Engine(tmp_path, encryption=Encryption.OFF)
    try:
        for dialect in (0x300, 0x311):
            client = Client(engine)
            response = client.negotiate(dialect).parse(NegotiateResponse)
            assert not response.capabilities & SMB2_GLOBAL_CAP_ENCRYPTION
            assert client.connection.cipher_id == 0
    finally:
        engine.close()


def test_mandatory_signing_is_said(tmp_path: Any) -> None:
    engine = Engine(tmp_path, signing=Signing.MANDATORY)
    try:
        client = Client(engine)
        response = client.negotiate().parse(NegotiateResponse)
        assert response.security_mode & SMB2_NEGOTIATE_SIGNING_REQUIRED
        client.login()
        assert client.session.signing_required
    finally:
        engine.close()


def test_a_second_negotiate_ends_the_connection(engine: Engine) -> None:
    client = Client(engine)
    client.negotiate(0x202)
    with pytest.raises(ConnectionError):
        client.negotiate(0x202)
    assert not engine.server.connections


def smb1_negotiate(*dialects: str) -> bytes:
    names = b"".join(b"\x02" + name.encode() + b"\0" for name in dialects)
    return b"\xffSMB\x72" + bytes(27) + b"\0" + struct.pack("<H", len(names)) + names


def test_an_smb1_negotiate_that_knows_smb2_begins_anew(engine: Engine) -> None:
    client = Client(engine)
    client.send(smb1_negotiate("NT LM 0.12", "SMB 2.002", "SMB 2.???"))
    engine.settle()
    (reply,) = client.taken(0)
    assert reply.parse(NegotiateResponse).dialect_revision == SMB2_DIALECT_WILDCARD
    client.message_id = 1
    client.credits = 1
    assert client.negotiate().status is NtStatus.SUCCESS
    assert client.login().signed  # the SMB1 message is no part of the hash


def test_an_smb1_negotiate_for_202_alone_is_final(engine: Engine) -> None:
    client = Client(engine)
    client.send(smb1_negotiate("NT LM 0.12", "SMB 2.002"))
    engine.settle()
    (reply,) = client.taken(0)
    assert reply.parse(NegotiateResponse).dialect_revision == 0x202
    client.dialect, client.message_id = 0x202, 1
    assert client.login().status is NtStatus.SUCCESS


@pytest.mark.parametrize("message", [smb1_negotiate("NT LM 0.12"), smb1_negotiate(), b"GET / HTTP"])
def test_who_does_not_know_smb2_is_disconnected(engine: Engine, message: bytes) -> None:
    client = Client(engine)
    client.send(message)
    engine.settle()
    assert client.lost
    assert client.replies == []


def test_requests_before_negotiate_end_the_connection(engine: Engine) -> None:
    client = Client(engine)
    client.post(Command.ECHO, requests.EMPTY)
    assert client.lost
    assert client.replies == []


def validate(client: Client, **wrong: Any) -> Any:
    """Send FSCTL_VALIDATE_NEGOTIATE_INFO as for the NEGOTIATE that was sent, but for `wrong`."""
    fields = {"capabilities": 0x7F, "guid": client.guid, "security_mode": 1} | wrong
    dialects = fields.pop("dialects", (client.dialect,))
    info = ValidateNegotiateRequest(dialect_count=len(dialects), **fields)
    data = info.pack() + struct.pack(f"<{len(dialects)}H", *dialects)
    body = requests.ioctl(requests.RELATED, FSCTL_VALIDATE_NEGOTIATE_INFO, data)
    return client.taken(client.post(Command.IOCTL, body))


@pytest.mark.parametrize("dialect", [0x202, 0x210, 0x300, 0x302])
def test_a_true_negotiate_is_confirmed(engine: Engine, dialect: int) -> None:
    client = Client(engine).ready(dialect)
    (reply,) = validate(client)
    assert reply.signed
    offset = reply.parse(IoctlResponse).output_offset
    confirmed = ValidateNegotiateResponse.parse(reply.message, offset)
    assert confirmed.dialect == dialect
    assert confirmed.guid == GUID
    assert confirmed.capabilities == client.connection.server_capabilities


@pytest.mark.parametrize(
    "wrong",
    [
        {"capabilities": 0x3F},
        {"guid": bytes(16)},
        {"security_mode": 3},
        {"dialects": (0x202, 0x302, 0x300)},
    ],
)
@BY_MEMORY
def test_a_changed_negotiate_ends_the_connection(engine: Engine, wrong: dict[str, Any]) -> None:
    client = Client(engine).ready(0x300)
    assert validate(client, **wrong) == []
    assert "NEGOTIATE" in client.lost
    assert not engine.server.session_table


def test_a_changed_311_negotiate_breaks_the_signature(engine: Engine) -> None:
    client = Client(engine)
    client.negotiate()
    client.preauth = bytes(64)  # as if another message had arrived
    with pytest.raises(AssertionError):
        client.login()


def test_the_limit_of_a_message_rises_with_the_login(engine: Engine) -> None:
    client = Client(engine)
    assert client.connection.message_limit == 128 * 1024
    client.negotiate()
    assert client.connection.message_limit == 128 * 1024
    client.login()
    assert client.connection.message_limit == (8 << 20) + 128 * 1024


@pytest.mark.parametrize(
    ("inline", "read", "announced"),
    [(200_000, 1 << 20, 3 << 16), (100_000, 100_000, 100_000), (1 << 20, 1 << 16, 1 << 16)],
)
def test_reads_that_come_in_replies_alone(
    engine: Engine, inline: int, read: int, announced: int
) -> None:
    """MaxReadSize is in whole credits of what a reply carries, or as it was where that is less."""
    connection = Client(engine).connection
    connection.max_inline_read, connection.max_read_size = inline, read
    connection.keep_reads_inline()
    assert connection.max_read_size == announced
