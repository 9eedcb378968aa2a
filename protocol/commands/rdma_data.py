"""Data of READ and WRITE that travels by RDMA, past the message ([MS-SMB2] 3.3.5.12, 3.3.5.13).

    READ:  file -> registered memory -> [encrypt or sign] -> client's memory, then the reply
    WRITE: client's memory -> registered memory -> [decrypt or verify] -> file, then the reply

A message's own signature or encryption does not cover that data: the RDMA transforms of 3.1.1 do,
where they were negotiated. Without them it travels as it is, even beside encrypted messages; only
where the server itself insists on encryption is that refused.
"""

from typing import NamedTuple

from usmbd.protocol.commands.request import Request
from usmbd.protocol.crypto.signing import Signer
from usmbd.protocol.effects import Resume, Wait, Waiting
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.wire.channel import (
    SMB2_CHANNEL_RDMA_TRANSFORM,
    SMB2_CHANNEL_RDMA_V1,
    SMB2_CHANNEL_RDMA_V1_INVALIDATE,
    first_token,
    parse_descriptors,
)
from usmbd.protocol.wire.header import HEADER_SIZE, SMB2_FLAGS_SIGNED, Command
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_302, SMB2_DIALECT_311
from usmbd.protocol.wire.negotiate_contexts import (
    SMB2_RDMA_TRANSFORM_ENCRYPTION,
    SMB2_RDMA_TRANSFORM_SIGNING,
)
from usmbd.protocol.wire.rdma_transform import (
    SMB2_RDMA_TRANSFORM_TYPE_ENCRYPTION,
    SMB2_RDMA_TRANSFORM_TYPE_SIGNING,
    CryptoTransform,
    build_rdma_transform,
    find_descriptors,
    parse_rdma_transform,
)
from usmbd.protocol.wire.read import (
    SMB2_READFLAG_RESPONSE_RDMA_TRANSFORM,
    ReadRequest,
    pack_read_response,
    read_channel_info,
)
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError
from usmbd.protocol.wire.write import WriteRequest, write_channel_info
from usmbd.transport.base import Part, RdmaTransport, RemoteBuffer


class WriteBuffers(NamedTuple):
    """Where the data of a request lies at the client, and how it is protected."""

    buffers: list[RemoteBuffer]
    transform: CryptoTransform | None = None


def find_read_buffers(request: Request, body: ReadRequest) -> list[RemoteBuffer]:
    """Return where the client wants a READ's data.

    SmbError(INVALID_PARAMETER, ACCESS_DENIED, or INSUFFICIENT_RESOURCES within a compound).
    """
    connection = request.connection
    rdma = _check_channel(request, body.channel, transforms=False)
    buffers = parse_descriptors(read_channel_info(request.message, body), body.length)
    if not body.length or body.length > connection.max_read_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if request.chain is not None and rdma.saturated:
        # Between messages the transport stops the client; nothing does between the READs of one.
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
    _check_protection(
        request,
        request.sealed is not None
        and SMB2_RDMA_TRANSFORM_ENCRYPTION in connection.rdma_transform_ids,
    )
    if body.channel == SMB2_CHANNEL_RDMA_V1_INVALIDATE:
        request.invalidate = buffers[0].token
    return buffers


def find_write_buffers(request: Request, body: WriteRequest) -> WriteBuffers:
    """Return where a WRITE's data lies; SmbError(INVALID_PARAMETER or ACCESS_DENIED)."""
    connection = request.connection
    _check_channel(request, body.channel, transforms=True)
    size = body.remaining_bytes
    if connection.supports_multi_credit:
        # [MS-SMB2] 3.3.5.13 has Length checked alone, which is 0 here; clients pay for all of it,
        # and what they pay is all that bounds the memory of WRITEs that wait for a slow disk.
        check_charge(request.header.credit_charge, size)
    if body.length or body.data_offset or not size or size > connection.max_write_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    info = write_channel_info(request.message, body)
    channel, transform = body.channel, None
    if channel == SMB2_CHANNEL_RDMA_TRANSFORM:
        channel, info, transform = parse_rdma_transform(info)
        if channel not in (SMB2_CHANNEL_RDMA_V1, SMB2_CHANNEL_RDMA_V1_INVALIDATE):
            raise SmbError(NtStatus.INVALID_PARAMETER)
        _check_transform(request, transform)
    buffers = parse_descriptors(info, size)
    _check_protection(
        request,
        transform is not None and transform.transform_type == SMB2_RDMA_TRANSFORM_TYPE_ENCRYPTION,
    )
    if channel == SMB2_CHANNEL_RDMA_V1_INVALIDATE:
        request.invalidate = buffers[0].token
    return WriteBuffers(buffers, transform)


def invalidated_token(request: Request) -> int:
    """Return the token that the client wants invalidated by the reply to a READ or WRITE.

    Also for a request that is refused: the client counts on it ([MS-SMB2] 3.3.5.12). 0 when
    there is none, or where it stands cannot be read.
    """
    command, message = request.header.command, request.message
    if command not in (Command.READ, Command.WRITE):
        return 0
    if request.connection.dialect < SMB2_DIALECT_302:
        return 0
    try:
        if command == Command.READ:
            read = ReadRequest.parse(message, HEADER_SIZE)
            channel, info = read.channel, read_channel_info(message, read)
        else:
            write = WriteRequest.parse(message, HEADER_SIZE)
            channel, info = write.channel, write_channel_info(message, write)
            if channel == SMB2_CHANNEL_RDMA_TRANSFORM:
                channel, info = find_descriptors(info)
        return first_token(info) if channel == SMB2_CHANNEL_RDMA_V1_INVALIDATE else 0
    except SmbError:
        return 0


