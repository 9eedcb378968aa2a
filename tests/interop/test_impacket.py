"""impacket: an independent client with its own NTLM, signing, encryption and DCE/RPC."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from impacket.dcerpc.v5 import srvs, transport, wkst
from impacket.dcerpc.v5.rpcrt import DCERPCException
from impacket.nmb import NetBIOSError
from impacket.smb3structs import (
    SMB2_DIALECT_002,
    SMB2_DIALECT_21,
    SMB2_DIALECT_30,
    SMB2_DIALECT_311,
)
from impacket.smbconnection import SessionError, SMBConnection
from smbtest.samples import MIB, content
from smbtest.server import ALICE, BOB, NETBIOS_NAME, WORKGROUP, Account, Server

DIALECTS = {
    "2.0.2": SMB2_DIALECT_002,
    "2.1": SMB2_DIALECT_21,
    "3.0": SMB2_DIALECT_30,
    "3.1.1": SMB2_DIALECT_311,
}


@contextmanager
def connected(
    server: Server, account: Account = ALICE, dialect: int | None = None
) -> Iterator[SMBConnection]:
    """Log in; None: all dialects are offered, after an SMB 1 negotiation."""
    connection = SMBConnection(
        server.host, server.host, sess_port=server.port, preferredDialect=dialect, timeout=20
    )
    try:
        connection.login(account.name, account.password)
        yield connection
    finally:
        connection.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_put_get_list_rename_delete(server: Server, folder: Path, dialect: str) -> None:
    data = content(MIB + 77)
    with connected(server, dialect=DIALECTS[dialect]) as connection:
        assert connection.getDialect() == DIALECTS[dialect]
        connection.createDirectory("data", f"{folder.name}/Ümlaut")
        path = f"{folder.name}/Ümlaut/файл.bin"
        connection.putFile("data", path, io.BytesIO(data).read)
        assert (folder / "Ümlaut/файл.bin").read_bytes() == data

        back = io.BytesIO()
        connection.getFile("data", path, back.write)
        assert back.getvalue() == data

        (found,) = connection.listPath("data", f"{folder.name}/Ümlaut/*.bin")
        assert found.get_longname() == "файл.bin"
        assert found.get_filesize() == len(data)

        connection.rename("data", path, f"{folder.name}/moved")
        assert (folder / "moved").read_bytes() == data
        connection.deleteFile("data", f"{folder.name}/moved")
        connection.deleteDirectory("data", f"{folder.name}/Ümlaut")
        assert not list(folder.iterdir())


def test_the_smb1_form_of_negotiate(server: Server) -> None:
    with connected(server) as connection:  # offers "SMB 2.002" and "SMB 2.???" in SMB 1's words
        assert connection.getDialect() in (
            SMB2_DIALECT_21,
            SMB2_DIALECT_30,
            SMB2_DIALECT_311,
            0x302,
        )
        assert connection.listPath("data", "*")


def test_a_password_beyond_ascii(server: Server) -> None:
    with connected(server, BOB) as connection:
        assert connection.listPath("data", "*")


def test_random_access(server: Server, folder: Path) -> None:
    data = bytearray(content(300_000))
    (folder / "file").write_bytes(data)
    (folder / "file").chmod(0o666)
    with connected(server) as connection:
        tree = connection.connectTree("data")
        opened = connection.openFile(tree, f"{folder.name}/file")
        for offset, length in ((0, 1), (4095, 4098), (131_071, 70_000), (299_999, 1)):
            part = content(length, seed=offset + 2)
            connection.writeFile(tree, opened, part, offset)
            data[offset : offset + length] = part
            assert connection.readFile(tree, opened, offset, length) == part
        connection.closeFile(tree, opened)
        connection.disconnectTree(tree)
    assert (folder / "file").read_bytes() == data


def test_streams(server: Server, folder: Path) -> None:
    with connected(server) as connection:
        connection.putFile("data", f"{folder.name}/file", io.BytesIO(b"main").read)
        connection.putFile("data", f"{folder.name}/file:stream", io.BytesIO(b"beside").read)
        back = io.BytesIO()
        connection.getFile("data", f"{folder.name}/FILE:STREAM", back.write)
        assert back.getvalue() == b"beside"
        connection.deleteFile("data", f"{folder.name}/file:stream")
        with pytest.raises(SessionError, match="OBJECT_NAME_NOT_FOUND"):
            connection.getFile("data", f"{folder.name}/file:stream", back.write)
    assert (folder / "file").read_bytes() == b"main"


def test_the_end_of_a_session(server: Server) -> None:
    with connected(server) as connection:
        connection.logoff()
        # the request is not signed any more: Samba hangs up on it
        with pytest.raises((SessionError, NetBIOSError), match=r"USER_SESSION_DELETED|remote"):
            connection.listPath("data", "*")


@contextmanager
def bound(server: Server, connection: SMBConnection, pipe: str, interface: bytes) -> Iterator:
    """Bind an interface on a named pipe of the connection."""
    rpc = transport.SMBTransport(
        server.host, server.port, filename=rf"\{pipe}", smb_connection=connection
    ).get_dce_rpc()
    rpc.connect()
    rpc.bind(interface)
    try:
        yield rpc
    finally:
        rpc.disconnect()


def test_srvsvc(server: Server) -> None:
    with connected(server) as connection:
        with bound(server, connection, "srvsvc", srvs.MSRPC_UUID_SRVS) as rpc:
            answer = srvs.hNetrShareEnum(rpc, 1)
            rows = answer["InfoStruct"]["ShareInfo"]["Level1"]["Buffer"]
            shares = {row["shi1_netname"][:-1]: row["shi1_remark"][:-1] for row in rows}
            assert shares["data"] == "The tests' folder"
            assert shares.keys() >= {"data", "encrypted", "readonly", "IPC$"}

            info = srvs.hNetrShareGetInfo(rpc, "data\0", 1)["InfoStruct"]["ShareInfo1"]
            assert info["shi1_netname"] == "data\0"
            assert info["shi1_type"] == 0
            with pytest.raises(DCERPCException):
                srvs.hNetrShareGetInfo(rpc, "nothing\0", 1)

            info = srvs.hNetrServerGetInfo(rpc, 101)["InfoStruct"]["ServerInfo101"]
            assert info["sv101_name"] == f"{NETBIOS_NAME}\0"
            assert info["sv101_comment"] == "A server under test\0"
        with bound(server, connection, "srvsvc", srvs.MSRPC_UUID_SRVS) as rpc:
            assert srvs.hNetrShareEnum(rpc, 0)["ErrorCode"] == 0  # the pipe works again


def test_wkssvc(server: Server) -> None:
    with (
        connected(server) as connection,
        bound(server, connection, "wkssvc", wkst.MSRPC_UUID_WKST) as rpc,
    ):
        request = wkst.NetrWkstaGetInfo()
        request["ServerName"] = f"\\\\{server.host}\0"
        request["Level"] = 100
        info = rpc.request(request)["WkstaInfo"]["WkstaInfo100"]
        assert info["wki100_computername"] == f"{NETBIOS_NAME}\0"
        assert info["wki100_langroup"] == f"{WORKGROUP}\0"
        assert info["wki100_platform_id"] == 500


def test_a_pipe_that_is_not_there(server: Server) -> None:
    with connected(server) as connection:
        tree = connection.connectTree("IPC$")
        with pytest.raises(SessionError, match="OBJECT_NAME_NOT_FOUND"):
            connection.openFile(tree, r"\nothing")
