"""SESSION_SETUP against an independent client."""

import pytest
from smbprotocol import session as peer

from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.session_setup import (
    SMB2_SESSION_FLAG_IS_GUEST,
    SessionSetupRequest,
    build_session_setup_response,
    security_buffer,
)
from usmbd.protocol.wire.status import SmbError


def make_request() -> memoryview:
    request = peer.SMB2SessionSetupRequest()
    request["security_mode"] = 1
    request["previous_session_id"] = 77
    request["buffer"] = b"negotiate token"
    return memoryview(bytes(64) + request.pack())


def test_request_is_read() -> None:
    message = make_request()
    request = parse_body(SessionSetupRequest, message)
    assert request.previous_session_id == 77
    assert security_buffer(message, request) == b"negotiate token"


def test_token_past_the_end_is_refused() -> None:
    message = make_request()[:-1]
    with pytest.raises(SmbError):
        security_buffer(message, parse_body(SessionSetupRequest, message))


@pytest.mark.parametrize("token", [b"", b"challenge"])
def test_response_is_read_by_smbprotocol(token: bytes) -> None:
    response = peer.SMB2SessionSetupResponse()
    response.unpack(b"".join(build_session_setup_response(SMB2_SESSION_FLAG_IS_GUEST, token)))
    assert response["session_flags"].get_value() == SMB2_SESSION_FLAG_IS_GUEST
    assert response["security_buffer_offset"].get_value() == 72
    assert response["buffer"].get_value() == token
