"""Compressed requests and READs: what is negotiated, protected, asked for, and refused."""

import os
import struct
from collections.abc import Callable

import pytest
from lz4 import block
from smbengine import requests
from smbengine.client import Client
from smbengine.compression import CHAIN, chain, payload, unchained
from smbengine.server import Engine

from usmbd.protocol.compression import matches
from usmbd.protocol.compression.transform import Compression, compress, whole
from usmbd.protocol.state.connection import UNAUTHENTICATED_LIMIT
from usmbd.protocol.state.server import UNPACKED_AT_ONCE
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.wire.header import HEADER_SIZE, Command
from usmbd.protocol.wire.negotiate_contexts import (
    COMPRESSION_LZ4,
    COMPRESSION_LZ77,
    COMPRESSION_PATTERN_V1,
)
from usmbd.protocol.wire.read import SMB2_READFLAG_REQUEST_COMPRESSED
from usmbd.protocol.wire.status import NtStatus

LINUX = (COMPRESSION_LZ77, COMPRESSION_PATTERN_V1)
DATA = b"a line of a log that comes again and again\n" * 8000
FLAG = SMB2_READFLAG_REQUEST_COMPRESSED


def ready(
    engine: Engine, algorithms: tuple[int, ...] = (COMPRESSION_LZ4,), *, chained: bool = True
) -> Client:
    """Return a client that can compress."""
    client = Client(engine)
    client.negotiate(compression=algorithms, chained=chained)
    assert client.login().status is NtStatus.SUCCESS
    assert client.connect().status is NtStatus.SUCCESS
    return client


def lz4(data: bytes) -> bytes:
    return bytes(block.compress(data, store_size=False))


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("algorithms", [(COMPRESSION_LZ4,), (1,), LINUX, (3,), (3, 2, 1, 5, 4)])
@pytest.mark.parametrize("seals", [False, True])
def test_a_read_is_compressed_where_it_is_asked_for(
    engine: Engine, algorithms: tuple[int, ...], chained: bool, seals: bool
) -> None:
    client = ready(engine, algorithms, chained=chained)
    client.seals = seals
    opened = client.open("file")
    client.call(Command.WRITE, requests.write(opened, DATA), credit_charge=6)
    for size, offset in ((len(DATA), 0), (8192, 4097), (65536, 300000)):
        before = client.compressed
        plain = client.call(Command.READ, requests.read(opened, size, offset), credit_charge=6)
        assert client.compressed == before
        asked = requests.read(opened, size, offset, flags=FLAG)
        reply = client.call(Command.READ, asked, credit_charge=6)
        assert reply.signed is not seals
        assert reply.data == plain.data == DATA[offset : offset + size]
        assert client.compressed - before > len(reply.data) * 0.7


def test_what_does_not_pay_is_sent_as_it_is(engine: Engine) -> None:
    client = ready(engine)
    opened = client.open("file")
    noise = os.urandom(65536)
    client.call(Command.WRITE, requests.write(opened, noise + b"short" * 20), credit_charge=2)
    for size, offset, data in (
        (65536, 0, noise),
        (100, 65536, b"short" * 20),
        (65536, 65536, b"short" * 20),
    ):
        reply = client.call(Command.READ, requests.read(opened, size, offset, flags=FLAG))
        assert reply.data == data
    assert client.compressed == 0
    reply = client.call(Command.READ, requests.read(opened, 4096, 1 << 20, flags=FLAG))
    assert reply.status is NtStatus.END_OF_FILE


def test_nobody_gets_what_was_not_negotiated(engine: Engine, client: Client) -> None:
    opened = client.open("file")
    client.call(Command.WRITE, requests.write(opened, bytes(65536)))
    reply = client.call(Command.READ, requests.read(opened, 65536, flags=FLAG))
    assert reply.data == bytes(65536)
    assert client.compressed == 0
    client.send(unchained(COMPRESSION_LZ4, lz4(b"x" * 100), 100))
    engine.settle()
    assert "compressed" in client.lost


def test_a_large_read_of_zeros_is_a_pattern(engine: Engine) -> None:
    client = ready(engine, LINUX)
    opened = client.open("file")
    node = client.open_of(opened).node
    os.ftruncate(node.fd, 1 << 20)
    reply = client.call(Command.READ, requests.read(opened, 1 << 20, flags=FLAG), credit_charge=16)
    assert reply.data == bytes(1 << 20)
    assert client.compressed > (1 << 20) - 100


