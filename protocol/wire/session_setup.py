"""SMB2 SESSION_SETUP ([MS-SMB2] 2.2.5, 2.2.6)."""

from usmbd.protocol.wire.base import u8, u16, u32, u64
from usmbd.protocol.wire.body import Body, Parts, buffer_at
from usmbd.protocol.wire.header import HEADER_SIZE

# Flags of the request
SMB2_SESSION_FLAG_BINDING = 0x01

# SessionFlags of the response
SMB2_SESSION_FLAG_IS_GUEST = 0x0001
SMB2_SESSION_FLAG_IS_NULL = 0x0002
SMB2_SESSION_FLAG_ENCRYPT_DATA = 0x0004


class SessionSetupRequest(Body, size=24):
    """SMB2 SESSION_SETUP Request ([MS-SMB2] 2.2.5), before Buffer."""

    structure_size: u16 = 25
    flags: u8 = 0
    security_mode: u8 = 0
    capabilities: u32 = 0
    channel: u32 = 0
    security_buffer_offset: u16 = 0
    security_buffer_length: u16 = 0
    previous_session_id: u64 = 0


class SessionSetupResponse(Body, size=8):
    """SMB2 SESSION_SETUP Response ([MS-SMB2] 2.2.6), before Buffer."""

    structure_size: u16 = 9
    session_flags: u16 = 0
    security_buffer_offset: u16 = HEADER_SIZE + 8
    security_buffer_length: u16 = 0


def security_buffer(message: memoryview, request: SessionSetupRequest) -> memoryview:
    """Return the client's GSS token; SmbError(INVALID_PARAMETER) when out of bounds."""
    return buffer_at(
        message,
        request.security_buffer_offset,
        request.security_buffer_length,
        SessionSetupRequest.SIZE,
    )


def build_session_setup_response(session_flags: int, token: bytes) -> Parts:
    """Return the body with the server's GSS `token` (may be empty)."""
    response = SessionSetupResponse(session_flags=session_flags, security_buffer_length=len(token))
    return [response.pack(), token]
