"""What comes before SMB2: frames, protocol ids, headers (rows 1, 2, 3, 5, 35 of the bad inputs)."""

import socket
import struct
import time

import pytest
from smbtest import raw, smb2
from smbtest.raw import Raw
from smbtest.smb2 import ECHO, ECHO_BODY

from .conftest import Connect, Target

GARBAGE = (
    b"GET / HTTP/1.1\r\n\r\n",
    bytes(4),  # a frame of no bytes
    b"\0\0\0\1\xfe",
    b"\0\0\0\x04\xfeSMB",
    b"\0\0\0\x40\xfeSMB" + bytes(60),
    b"\0\0\0\x40\xfcSMB" + bytes(60),
    b"\0\0\0\x40\xfdSMB" + bytes(60),
    b"\0\0\0\x20\xfdSMB" + bytes(28),
    b"\0\0\0\x40\xffSMB" + bytes(60),
    b"\0\0\0\x23\xffSMBr" + b"\xff" * 30,
    b"\x81\0\2\x44" + b"\x20" + b"A" * 67,  # RFC 1002's session request, and too long for one
    b"\xff" * 64,
    b"\0\xff\xff\xff" + bytes(64),
    b"\x01\0\0\x40\xfeSMB\x40" + bytes(59),
)


@pytest.mark.parametrize("data", GARBAGE)
def test_garbage_ends_the_connection(connect: Connect, data: bytes) -> None:
    client = connect()
    client.socket.sendall(data)
    assert client.closed()


@pytest.mark.parametrize("data", GARBAGE)
def test_garbage_after_the_login_ends_the_connection(connect: Connect, data: bytes) -> None:
    client = connect().ready()
    client.open("open")
    client.socket.sendall(data)
    if data[:4] == b"\0\xff\xff\xff" or data[:4] == b"GET ":
        client.socket.shutdown(socket.SHUT_WR)
    assert client.closed()


def test_a_big_message_before_the_login(connect: Connect) -> None:
    client = connect()
    client.negotiate()
    client.socket.sendall(struct.pack(">I", 300_000))
    assert client.closed()


def test_a_big_message_in_the_midst_of_a_login(connect: Connect) -> None:
    """A session that is not authenticated gives no right to 8 MiB of memory."""
    client = connect()
    client.negotiate()
    answer = client.call(smb2.SESSION_SETUP, smb2.setup_body(ntlm_negotiate()))
    assert answer.status == smb2.MORE_PROCESSING_REQUIRED
    client.socket.sendall(struct.pack(">I", 300_000))
    assert client.closed()


def ntlm_negotiate() -> bytes:
    """Return the first token of a login."""
    import spnego

    return spnego.client("games", "x", protocol="ntlm").step() or b""


def test_a_frame_that_comes_in_bytes(connect: Connect) -> None:
    client = connect()
    message = client.header(smb2.NEGOTIATE) + smb2.negotiate_body((0x0210,), client.guid)
    for byte in struct.pack(">I", len(message)) + message:
        client.socket.sendall(bytes([byte]))
    assert client.reply().status == smb2.SUCCESS


SESSION_REQUEST = b"\x81\0\0\x44" + (b"\x20" + b"CK" * 16 + b"\0") * 2


@pytest.mark.parametrize("piece", [1, 72, 4096])
def test_a_netbios_session_request_is_granted(connect: Connect, piece: int) -> None:
    """RFC 1002, 4.3.2 and 4.3.3; the first message may come right behind it."""
    client = connect()
    message = client.header(smb2.NEGOTIATE) + smb2.negotiate_body((0x0210,), client.guid)
    data = SESSION_REQUEST + struct.pack(">I", len(message)) + message
    for start in range(0, len(data), piece):
        client.socket.sendall(data[start : start + piece])
    assert client.socket.recv(4, socket.MSG_WAITALL) == b"\x82\0\0\0"
    assert client.reply().status == smb2.SUCCESS


def test_one_session_request_is_enough(connect: Connect) -> None:
    client = connect()
    client.socket.sendall(SESSION_REQUEST)
    assert client.socket.recv(4, socket.MSG_WAITALL) == b"\x82\0\0\0"
    client.socket.sendall(SESSION_REQUEST)
    assert client.closed()


def test_keep_alives(client: Raw) -> None:
    client.socket.sendall(b"\x85\0\0\0" * 1000)
    assert client.call(ECHO, ECHO_BODY).status == smb2.SUCCESS