def deliver(request: Request, buffers: list[RemoteBuffer], data: memoryview) -> list[Part]:
    """Send a READ's data to the client's memory; return the response that follows it.

    Without a transform it is the fixed part alone: the padding byte that an empty buffer has
    elsewhere is taken for data by the Linux client.
    """
    rdma = request.connection.rdma
    assert rdma is not None
    size = len(data)
    data, transform = _protect(request, data)
    rdma.write_remote([data], buffers)
    if transform is None:
        return [pack_read_response(0, size)]
    built = build_rdma_transform(transform)
    return [pack_read_response(len(built), size, SMB2_READFLAG_RESPONSE_RDMA_TRANSFORM), built]


def fetch(request: Request, source: WriteBuffers, size: int) -> Waiting[memoryview]:
    """Read a WRITE's data from the client's memory and check it; the file is another's business.

    ConnectionError when the connection is lost meanwhile, SmbError for data that was changed.
    """
    rdma = request.connection.rdma
    assert rdma is not None
    data = rdma.buffer(size)

    def start(resume: Resume[None]) -> None:
        rdma.read_remote(data, source.buffers, lambda error: resume(None, error))

    yield Wait(start)
    if source.transform is not None:
        return _unprotect(request, data, source.transform)
    return data


def _check_channel(request: Request, channel: int, transforms: bool) -> RdmaTransport:
    """Return the transport; refuse a channel that it or the dialect does not have."""
    connection = request.connection
    rdma = connection.rdma
    if rdma is None or not (
        channel == SMB2_CHANNEL_RDMA_V1
        or (channel == SMB2_CHANNEL_RDMA_V1_INVALIDATE and connection.dialect >= SMB2_DIALECT_302)
        or (
            channel == SMB2_CHANNEL_RDMA_TRANSFORM
            and transforms
            and connection.dialect >= SMB2_DIALECT_311
        )
    ):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return rdma


def _check_protection(request: Request, encrypted: bool) -> None:
    """Refuse data in the clear where the server wants encryption, as for a message."""
    if not encrypted and (request.session.encrypt_data or request.tree.share.encryption_required):
        raise SmbError(NtStatus.ACCESS_DENIED)


def _check_transform(request: Request, transform: CryptoTransform) -> None:
    """Refuse a transform that was not negotiated or does not go with how the request came."""
    negotiated = request.connection.rdma_transform_ids
    if transform.transform_type == SMB2_RDMA_TRANSFORM_TYPE_ENCRYPTION:
        right = SMB2_RDMA_TRANSFORM_ENCRYPTION in negotiated and request.sealed is not None
    else:
        right = (
            SMB2_RDMA_TRANSFORM_SIGNING in negotiated
            and bool(request.header.flags & SMB2_FLAGS_SIGNED)
            and _channel_signer(request) is not None
        )
    if not right:
        raise SmbError(NtStatus.INVALID_PARAMETER)


def _channel_signer(request: Request) -> Signer | None:
    """Return the signer of the session on this connection; None for guests."""
    channel = request.session.channel_list.get(request.connection)
    return channel.signer if channel is not None else None


def _protect(request: Request, data: memoryview) -> tuple[memoryview, CryptoTransform | None]:
    """Encrypt or sign a READ's data as the request came; its memory is used up."""
    negotiated = request.connection.rdma_transform_ids
    if not negotiated:
        return data, None
    if request.sealed is not None:
        if SMB2_RDMA_TRANSFORM_ENCRYPTION not in negotiated:
            return data, None
        assert request.sealed.sealer is not None
        sealed, tag, nonce = request.sealed.sealer.seal_data(data)
        return sealed, CryptoTransform(SMB2_RDMA_TRANSFORM_TYPE_ENCRYPTION, tag, nonce)
    if request.signer is None or SMB2_RDMA_TRANSFORM_SIGNING not in negotiated:
        return data, None
    nonce = request.signer.data_nonce(request.header.message_id)
    signature = request.signer.sign_data(data, nonce)
    return data, CryptoTransform(SMB2_RDMA_TRANSFORM_TYPE_SIGNING, signature, nonce)


def _unprotect(request: Request, data: memoryview, transform: CryptoTransform) -> memoryview:
    """Decrypt or verify a WRITE's data: SmbError(AUTH_TAG_MISMATCH or INVALID_SIGNATURE)."""
    if transform.transform_type == SMB2_RDMA_TRANSFORM_TYPE_ENCRYPTION:
        sealer = request.session.sealer
        assert sealer is not None
        try:
            return sealer.open_data(data, transform.signature, transform.nonce)
        except MalformedError:
            raise SmbError(NtStatus.AUTH_TAG_MISMATCH) from None
    signer = _channel_signer(request)
    # The connection may have been unbound meanwhile.
    if signer is None or not signer.verify_data(data, transform.signature, transform.nonce):
        raise SmbError(NtStatus.INVALID_SIGNATURE)
    return data
