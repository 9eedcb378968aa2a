"""IOCTL and the data of its codes."""

import struct
from ipaddress import ip_address

import pytest
from smbprotocol import ioctl as peer

from usmbd.protocol.wire import fsctl, fsctl_smb2, ioctl
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.status import NtStatus, SmbError


def make_request(data: bytes) -> memoryview:
    request = peer.SMB2IOCTLRequest()
    request["ctl_code"] = fsctl.FSCTL_PIPE_TRANSCEIVE
    request["file_id"] = struct.pack("<QQ", 3, 4)
    request["max_output_response"] = 1024
    request["flags"] = ioctl.SMB2_0_IOCTL_IS_FSCTL
    request["buffer"] = data
    return memoryview(bytes(64) + request.pack())


def test_request_is_read_and_answered() -> None:
    message = make_request(b"rpc request")
    request = parse_body(ioctl.IoctlRequest, message)
    assert ioctl.ioctl_input(message, request) == b"rpc request"
    for output in (b"", b"rpc response"):
        response = peer.SMB2IOCTLResponse()
        response.unpack(b"".join(ioctl.build_ioctl_response(request, output)))
        assert response["ctl_code"].get_value() == fsctl.FSCTL_PIPE_TRANSCEIVE
        assert response["file_id"].get_value() == struct.pack("<QQ", 3, 4)
        assert response["output_offset"].get_value() == 112
        assert response["buffer"].get_value() == output


def test_input_past_the_end_is_refused() -> None:
    message = make_request(b"data")
    request = parse_body(ioctl.IoctlRequest, message)
    request.input_count = 0xFFFFFFFF
    with pytest.raises(SmbError):
        ioctl.ioctl_input(message, request)


def copychunk(count: int, declared: int) -> memoryview:
    request = peer.SMB2SrvCopyChunkCopy()
    request["source_key"] = bytes(range(24))
    chunks = []
    for index in range(count):
        chunk = peer.SMB2SrvCopyChunk()
        chunk["source_offset"] = index
        chunk["target_offset"] = index + 100
        chunk["length"] = 1 << 20
        chunks.append(chunk)
    request["chunks"] = chunks
    data = bytearray(request.pack())
    struct.pack_into("<I", data, 24, declared)
    return memoryview(data)


def test_copychunks_are_read() -> None:
    data = copychunk(2, 2)
    copy = fsctl_smb2.CopychunkCopy.parse(data)
    assert copy.source_key == bytes(range(24))
    chunks = fsctl_smb2.parse_copychunks(data, copy)
    assert [(c.source_offset, c.target_offset, c.length) for c in chunks] == [
        (0, 100, 1 << 20),
        (1, 101, 1 << 20),
    ]


def test_copychunk_count_that_lies_is_refused() -> None:
    data = copychunk(2, 0xFFFFFFFF)
    with pytest.raises(SmbError) as error:
        fsctl_smb2.parse_copychunks(data, fsctl_smb2.CopychunkCopy.parse(data))
    assert error.value.status is NtStatus.INVALID_PARAMETER


def test_resume_key_is_read_by_smbprotocol() -> None:
    response = peer.SMB2SrvRequestResumeKey()
    response.unpack(fsctl_smb2.ResumeKeyResponse(resume_key=bytes(range(24))).pack())
    assert response["resume_key"].get_value() == bytes(range(24))
    assert response["context_length"].get_value() == 0


def test_validate_negotiate_is_read() -> None:
    request = peer.SMB2ValidateNegotiateInfoRequest()
    request["capabilities"] = 0x7F
    request["guid"] = bytes(range(16))
    request["security_mode"] = 1
    request["dialects"] = [0x0202, 0x0300]
    ours, dialects = fsctl_smb2.parse_validate_negotiate(memoryview(request.pack()))
    assert (ours.capabilities, ours.guid, ours.security_mode) == (0x7F, bytes(range(16)), 1)
    assert dialects == (0x0202, 0x0300)


@pytest.mark.parametrize("count", [2, fsctl_smb2.MAXIMUM_DIALECTS + 1])
def test_validate_negotiate_count_that_lies_is_refused(count: int) -> None:
    data = struct.pack("<I16sHHH", 0, bytes(16), 0, count, 0x0202)
    with pytest.raises(SmbError):
        fsctl_smb2.parse_validate_negotiate(memoryview(data))


def test_network_interfaces_are_read_by_smbprotocol() -> None:
    interfaces = [
        fsctl_smb2.NetworkInterface(2, ip_address("192.0.2.1"), 10**10, fsctl_smb2.RDMA_CAPABLE),
        fsctl_smb2.NetworkInterface(3, ip_address("2001:db8::1"), 10**9),
    ]
    data = fsctl_smb2.build_network_interfaces(interfaces)
    assert len(data) == 2 * 152
    first, second = peer.SMB2NetworkInterfaceInfo.unpack_multiple(data)
    assert first["if_index"].get_value() == 2
    assert first["capability"].has_flag(peer.IfCapability.RDMA_CAPABLE)
    assert first["link_speed"].get_value() == 10**10
    storage = first["sock_addr_storage"].get_value()
    assert storage["buffer"].get_value().get_ipaddress() == "192.0.2.1"
    storage = second["sock_addr_storage"].get_value()
    address = storage["buffer"].get_value().get_ipaddress()
    assert ip_address(address) == ip_address("2001:db8::1")


SNAPSHOT = "@GMT-2024.01.02-03.04.05"


def test_snapshots_are_read_by_smbprotocol() -> None:
    data = fsctl_smb2.build_snapshot_array([SNAPSHOT, SNAPSHOT], 4096)
    array = peer.SMB2SrvSnapshotArray()
    array.unpack(data)
    assert array["number_of_snapshots_returned"].get_value() == 2
    assert struct.unpack_from("<I", data, 8)[0] == len(data) - 12


def test_snapshots_that_do_not_fit_are_counted() -> None:
    needed = 2 * 25 + 2
    assert fsctl_smb2.build_snapshot_array([SNAPSHOT], 16) == struct.pack("<IIII", 1, 0, needed, 0)
    assert fsctl_smb2.build_snapshot_array([], 16) == struct.pack("<IIII", 0, 0, 2, 0)
    with pytest.raises(SmbError):
        fsctl_smb2.build_snapshot_array([], 15)


def test_pipe_wait() -> None:
    name = "srvsvc".encode("utf-16-le")
    data = struct.pack("<qIBB", -50_000_000, len(name), 1, 0) + name
    wait, pipe = fsctl.parse_pipe_wait(memoryview(data))
    assert (wait.timeout, wait.timeout_specified, pipe) == (-50_000_000, 1, "srvsvc")
    with pytest.raises(SmbError):
        fsctl.parse_pipe_wait(memoryview(data)[:-1])


def test_trim() -> None:
    data = struct.pack("<IIQQQQ", 0, 2, 1, 2, 3, 4)
    ranges = fsctl.parse_trim(memoryview(data))
    assert list(fsctl.TRIM_RANGE.iter_unpack(ranges)) == [(1, 2), (3, 4)]
    for bad in (
        data[:-1],
        b"\1" + data[1:],
        struct.pack("<II", 0, 0),
        struct.pack("<II", 0, 0xFFFFFFFF),
    ):
        with pytest.raises(SmbError):
            fsctl.parse_trim(memoryview(bad))
