"""SMB2 IOCTL ([MS-SMB2] 3.3.5.15): the FSCTLs of SMB2 itself, and refusals for the rest."""

from collections.abc import Callable

from usmbd.protocol.commands import (
    dfs,
    file_facts,
    pipe_controls,
    reparse,
    resiliency,
    server_side_copy,
    sparse,
)
from usmbd.protocol.commands.duplicate_extents import duplicate_extents, duplicate_extents_ex
from usmbd.protocol.commands.negotiate import validate_negotiate
from usmbd.protocol.commands.request import Answer, Handling, Request
from usmbd.protocol.state.interfaces import network_interfaces
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.fsctl_smb2 import (
    ValidateNegotiateResponse,
    build_network_interfaces,
    parse_validate_negotiate,
)
from usmbd.protocol.wire.header import RELATED_ID
from usmbd.protocol.wire.ioctl import (
    SMB2_0_IOCTL_IS_FSCTL,
    IoctlRequest,
    build_ioctl_response,
    ioctl_input,
)
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300, SMB2_GLOBAL_CAP_MULTI_CHANNEL
from usmbd.protocol.wire.status import NtStatus, SmbError


def ioctl(request: Request) -> Answer | Handling:
    """Do what the control code says."""
    body = parse_body(IoctlRequest, request.message)
    connection = request.connection
    if body.flags != SMB2_0_IOCTL_IS_FSCTL:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    data = ioctl_input(request.message, body)
    largest = max(body.input_count, body.max_output_response)
    if largest > connection.max_transact_size or (
        body.max_input_response > connection.max_transact_size
    ):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if connection.supports_multi_credit:
        check_charge(request.header.credit_charge, largest)
    handler = _HANDLERS.get(body.ctl_code)
    if body.ctl_code in _WITHOUT_FILE and not body.persistent == body.volatile == RELATED_ID:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if handler is None:
        _require_open(request)
        if body.ctl_code in _NOT_SUPPORTED:
            raise SmbError(NtStatus.NOT_SUPPORTED)
        # What the file system below cannot do, Windows' answers with this status.
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    return handler(request, body, data)


def _require_open(request: Request) -> None:
    """SmbError(FILE_CLOSED) unless the request names an open."""
    if request.open is None:
        raise SmbError(NtStatus.FILE_CLOSED)


def _validate(request: Request, body: IoctlRequest, data: memoryview) -> Answer:
    """FSCTL_VALIDATE_NEGOTIATE_INFO; a mismatch ends the connection ([MS-SMB2] 3.3.5.15.12)."""
    connection = request.connection
    info, dialects = parse_validate_negotiate(data)
    result = validate_negotiate(
        connection, info.capabilities, info.guid, info.security_mode, dialects
    )
    if result is None:
        request.disconnect("the NEGOTIATE was changed on the way")
    if body.max_output_response < ValidateNegotiateResponse.SIZE:
        raise SmbError(NtStatus.BUFFER_TOO_SMALL)
    capabilities, guid, mode, dialect = result
    output = ValidateNegotiateResponse(
        capabilities=capabilities, guid=guid, security_mode=mode, dialect=dialect
    ).pack()
    return list(build_ioctl_response(body, output))


def _interfaces(request: Request, body: IoctlRequest, data: memoryview) -> Answer:
    """FSCTL_QUERY_NETWORK_INTERFACE_INFO ([MS-SMB2] 3.3.5.15.11)."""
    connection = request.connection
    if (
        connection.dialect < SMB2_DIALECT_300
        or not connection.server_capabilities & SMB2_GLOBAL_CAP_MULTI_CHANNEL
    ):
        raise SmbError(NtStatus.NOT_SUPPORTED)
    server = connection.server
    output = build_network_interfaces(
        network_interfaces(
            connection.transport.local,
            server.rdma_interfaces(),
            server.addresses,
            rdma_served=server.rdma_addresses,
        )
    )
    if len(output) > body.max_output_response:
        raise SmbError(NtStatus.BUFFER_TOO_SMALL)
    return list(build_ioctl_response(body, output))


_WITHOUT_FILE = {
    fsctl.FSCTL_DFS_GET_REFERRALS,
    fsctl.FSCTL_DFS_GET_REFERRALS_EX,
    fsctl.FSCTL_QUERY_NETWORK_INTERFACE_INFO,
    fsctl.FSCTL_VALIDATE_NEGOTIATE_INFO,
    fsctl.FSCTL_PIPE_WAIT,
}
"""Codes whose FileId has to be all ones ([MS-SMB2] 3.3.5.15)."""

_NOT_SUPPORTED = {
    fsctl.FSCTL_LMR_SET_LINK_TRACKING_INFORMATION,
    fsctl.FSCTL_SRV_READ_HASH,
}
"""Codes of [MS-SMB2] itself whose feature is not there ([MS-SMB2] 3.3.5.15)."""

_HANDLERS: dict[int, Callable[[Request, IoctlRequest, memoryview], Answer | Handling]] = {
    fsctl.FSCTL_DFS_GET_REFERRALS: dfs.get_referrals,
    fsctl.FSCTL_DFS_GET_REFERRALS_EX: dfs.get_referrals,
    fsctl.FSCTL_VALIDATE_NEGOTIATE_INFO: _validate,
    fsctl.FSCTL_QUERY_NETWORK_INTERFACE_INFO: _interfaces,
    fsctl.FSCTL_PIPE_TRANSCEIVE: pipe_controls.transceive,
    fsctl.FSCTL_PIPE_PEEK: pipe_controls.peek,
    fsctl.FSCTL_PIPE_WAIT: pipe_controls.wait,
    fsctl.FSCTL_LMR_REQUEST_RESILIENCY: resiliency.request_resiliency,
    fsctl.FSCTL_CREATE_OR_GET_OBJECT_ID: file_facts.object_id,
    fsctl.FSCTL_GET_OBJECT_ID: file_facts.object_id,
    fsctl.FSCTL_GET_COMPRESSION: file_facts.get_compression,
    fsctl.FSCTL_SET_COMPRESSION: file_facts.set_compression,
    fsctl.FSCTL_QUERY_FILE_REGIONS: file_facts.query_file_regions,
    fsctl.FSCTL_SRV_ENUMERATE_SNAPSHOTS: file_facts.enumerate_snapshots,
    fsctl.FSCTL_SRV_REQUEST_RESUME_KEY: server_side_copy.request_resume_key,
    fsctl.FSCTL_SRV_COPYCHUNK: server_side_copy.copychunk,
    fsctl.FSCTL_SRV_COPYCHUNK_WRITE: server_side_copy.copychunk,
    fsctl.FSCTL_SET_SPARSE: sparse.set_sparse,
    fsctl.FSCTL_SET_ZERO_DATA: sparse.set_zero_data,
    fsctl.FSCTL_QUERY_ALLOCATED_RANGES: sparse.query_allocated_ranges,
    fsctl.FSCTL_FILE_LEVEL_TRIM: sparse.file_level_trim,
    fsctl.FSCTL_DUPLICATE_EXTENTS_TO_FILE: duplicate_extents,
    fsctl.FSCTL_DUPLICATE_EXTENTS_TO_FILE_EX: duplicate_extents_ex,
    fsctl.FSCTL_GET_REPARSE_POINT: reparse.get_reparse_point,
    fsctl.FSCTL_SET_REPARSE_POINT: reparse.set_reparse_point,
    fsctl.FSCTL_DELETE_REPARSE_POINT: reparse.delete_reparse_point,
}