def test_a_large_read_is_compressed_on_a_thread(engine: Engine) -> None:
    client = ready(engine)
    opened = client.open("file")
    client.call(Command.WRITE, requests.write(opened, DATA[:344000]), credit_charge=6)
    asked = requests.read(opened, 344000, flags=FLAG)
    assert client.call(Command.READ, asked, credit_charge=6).data == DATA[:344000]
    assert client.compressed > 300000


@pytest.mark.parametrize("seals", [False, True])
@pytest.mark.parametrize("chained", [False, True])
def test_a_compressed_write_arrives(engine: Engine, seals: bool, chained: bool) -> None:
    client = ready(engine, chained=chained)
    client.seals = seals
    opened = client.open("file")
    plain = client.pack(Command.WRITE, requests.write(opened, DATA), credit_charge=6)
    head, rest = plain[:112], plain[112:]
    if chained:
        message = chain(len(plain), payload(0, head, flags=CHAIN), payload(5, lz4(rest), len(rest)))
    else:
        message = unchained(5, head + lz4(rest), len(rest), offset=len(head))
    if seals:
        assert client.sealer is not None
        client.transport.send(client.sealer.seal([message], client.session_id))
    else:
        client.send(message)
    engine.settle()
    assert client.lost == ""
    assert [reply.status for reply in client.replies] == [NtStatus.SUCCESS]
    assert client.replies[0].signed is not seals
    assert (engine.files / "file").read_bytes() == DATA


def test_a_signature_is_that_of_the_uncompressed_message(engine: Engine) -> None:
    client = ready(engine)
    opened = client.open("file")
    plain = bytearray(client.pack(Command.WRITE, requests.write(opened, DATA), credit_charge=6))
    plain[-1] ^= 1
    client.send(unchained(5, lz4(bytes(plain)), len(plain)))
    engine.settle()
    assert [reply.status for reply in client.replies] == [NtStatus.ACCESS_DENIED]


