"""CREATE against an independent client."""

import pytest
from smbprotocol import open as peer
from smbprotocol.create_contexts import SMB2CreateContextRequest

from usmbd.protocol.wire import create
from usmbd.protocol.wire import create_contexts as cc
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.create import CreateRequest
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import NtStatus, SmbError

STAT = FileStat(
    dev=1,
    ino=2,
    mode=0o100644,
    nlink=1,
    uid=0,
    gid=0,
    size=5,
    allocation=4096,
    creation_time=133_000_000_000_000_000,
    last_access_time=133_000_000_010_000_000,
    last_write_time=133_000_000_020_000_000,
    change_time=133_000_000_030_000_000,
    attributes=0x20,
)


def make_request(name: str) -> memoryview:
    request = peer.SMB2CreateRequest()
    request["impersonation_level"] = create.IMPERSONATION_IMPERSONATION
    request["desired_access"] = 0x0012019F
    request["share_access"] = create.FILE_SHARE_READ
    request["create_disposition"] = create.FILE_OPEN_IF
    request["create_options"] = create.FILE_NON_DIRECTORY_FILE
    request["buffer_path"] = name.encode("utf-16-le")
    contexts = []
    for tag in (b"MxAc", b"QFid"):
        context = SMB2CreateContextRequest()
        context["buffer_name"] = tag
        contexts.append(context)
    request["buffer_contexts"] = SMB2CreateContextRequest.pack_multiple(contexts)
    return memoryview(bytes(64) + request.pack())


def test_request_of_a_peer_is_read() -> None:
    message = make_request("dir\\Ünïx")
    request = parse_body(CreateRequest, message)
    assert request.desired_access == 0x0012019F
    assert request.create_disposition == create.FILE_OPEN_IF
    assert create.create_name(message, request) == "dir\\Ünïx"
    contexts = cc.parse_contexts(create.create_contexts_buffer(message, request))
    assert list(contexts) == [b"MxAc", b"QFid"]


def test_bad_names_are_refused() -> None:
    message = make_request("name")
    request = parse_body(CreateRequest, message)
    request.name_length = 3
    with pytest.raises(SmbError) as error:
        create.create_name(message, request)
    assert error.value.status is NtStatus.OBJECT_NAME_INVALID
    request.name_length = 0xFFFE
    with pytest.raises(SmbError) as error:
        create.create_name(message, request)
    assert error.value.status is NtStatus.INVALID_PARAMETER


def test_response_is_read_by_smbprotocol() -> None:
    contexts = cc.build_contexts([cc.maximal_access_response(0, 0x1F01FF)])
    parts = create.build_create_response(
        STAT,
        3,
        4,
        create_action=create.FILE_CREATED,
        oplock_level=create.SMB2_OPLOCK_LEVEL_BATCH,
        contexts=contexts,
    )
    response = peer.SMB2CreateResponse()
    response.unpack(b"".join(parts))
    assert response["oplock_level"].get_value() == create.SMB2_OPLOCK_LEVEL_BATCH
    assert response["create_action"].get_value() == create.FILE_CREATED
    assert response["end_of_file"].get_value() == 5
    assert response["allocation_size"].get_value() == 4096
    assert response["file_id"].get_value() == (3).to_bytes(8, "little") + (4).to_bytes(8, "little")
    (context,) = response["buffer"].get_value()
    assert context["buffer_name"].get_value() == b"MxAc"


def test_response_without_contexts_is_the_fixed_part() -> None:
    data = b"".join(create.build_create_response(STAT, 3, 4, create_action=create.FILE_OPENED))
    response = create.CreateResponse.parse(data)
    assert len(data) == create.CreateResponse.SIZE
    assert response.create_contexts_offset == 0
    assert response.change_time == STAT.change_time
    assert (response.persistent, response.volatile) == (3, 4)
