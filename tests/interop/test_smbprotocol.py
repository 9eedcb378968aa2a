"""smbprotocol: single requests and compounds, at each dialect, signed and encrypted."""

import os
import struct
from pathlib import Path

import pytest
from smbprotocol.create_contexts import SMB2CreateContextRequest
from smbprotocol.header import NtStatus
from smbprotocol.open import Open
from smbtest import client as smb
from smbtest.client import Client, refused
from smbtest.processes import wait_for
from smbtest.samples import MIB, content
from smbtest.server import Server

FILE_CREATED_ACTIONS = {"superseded": 0, "opened": 1, "created": 2, "overwritten": 3}


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    """Keep one session for the tests that need no other."""
    with Client(server) as opened:
        yield opened


@pytest.mark.parametrize("protection", ["plain", "signed", "encrypted"])
@pytest.mark.parametrize("dialect", smb.DIALECTS)
def test_write_and_read(server: Server, folder: Path, dialect: str, protection: str) -> None:
    if protection == "encrypted" and dialect < "3":
        pytest.skip("SMB 2 has no encryption")
    if protection == "plain" and dialect == "3.1.1":
        pytest.skip("smbprotocol does not sign TREE_CONNECT, which 3.1.1 demands of it")
    data = content(MIB + 13)
    with Client(
        server, dialect=dialect, signed=protection == "signed", encrypted=protection == "encrypted"
    ) as client:
        assert client.connection.dialect == smb.DIALECTS[dialect]
        opened = client.open(rf"{folder.name}\file", smb.ALL, smb.CREATE)
        step = min(client.connection.max_write_size, client.connection.max_read_size, MIB)
        for offset in range(0, len(data), step):
            part = data[offset : offset + step]
            assert opened.write(part, offset) == len(part)
        opened.flush()
        assert (folder / "file").read_bytes() == data
        back = b"".join(opened.read(offset, step) for offset in range(0, len(data), step))
        assert back == data
        with refused(NtStatus.STATUS_END_OF_FILE):
            opened.read(len(data), 1)
        answer = opened.close(get_attributes=True)
        assert answer["end_of_file"].get_value() == len(data)


def test_the_dialects_limits(server: Server) -> None:
    with Client(server, dialect="2.0.2") as client:
        assert client.connection.max_read_size == 65536
        assert not client.connection.supports_multi_credit
    with Client(server) as client:
        assert client.connection.max_read_size >= MIB
        assert client.connection.supports_multi_credit


@pytest.mark.parametrize("dialect", smb.DIALECTS)
def test_related_compound(server: Server, folder: Path, dialect: str) -> None:
    with Client(server, dialect=dialect) as client:
        opened = Open(client.tree, rf"{folder.name}\file")
        steps = [
            opened.create(2, smb.ALL, 0, smb.SHARE_ALL, smb.CREATE, 0, send=False),
            opened.write(b"compound", 0, send=False),
            opened.read(0, 100, send=False),
            opened.close(get_attributes=True, send=False),
        ]
        requests = client.connection.send_compound(
            [message for message, _ in steps],
            client.session.session_id,
            client.tree.tree_connect_id,
            related=True,
        )
        answers = [receive(request) for (_, receive), request in zip(steps, requests, strict=True)]
        assert answers[1] == 8
        assert answers[2] == b"compound"
        assert answers[3]["end_of_file"].get_value() == 8
    assert (folder / "file").read_bytes() == b"compound"


def test_a_related_compound_fails_as_a_whole(client: Client, folder: Path) -> None:
    opened = Open(client.tree, rf"{folder.name}\none")
    steps = [
        opened.create(2, smb.ALL, 0, smb.SHARE_ALL, smb.OPEN, 0, send=False),
        opened.read(0, 100, send=False),
        opened.close(send=False),
    ]
    requests = client.connection.send_compound(
        [message for message, _ in steps],
        client.session.session_id,
        client.tree.tree_connect_id,
        related=True,
    )
    for request in requests:
        with refused(NtStatus.STATUS_OBJECT_NAME_NOT_FOUND):
            client.connection.receive(request)


