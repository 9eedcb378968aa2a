"""What every request passes: credits, header, session, tree, open, signature, encryption."""

import logging
import struct
from dataclasses import fields

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.marks import BY_MEMORY
from smbengine.server import GUID, Engine

from usmbd.protocol.dispatch.table import TABLE
from usmbd.protocol.wire.error import ErrorResponse
from usmbd.protocol.wire.header import (
    HEADER_SIZE,
    SMB2_FLAGS_REPLAY_OPERATION,
    SMB2_FLAGS_SERVER_TO_REDIR,
    Command,
    Header,
)
from usmbd.protocol.wire.status import NtStatus

ECHO = (Command.ECHO, requests.EMPTY)


def test_the_table_has_a_row_for_every_command() -> None:
    assert len(TABLE) == Command.OPLOCK_BREAK + 1
    for command, row in enumerate(TABLE):
        assert row.handler.__name__.lstrip("_") == Command(command).name.lower()
        assert not (row.tree and not row.session), "a tree belongs to a session"
        assert {f.name for f in fields(row)} >= {"file_id", "when_expired"}


def test_a_reply_repeats_what_tells_it_from_others(client: Client) -> None:
    reply = client.call(*ECHO, flags=0x30 | SMB2_FLAGS_REPLAY_OPERATION, process_id=77)
    header = reply.header
    assert header.flags & ~8 == SMB2_FLAGS_SERVER_TO_REDIR | 0x30 | SMB2_FLAGS_REPLAY_OPERATION
    assert header.command == Command.ECHO
    assert header.session_id == client.session_id
    assert header.credit_charge == 1


def test_an_error_has_the_body_of_an_error(client: Client) -> None:
    reply = client.call(Command.CREATE, requests.create("a\\b\\c", disposition=1))
    assert reply.status is NtStatus.OBJECT_PATH_NOT_FOUND
    assert reply.parse(ErrorResponse).byte_count == 0
    assert len(reply.body) == ErrorResponse.SIZE + 1


# -- the window of message ids ------------------------------------------------------------------


def test_credits_are_granted_as_asked_up_to_the_maximum(engine: Engine) -> None:
    client = Client(engine)
    client.asks = 1
    client.negotiate()
    client.login()
    assert client.credits == client.connection.credit_window.available == 1
    assert client.call(*ECHO, credits=10).header.credits == 10
    assert client.call(*ECHO, credits=0).header.credits == 1
    assert client.credits == client.connection.credit_window.available == 10
    client.call(*ECHO, credits=65535)
    assert client.credits == client.connection.credit_window.available == 8192
    assert client.call(*ECHO, credits=500).header.credits == 1


@pytest.mark.parametrize("message_id", ["again", "too far"])
@BY_MEMORY
def test_an_id_outside_the_window_ends_the_connection(client: Client, message_id: str) -> None:
    used = client.post(*ECHO)
    beyond = client.message_id + client.credits
    client.post(*ECHO, message_id=used if message_id == "again" else beyond)
    assert "window" in client.lost
    assert len(client.replies) == 1


def test_ids_may_come_out_of_order(client: Client) -> None:
    first = client.message_id
    for message_id in (first + 2, first + 1, first):
        assert client.call(*ECHO, message_id=message_id).status is NtStatus.SUCCESS
    client.message_id = first + 3
    assert client.call(*ECHO).status is NtStatus.SUCCESS


def test_a_large_request_costs_several_credits(client: Client) -> None:
    file = client.open("file")
    body = requests.write(file, bytes(3 * 65536))
    assert client.call(Command.WRITE, body).status is NtStatus.INVALID_PARAMETER
    before = client.message_id, client.credits
    reply = client.call(Command.WRITE, body, credit_charge=3)
    assert reply.status is NtStatus.SUCCESS
    assert reply.header.credit_charge == 3
    assert client.message_id == before[0] + 3
    assert client.credits == client.connection.credit_window.available


