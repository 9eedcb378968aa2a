"""What is fuzzed: for each parser of foreign bytes a function that raises only what callers expect.

A target takes the fuzzer's bytes and returns; any other exception than those that its callers turn
into a status or a closed connection is a finding, and so is a call that takes seconds or gigabytes.
Where there is a builder, what was parsed is built and parsed again, and must be the same.
"""

import atexit
import errno
import logging
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from engine_pair import established
from governed import RPC_PIPES, Governed, served
from smbengine.client import NTLM_NEGOTIATE, Client
from smbengine.server import Engine

from usmbd.mountd.config.load import load
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc import codec
from usmbd.mountd.ipc.messages import RpcClose, RpcOpen, RpcRead, RpcTransceive, RpcWrite
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.ntlm import verify
from usmbd.mountd.rpc.hub import Hub
from usmbd.mountd.rpc.interfaces import PIPES
from usmbd.mountd.rpc.security import spnego
from usmbd.mountd.service import Service
from usmbd.mountd.users import edit_users
from usmbd.protocol.auth import der, ntlm_messages
from usmbd.protocol.auth.ntlm_messages import ServerNames
from usmbd.protocol.auth.spnego import Acceptor
from usmbd.protocol.compression.transform import (
    Compression,
    compress,
    decompress,
    original_size,
    whole,
)
from usmbd.protocol.door import messages as door_messages
from usmbd.protocol.door.doorkeeper import Doorkeeper
from usmbd.protocol.vfs import kernel
from usmbd.protocol.wire import channel, create_contexts, create_contexts_aapl, ntacl, security
from usmbd.protocol.wire.fscc import ea, set_info
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.rdma_transform import parse_rdma_transform
from usmbd.protocol.wire.status import MalformedError, SmbError
from usmbd.protocol.worker import messages as worker_messages
from usmbd.transport.loop import EpollLoop
from usmbd.transport.smbdirect.limits import ProtocolError
from usmbd.transport.tcp import TcpTransport

Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}


class _Mistakes(logging.Handler):
    """Keeps what the server logs as a mistake of its own: it goes on, the fuzzer must not."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception."""
        if record.exc_info and record.exc_info[1] is not None:
            self.found.append(record.exc_info[1])


MISTAKES = _Mistakes()
logging.getLogger().handlers = [MISTAKES]
logging.getLogger().setLevel(logging.ERROR)
NAMES = ServerNames("NAS", "HOME", "nas", "home")
NOW = 133_000_000_000_000_000  # a FILETIME
CHALLENGE = bytes(range(8))
LARGEST_FILE = 16 << 20
DECOMPRESSED = 1 << 18
"""Bytes that a compressed message may stand for."""


def target(function: Target) -> Target:
    """Enter a function into the table by its name; what it logs as a mistake is raised."""

    def checked(data: bytes) -> None:
        function(data)
        if MISTAKES.found:
            mistake, MISTAKES.found = MISTAKES.found[0], []
            raise mistake

    TARGETS[function.__name__] = checked
    return function


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut the input into messages: each has a length of two bytes in front."""
    while len(data) > 2:
        (length,) = struct.unpack_from("<H", data)
        yield data[2 : 2 + length]
        data = data[2 + length :]


class Swallow:
    """Takes messages and loses them."""

    message_limit = 1 << 16

    def message_received(self, message: memoryview) -> None:
        """Touch each byte, as a reader would."""
        bytes(message)

    def connection_lost(self, reason: str) -> None:
        """Learn the end."""


@target
def frame(data: bytes) -> None:
    """Cut the frames of TCP ([MS-SMB2] 2.1) at any places."""
    loop = _loop()
    client, theirs = socket.socketpair()
    with client:
        transport = TcpTransport(theirs, loop)
        transport.start(Swallow())
        for piece in pieces(data):
            with suppress(OSError):  # the transport may have closed its end
                client.send(piece)
            loop.call_soon(loop.stop)
            loop.run_forever()
        transport.close("the test is over")
        loop.call_soon(loop.stop)
        loop.run_forever()


@cache
def _loop() -> EpollLoop:
    return EpollLoop()


@cache
def _engine() -> Engine:
    """Make one engine for all inputs of the process, on a disk where no file becomes large."""
    folder = tempfile.TemporaryDirectory(prefix="usmbd-fuzz-")
    atexit.register(folder.cleanup)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    reserve = kernel.fallocate

    def limited(fd: int, mode: int, offset: int, length: int) -> None:
        if offset + length > LARGEST_FILE:  # which the limit of the process does not see
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(fd, mode, offset, length)

    kernel.fallocate = limited
    return Engine(Path(folder.name))


class Deaf(Client):
    """A client that does not check the replies: what it asked was odd."""

    def message_received(self, message: memoryview) -> None:
        """Take what the checks of a good client make of it, if anything."""
        with suppress(Exception):
            super().message_received(message)


def _dispatch(client: Client, messages: Iterator[bytes]) -> None:
    """Send messages as they are, and let the engine do all that follows."""
    for message in messages:
        if not client.transport.closed:
            client.transport.send([message])
            client.engine.settle()
    client.disconnect()
    client.engine.clock.advance(120)
    client.engine.settle()
    client.engine.transports.clear()


@target
def header(data: bytes) -> None:
    """Take whole messages before a login: headers, compounds, transforms, SMB 1."""
    _dispatch(Deaf(_engine()), pieces(data))


@target
def negotiate(data: bytes) -> None:
    """Put NEGOTIATE's body behind a good header, then what else comes."""
    client = Deaf(_engine())
    bodies = list(pieces(data))
    _dispatch(client, (client.pack(Command.NEGOTIATE, body) for body in bodies))