def test_half_a_message_and_the_end(connect: Connect) -> None:
    for _ in range(20):
        client = connect().ready()
        client.open("half", options=smb2.DELETE_ON_CLOSE)
        client.socket.sendall(struct.pack(">I", 5000) + client.header(smb2.WRITE))
        client.close()


@pytest.mark.parametrize("command", range(32))
@pytest.mark.parametrize("login", [False, True], ids=["before", "after"])
def test_bodies_that_are_too_short(connect: Connect, command: int, login: bool) -> None:
    """Each length from none on: no answer but an error, no end but a clean one."""
    client = connect()
    if login:
        client.ready()
    else:
        client.negotiate()
    if command in (smb2.NEGOTIATE, smb2.CANCEL):
        return
    for length in range(0, 48, 3):
        for size in (length, 0, 57):
            body = struct.pack("<H", size) + bytes(range(1, 100))
            try:
                answer = client.call(command, body[:length])
            except raw.Closed:
                assert not login
                return
            assert answer.status != smb2.INTERNAL_ERROR
            if login and answer.status == smb2.SUCCESS and command == smb2.LOGOFF:
                return


def test_odd_headers(connect: Connect) -> None:
    for fields in ({"size": 63}, {"size": 0}, {"flags": smb2.RESPONSE}, {"next": 3}, {"next": 64},
                   {"next": 0xFFFFFFFF}, {"next": 8}, {"next": 72}):  # fmt: skip
        client = connect()
        client.ready()
        client.send(client.header(ECHO, **fields) + ECHO_BODY)
        assert client.closed(), fields


def test_negotiate_again(connect: Connect) -> None:
    """Row 5: with the same and with other dialects, before and after the login."""
    for login in (False, True):
        for dialects in ((0x0311,), (0x0202,), (0x0210, 0x0300)):
            client = connect()
            client.negotiate()
            if login:
                client.login()
            client.post(smb2.NEGOTIATE, smb2.negotiate_body(dialects, client.guid))
            assert client.closed()


def test_aborted_negotiates(connect: Connect, target: Target) -> None:
    before = target.memory()
    for _ in range(300):
        client = connect()
        client.post(smb2.NEGOTIATE, smb2.negotiate_body((0x0210,), client.guid))
        client.close()
    assert target.memory() - before < 8 << 20


def smb1_negotiate(*dialects: bytes) -> bytes:
    """Pack SMB1's NEGOTIATE."""
    data = b"".join(b"\2" + dialect + b"\0" for dialect in dialects)
    return b"\xffSMBr" + bytes(27) + b"\0" + struct.pack("<H", len(data)) + data


@pytest.mark.parametrize(
    "message",
    [
        smb1_negotiate(),
        smb1_negotiate(b"NT LM 0.12"),
        smb1_negotiate(b"SMB 2.???")[:-1],
        smb1_negotiate(b"SMB 2.???")[:33] + b"\xff\xff\2SMB 2.???\0",
        b"\xffSMBr" + bytes(27) + b"\xff" + bytes(30),
    ],
)
def test_smb1_that_leads_nowhere(connect: Connect, message: bytes) -> None:
    client = connect()
    client.send(message)
    assert client.closed()


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (smb2.SESSION_SETUP, smb2.setup_body(b"x")),
        (smb2.ECHO, ECHO_BODY),
        (smb2.TREE_CONNECT, smb2.tree_body(b"x\0")),
    ],
)
def test_smb1_then_no_negotiate(connect: Connect, command: int, body: bytes) -> None:
    """A dialect is still to be agreed upon: nothing else may come."""
    client = connect()
    client.send(smb1_negotiate(b"SMB 2.???"))
    assert client.reply().status == smb2.SUCCESS
    client.message_id = 1
    client.post(command, body)
    assert client.closed()


def test_smb1_twice(connect: Connect) -> None:
    client = connect()
    client.send(smb1_negotiate(b"SMB 2.???"))
    client.receive()
    client.send(smb1_negotiate(b"SMB 2.???"))
    assert client.closed()


def test_requests_before_negotiate(connect: Connect) -> None:
    for command in range(1, 24):
        client = connect()
        client.post(command, bytes(64))
        assert client.closed()


def test_a_silent_flood_does_not_lock_others_out(connect: Connect, target: Target) -> None:
    """Row 35: connections that say nothing take the place of no client that speaks."""
    flood = [connect() for _ in range(700)]
    began = time.monotonic()
    late = connect(timeout=20)
    late.ready()
    assert time.monotonic() - began < 10
    for silent in flood:
        silent.close()
