"""Kerberos on a bind of DCE/RPC, alone and in SPNEGO, with MIT's library as the client."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
import rpc_client as rpc
from kerberos_server import Server
from smbtest.tickets import Forge, Initiator

from usmbd.mountd.ipc.codec import directory_client, directory_server
from usmbd.mountd.ipc.messages import BindTicketRequest, LoginStatus
from usmbd.mountd.kerberos import bind as binds
from usmbd.mountd.rpc.endpoint import Interface, Pipe, PipeBrokenError
from usmbd.mountd.rpc.outside import Alone
from usmbd.mountd.rpc.pdu import Fault, Syntax
from usmbd.mountd.rpc.security import spnego
from usmbd.mountd.rpc.security.association import Security

NEGOTIATE, KERBEROS = 9, 16
CONNECT, INTEGRITY, PRIVACY = 2, 5, 6
HEADER, SIGNS_HEADERS = 24, 4
MECHANISMS = (spnego.MS_KERBEROS, spnego.KERBEROS, spnego.NTLMSSP)


class Mountd(Alone):
    """mountd, by the bytes of its messages."""

    def __init__(self, server: Server) -> None:
        """Take the key."""
        self.tickets: Any = server.login()
        self.binds = binds.Binds()
        self.now = 0.0

    def ask(self, message: Any, answered: Callable[[Any], None]) -> None:
        """Answer at once."""
        _, asked = directory_server().decode(directory_server().encode(1, message))
        answer = self.binds.answer(self.tickets, asked, self.now)
        _, told = directory_client().decode(directory_client().encode(1, answer))
        answered(told)


class Client:
    """One association."""

    def __init__(
        self, server: Server, ticket: str, kind: int, level: int, *, dce: bool = True,
        headers: bool = True, mechanisms: tuple[bytes, ...] = MECHANISMS,
        sizes: tuple[int, int] = (28, 76),
    ) -> None:  # fmt: skip
        """Be ready to bind; a token that signs and one that seals have these sizes."""
        self.sizes = sizes
        self.kind, self.level, self.headers = kind, level, headers
        self.mountd = Mountd(server)
        self.became: list[tuple[str, bytes]] = []
        echo = Interface(Syntax(*rpc.SRVSVC, 0), {1: lambda stub, encoding: stub * 3})
        self.pipe = Pipe(
            "srvsvc", [echo], self.mountd, Security("NAS", "192.0.2.1"),
            lambda login, key: self.became.append((login.user, key)),
        )  # fmt: skip
        self.library = Initiator(ticket, dce=dce)
        oids = b"".join(spnego.encode(spnego.OID, each) for each in mechanisms)
        self.mech_list = spnego.encode(spnego.SEQUENCE, oids)
        self.mechanisms = mechanisms

    def trailed(self, message: bytes, token: bytes, padding: int = 0) -> bytes:
        """Put a trailer and a token behind a PDU."""
        trailer = struct.pack("<BBBBI", self.kind, self.level, padding, 0, 7)
        made = bytearray(message) + trailer + token
        made[3] |= SIGNS_HEADERS if self.headers else 0
        struct.pack_into("<HH", made, 8, len(made), len(token))
        return bytes(made)

    def first(self) -> bytes:
        """Return the token of the bind."""
        if self.kind == KERBEROS:
            return self.library.token
        known = self.mechanisms[0] in (spnego.MS_KERBEROS, spnego.KERBEROS)
        parts = spnego.encode(0xA0, self.mech_list)
        if known:
            parts += spnego.encode(0xA2, spnego.encode(spnego.OCTETS, self.library.token))
        inner = spnego.encode(0xA0, spnego.encode(spnego.SEQUENCE, parts))
        return spnego.encode(spnego.APPLICATION, spnego.encode(spnego.OID, spnego.SPNEGO) + inner)

    def exchange(self, token: bytes, ptype: int = 14) -> bytes:
        """Send a token; return that of the answer, and nothing where there is none."""
        context = (0, rpc.SRVSVC, [rpc.NDR])
        body = rpc.pdu(16, bytes(4)) if ptype == 16 else rpc.bind(context, ptype=ptype)
        self.pipe.write(self.trailed(body, token))
        answers = rpc.messages(self.pipe)
        if not answers:
            return b""
        assert answers[0][2] in (12, 15), answers[0].hex()
        assert bool(answers[0][3] & SIGNS_HEADERS) == self.headers
        (size,) = struct.unpack_from("<H", answers[0], 10)
        return answers[0][-size:] if size else b""

    def log_in(self, *, mic: bool = True, last: int = 14) -> None:
        """Make the whole login."""
        answer = self.exchange(self.first(), 11)
        if self.kind == KERBEROS:
            third = self.library.finish(answer)
            if third:
                self.exchange(third, last)
            return
        said = spnego.parse_response(answer)
        if not said.inner:  # the mechanism is another one than the list's first
            said = spnego.parse_response(self.exchange(spnego.response(1, b"", self.library.token)))
        third = self.library.finish(said.inner)
        signature = self.library.sign(self.mech_list) if mic else b""
        done = spnego.parse_response(self.exchange(spnego.response(1, b"", third, signature)))
        if mic:
            self.library.verify(self.mech_list, done.mic)
        assert bool(done.mic) == mic

    def call(self, stub: bytes) -> bytes:
        """Make a call that is protected, and return the stub of its answer."""
        self.pipe.write(self.request(stub))
        found = b""
        for message in rpc.messages(self.pipe):
            assert message[2] == 2, message.hex()
            (size,) = struct.unpack_from("<H", message, 10)
            end = len(message) - size - 8
            sealed = self.level == PRIVACY
            parts = self.parts(message[:-size], end)
            body = self.library.unprotect(*parts, message[-size:], sealed=sealed)
            found += body[: len(body) - message[end + 2]]
        return found

    def parts(self, message: bytes, end: int) -> tuple[bytes, bytes, bytes]:
        """Return what is signed alone, the stub, and again."""
        if not self.headers:
            return b"", message[HEADER:end], b""
        return message[:HEADER], message[HEADER:end], message[end:]

    def request(self, stub: bytes) -> bytes:
        """Return a request that is protected."""
        padding = -len(stub) % 16
        sealed = self.level == PRIVACY
        size = self.sizes[sealed]
        whole = self.trailed(rpc.request(1, stub + bytes(padding)), bytes(size), padding)[:-size]
        whole = whole[:3] + bytes((whole[3] & ~SIGNS_HEADERS,)) + whole[4:]
        end = HEADER + len(stub) + padding
        body, token = self.library.protect(*self.parts(whole, end), sealed=sealed)
        assert len(token) == size
        return whole[:HEADER] + body + whole[end:] + token


@pytest.mark.parametrize("level", [INTEGRITY, PRIVACY])
@pytest.mark.parametrize("headers", [False, True], ids=["stubs", "headers"])
@pytest.mark.parametrize("kind", [KERBEROS, NEGOTIATE], ids=["kerberos", "spnego"])
def test_calls_are_protected(
    server: Server, forge: Forge, kind: int, level: int, headers: bool
) -> None:
    client = Client(server, forge.ticket(), kind, level, headers=headers)
    client.log_in()
    assert client.became[0][0] == "alice"
    for stub in (b"", b"x", b"y" * 16, b"z" * 3000):
        assert client.call(stub) == stub * 3
    assert (b"readable" in client.request(b"readable")) == (level == INTEGRITY)


@pytest.mark.parametrize("level", [INTEGRITY, PRIVACY])
@pytest.mark.parametrize("headers", [False, True], ids=["stubs", "headers"])
@pytest.mark.parametrize(
    ("cipher", "etype", "sizes"),
    [
        ("aes128-cts-hmac-sha1-96", 17, (28, 76)),
        ("aes128-cts-hmac-sha256-128", 19, (32, 80)),
        ("aes256-cts-hmac-sha384-192", 20, (40, 88)),
        ("arcfour-hmac", 23, (37, 45)),
    ],
)
def test_other_ciphers(
    server: Server, forge: Forge, cipher: str, etype: int, sizes: Any, level: int, headers: bool
) -> None:
    forge.prefer(cipher)
    ticket = forge.ticket(session_kind=etype)
    client = Client(server, ticket, KERBEROS, level, headers=headers, sizes=sizes)
    client.log_in()
    for stub in (b"", b"x", b"y" * 16, b"z" * 3000):
        assert client.call(stub) == stub * 3
    message = bytearray(client.request(b"changed on the way"))
    message[HEADER + 5] ^= 1
    client.pipe.write(bytes(message))
    assert b"changed" not in b"".join(rpc.messages(client.pipe))


def test_the_last_token_in_an_auth3(server: Server, forge: Forge) -> None:
    client = Client(server, forge.ticket(), KERBEROS, PRIVACY)
    client.log_in(last=16)
    assert client.call(b"sealed") == b"sealed" * 3


def test_connect_protects_nothing(server: Server, forge: Forge) -> None:
    client = Client(server, forge.ticket(), KERBEROS, CONNECT)
    client.log_in()
    client.pipe.write(rpc.request(1, b"plain"))
    assert rpc.stub_of(rpc.messages(client.pipe)) == b"plain" * 3


def test_a_ticket_in_a_frame(server: Server, forge: Forge) -> None:
    """Impacket frames it, and wants an answer without a frame."""
    client = Client(server, forge.ticket(), KERBEROS, PRIVACY)
    frame = spnego.encode(spnego.OID, spnego.KERBEROS) + spnego.AP_REQ + client.library.token
    answer = client.exchange(spnego.encode(spnego.APPLICATION, frame), 11)
    client.exchange(client.library.finish(answer))
    assert client.call(b"x") == b"xxx"


def test_a_frame_of_another_mechanism(server: Server, forge: Forge) -> None:
    client = Client(server, forge.ticket(), KERBEROS, PRIVACY)
    frame = spnego.encode(spnego.OID, spnego.NTLMSSP) + spnego.AP_REQ + client.library.token
    message = client.trailed(
        rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), spnego.encode(spnego.APPLICATION, frame)
    )
    answer, _ = client.pipe.transceive(message, 65535)
    assert answer[2] == 13


@pytest.mark.parametrize("mic", [True, False])
def test_a_list_that_begins_with_another_mechanism_is_signed(
    server: Server, forge: Forge, mic: bool
) -> None:
    unknown = bytes.fromhex("2b060104018237020233")
    client = Client(server, forge.ticket(), NEGOTIATE, INTEGRITY, mechanisms=(unknown, *MECHANISMS))
    if mic:
        client.log_in()
        assert client.call(b"x") == b"xxx"
        return
    with pytest.raises(AssertionError):
        client.log_in(mic=False)
    assert not client.became


def test_a_list_that_was_changed_on_the_way(server: Server, forge: Forge) -> None:
    client = Client(server, forge.ticket(), NEGOTIATE, INTEGRITY)
    said = spnego.parse_response(client.exchange(client.first(), 11))
    third = client.library.finish(said.inner)
    signature = client.library.sign(client.mech_list + b"x")
    message = client.trailed(
        rpc.bind((0, rpc.SRVSVC, [rpc.NDR]), ptype=14), spnego.response(1, b"", third, signature)
    )
    answer, _ = client.pipe.transceive(message, 65535)
    assert rpc.fault(answer) == Fault.ACCESS_DENIED
    assert not client.became


@pytest.mark.parametrize("level", [INTEGRITY, PRIVACY])
@pytest.mark.parametrize("at", [3, HEADER, HEADER + 5, -70, -20, -13, -1])
def test_what_was_changed_on_the_way_is_refused(
    server: Server, forge: Forge, level: int, at: int
) -> None:
    client = Client(server, forge.ticket(), KERBEROS, level)
    client.log_in()
    message = bytearray(client.request(b"transfer 1 to bob" * 9))
    message[at] ^= 0x10
    client.pipe.write(bytes(message))
    (answer,) = rpc.messages(client.pipe)
    assert rpc.fault(answer) == Fault.ACCESS_DENIED
    with pytest.raises(PipeBrokenError):
        client.pipe.write(b"x")


def test_replays_are_refused(server: Server, forge: Forge) -> None:
    client = Client(server, forge.ticket(), KERBEROS, INTEGRITY)
    client.log_in()
    message = client.request(b"once")
    client.pipe.write(message)
    rpc.messages(client.pipe)
    client.pipe.write(message)
    assert rpc.fault(rpc.messages(client.pipe)[0]) == Fault.ACCESS_DENIED


def test_who_is_refused(server: Server, forge: Forge) -> None:
    for ticket in (forge.ticket("stranger"), Forge(forge.folder / "other").ticket()):
        client = Client(server, ticket, KERBEROS, INTEGRITY, dce=False)
        answer, _ = client.pipe.transceive(
            client.trailed(rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), client.first()), 65535
        )
        assert answer[2] == 13
        assert not client.became
    client = Client(server, forge.ticket(), KERBEROS, INTEGRITY)
    client.mountd.tickets = None  # no keytab
    with pytest.raises(AssertionError):
        client.log_in()


def test_a_last_token_that_comes_too_late(server: Server, forge: Forge) -> None:
    client = Client(server, forge.ticket(), KERBEROS, INTEGRITY)
    third = client.library.finish(client.exchange(client.first(), 11))
    client.mountd.now = binds.WAIT_SECONDS + 1
    client.exchange(third, 16)
    assert not client.became


def test_contexts_that_wait_are_bounded(server: Server, forge: Forge) -> None:
    made = binds.Binds()
    numbers = []
    tickets = server.login()
    for _ in range(binds.MAX_WAITING + 1):
        request = BindTicketRequest(Initiator(forge.ticket(), dce=True).token, "")
        numbers.append(made.answer(tickets, request, 0.0).context)
    assert len(made._waiting) == binds.MAX_WAITING
    answer = made.answer(tickets, BindTicketRequest(b"x", "", numbers[0]), 0.0)
    assert answer.login.status is LoginStatus.BAD_TICKET
