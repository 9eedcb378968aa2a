"""CLOSE, FLUSH, READ, WRITE, LOCK: requests and responses of an independent client."""

import struct

import pytest
from smbprotocol import open as peer

from usmbd.protocol.wire import channel, close, lock, read, write
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import NtStatus, SmbError

FILE_ID = struct.pack("<QQ", 3, 4)
STAT = FileStat(1, 2, 0o100644, 1, 0, 0, 5, 4096, 10, 11, 12, 13, 0x20)


def test_close_with_and_without_attributes() -> None:
    response = peer.SMB2CloseResponse()
    response.unpack(close.pack_close_response(STAT))
    assert response["flags"].get_value() == close.SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB
    assert response["end_of_file"].get_value() == 5
    assert response["allocation_size"].get_value() == 4096
    assert response["file_attributes"].get_value() == 0x20
    assert close.CloseResponse.parse(close.pack_close_response(STAT)).change_time == 13
    assert close.pack_close_response(None) == b"\x3c\0" + bytes(58)


def test_read_request_with_rdma_descriptors() -> None:
    request = peer.SMB2ReadRequest()
    request["length"] = 4096
    request["offset"] = 1 << 33
    request["file_id"] = FILE_ID
    request["channel"] = channel.SMB2_CHANNEL_RDMA_V1
    descriptors = struct.pack("<QIIQII", 0x1000, 7, 4000, 0x9000, 8, 96)
    request["read_channel_info_offset"] = 112
    request["read_channel_info_length"] = len(descriptors)
    request["buffer"] = descriptors
    message = memoryview(bytes(64) + request.pack())
    ours = parse_body(read.ReadRequest, message)
    assert (ours.length, ours.offset, ours.persistent, ours.volatile) == (4096, 1 << 33, 3, 4)
    first, second = channel.parse_descriptors(read.read_channel_info(message, ours), 4096)
    assert (first.offset, first.token, first.length) == (0x1000, 7, 4000)
    assert (second.offset, second.token, second.length) == (0x9000, 8, 96)


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"", 0),
        (bytes(15), 0),
        (bytes(17), 0),
        (struct.pack("<QII", 0, 1, 10), 11),
        (bytes(16), 0),
        (struct.pack("<QIIQII", 0, 1, 0, 0, 2, 10), 10),
        (struct.pack("<QII", 2**64 - 10, 1, 11), 11),
        (struct.pack("<QIIQII", 0, 1, 10, 2**64 - 1, 2, 2), 10),
    ],
)
def test_bad_descriptors_are_refused(data: bytes, length: int) -> None:
    with pytest.raises(SmbError) as error:
        channel.parse_descriptors(memoryview(data), length)
    assert error.value.status is NtStatus.INVALID_PARAMETER


def test_as_many_descriptors_as_the_length_can_tell() -> None:
    data = struct.pack("<QII", 2**64 - 10, 1, 10) * 4095
    assert channel.parse_descriptors(memoryview(data), 40950)[-1] == (2**64 - 10, 1, 10)


def test_read_response_is_read_by_smbprotocol() -> None:
    response = peer.SMB2ReadResponse()
    response.unpack(read.pack_read_response(4) + b"data")
    assert response["data_offset"].get_value() == 80
    assert response["buffer"].get_value() == b"data"
    by_rdma = read.ReadResponse.parse(read.pack_read_response(0, 4096))
    assert (by_rdma.data_length, by_rdma.data_remaining) == (0, 4096)


def make_write(data: bytes) -> memoryview:
    request = peer.SMB2WriteRequest()
    request["offset"] = 9
    request["file_id"] = FILE_ID
    request["flags"] = write.SMB2_WRITEFLAG_WRITE_THROUGH
    request["buffer"] = data
    return memoryview(bytes(64) + request.pack())


def test_write_request_is_read() -> None:
    message = make_write(b"some data")
    request = parse_body(write.WriteRequest, message)
    assert request.flags == write.SMB2_WRITEFLAG_WRITE_THROUGH
    assert write.write_data(message, request) == b"some data"
    assert write.write_channel_info(message, request) == b""


@pytest.mark.parametrize("length", [10, 0xFFFFFFFF])
def test_write_data_past_the_end_is_refused(length: int) -> None:
    message = make_write(b"some data")
    request = parse_body(write.WriteRequest, message)
    request.length = length
    with pytest.raises(SmbError):
        write.write_data(message, request)


def test_write_data_far_behind_the_request_is_refused() -> None:
    message = memoryview(bytes(1000))
    request = write.WriteRequest(
        data_offset=write.MAXIMUM_DATA_OFFSET, length=1, offset=0, persistent=0, volatile=0
    )
    assert write.write_data(message, request) == b"\0"
    request.data_offset += 1
    with pytest.raises(SmbError):
        write.write_data(message, request)


def test_write_response_is_read_by_smbprotocol() -> None:
    response = peer.SMB2WriteResponse()
    response.unpack(write.pack_write_response(1 << 20))
    assert response["count"].get_value() == 1 << 20


def make_lock(count: int) -> memoryview:
    request = peer.SMB2LockRequest()
    request["lock_sequence"] = 0x25
    request["file_id"] = FILE_ID
    elements = []
    for index in range(count):
        element = peer.SMB2LockElement()
        element["offset"] = index
        element["length"] = 2**63 - 1
        element["flags"] = lock.SMB2_LOCKFLAG_EXCLUSIVE_LOCK
        elements.append(element)
    request["locks"] = elements
    return memoryview(bytes(64) + request.pack())


def test_lock_request_is_read() -> None:
    message = make_lock(3)
    request = parse_body(lock.LockRequest, message)
    assert (request.lock_sequence_number, request.lock_sequence_index) == (5, 2)
    elements = lock.parse_locks(message, request)
    assert [element.offset for element in elements] == [0, 1, 2]
    assert elements[2].length == 2**63 - 1
    assert elements[2].flags == lock.SMB2_LOCKFLAG_EXCLUSIVE_LOCK


@pytest.mark.parametrize("count", [0, 4, 0xFFFF])
def test_lock_counts_that_lie_are_refused(count: int) -> None:
    message = make_lock(3)
    request = parse_body(lock.LockRequest, message)
    request.lock_count = count
    with pytest.raises(SmbError) as error:
        lock.parse_locks(message, request)
    assert error.value.status is NtStatus.INVALID_PARAMETER


def test_what_is_reserved_is_zero() -> None:
    """After the flags, Reserved ([MS-SMB2] 2.2.16)."""
    assert close.pack_close_response(STAT)[2:8] == b"\1\0" + bytes(4)
