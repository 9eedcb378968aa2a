"""Every fixed part, field by field, against the structures of an independent client."""

import importlib
import pkgutil
from typing import Any

import impacket.smb3structs
import pytest
import smbprotocol.change_notify as p_notify
import smbprotocol.connection as p_connection
import smbprotocol.create_contexts as p_contexts
import smbprotocol.exceptions as p_exceptions
import smbprotocol.header as p_header
import smbprotocol.ioctl as p_ioctl
import smbprotocol.open as p_open
import smbprotocol.session as p_session
import smbprotocol.tree as p_tree

import usmbd.protocol.wire
from usmbd.protocol.wire import (
    cancel,
    change_notify,
    close,
    create,
    create_contexts,
    echo,
    error,
    flush,
    fsctl_smb2,
    header,
    ioctl,
    lock,
    logoff,
    negotiate,
    oplock_break,
    query_directory,
    query_info,
    read,
    session_setup,
    set_info,
    tree_connect,
    tree_disconnect,
    write,
)
from usmbd.protocol.wire.base import Wire
from usmbd.protocol.wire.status import NtStatus

PEERS: list[tuple[type[Wire], Any]] = [
    (header.TransformHeader, p_connection.SMB2TransformHeader),
    (negotiate.NegotiateRequest, p_connection.SMB3NegotiateRequest),
    (negotiate.NegotiateResponse, p_connection.SMB2NegotiateResponse),
    (session_setup.SessionSetupRequest, p_session.SMB2SessionSetupRequest),
    (session_setup.SessionSetupResponse, p_session.SMB2SessionSetupResponse),
    (logoff.LogoffRequest, p_session.SMB2Logoff),
    (logoff.LogoffResponse, p_session.SMB2Logoff),
    (tree_connect.TreeConnectRequest, p_tree.SMB2TreeConnectRequest),
    (tree_connect.TreeConnectResponse, p_tree.SMB2TreeConnectResponse),
    (tree_disconnect.TreeDisconnectRequest, p_tree.SMB2TreeDisconnect),
    (tree_disconnect.TreeDisconnectResponse, p_tree.SMB2TreeDisconnect),
    (create.CreateRequest, p_open.SMB2CreateRequest),
    (create.CreateResponse, p_open.SMB2CreateResponse),
    (close.CloseRequest, p_open.SMB2CloseRequest),
    (close.CloseResponse, p_open.SMB2CloseResponse),
    (flush.FlushRequest, p_open.SMB2FlushRequest),
    (flush.FlushResponse, p_open.SMB2FlushResponse),
    (read.ReadRequest, p_open.SMB2ReadRequest),
    (read.ReadResponse, p_open.SMB2ReadResponse),
    (write.WriteRequest, p_open.SMB2WriteRequest),
    (write.WriteResponse, p_open.SMB2WriteResponse),
    (lock.LockRequest, p_open.SMB2LockRequest),
    (lock.LockElement, p_open.SMB2LockElement),
    (lock.LockResponse, p_open.SMB2LockResponse),
    (query_directory.QueryDirectoryRequest, p_open.SMB2QueryDirectoryRequest),
    (query_directory.QueryDirectoryResponse, p_open.SMB2QueryDirectoryResponse),
    (query_info.QueryInfoRequest, p_open.SMB2QueryInfoRequest),
    (query_info.QueryInfoResponse, p_open.SMB2QueryInfoResponse),
    (set_info.SetInfoRequest, p_open.SMB2SetInfoRequest),
    (set_info.SetInfoResponse, p_open.SMB2SetInfoResponse),
    (ioctl.IoctlRequest, p_ioctl.SMB2IOCTLRequest),
    (ioctl.IoctlResponse, p_ioctl.SMB2IOCTLResponse),
    (fsctl_smb2.CopychunkCopy, p_ioctl.SMB2SrvCopyChunkCopy),
    (fsctl_smb2.Copychunk, p_ioctl.SMB2SrvCopyChunk),
    (fsctl_smb2.CopychunkResponse, p_ioctl.SMB2SrvCopyChunkResponse),
    (fsctl_smb2.ResiliencyRequest, p_ioctl.SMB2SrvNetworkResiliencyRequest),
    (fsctl_smb2.ValidateNegotiateRequest, p_ioctl.SMB2ValidateNegotiateInfoRequest),
    (fsctl_smb2.ValidateNegotiateResponse, p_ioctl.SMB2ValidateNegotiateInfoResponse),
    (fsctl_smb2.NetworkInterfaceInfo, p_ioctl.SMB2NetworkInterfaceInfo),
    (change_notify.ChangeNotifyRequest, p_notify.SMB2ChangeNotifyRequest),
    (change_notify.ChangeNotifyResponse, p_notify.SMB2ChangeNotifyResponse),
    (cancel.CancelRequest, p_connection.SMB2CancelRequest),
    (echo.EchoRequest, p_connection.SMB2Echo),
    (echo.EchoResponse, p_connection.SMB2Echo),
    (error.ErrorResponse, p_exceptions.SMB2ErrorResponse),
    (error.ErrorContext, p_exceptions.SMB2ErrorContextResponse),
    (create_contexts.ContextHeader, p_contexts.SMB2CreateContextRequest),
    (create_contexts.DurableRequestV2, p_contexts.SMB2CreateDurableHandleRequestV2),
    (create_contexts.DurableReconnectV2, p_contexts.SMB2CreateDurableHandleReconnectV2),
    (create_contexts.LeaseV1, p_contexts.SMB2CreateRequestLease),
    (create_contexts.LeaseV2, p_contexts.SMB2CreateRequestLeaseV2),
    (create_contexts.AppInstanceId, p_contexts.SMB2CreateAppInstanceId),
    (create_contexts.AppInstanceVersion, p_contexts.SMB2CreateAppInstanceVersion),
]

