"""QUERY_DIRECTORY, QUERY_INFO, SET_INFO, CHANGE_NOTIFY against an independent client."""

import struct

import pytest
from smbprotocol import change_notify as peer_notify
from smbprotocol import open as peer

from usmbd.protocol.wire import change_notify, query_directory, query_info, set_info
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.status import SmbError

FILE_ID = struct.pack("<QQ", 3, 4)


def test_query_directory() -> None:
    request = peer.SMB2QueryDirectoryRequest()
    request["file_information_class"] = 37
    request["flags"] = query_directory.SMB2_RESTART_SCANS
    request["file_id"] = FILE_ID
    request["output_buffer_length"] = 65536
    request["buffer"] = "*.tät".encode("utf-16-le")
    message = memoryview(bytes(64) + request.pack())
    ours = parse_body(query_directory.QueryDirectoryRequest, message)
    assert query_directory.search_pattern(message, ours) == "*.tät"
    ours.file_name_length += 2
    with pytest.raises(SmbError):
        query_directory.search_pattern(message, ours)

    response = peer.SMB2QueryDirectoryResponse()
    response.unpack(b"".join(query_directory.build_query_directory_response(b"entries")))
    assert response["output_buffer_offset"].get_value() == 72
    assert response["buffer"].get_value() == b"entries"


def test_query_info() -> None:
    request = peer.SMB2QueryInfoRequest()
    request["info_type"] = query_info.SMB2_0_INFO_FILE
    request["file_info_class"] = 15
    request["output_buffer_length"] = 100
    request["file_id"] = FILE_ID
    request["input_buffer_offset"] = 104
    request["input_buffer_length"] = 5
    request["buffer"] = b"input"
    message = memoryview(bytes(64) + request.pack())
    ours = parse_body(query_info.QueryInfoRequest, message)
    assert query_info.query_info_input(message, ours) == b"input"
    ours.input_buffer_length = 6
    with pytest.raises(SmbError):
        query_info.query_info_input(message, ours)

    for data in (b"", b"information"):
        response = peer.SMB2QueryInfoResponse()
        response.unpack(b"".join(query_info.build_query_info_response(data)))
        assert response["output_buffer_offset"].get_value() == 72
        assert response["buffer"].get_value() == data


def test_set_info() -> None:
    request = peer.SMB2SetInfoRequest()
    request["info_type"] = query_info.SMB2_0_INFO_FILE
    request["file_info_class"] = 20
    request["file_id"] = FILE_ID
    request["buffer"] = bytes(8)
    message = memoryview(bytes(64) + request.pack())
    ours = parse_body(set_info.SetInfoRequest, message)
    assert set_info.set_info_buffer(message, ours) == bytes(8)
    ours.buffer_length = 9
    with pytest.raises(SmbError):
        set_info.set_info_buffer(message, ours)
    assert set_info.SetInfoResponse().pack() == b"\2\0"


def test_change_notify() -> None:
    changes = [
        (change_notify.FILE_ACTION_RENAMED_OLD_NAME, "dir\\old"),
        (change_notify.FILE_ACTION_RENAMED_NEW_NAME, "dir\\newer"),
    ]
    gathered = change_notify.NotifyInformation()
    assert all(gathered.add(action, name, 100) for action, name in changes)
    data = bytes(gathered)
    assert not gathered.add(1, "x", len(data) + 13)
    response = peer_notify.SMB2ChangeNotifyResponse()
    response.unpack(b"".join(change_notify.build_change_notify_response(data)))
    buffer = response["buffer"].get_value()
    read = []
    offset = 0
    while True:
        record = peer_notify.FileNotifyInformation()
        record.unpack(buffer[offset:])
        read.append((record["action"].get_value(), record["file_name"].get_value()))
        step = record["next_entry_offset"].get_value()
        assert step % 4 == 0
        if not step:
            break
        offset += step
    assert read == changes


def test_change_notify_without_records() -> None:
    assert b"".join(change_notify.build_change_notify_response()) == struct.pack("<HHI", 9, 72, 0)