def test_a_charge_beyond_the_window_ends_the_connection(client: Client) -> None:
    client.post(*ECHO, credit_charge=client.credits + 1)
    assert client.lost


def test_202_knows_no_charge(engine: Engine) -> None:
    client = Client(engine).ready(0x202)
    assert client.call(*ECHO, credit_charge=0).status is NtStatus.SUCCESS
    file = client.open("file")
    assert client.call(Command.WRITE, requests.write(file, bytes(65536))).status == 0
    too_long = client.call(Command.WRITE, requests.write(file, bytes(65537)))
    assert too_long.status is NtStatus.INVALID_PARAMETER


def test_cancel_costs_nothing_and_is_not_answered(client: Client) -> None:
    before = client.connection.credit_window.available
    client.cancel(4711)
    client.cancel(client.message_id)
    assert client.replies == []
    assert client.connection.credit_window.available == before


# -- sessions, trees, opens ---------------------------------------------------------------------


def test_unknown_ids(client: Client, engine: Engine) -> None:
    file = client.open("file")
    read = (Command.READ, requests.read(file, 1))
    assert client.call(*read, tree_id=99).status is NtStatus.NETWORK_NAME_DELETED
    unknown = client.call(*read, session_id=99, sign=False)
    assert unknown.status is NtStatus.USER_SESSION_DELETED
    wrong = client.call(Command.READ, requests.read((file[0], file[1] + 1), 1))
    assert wrong.status is NtStatus.FILE_CLOSED
    wrong = client.call(Command.READ, requests.read((file[0] + 1, file[1]), 1))
    assert wrong.status is NtStatus.FILE_CLOSED
    other = Client(engine).ready()
    assert other.call(*read).status is NtStatus.FILE_CLOSED
    assert client.call(*read).status is NtStatus.END_OF_FILE


def test_an_open_belongs_to_its_tree(client: Client) -> None:
    file = client.open("file")
    first = client.tree_id
    client.connect("data")
    assert client.tree_id != first
    assert client.close(file) is NtStatus.FILE_CLOSED
    client.tree_id = first
    assert client.close(file) is NtStatus.SUCCESS


def test_a_session_of_another_connection_is_unknown(client: Client, engine: Engine) -> None:
    other = Client(engine)
    other.negotiate()
    other.session_id, other.tree_id = client.session_id, client.tree_id
    assert other.create("file") is NtStatus.USER_SESSION_DELETED


@pytest.mark.parametrize("command", [19, 20, 0x1000])
def test_an_unknown_command(client: Client, command: int) -> None:
    assert client.call(command, requests.EMPTY).status is NtStatus.INVALID_PARAMETER


def test_bodies_that_are_too_short_or_lie(client: Client) -> None:
    for command in range(Command.LOGOFF, Command.OPLOCK_BREAK + 1):
        if command == Command.CANCEL:
            continue
        for body in (b"", b"\x07\0", b"\x07\0" + bytes(80)):
            status = client.call(command, body).status
            assert status in (
                NtStatus.INVALID_PARAMETER,
                NtStatus.FILE_CLOSED,
                NtStatus.NOT_SUPPORTED,
            ), Command(command)
    assert client.create("file") is NtStatus.SUCCESS


# -- what ends a connection -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", marks=BY_MEMORY),
        b"\xfe",
        b"\xfeSMB" + bytes(40),
        b"\xfeSMC" + bytes(60),
        b"\xfdSMB" + bytes(20),
        b"\xfcSMB" + bytes(80),
        Header(command=13, structure_size=63, message_id=3, signature=bytes(16)).pack()
        + b"\4\0\0\0",
    ],
)
def test_malformed_messages(client: Client, engine: Engine, message: bytes) -> None:
    client.send(message)
    engine.settle()
    assert client.lost
    assert not engine.server.session_table


def test_a_reply_is_no_request(client: Client) -> None:
    client.post(*ECHO, flags=SMB2_FLAGS_SERVER_TO_REDIR)
    assert client.lost


