"""Messages: what arrives is what was sent, and nothing else arrives."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usmbd.mountd.ipc import codec
from usmbd.mountd.ipc.messages import (
    MAX_RPC_DATA,
    ControlRows,
    LoginRequest,
    LoginResponse,
    LoginStatus,
    OpenRow,
    RpcResponse,
    RpcStatus,
    RpcWrite,
    ServerConfigResponse,
    ShareConfigResponse,
    TreeConnectRequest,
)
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig

LOGIN = LoginRequest("alice", "D", "PC", b"12345678", b"\x01" * 44, "fe80::1%eth0")


def test_both_ways() -> None:
    engine, mountd = codec.mountd_client(), codec.mountd_server()
    assert mountd.decode(engine.encode(2**64 - 1, LOGIN)) == (2**64 - 1, LOGIN)
    answers = [
        LoginResponse(LoginStatus.OK, "alice", 1, 2, [3], b"k" * 16),
        ServerConfigResponse(ServerConfig()),
        ShareConfigResponse(None),
        ShareConfigResponse(ShareConfig(name="x")),
    ]
    for answer in answers:
        assert engine.decode(mountd.encode(7, answer)) == (7, answer)


def test_the_largest_rpc_data_fits() -> None:
    message = RpcWrite(1, b"x" * MAX_RPC_DATA)
    assert codec.rpc_server().decode(codec.rpc_client().encode(1, message))[1] == message
    answer = RpcResponse(RpcStatus.MORE_DATA, b"x" * MAX_RPC_DATA)
    assert codec.rpc_client().decode(codec.rpc_server().encode(1, answer))[1] == answer


def test_rows_keep_their_kinds() -> None:
    rows = ControlRows([OpenRow(1, 2, "u", 0, "s", "p", 1, 7, "RWH", 0)], more=True)
    assert codec.control_client().decode(codec.control_server().encode(1, rows))[1] == rows


@pytest.mark.parametrize(
    "change",
    [
        {"server_challenge": b"1234567"},
        {"user": "x" * 257},
        {"nt_response": b"x" * 16385},
        {"client_address": "x" * 65},
        {"domain": 7},
        {"extra": 1},
        {"type": "Unknown"},
    ],
)
def test_a_message_out_of_its_limits_is_refused(change: dict[str, object]) -> None:
    fields = {"type": "LoginRequest", **msgspec.structs.asdict(LOGIN), **change}
    with pytest.raises(codec.CodecError):
        codec.mountd_server().decode(msgspec.msgpack.encode([1, fields]))


def test_the_wrong_direction_and_the_wrong_socket_are_refused() -> None:
    data = codec.mountd_client().encode(1, LOGIN)
    for other in (codec.mountd_client(), codec.rpc_server(), codec.control_server()):
        with pytest.raises(codec.CodecError):
            other.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x92\x01",
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\x92\x01\xdf\xff\xff\xff\xff",
        b"\x93\x01\x80\x80",
        b"x" * (codec.MAX_MESSAGE_SIZE + 1),
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(codec.CodecError):
        codec.mountd_server().decode(data)


@given(st.binary(max_size=200))
def test_no_other_error_than_its_own(data: bytes) -> None:
    for one in (codec.mountd_server(), codec.rpc_server(), codec.control_client()):
        try:
            one.decode(data)
        except codec.CodecError:
            continue


def test_too_long_is_not_sent() -> None:
    groups = list(range(1_000_000, 1_040_000))
    request = TreeConnectRequest(1, 1, "s", "u", 0, 0, groups, "")
    with pytest.raises(codec.CodecError):
        codec.mountd_client().encode(1, request)
