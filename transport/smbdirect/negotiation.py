"""The rules of the two Negotiate messages, without state ([MS-SMBD] 3.1.5.2 to 3.1.5.7)."""

from usmbd.transport.smbdirect.limits import (
    MIN_FRAGMENTED_SIZE,
    MIN_RECEIVE_SIZE,
    Limits,
    Negotiated,
    ProtocolError,
)
from usmbd.transport.smbdirect.pdu import (
    NEGOTIATE_REQUEST_SIZE,
    NEGOTIATE_RESPONSE_SIZE,
    STATUS_SUCCESS,
    VERSION,
    NegotiateRequest,
    NegotiateResponse,
)


def build_request(limits: Limits) -> NegotiateRequest:
    """Return what a client asks for, [MS-SMBD] 3.1.5.2."""
    return NegotiateRequest(
        min_version=VERSION,
        max_version=VERSION,
        reserved=0,
        credits_requested=limits.send_credit_target,
        preferred_send_size=limits.max_send_size,
        max_receive_size=limits.max_receive_size,
        max_fragmented_size=limits.max_fragmented_size,
    )


def build_response(limits: Limits, agreed: Negotiated, credits_granted: int) -> NegotiateResponse:
    """Return a server's consent, [MS-SMBD] 3.1.5.3."""
    return NegotiateResponse(
        negotiated_version=VERSION,
        credits_requested=limits.send_credit_target,
        credits_granted=credits_granted,
        max_read_write_size=agreed.max_read_write_size,
        preferred_send_size=agreed.max_send_size,
        max_receive_size=agreed.max_receive_size,
        max_fragmented_size=agreed.max_fragmented_receive_size,
    )


def read_request(limits: Limits, data: memoryview) -> tuple[NegotiateRequest, Negotiated | None]:
    """Check a client's request, [MS-SMBD] 3.1.5.6; without a common version nothing is agreed.

    Raises ProtocolError where the document ends the connection without an answer.
    """
    if len(data) < NEGOTIATE_REQUEST_SIZE:
        raise ProtocolError(f"a Negotiate Request of {len(data)} bytes")
    request = NegotiateRequest.unpack(data)
    if not request.min_version <= VERSION <= request.max_version:
        return request, None
    if not request.credits_requested:
        raise ProtocolError("the client asks for no credits")
    _check_sizes(request.max_receive_size, request.max_fragmented_size)
    return request, Negotiated(
        max_send_size=min(limits.max_send_size, request.max_receive_size),
        max_receive_size=_receive_size(limits, request.preferred_send_size),
        max_fragmented_send_size=request.max_fragmented_size,
        max_fragmented_receive_size=limits.max_fragmented_size,
        max_read_write_size=limits.max_read_write_size,
    )


def read_response(limits: Limits, data: memoryview) -> tuple[NegotiateResponse, Negotiated]:
    """Check a server's answer, [MS-SMBD] 3.1.5.7; raises ProtocolError unless it is a consent."""
    if len(data) < NEGOTIATE_RESPONSE_SIZE:
        raise ProtocolError(f"a Negotiate Response of {len(data)} bytes")
    response = NegotiateResponse.unpack(data)
    if response.status != STATUS_SUCCESS:
        raise ProtocolError(f"the server refuses with status {response.status:#010x}")
    if response.negotiated_version != VERSION:
        raise ProtocolError(f"the server chose version {response.negotiated_version:#06x}")
    if not response.credits_granted or not response.credits_requested:
        raise ProtocolError("the server grants or asks for no credits")
    _check_sizes(response.max_receive_size, response.max_fragmented_size)
    if response.preferred_send_size > limits.max_receive_size:
        raise ProtocolError(f"the server wants to send {response.preferred_send_size} bytes")
    return response, Negotiated(
        max_send_size=min(limits.max_send_size, response.max_receive_size),
        max_receive_size=_receive_size(limits, response.preferred_send_size),
        max_fragmented_send_size=response.max_fragmented_size,
        max_fragmented_receive_size=limits.max_fragmented_size,
        max_read_write_size=min(limits.max_read_write_size, response.max_read_write_size),
    )


def _check_sizes(receive_size: int, fragmented_size: int) -> None:
    """Refuse a peer that takes less than every peer has to."""
    if receive_size < MIN_RECEIVE_SIZE:
        raise ProtocolError(f"the peer receives {receive_size} bytes at most")
    if fragmented_size < MIN_FRAGMENTED_SIZE:
        raise ProtocolError(f"the peer reassembles {fragmented_size} bytes at most")


def _receive_size(limits: Limits, preferred_send_size: int) -> int:
    """Return the longest message that has to be expected: never longer than what is posted."""
    return max(min(limits.max_receive_size, preferred_send_size), MIN_RECEIVE_SIZE)