def test_unrelated_compound(client: Client, folder: Path) -> None:
    first = client.open(rf"{folder.name}\first", smb.ALL, smb.CREATE)
    second = client.open(rf"{folder.name}\second", smb.ALL, smb.CREATE)
    second.write(b"12345", 0)
    requests = client.connection.send_compound(
        [first.read(0, 10, send=False)[0], second.read(0, 10, send=False)[0]],
        client.session.session_id,
        client.tree.tree_connect_id,
    )
    with refused(NtStatus.STATUS_END_OF_FILE):
        client.connection.receive(requests[0])
    assert second._read_response(requests[1]) == b"12345"
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("disposition", "missing", "existing"),
    [
        (smb.SUPERSEDE, "created", "superseded"),
        (smb.OPEN, NtStatus.STATUS_OBJECT_NAME_NOT_FOUND, "opened"),
        (smb.CREATE, "created", NtStatus.STATUS_OBJECT_NAME_COLLISION),
        (smb.OPEN_IF, "created", "opened"),
        (smb.OVERWRITE, NtStatus.STATUS_OBJECT_NAME_NOT_FOUND, "overwritten"),
        (smb.OVERWRITE_IF, "created", "overwritten"),
    ],
)
def test_dispositions(
    client: Client, folder: Path, disposition: int, missing: str | int, existing: str | int
) -> None:
    (folder / "existing").write_bytes(b"before")
    (folder / "existing").chmod(0o666)
    for name, expected in (("missing", missing), ("existing", existing)):
        path = rf"{folder.name}\{name}"
        if isinstance(expected, int):
            with refused(expected):
                client.open(path, smb.ALL, disposition)
            continue
        opened = client.open(path, smb.ALL, disposition)
        if expected == "superseded":
            # Samba truncates and says so; Windows replaces the file
            assert opened.create_action in (0, 3)
        else:
            assert opened.create_action == FILE_CREATED_ACTIONS[expected]
        kept = name == "existing" and expected == "opened"
        assert opened.end_of_file == (6 if kept else 0)
        opened.close()


def test_files_and_directories_are_told_apart(client: Client, folder: Path) -> None:
    (folder / "file").touch()
    (folder / "dir").mkdir()
    with refused(NtStatus.STATUS_NOT_A_DIRECTORY):
        client.open(rf"{folder.name}\file", smb.READ, options=smb.DIRECTORY_FILE)
    with refused(NtStatus.STATUS_FILE_IS_A_DIRECTORY):
        client.open(rf"{folder.name}\dir", smb.READ, options=smb.NON_DIRECTORY_FILE)
    with refused(NtStatus.STATUS_OBJECT_PATH_NOT_FOUND):
        client.open(rf"{folder.name}\file\below", smb.READ)


@pytest.mark.parametrize("name", [r"\leading", "a*b", "a?b", 'a"b', "a<b", "a|b", r"..\..\up"])
def test_names_that_cannot_be(client: Client, name: str) -> None:
    with refused(
        NtStatus.STATUS_OBJECT_NAME_INVALID,
        NtStatus.STATUS_INVALID_PARAMETER,
        NtStatus.STATUS_OBJECT_PATH_SYNTAX_BAD,
    ):
        client.open(name, smb.ALL, smb.OPEN_IF).close()


def test_delete_on_close(client: Client, folder: Path) -> None:
    path = rf"{folder.name}\file"
    opened = client.open(path, smb.ALL, smb.CREATE, options=smb.DELETE_ON_CLOSE)
    other = client.open(path, smb.READ)
    opened.close()
    with refused(NtStatus.STATUS_DELETE_PENDING):
        client.open(path, smb.READ)
    assert (folder / "file").exists()
    other.close()
    assert not (folder / "file").exists()


def test_a_cut_connection_closes_its_files(server: Server, client: Client, folder: Path) -> None:
    path = rf"{folder.name}\file"
    other = Client(server)
    other.open(path, smb.ALL, smb.CREATE, share=smb.SHARE_NONE, options=smb.DELETE_ON_CLOSE)
    with refused(NtStatus.STATUS_SHARING_VIOLATION):
        client.open(path, smb.READ)
    other.drop()
    wait_for(lambda: not (folder / "file").exists(), 60, "the file's end")
    client.open(path, smb.READ, smb.CREATE).close()