# Where the peer writes a field's name in another way, or calls reserved what 3.1.1 uses.
OTHER_NAMES = {
    (create.CreateResponse, "flag"): "flags",
    (read.ReadResponse, "reserved2"): "flags",
}


@pytest.mark.parametrize(("ours", "theirs"), PEERS, ids=lambda c: c.__name__)
def test_fields_have_the_peers_names_and_offsets(ours: type[Wire], theirs: Any) -> None:
    # Each byte is its own offset, so that a field's value tells where it was read from.
    values = vars(ours.parse(bytes(range(ours.SIZE))))
    offset = 0
    for name, field in theirs().fields.items():
        if offset == ours.SIZE:
            break
        expected = bytes(range(offset, offset + field.size))
        if name == "file_id":
            actual = values["persistent"].to_bytes(8, "little")
            actual += values["volatile"].to_bytes(8, "little")
        else:
            value = values[OTHER_NAMES.get((ours, name), name)]
            actual = value if isinstance(value, bytes) else value.to_bytes(field.size, "little")
        assert actual == expected, name
        offset += field.size
    assert offset == ours.SIZE


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (oplock_break.OplockBreak, "SMB2OplockBreakNotification"),
        (oplock_break.OplockBreak, "SMB2OplockBreakAcknowledgment"),
        (oplock_break.LeaseBreakNotification, "SMB2LeaseBreakNotification"),
        (oplock_break.LeaseBreak, "SMB2LeaseBreakAcknowledgement"),
        (query_info.QueryQuotaInfo, "SMB2_QUERY_QUOTA_INFO"),
        (header.CompressionTransformHeader, "SMB2_COMPRESSION_TRANSFORM_HEADER"),
    ],
    ids=lambda c: c if isinstance(c, str) else c.__name__,
)
def test_values_are_those_that_impacket_reads(ours: type[Wire], theirs: str) -> None:
    data = bytes(range(1, ours.SIZE + 1))
    values = list(vars(ours.parse(data)).values())
    if ours is oplock_break.OplockBreak:
        values[-2:] = [data[-16:]]
    peer = getattr(impacket.smb3structs, theirs)(data)
    peer_values = [peer[name] for name, *_ in peer.structure]
    if hasattr(peer_values[-1], "getData"):
        peer_values[-1] = peer_values[-1].getData()
    # The first field is the StructureSize or a protocol id that impacket reads as a number.
    assert values[1:] == peer_values[1 : len(values)]


def our_constants() -> dict[str, int | bytes]:
    constants = {}
    for module in pkgutil.iter_modules(usmbd.protocol.wire.__path__):
        names = vars(importlib.import_module(f"usmbd.protocol.wire.{module.name}"))
        for name, value in names.items():
            if name.isupper() and isinstance(value, int | bytes) and not name.startswith("_"):
                constants[name] = value
    return constants


# Where a peer departs from the document: its flags of TREE_CONNECT are in reverse order, its
# SHARE_REDIRECT is in the other byte order, ...
PEER_ERRORS = {
    "SMB2_TREE_CONNECT_FLAG_CLUSTER_RECONNECT",
    "SMB2_TREE_CONNECT_FLAG_EXTENSION_PRESENT",
    "SMB2_ERROR_ID_SHARE_REDIRECT",
    "SMB2_FLAGS_REPLAY_OPERATION",
    "SMB2_CREATE_EA_BUFFER",
    "SMB2_CREATE_SD_BUFFER",
}


def test_constants_are_the_peers() -> None:
    ours = our_constants()
    peers: list[tuple[str, Any]] = list(vars(impacket.smb3structs).items())
    for module in (p_connection, p_header, p_session, p_tree, p_open, p_ioctl, p_notify):
        for kind in vars(module).values():
            if isinstance(kind, type):
                peers += vars(kind).items()
    compared = set()
    for name, value in peers:
        if name in ours and name not in PEER_ERRORS and isinstance(value, int | bytes):
            assert value == ours[name], name
            compared.add(name)
    assert len(compared) > 200


def test_statuses_are_the_peers() -> None:
    for name, value in vars(p_header.NtStatus).items():
        if name.startswith("STATUS_"):
            assert NtStatus[name.removeprefix("STATUS_")] == value