@pytest.mark.parametrize("algorithm", [2, 3])
def test_a_long_message_comes_in_slices(
    engine: Engine, algorithm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ready(engine, (algorithm,), chained=False)
    opened = client.open("file")
    plain = client.pack(Command.WRITE, requests.write(opened, DATA), credit_charge=6)
    payloads = whole(compress(memoryview(plain), Compression((algorithm,), chained=False)))
    assert payloads is not None
    later: list[int] = []
    turns = client.connection.server.turns
    monkeypatch.setattr(turns, "over", lambda: len(later) < 2)
    original = client.dispatcher.later
    monkeypatch.setattr(
        client.dispatcher,
        "later",
        lambda work, keeps, drop: (later.append(keeps), original(work, keeps, drop)),
    )
    client.send(unchained(algorithm, bytes(payloads.parts[0]), len(plain)))
    engine.settle()
    assert len(later) == 2
    assert min(later) > len(plain)
    assert client.connection.memory.used == 0
    assert [reply.status for reply in client.replies] == [NtStatus.SUCCESS]


def test_much_of_lz4_is_made_on_a_thread(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loop goes on meanwhile; what is broken ends the connection all the same."""
    made: list[bool] = []
    real = matches.decompress

    def decompress(data: memoryview, size: int) -> bytes:
        made.append(engine.threads.running)
        return real(data, size)

    monkeypatch.setattr(matches, "decompress", decompress)
    client = ready(engine, (5,), chained=False)
    opened = client.open("file")
    plain = client.pack(Command.WRITE, requests.write(opened, bytes(1 << 20)), credit_charge=16)
    client.send(unchained(5, lz4(plain), len(plain)))
    engine.settle()
    assert [reply.status for reply in client.replies] == [NtStatus.SUCCESS]
    client.send(unchained(5, b"\xff" * 1000, len(plain)))
    engine.settle()
    assert client.lost
    assert made == [True, True]
    assert client.connection.memory.used == 0


def test_few_messages_are_made_at_a_time(engine: Engine) -> None:
    """Each takes its whole size; those that wait are as they came, and need not be made at all."""
    clients = [ready(engine, (5,), chained=False) for _ in range(6)]
    opened = [client.open("file") for client in clients]
    plain = [
        client.pack(Command.WRITE, requests.write(file, bytes(1 << 20)), credit_charge=16)
        for client, file in zip(clients, opened, strict=True)
    ]
    engine.threads.held = True
    before = engine.threads.submitted
    for client, message in zip(clients, plain, strict=True):
        client.send(unchained(5, lz4(message), len(message)))
    engine.settle()
    assert engine.threads.submitted == before + UNPACKED_AT_ONCE
    for gone in (0, 3):  # one that is made, one that waits
        clients[gone].disconnect()
    engine.release(engine.threads)
    assert engine.threads.submitted == before + 5
    for number, client in enumerate(clients):
        statuses = [reply.status for reply in client.replies]
        assert statuses == ([] if number in (0, 3) else [NtStatus.SUCCESS])
    assert engine.server.unpacking._under_way == 0
    assert engine.server.memory.pools[Standing.USER].used == 0


def test_a_message_waits_where_others_have_used_up_the_turn(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a step is taken, and no memory for what is to come out."""
    client = ready(engine, (5,), chained=False)
    plain = client.pack(Command.ECHO, struct.pack("<HH", 4, 0))
    work: list[Callable[[], None]] = []
    monkeypatch.setattr(client.connection.server.turns, "full", lambda: True)
    monkeypatch.setattr(client.dispatcher, "later", lambda one, keeps, drop: work.append(one))
    monkeypatch.setattr(matches, "decompress", lambda data, size: pytest.fail("not its turn"))
    client.send(unchained(5, lz4(plain), len(plain)))
    engine.settle()
    assert client.replies == []
    monkeypatch.undo()
    (go_on,) = work
    go_on()
    engine.settle()
    assert [reply.status for reply in client.replies] == [NtStatus.SUCCESS]


BOMBS = {
    "above all sizes": unchained(5, lz4(bytes(100)), (8 << 20) + 1024),
    "an offset behind the end": unchained(5, lz4(bytes(100)), 100, offset=0xFFFFFFFF),
    "more than was announced": unchained(5, lz4(bytes(1 << 20)), 100),
    "less than was announced": unchained(5, lz4(bytes(100)), 1 << 20),
    "a pattern": chain(100, payload(4, struct.pack("<BxHI", 0, 0, 1 << 31), flags=CHAIN)),
    "no header inside": unchained(5, lz4(bytes(200)), 200),
    "one in another": unchained(5, lz4(unchained(5, lz4(bytes(200)), 200) + bytes(99)), 120),
    "an encrypted one inside": unchained(5, lz4(b"\xfdSMB" + bytes(200)), 204),
    "half a header": b"\xfcSMB" + bytes(8),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_the_connection(engine: Engine, name: str) -> None:
    client = ready(engine, (5, 4))
    client.send(BOMBS[name])
    engine.settle()
    assert client.lost


def test_a_stranger_may_not_stand_for_more_than_he_may_send(engine: Engine) -> None:
    client = Client(engine)
    client.negotiate(compression=(5, 4))
    echo = client.pack(Command.ECHO, requests.EMPTY)
    padded = echo + bytes(UNAUTHENTICATED_LIMIT - len(echo))
    client.send(unchained(5, lz4(padded), len(padded)))
    engine.settle()
    assert [reply.status for reply in client.replies] == [NtStatus.SUCCESS]
    padded += b"\0"
    client.send(unchained(5, lz4(padded), len(padded)))
    engine.settle()
    assert "size" in client.lost


def test_a_compound_may_be_compressed_and_its_replies_are_not(engine: Engine) -> None:
    client = ready(engine)
    opened = client.open("file")
    client.call(Command.WRITE, requests.write(opened, bytes(8192)))
    body = requests.read(opened, 8192, flags=FLAG)
    body += bytes(-len(body) % 8)
    first = client.pack(Command.READ, body, next_command=HEADER_SIZE + len(body))
    message = first + client.pack(Command.READ, requests.read(opened, 8192, flags=FLAG))
    client.send(unchained(5, lz4(message), len(message)))
    engine.settle()
    assert [reply.data for reply in client.replies] == [bytes(8192)] * 2
    assert client.compressed == 0