def test_create_contexts(client: Client, folder: Path) -> None:
    def context(name: bytes, data: bytes = b"") -> SMB2CreateContextRequest:
        made = SMB2CreateContextRequest()
        made["buffer_name"] = name
        made["buffer_data"] = data
        return made

    opened = client.open(
        rf"{folder.name}\file",
        smb.ALL,
        smb.CREATE,
        contexts=[context(b"MxAc"), context(b"QFid"), context(b"AlSi", struct.pack("<Q", 1 << 20))],
    )
    maximal, on_disk = opened.contexts
    assert maximal["query_status"].get_value() == 0
    assert maximal["maximal_access"].get_value() & smb.ALL == smb.ALL
    assert on_disk["disk_file_id"].get_value() != 0
    opened.close()


def test_an_id_that_is_closed(client: Client, folder: Path) -> None:
    opened = client.open(rf"{folder.name}\file", smb.ALL, smb.CREATE)
    opened.close()
    with refused(NtStatus.STATUS_FILE_CLOSED):
        opened.read(0, 1)
    with refused(NtStatus.STATUS_FILE_CLOSED):
        opened.write(b"x", 0)


def test_access_is_what_was_asked_for(client: Client, folder: Path) -> None:
    (folder / "file").write_bytes(b"x")
    (folder / "file").chmod(0o666)
    reader = client.open(rf"{folder.name}\file", smb.READ)
    with refused(NtStatus.STATUS_ACCESS_DENIED):
        reader.write(b"y", 0)
    reader.close()
    writer = client.open(rf"{folder.name}\file", smb.WRITE)
    with refused(NtStatus.STATUS_ACCESS_DENIED):
        writer.read(0, 1)
    writer.close()
    stat = client.open(rf"{folder.name}\file", smb.READ_ATTRIBUTES)
    with refused(NtStatus.STATUS_ACCESS_DENIED):
        stat.read(0, 1)
    stat.close()


def test_sparse_offsets(client: Client, folder: Path) -> None:
    opened = client.open(rf"{folder.name}\file", smb.ALL, smb.CREATE)
    opened.write(b"end", 5 << 30)
    assert opened.read(5 << 30, 10) == b"end"
    assert opened.read(1 << 30, 4096) == bytes(4096)
    opened.close()
    assert (folder / "file").stat().st_size == (5 << 30) + 3


def test_echo_and_many_requests_in_flight(client: Client, folder: Path) -> None:
    client.connection.echo()
    data = content(64 * 4096)
    (folder / "file").write_bytes(data)
    opened = client.open(rf"{folder.name}\file", smb.READ)
    session, tree = client.session.session_id, client.tree.tree_connect_id
    requests = [
        client.connection.send(opened.read(i * 4096, 4096, send=False)[0], session, tree)
        for i in range(64)
    ]
    assert b"".join(map(opened._read_response, requests)) == data
    opened.close()


FSCTL_QUERY_NETWORK_INTERFACE_INFO = 0x001401FC
FSCTL_UNKNOWN = 0x0009BEEC
NO_FILE = b"\xff" * 16


def test_network_interfaces(client: Client) -> None:
    answer = client.ioctl(NO_FILE, FSCTL_QUERY_NETWORK_INTERFACE_INFO)
    assert len(answer) % 152 == 0
    index, family = struct.unpack_from("<I16xH", answer, 4)
    assert index
    assert family in (0x0002, 0x0017)


def test_a_control_code_that_nobody_knows(client: Client, folder: Path) -> None:
    opened = client.open(rf"{folder.name}\file", smb.ALL, smb.CREATE)
    with refused(NtStatus.STATUS_INVALID_DEVICE_REQUEST, NtStatus.STATUS_NOT_SUPPORTED):
        client.ioctl(opened.file_id, FSCTL_UNKNOWN)
    opened.close()


def test_times_and_identity_of_an_open(client: Client, folder: Path) -> None:
    (folder / "file").write_bytes(b"12345")
    os.utime(folder / "file", ns=(1_500_000_000_123_456_700, 1_600_000_000_123_456_700))
    opened = client.open(rf"{folder.name}\file", smb.READ)
    assert opened.end_of_file == 5
    assert opened.allocation_size >= 5
    assert opened.last_write_time.timestamp() == pytest.approx(1_600_000_000.123456, abs=2e-6)
    opened.close()