@target
def command(data: bytes) -> None:
    """Send a related compound as a user who is logged in: each message a command and its body."""
    client = _user()
    client.credits = max(client.credits, 64)
    elements = [(piece[0] % 19, piece[1:]) for piece in pieces(data) if piece]
    if elements:
        client.compound(*elements)
    client.replies.clear()


def _user() -> Client:
    """Return the user of this process, logged in anew where the last input ended the connection."""
    if not _users or _users[0].transport.closed:
        _users[:] = [Deaf(_engine()).ready()]
    return _users[0]


_users: list[Client] = []


@target
def session_setup(data: bytes) -> None:
    """Step through SPNEGO's and NTLM's tokens, one after the other."""
    acceptor = Acceptor(NAMES, NOW, CHALLENGE)
    with suppress(SmbError):
        for token in pieces(data):
            acceptor.step(token)
        acceptor.finish(bytes(16))


@target
def ntlm(data: bytes) -> None:
    """Put AUTHENTICATE_MESSAGE behind a good NEGOTIATE_MESSAGE, and mountd's check of it."""
    acceptor = Acceptor(NAMES, NOW, CHALLENGE)
    acceptor.step(NTLM_NEGOTIATE)
    with suppress(SmbError):
        acceptor.step(data)
    with suppress(MalformedError):
        message = ntlm_messages.parse_authenticate(memoryview(data))
        verify(nt_hash("x"), message.user, message.domain, CHALLENGE, message.nt_response)
    with suppress(MalformedError):
        ntlm_messages.parse_av_pairs(data)


@target
def der_encoding(data: bytes) -> None:
    """Descend in DER, down to the leaves."""

    def descend(content: memoryview, depth: int) -> None:
        for tag, inner in der.elements(content):
            assert len(der.encode(tag, bytes(inner))) >= len(inner)
            if tag & 0x20 and depth < 20:
                descend(inner, depth + 1)

    with suppress(MalformedError):
        descend(memoryview(data), 0)


@target
def contexts(data: bytes) -> None:
    """Read create contexts ([MS-SMB2] 2.2.13.2), the list and each context's data."""
    parsers = (
        create_contexts.parse_u64,
        create_contexts.parse_maximal_access,
        create_contexts.parse_durable_reconnect,
        create_contexts.parse_durable_request_v2,
        create_contexts.parse_durable_reconnect_v2,
        create_contexts.parse_lease,
        create_contexts.parse_app_instance_id,
        create_contexts.parse_app_instance_version,
        create_contexts_aapl.parse_server_query,
    )
    with suppress(SmbError):
        found = create_contexts.parse_contexts(memoryview(data))
        again = create_contexts.build_contexts([(tag, bytes(part)) for tag, part in found.items()])
        assert create_contexts.parse_contexts(memoryview(again)) == found
        for part in found.values():
            for parser in parsers:
                with suppress(SmbError):
                    parser(part)


@target
def extended_attributes(data: bytes) -> None:
    """Read lists of EAs ([MS-FSCC] 2.4.16), and all that SET_INFO takes."""
    view = memoryview(data)
    with suppress(SmbError):
        found = list(ea.full_eas(view))
        assert list(ea.full_eas(memoryview(ea.build_full_eas(found)))) == found
    with suppress(SmbError):
        list(ea.get_eas(view))
    if data:
        with suppress(SmbError):
            set_info.parse_set(data[0], view[1:])


@target
def descriptor(data: bytes) -> None:
    """Read security descriptors ([MS-DTYP] 2.4.6), and those that are stored with a file."""
    with suppress(SmbError):
        found = security.SecurityDescriptor.parse(data)
        packed = found.pack()
        assert security.SecurityDescriptor.parse(packed).pack() == packed
    with suppress(SmbError):
        ntacl.parse_ntacl(data)


@target
def rpc(data: bytes) -> None:
    """Put DCE/RPC's PDUs and NDR on a pipe, as an administrator: binds, fragments, calls."""
    snapshot = served()
    hub = Hub(PIPES, lambda: snapshot, Governed())
    name = RPC_PIPES[data[0] % len(RPC_PIPES)] if data else "srvsvc"
    hub.handle(RpcOpen(1, name, "alice"))
    for number, piece in enumerate(pieces(data[1:])):
        if number & 1:
            hub.handle(RpcTransceive(1, piece, 4096))
        else:
            hub.handle(RpcWrite(1, piece))
        hub.handle(RpcRead(1, 100))
    hub.handle(RpcClose(1))


