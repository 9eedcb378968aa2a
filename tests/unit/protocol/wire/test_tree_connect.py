"""TREE_CONNECT and the names of shares."""

import pytest
from smbprotocol import tree as peer

from usmbd.protocol.wire import tree_connect
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.protocol.wire.tree_connect import TreeConnectRequest


def make_request(path: str) -> memoryview:
    request = peer.SMB2TreeConnectRequest()
    request["buffer"] = path.encode("utf-16-le")
    return memoryview(bytes(64) + request.pack())


def test_path_of_a_peer_is_read() -> None:
    message = make_request(r"\\server.test\Dätä$")
    request = parse_body(TreeConnectRequest, message)
    assert tree_connect.share_path(message, request) == r"\\server.test\Dätä$"


@pytest.mark.parametrize(
    ("path", "expected"),
    [(r"\\s\share", ("s", "share")), (r"\\fe80--1.ipv6-literal.net\IPC$", None)],
)
def test_path_is_split(path: str, expected: tuple[str, str] | None) -> None:
    assert tree_connect.split_share_path(path) == (expected or ("fe80--1.ipv6-literal.net", "IPC$"))


@pytest.mark.parametrize("path", ["", "share", r"\s\share", r"\\s", "\\\\s\\", r"\\s\a\b"])
def test_other_paths_name_no_share(path: str) -> None:
    with pytest.raises(SmbError) as error:
        tree_connect.split_share_path(path)
    assert error.value.status is NtStatus.BAD_NETWORK_NAME


def test_endless_path_names_no_share() -> None:
    message = make_request("\\\\s\\" + "a" * 1000)
    with pytest.raises(SmbError) as error:
        tree_connect.share_path(message, parse_body(TreeConnectRequest, message))
    assert error.value.status is NtStatus.BAD_NETWORK_NAME


def test_path_past_the_end_is_refused() -> None:
    message = make_request(r"\\s\share")[:-2]
    with pytest.raises(SmbError) as error:
        tree_connect.share_path(message, parse_body(TreeConnectRequest, message))
    assert error.value.status is NtStatus.INVALID_PARAMETER
