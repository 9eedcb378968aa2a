"""Every answer as scapy's SMB2 layers see it: the right layer, and no byte left over."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.smb2 import (
    SMB2_FILEID,
    SMB2_Close_Request,
    SMB2_Close_Response,
    SMB2_Create_Request,
    SMB2_Create_Response,
    SMB2_Echo_Request,
    SMB2_Echo_Response,
    SMB2_Encryption_Capabilities,
    SMB2_Error_Response,
    SMB2_Header,
    SMB2_Negotiate_Protocol_Response,
    SMB2_Preauth_Integrity_Capabilities,
    SMB2_Query_Directory_Request,
    SMB2_Query_Directory_Response,
    SMB2_Query_Info_Request,
    SMB2_Query_Info_Response,
    SMB2_Read_Request,
    SMB2_Read_Response,
    SMB2_Session_Logoff_Request,
    SMB2_Session_Logoff_Response,
    SMB2_Session_Setup_Response,
    SMB2_Set_Info_Request,
    SMB2_Set_Info_Response,
    SMB2_Signing_Capabilities,
    SMB2_Tree_Connect_Response,
    SMB2_Tree_Disconnect_Request,
    SMB2_Tree_Disconnect_Response,
    SMB2_Write_Request,
    SMB2_Write_Response,
)
from scapy.packet import Raw
from smbtest.samples import content
from smbtest.server import Server
from smbtest.wire import FLAG_RELATED, WireClient, dissect, split

ALL = 0x13019F
OPEN, CREATE = 1, 2
DIALECTS = (0x0202, 0x0210, 0x0300, 0x0302, 0x0311)
OBJECT_NAME_NOT_FOUND, NO_MORE_FILES, FILE_CLOSED = 0xC0000034, 0x80000006, 0xC0000128
USER_SESSION_DELETED, NETWORK_NAME_DELETED = 0xC0000203, 0xC00000C9
END_OF_FILE, INVALID_PARAMETER = 0xC0000011, 0xC000000D


@pytest.fixture(params=DIALECTS, ids=hex)
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[WireClient]:
    """Log in and connect at each dialect."""
    with WireClient(server) as connected:
        connected.negotiate(request.param)
        connected.login()
        connected.connect()
        yield connected


@pytest.mark.parametrize("dialect", DIALECTS, ids=hex)
def test_negotiate(server: Server, dialect: int) -> None:
    with WireClient(server) as client:
        answer = client.negotiate(dialect)
        assert answer.Status == 0
        assert SMB2_Negotiate_Protocol_Response in answer
        assert answer.DialectRevision == dialect
        assert answer.SecurityMode & 1
        assert answer.MaxReadSize >= 65536
        assert answer.ServerTime
        assert bytes(answer.SecurityBlob)
        if dialect == 0x0311:
            layers = {type(context.payload) for context in answer.NegotiateContexts}
            assert layers >= {
                SMB2_Preauth_Integrity_Capabilities,
                SMB2_Encryption_Capabilities,
                SMB2_Signing_Capabilities,
            }
            chosen = answer.NegotiateContexts
            hashes = next(c for c in chosen if SMB2_Preauth_Integrity_Capabilities in c)
            assert hashes.HashAlgorithms == [1]
            assert len(hashes.Salt) > 0
            ciphers = next(c for c in chosen if SMB2_Encryption_Capabilities in c)
            assert len(ciphers.Ciphers) == 1


def test_the_highest_common_dialect(server: Server) -> None:
    with WireClient(server) as client:
        assert client.negotiate(*DIALECTS).DialectRevision == 0x0311
    with WireClient(server) as client:
        assert client.negotiate(*DIALECTS[:3]).DialectRevision == 0x0300


def test_the_smb1_form(server: Server) -> None:
    """[MS-SMB2] 3.3.5.3: "SMB 2.???" asks for a second NEGOTIATE, "SMB 2.002" decides."""
    for names, dialect in (
        ((b"NT LM 0.12", b"SMB 2.002", b"SMB 2.???"), 0x02FF),
        ((b"NT LM 0.12", b"SMB 2.002"), 0x0202),
    ):
        with WireClient(server) as client:
            strings = b"".join(b"\x02" + name + b"\0" for name in names)
            header = b"\xffSMB\x72" + bytes(4) + b"\x18\x53\xc8" + bytes(12) + b"\xff\xff\xfe\xff"
            header += bytes(4)
            assert len(header) == 32
            client.send_frame(header + b"\0" + len(strings).to_bytes(2, "little") + strings)
            answer = dissect(client.receive_frame())
            assert SMB2_Negotiate_Protocol_Response in answer
            assert answer.DialectRevision == dialect
            client.message_id = 1
            if dialect == 0x02FF:
                assert client.negotiate(*DIALECTS).DialectRevision == 0x0311
            else:
                client.dialect = dialect
            client.login()
            client.connect()


def test_session_and_tree(server: Server) -> None:
    for dialect in DIALECTS:
        with WireClient(server) as client:
            client.negotiate(dialect)
            answers = client.login()
            assert all(SMB2_Session_Setup_Response in answer for answer in answers)
            assert client.session_id
            tree = client.connect()
            assert SMB2_Tree_Connect_Response in tree
            assert tree.ShareType == 1
            assert tree.MaximalAccess & ALL == ALL
            assert client.connect("IPC$").ShareType == 2


def test_a_files_life(client: WireClient, folder: Path) -> None:
    data = content(50_001)
    made = client.create(rf"{folder.name}\file", ALL, CREATE)
    assert SMB2_Create_Response in made
    assert made.CreateAction == 2
    assert made.EndOfFile == 0
    file_id = made.FileId

    written = client.call(9, SMB2_Write_Request(FileId=file_id, Offset=0, Buffer=[("Data", data)]))
    assert SMB2_Write_Response in written
    assert written.Count == len(data)

    read = client.call(8, SMB2_Read_Request(FileId=file_id, Length=65536, Offset=1))
    assert SMB2_Read_Response in read
    assert bytes(read.Data) == data[1:]

    end = client.call(8, SMB2_Read_Request(FileId=file_id, Length=1, Offset=len(data)))
    assert SMB2_Error_Response in end
    assert end.Status == END_OF_FILE

    for info_type, classes in ((1, (4, 5, 6, 7, 14, 16, 17, 18, 22, 34, 35)), (2, (1, 3, 4, 5, 7))):
        for info_class in classes:
            answer = client.call(
                16,
                SMB2_Query_Info_Request(
                    InfoType=info_type,
                    FileInfoClass=info_class,
                    OutputBufferLength=4096,
                    FileId=file_id,
                ),
            )
            assert answer.Status == 0, (info_type, info_class)
            assert SMB2_Query_Info_Response in answer
            assert answer.Output

    size = (77).to_bytes(8, "little")
    request = SMB2_Set_Info_Request(
        InfoType=1, FileInfoClass=20, FileId=file_id, DataLen=8, DataBufferOffset=96
    )
    request.Data = Raw(size)
    assert SMB2_Set_Info_Response in client.call(17, request)

    closed = client.close(file_id, flags=1)
    assert SMB2_Close_Response in closed
    assert closed.EndOfFile == 77
    assert client.close(file_id).Status == FILE_CLOSED
    assert (folder / "file").read_bytes() == data[:77]


def test_a_directory(client: WireClient, folder: Path) -> None:
    for index in range(20):
        (folder / f"entry {index}").touch()
    opened = client.create(folder.name, 0x120089, OPEN, 1)
    for info_class in (1, 2, 3, 37, 38, 12):
        request = SMB2_Query_Directory_Request(
            FileInformationClass=info_class,
            Flags=1,
            FileId=opened.FileId,
            OutputBufferLength=65536,
            Buffer=[("FileName", "*")],
        )
        answer = client.call(14, request)
        assert SMB2_Query_Directory_Response in answer
        output = bytes(answer.Output)
        assert output.count("entry 1".encode("utf-16-le")) == 11
        request.Flags = 0
        answer = client.call(14, request)
        assert answer.Status == NO_MORE_FILES
    client.close(opened.FileId)


def test_errors(client: WireClient, folder: Path) -> None:
    missing = client.create(rf"{folder.name}\missing", ALL, OPEN)
    assert missing.Status == OBJECT_NAME_NOT_FOUND
    assert SMB2_Error_Response in missing
    assert len(client.received[-1]) == 64 + 9  # [MS-SMB2] 2.2.2: with one byte of ErrorData
    tree = client.tree_id
    client.tree_id = tree + 77
    assert client.create("x", ALL, OPEN).Status == NETWORK_NAME_DELETED
    client.tree_id = tree


def test_echo_disconnect_logoff(client: WireClient) -> None:
    assert SMB2_Echo_Response in client.call(13, SMB2_Echo_Request())
    gone = client.call(4, SMB2_Tree_Disconnect_Request())
    assert SMB2_Tree_Disconnect_Response in gone
    assert client.create("x", ALL, OPEN).Status == NETWORK_NAME_DELETED
    assert SMB2_Session_Logoff_Response in client.call(2, SMB2_Session_Logoff_Request())


def test_a_session_that_is_not_there(server: Server) -> None:
    with WireClient(server) as client:
        client.negotiate(0x0210)
        client.session_id = 0x1234
        answer = client.create("x", ALL, OPEN)
        assert answer.Status == USER_SESSION_DELETED


def test_a_compound(server: Server, folder: Path) -> None:
    (folder / "file").write_bytes(b"compound")
    (folder / "file").chmod(0o666)
    with WireClient(server) as client:
        client.negotiate(0x0210)
        client.login()
        client.connect()
        related = SMB2_FILEID(Persistent=2**64 - 1, Volatile=2**64 - 1)
        parts = [
            SMB2_Create_Request(
                ImpersonationLevel=2,
                DesiredAccess=ALL,
                ShareAccess=7,
                CreateDisposition=OPEN,
                Buffer=[("Name", rf"{folder.name}\file")],
            ),
            SMB2_Read_Request(FileId=related, Length=100, Offset=0),
            SMB2_Close_Request(FileId=related),
        ]
        message = b""
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            header = client.header((5, 8, 6)[index], Flags=FLAG_RELATED if index else 0)
            raw = bytes(header / part)
            raw += bytes(-len(raw) % 8) if not last else b""
            if not last:
                raw = raw[:20] + len(raw).to_bytes(4, "little") + raw[24:]
            message += raw
        client.send_frame(message)
        answers = [SMB2_Header(part) for part in split(client.receive_frame())]
        assert [answer.Status for answer in answers] == [0, 0, 0]
        assert SMB2_Create_Response in answers[0]
        assert bytes(answers[1].Data).startswith(b"compound")
        assert SMB2_Close_Response in answers[2]


def test_negotiate_twice_ends_the_connection(server: Server) -> None:
    """[MS-SMB2] 3.3.5.4."""
    with WireClient(server) as client:
        client.negotiate(0x0210)
        client.send_frame(client.received[0][:0] + bytes(client.header(0)) + b"$\0" + bytes(34))
        assert client.receive_frame() == b""


@pytest.mark.parametrize("garbage", [b"\xfeSM", b"GET / HTTP/1.0\r\n\r\n" * 8, bytes(64)])
def test_garbage_ends_the_connection_and_nothing_else(server: Server, garbage: bytes) -> None:
    with WireClient(server) as bystander:
        bystander.negotiate(0x0210)
        bystander.login()
        with WireClient(server) as client:
            client.send_frame(garbage)
            assert client.receive_frame() == b""
        with WireClient(server) as client:
            client.negotiate(0x0210)
            client.send_frame(garbage)
            assert client.receive_frame() == b""
        with WireClient(server) as client:
            client.socket.sendall(b"\x00\xff\xff\xff" + bytes(10))  # 16 MiB - 1 announced
            client.socket.settimeout(5)
        bystander.connect()