@target
def bind_tokens(data: bytes) -> None:
    """Read the tokens of SPNEGO on a bind."""
    for parse in (spnego.parse_init, spnego.parse_response):
        with suppress(ValueError):
            parse(data)


@target
def ipc(data: bytes) -> None:
    """Decode what the processes say to each other on their sockets."""
    for end in _CODECS:
        with suppress(codec.CodecError):
            end.decode(data)


_CODECS = (
    *(codec.mountd_server(), codec.mountd_client(), codec.rpc_server()),
    *(codec.rpc_client(), codec.control_server(), codec.control_client()),
)


@target
def door(data: bytes) -> None:
    """Come to the door as clients do, and read what it and the workers say to the supervisor."""
    passed: list[bytes] = []

    def pass_on(sock: socket.socket, guid: bytes, first: bytes) -> None:
        with sock:
            said = door_messages.encode(door_messages.Client(guid, first))
        assert len(said) <= door_messages.MESSAGE_LIMIT
        message = door_messages.decode_from_door(said)
        assert isinstance(message, door_messages.Client)
        assert (message.guid, message.first) == (guid, first)
        passed.append(first)

    loop = _loop()
    keeper = Doorkeeper(loop, pass_on)
    client, theirs = socket.socketpair()
    with client:
        keeper._accept(_Listener(theirs))
        for piece in pieces(data):
            with suppress(OSError):  # it may have been passed on, or closed
                client.send(piece)
            loop.call_soon(loop.stop)
            loop.run_forever()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert not len(keeper.places)
    assert len(passed) <= 1
    for decode in _DECODERS:
        with suppress(*codec.UNREADABLE):
            decode(data)


class _Listener(socket.socket):
    """A listening socket on which one client waits."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__(socket.AF_UNIX)
        self._clients = [client]

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """Give it."""
        if not self._clients:
            raise BlockingIOError
        return self._clients.pop(), ("192.0.2.1", 445)


_DECODERS: tuple[Callable[[bytes], object], ...] = (
    *(door_messages.decode_from_door, door_messages.decode_to_door),
    *(worker_messages.decode_from_worker, worker_messages.decode_to_worker),
)


@target
def mountd(data: bytes) -> None:
    """Ask mountd as a worker does that clients have taken over: its answers can be said."""
    service, ours, theirs = _service(), codec.mountd_server(), codec.mountd_client()
    for piece in pieces(data):
        try:
            handle, message = ours.decode(piece)
        except codec.CodecError:
            continue
        answer, delay = service.handle("worker", message, 0.0)
        assert 0.0 <= delay < 60.0
        if answer is not None:
            assert theirs.decode(ours.encode(handle, answer)) == (handle, answer)
    service.worker_gone("worker")


@cache
def _service() -> Service:
    folder = tempfile.TemporaryDirectory(prefix="usmbd-fuzz-")
    atexit.register(folder.cleanup)
    passwords = Path(folder.name) / "users"
    edit_users(passwords, lambda hashes: hashes.update(alice=nt_hash("secret")))
    return Service(load(Path("/nowhere/usmbd.conf"), MOUNTD), passwords)


MOUNTD = """[global]
    map to guest = bad user
    hosts deny = 192.0.2.66
[homes]
    read only = no
[data]
    path = /srv/%U/%m/%I
    valid users = alice @users
    max connections = 3
    guest ok = yes
[forced]
    path = /srv
    force user = nobody
"""


@target
def compression(data: bytes) -> None:
    """Decompress a message ([MS-SMB2] 2.2.42), whatever it says of its size, and write it again."""
    both = Compression((1, 2, 3, 4, 5), chained=True)
    view = memoryview(b"\xfcSMB" + data)
    try:
        size = original_size(view, both, DECOMPRESSED, DECOMPRESSED)
        plain = whole(decompress(view, both, size))
    except MalformedError:
        return
    assert len(plain) == size
    for number in (1, 2, 3, 5):
        one = Compression((number, 4), chained=True)
        payloads = whole(compress(plain, one))
        if payloads is not None:
            message = memoryview(b"".join(payloads.message(b"head")))
            again = whole(decompress(message, one, size + 4))
            assert again[4:] == plain


@target
def smbdirect(data: bytes) -> None:
    """Put SMB Direct's messages ([MS-SMBD] 2.2) to an engine that has negotiated."""
    side = established()
    with suppress(ProtocolError):
        for piece in pieces(data):
            side.take(piece)
            side.drain()
    with suppress(SmbError):
        parse_rdma_transform(memoryview(data))
    with suppress(SmbError):
        channel.parse_descriptors(memoryview(data), len(data))


def _configuration(name: str, data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    # An administrator's own files, which exist, are no bad input.
    if "include" not in text.casefold():
        with suppress(ConfigError):
            load(Path("/nowhere") / name, text)


@target
def ini(data: bytes) -> None:
    """Load `usmbd.conf`, written as ksmbd.conf and smb.conf."""
    _configuration("usmbd.conf", data)


@target
def yaml(data: bytes) -> None:
    """Load the same as YAML."""
    _configuration("usmbd.yaml", data)
