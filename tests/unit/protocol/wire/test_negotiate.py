"""NEGOTIATE with requests of independent clients, in SMB2 and SMB1 form."""

import pytest
from impacket.smb import NewSMBPacket, SMBCommand
from smbprotocol import connection as peer

from usmbd.protocol.wire import negotiate
from usmbd.protocol.wire import negotiate_contexts as nc
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.negotiate import NegotiateRequest, NegotiateResponse
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

SALT = bytes(range(32))


def smbprotocol_request() -> memoryview:
    request = peer.SMB3NegotiateRequest()
    request["security_mode"] = 1
    request["capabilities"] = 0x7F
    request["client_guid"] = bytes(range(16))
    request["dialects"] = [0x0202, 0x0210, 0x0300, 0x0302, 0x0311]
    preauth = peer.SMB2PreauthIntegrityCapabilities()
    preauth["hash_algorithms"] = [nc.SHA_512]
    preauth["salt"] = SALT
    encryption = peer.SMB2EncryptionCapabilities()
    encryption["ciphers"] = [nc.AES_128_GCM, nc.AES_128_CCM]
    signing = peer.SMB2SigningCapabilities()
    signing["signing_algorithms"] = [nc.SIGNING_AES_GMAC, nc.SIGNING_AES_CMAC]
    netname = peer.SMB2NetnameNegotiateContextId()
    netname["net_name"] = "server.test"
    contexts = [(1, preauth), (2, encryption), (8, signing), (5, netname)]
    items = []
    for kind, data in contexts:
        item = peer.SMB2NegotiateContextRequest()
        item["context_type"] = kind
        item["data"] = data
        items.append(item)
    request["negotiate_context_list"] = items
    return memoryview(bytes(64) + request.pack())


def test_request_of_smbprotocol_is_read() -> None:
    message = smbprotocol_request()
    request = parse_body(NegotiateRequest, message)
    assert request.client_guid == bytes(range(16))
    assert negotiate.parse_dialects(message, request) == (0x202, 0x210, 0x300, 0x302, 0x311)
    contexts = negotiate.parse_negotiate_contexts(message, request)
    assert contexts.hash_algorithms == (nc.SHA_512,)
    assert contexts.salt == SALT
    assert contexts.ciphers == (nc.AES_128_GCM, nc.AES_128_CCM)
    assert contexts.signing_algorithms == (nc.SIGNING_AES_GMAC, nc.SIGNING_AES_CMAC)
    assert contexts.netname == "server.test"
    assert contexts.compression_algorithms is None
    assert not contexts.posix_extensions


def test_no_or_missing_dialects_are_refused() -> None:
    message = smbprotocol_request()
    request = parse_body(NegotiateRequest, message)
    for count in (0, 0xFFFF):
        request.dialect_count = count
        with pytest.raises(SmbError) as error:
            negotiate.parse_dialects(message, request)
        assert error.value.status is NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize("offset", [0, 100, 110, 0x70 + 4, 0xFFFFFFF8])
def test_context_offset_is_checked(offset: int) -> None:
    message = smbprotocol_request()
    request = parse_body(NegotiateRequest, message)
    assert request.negotiate_context_offset == 0x70
    request.negotiate_context_offset = offset
    with pytest.raises(SmbError):
        negotiate.parse_negotiate_contexts(message, request)


def make_response() -> NegotiateResponse:
    return NegotiateResponse(
        security_mode=1,
        dialect_revision=0x0311,
        server_guid=bytes(range(16)),
        capabilities=7,
        max_transact_size=1 << 20,
        max_read_size=1 << 21,
        max_write_size=1 << 22,
        system_time=133_000_000_000_000_000,
    )


@pytest.mark.parametrize("token", [b"", b"token", b"8 bytes."])
def test_response_is_read_by_smbprotocol(token: bytes) -> None:
    contexts = [
        nc.preauth_integrity_context(SALT),
        nc.encryption_context(nc.AES_128_GCM),
        nc.signing_context(nc.SIGNING_AES_GMAC),
    ]
    parts = negotiate.build_negotiate_response(make_response(), token, contexts)
    response = peer.SMB2NegotiateResponse()
    response.unpack(b"".join(parts))
    assert response["dialect_revision"].get_value() == 0x0311
    assert response["max_write_size"].get_value() == 1 << 22
    assert response["buffer"].get_value() == token
    assert response["negotiate_context_offset"].get_value() % 8 == 0
    preauth, encryption, signing = response["negotiate_context_list"].get_value()
    assert preauth["data"]["salt"].get_value() == SALT
    assert encryption["data"]["ciphers"].get_value() == [nc.AES_128_GCM]
    assert signing["data"]["signing_algorithms"].get_value() == [nc.SIGNING_AES_GMAC]


def test_response_without_contexts_ends_with_the_token() -> None:
    data = b"".join(negotiate.build_negotiate_response(make_response(), b"token"))
    response = NegotiateResponse.parse(data)
    assert (response.negotiate_context_count, response.negotiate_context_offset) == (0, 0)
    assert (response.security_buffer_offset, response.security_buffer_length) == (128, 5)
    assert data[64:] == b"token"


def impacket_smb1_request() -> bytes:
    packet = NewSMBPacket()
    command = SMBCommand(0x72)
    command["Data"] = b"\x02NT LM 0.12\0\x02SMB 2.002\0\x02SMB 2.???\0"
    packet.addCommand(command)
    return packet.getData()


def test_smb1_dialects_of_impacket_are_read() -> None:
    message = impacket_smb1_request()
    assert negotiate.is_smb1_negotiate(message)
    assert negotiate.parse_smb1_dialects(memoryview(message)) == [
        "NT LM 0.12",
        negotiate.SMB1_DIALECT_202,
        negotiate.SMB1_DIALECT_2XX,
    ]


def test_other_messages_are_no_smb1_negotiate() -> None:
    assert not negotiate.is_smb1_negotiate(b"\xffSMB\x73" + bytes(40))
    assert not negotiate.is_smb1_negotiate(b"\xfeSMB\x72" + bytes(60))
    assert not negotiate.is_smb1_negotiate(b"\xffSMB\x72")


@pytest.mark.parametrize(
    "tail",
    [b"\1\4\0\x02a\0\0", b"\0\4\0\x02a\0", b"\0\2\0\x02a", b"\0\3\0\x03a\0", b"\0\4\0\x02a\0\0"],
    ids=["words", "cut", "unterminated", "format", "empty"],
)
def test_bad_smb1_is_refused(tail: bytes) -> None:
    with pytest.raises(SmbError):
        negotiate.parse_smb1_dialects(memoryview(b"\xffSMB\x72" + bytes(27) + tail))


def test_short_smb1_raises() -> None:
    with pytest.raises(MalformedError):
        negotiate.parse_smb1_dialects(memoryview(b"\xffSMB\x72" + bytes(29)))