def test_a_fault_of_ours_hurts_one_request(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(client.engine.server.store, "check_io", broken)
    file = client.open("file")
    with caplog.at_level(logging.ERROR):
        reply = client.call(Command.READ, requests.read(file, 1))
    assert reply.status is NtStatus.INTERNAL_ERROR
    assert "READ" in caplog.text
    assert client.close(file) is NtStatus.SUCCESS


# -- signatures and encryption -----------------------------------------------------------------


@pytest.mark.parametrize("dialect", [0x202, 0x300, 0x311])
def test_a_wrong_signature_is_refused(engine: Engine, dialect: int) -> None:
    client = Client(engine).ready(dialect)
    message = bytearray(client.pack(Command.CREATE, requests.create("file")))
    message[50] ^= 1
    client.send(bytes(message))
    engine.settle()
    (reply,) = client.taken(struct.unpack_from("<Q", message, 24)[0])
    assert reply.status is NtStatus.ACCESS_DENIED
    assert not (engine.files / "file").exists()


def test_a_changed_body_is_refused(client: Client, engine: Engine) -> None:
    message = bytearray(client.pack(Command.CREATE, requests.create("file")))
    message[-2] ^= 4
    client.send(bytes(message))
    engine.settle()
    assert client.replies[-1].status is NtStatus.ACCESS_DENIED
    assert list(engine.files.iterdir()) == []


def test_an_unsigned_request_is_answered_unsigned(client: Client) -> None:
    client.signs = False
    assert not client.call(Command.CREATE, requests.create("file")).signed


def test_a_signed_echo_is_answered_signed(client: Client) -> None:
    assert client.call(*ECHO).signed
    assert not client.call(*ECHO, sign=False).signed


@pytest.mark.parametrize("dialect", [0x300, 0x302, 0x311])
def test_what_comes_encrypted_is_answered_encrypted(engine: Engine, dialect: int) -> None:
    client = Client(engine).ready(dialect)
    client.seals = True
    file = client.open("file")
    assert client.call(Command.WRITE, requests.write(file, b"secret")).status == 0
    reply = client.call(Command.READ, requests.read(file, 6))
    assert reply.data == b"secret"
    assert not reply.signed
    assert (engine.files / "file").read_bytes() == b"secret"


def test_a_share_may_require_encryption(client: Client) -> None:
    assert client.connect("sealed").status is NtStatus.SUCCESS
    assert client.create("file") is NtStatus.ACCESS_DENIED
    client.seals = True
    assert client.create("file") is NtStatus.SUCCESS


def test_who_cannot_encrypt_may_not_connect_to_such_a_share(engine: Engine) -> None:
    client = Client(engine).ready(0x210)
    assert client.connect("sealed").status is NtStatus.ACCESS_DENIED


def test_an_encrypted_message_that_was_changed_ends_the_connection(client: Client) -> None:
    assert client.sealer is not None
    sealed = b"".join(client.sealer.seal([client.pack(*ECHO, sign=False)], client.session_id))
    client.transport.send([sealed[:-1] + bytes([sealed[-1] ^ 1])])
    client.engine.settle()
    assert client.lost
    assert client.replies == []


def test_an_interim_reply_inside_encryption(client: Client, engine: Engine) -> None:
    other = Client(engine).ready()
    held = other.open("file")
    assert other.call(Command.LOCK, requests.lock(held, (0, 1, 0x12))).status == 0
    client.seals = True
    file = client.open("file")
    message_id, async_id = client.pending(Command.LOCK, requests.lock(file, (0, 1, 2)))
    client.cancel(message_id, async_id)
    (reply,) = client.taken(message_id)
    assert reply.status is NtStatus.CANCELLED
    assert not reply.signed


def test_the_servers_guid_is_its_own(engine: Engine) -> None:
    client = Client(engine)
    assert client.negotiate().message[HEADER_SIZE + 8 : HEADER_SIZE + 24] == GUID
