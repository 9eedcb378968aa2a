"""NTLM on a bind, with impacket's messages: who gets in, and calls that are signed and sealed."""

import struct
from typing import Any

import pytest
import rpc_client as rpc
import spnego
from impacket import ntlm as client

from usmbd.mountd.ipc.messages import LoginRequest, LoginResponse, LoginStatus
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.ntlm import verify, verify_v1
from usmbd.mountd.rpc.endpoint import Encoding, Interface, Pipe, PipeBrokenError
from usmbd.mountd.rpc.outside import Alone
from usmbd.mountd.rpc.pdu import Fault, Syntax
from usmbd.mountd.rpc.security import ntlm
from usmbd.mountd.rpc.security import spnego as tokens
from usmbd.mountd.rpc.security.association import Security
from usmbd.mountd.rpc.security.ntlm import Acceptor, PlainProtection, Protection

CONNECT, INTEGRITY, PRIVACY = 2, 5, 6
HEADER = 24


class Mountd(Alone):
    """Checks the proofs of alice, when it is let."""

    def __init__(self) -> None:
        """Begin with no question."""
        self.asked: list[LoginRequest] = []
        self._answered: list[Any] = []

    def ask(self, message: Any, answered: Any) -> None:
        """Keep the question."""
        self.asked.append(message)
        self._answered.append(answered)

    @property
    def waits(self) -> bool:
        """Whether there is a question without an answer."""
        return bool(self._answered)

    def answer(self) -> None:
        """Answer it."""
        request = self.asked[-1]
        challenge, response, own = (
            *(request.server_challenge, request.nt_response, request.client_challenge),
        )
        if len(response) == 24:
            key = verify_v1(nt_hash("secret"), challenge, response, own)
        else:
            names = request.user, request.domain
            key = verify(nt_hash("secret"), *names, challenge, response)
        status = LoginStatus.BAD_PASSWORD if key is None else LoginStatus.OK
        self._answered.pop()(LoginResponse(status, "alice", 1000, session_base_key=key or b""))


class Client:
    """One association with security, by hand and by impacket."""

    def __init__(self, level: int, kind: int = 10, *, ntlmv1: bool = False) -> None:
        """Be ready to bind."""
        self.level, self.kind = level, kind
        self.mountd = Mountd()
        self.became: list[tuple[str, bytes]] = []
        echo = Interface(Syntax(*rpc.SRVSVC, 0), {1: _echo})
        self.pipe = Pipe(
            "srvsvc", [echo], self.mountd, Security("NAS", "192.0.2.1", ntlmv1=ntlmv1),
            lambda login, key: self.became.append((login.user, key)),
        )  # fmt: skip
        self.protection: Protection | PlainProtection | None = None

    def trailed(self, message: bytes, token: bytes, padding: int = 0) -> bytes:
        """Put a trailer and a token behind a PDU."""
        made = (
            bytearray(message)
            + struct.pack("<BBBBI", self.kind, self.level, padding, 0, 79231)
            + token
        )
        struct.pack_into("<HH", made, 8, len(made), len(token))
        return bytes(made)

    def bind(self, password: str = "secret") -> bytes:
        """Bind, and send the login's last message; the challenge."""
        first = client.getNTLMSSPType1("", "", True, use_ntlmv2=True)
        message = self.trailed(rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), first.getData())
        answer, _ = self.pipe.transceive(message, 65535)
        (size,) = struct.unpack_from("<H", answer, 10)
        assert answer[2] == 12
        third, key = client.getNTLMSSPType3(
            first, answer[-size:], "alice", password, "", use_ntlmv2=True
        )
        self.pipe.write(self.trailed(rpc.pdu(16, bytes(4)), third.getData()))
        self.protection = Protection(key)
        self.turn()
        return answer[-size:]

    def turn(self) -> None:
        """Turn the protection round: this is the client."""
        made = self.protection
        assert isinstance(made, Protection)
        made._incoming, made._outgoing = made._outgoing, made._incoming

    def request(self, stub: bytes) -> bytes:
        """Build a request that is protected."""
        assert self.protection is not None
        padding = -len(stub) % 16
        message = self.trailed(rpc.request(1, stub + bytes(padding)), bytes(16), padding)[:-16]
        end = HEADER + len(stub) + padding
        return self.protection.close(message, HEADER, end, sealed=self.level == PRIVACY)

    def answer(self) -> bytes:
        """Read a response, check what protects it, and return its stub."""
        found = b""
        for message in rpc.messages(self.pipe):
            assert message[2] == 2
            assert struct.unpack_from("<HH", message, 8) == (len(message), 16)
            assert self.protection is not None
            end, sealed = len(message) - 24, self.level == PRIVACY
            signed = self.protection.open(message[:-16], HEADER, end, message[-16:], sealed=sealed)
            found += signed[HEADER : end - message[end + 2]]
        return found


def _echo(stub: bytes, encoding: Encoding) -> bytes:
    return stub * (1000 if stub == b"much" else 1)


@pytest.mark.parametrize("level", [INTEGRITY, PRIVACY])
def test_calls_are_protected(level: int) -> None:
    made = Client(level)
    made.bind()
    made.pipe.write(made.request(b"before mountd has answered"))
    assert not rpc.messages(made.pipe)
    made.mountd.answer()
    assert made.answer() == b"before mountd has answered"
    assert made.became[0][0] == "alice"
    for stub in (b"", b"x", b"y" * 100, b"much"):
        message = made.request(stub)
        if len(stub) > 3:  # less may be there by chance
            assert (stub in message) == (level == INTEGRITY)
        made.pipe.write(message)
        assert made.answer() == _echo(stub, Encoding(False, "<"))
    assert made.mountd.asked[0].client_address == "192.0.2.1"


def test_connect_protects_nothing() -> None:
    made = Client(CONNECT)
    made.bind()
    made.mountd.answer()
    made.pipe.write(rpc.request(1, b"plain"))
    assert rpc.stub_of(rpc.messages(made.pipe)) == b"plain"


@pytest.mark.parametrize("level", [CONNECT, INTEGRITY, PRIVACY])
def test_a_wrong_password_makes_no_calls(level: int) -> None:
    made = Client(level)
    made.bind("wrong")
    made.mountd.answer()
    made.pipe.write(made.request(b"x") if level != CONNECT else rpc.request(1, b"x"))
    (answer,) = rpc.messages(made.pipe)
    assert rpc.fault(answer) == Fault.ACCESS_DENIED
    assert not made.became
    with pytest.raises(PipeBrokenError):
        made.pipe.write(b"x")


@pytest.mark.parametrize("level", [INTEGRITY, PRIVACY])
@pytest.mark.parametrize("at", [4, HEADER, HEADER + 5, -20, -9, -1])
def test_what_was_changed_on_the_way_is_refused(level: int, at: int) -> None:
    made = Client(level)
    made.bind()
    made.mountd.answer()
    message = bytearray(made.request(b"transfer 1 to bob"))
    message[at] ^= 0x01 if at != 4 else 0x00
    if at == 4:  # a flag of the header: it is signed, too
        message[3] ^= 0x10
    made.pipe.write(bytes(message))
    (answer,) = rpc.messages(made.pipe)
    assert rpc.fault(answer) == Fault.ACCESS_DENIED


@pytest.mark.parametrize("level", [INTEGRITY, PRIVACY])
def test_replays_and_plain_calls_are_refused(level: int) -> None:
    for again in (True, False):
        made = Client(level)
        made.bind()
        made.mountd.answer()
        message = made.request(b"once")
        made.pipe.write(message)
        assert made.answer() == b"once"
        made.pipe.write(message if again else rpc.request(1, b"plain"))
        assert rpc.fault(rpc.messages(made.pipe)[0]) == Fault.ACCESS_DENIED


def test_a_call_before_the_login_is_refused() -> None:
    made = Client(INTEGRITY)
    first = client.getNTLMSSPType1("", "", True, use_ntlmv2=True)
    made.pipe.write(made.trailed(rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), first.getData()))
    rpc.messages(made.pipe)
    made.pipe.write(rpc.request(1, b"x"))
    assert rpc.fault(rpc.messages(made.pipe)[0]) == Fault.ACCESS_DENIED


@pytest.mark.parametrize("token", [b"", b"NTLMSSP\0", b"NTLMSSP\0" + bytes(100), bytes(9000)])
def test_what_is_no_login_is_refused(token: bytes) -> None:
    made = Client(PRIVACY)
    message = made.trailed(rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), token or b"\0")
    answer, _ = made.pipe.transceive(message, 65535)
    assert answer[2] == 13


def test_what_was_agreed_holds() -> None:
    """And whoever sends no name, no response or no key logs nobody in ([MS-NLMP] 3.2.5.1.2)."""
    first = client.getNTLMSSPType1("", "", True, use_ntlmv2=True)
    acceptor = Acceptor(first.getData(), "NAS")
    third, _ = client.getNTLMSSPType3(
        first, acceptor.challenge, "alice", "secret", "", use_ntlmv2=True
    )
    whole = third.getData()
    (flags,) = struct.unpack_from("<I", whole, 60)
    for needed in (0x1, 0x80000, 0x20000000, 0x40000000):
        less = whole[:60] + struct.pack("<I", flags & ~needed) + whole[64:]
        with pytest.raises(ValueError, match="agreed no more"):
            acceptor.authenticate(less)
    for field in (20, 36, 52):  # response, user, key
        less = whole[:field] + bytes(2) + whole[field + 2 :]
        with pytest.raises(ValueError, match="nobody, or without a key"):
            acceptor.authenticate(less)
    with pytest.raises(ValueError, match="no AUTHENTICATE_MESSAGE"):
        acceptor.authenticate(first.getData() + bytes(100))


def test_pairs_of_a_response() -> None:
    """[MS-NLMP] 2.2.2.1: until the end, and none that passes it."""
    pair = struct.pack("<HH3s", 2, 3, b"abc") + struct.pack("<HHI", 6, 4, 2)
    assert ntlm._pairs(bytes(44) + pair + bytes(4)) == {2: b"abc", 6: b"\2\0\0\0"}
    assert ntlm._pairs(bytes(44) + pair) == {2: b"abc", 6: b"\2\0\0\0"}
    assert ntlm._pairs(bytes(44) + pair[:-1]) == {2: b"abc"}
    assert ntlm._pairs(bytes(44) + bytes(4) + pair) == {}
    assert ntlm._pairs(bytes(44)) == {}


def test_short_messages_never_break_the_acceptor() -> None:
    first = client.getNTLMSSPType1("", "", True, use_ntlmv2=True)
    acceptor = Acceptor(first.getData(), "NAS")
    third, _ = client.getNTLMSSPType3(
        first, acceptor.challenge, "alice", "secret", "", use_ntlmv2=True
    )
    whole = third.getData()
    for size in range(len(whole)):
        with pytest.raises(ValueError, match=r"."):
            acceptor.authenticate(whole[:size])
    assert acceptor.authenticate(whole).user == "alice"


# -- SPNEGO --------------------------------------------------------------------------------------


class Negotiator:
    """One association by SPNEGO around NTLM, with pyspnego as the client."""

    def __init__(self, level: int, password: str = "secret", *, ntlmv1: bool = False) -> None:
        """Be ready to bind."""
        self.level = level
        self.association = Client(level, kind=9, ntlmv1=ntlmv1)
        options = spnego.NegotiateOptions.use_negotiate
        self.context = spnego.client(
            "alice", password, hostname="nas", protocol="negotiate", options=options
        )
        self.token: bytes | None = None

    def send(self, message: bytes) -> bytes:
        """Send the next token behind a PDU, and take that of the answer."""
        made = self.association
        made.pipe.write(made.trailed(message, self.context.step(self.token) or b""))
        if made.mountd.waits:
            made.mountd.answer()
        (answer,) = rpc.messages(made.pipe)
        (size,) = struct.unpack_from("<H", answer, 10)
        self.token = answer[-size:] if size else None
        return answer

    def log_in(self) -> bytes:
        """Make the whole login; return the last answer."""
        context = (0, rpc.SRVSVC, [rpc.NDR])
        assert self.send(rpc.bind(context))[2] == 12
        answer = self.send(rpc.bind(context, ptype=14))
        if answer[2] == 15:
            self.context.step(self.token)
            assert self.context.complete
        return answer


@pytest.mark.parametrize("level", [INTEGRITY, PRIVACY])
def test_spnego_around_ntlm(level: int) -> None:
    made = Negotiator(level)
    assert made.log_in()[2] == 15
    association = made.association
    assert association.became[0][0] == "alice"
    association.protection = Protection(made.context.session_key, first=1)
    association.turn()
    for stub in (b"", b"y" * 100, b"much"):
        association.pipe.write(association.request(stub))
        assert association.answer() == _echo(stub, Encoding(False, "<"))


PLAIN, SESSION_SECURITY = "0", "2"
"""Values of LM_COMPAT_LEVEL, by which pyspnego does NTLMv1."""


@pytest.mark.parametrize("level", [CONNECT, INTEGRITY, PRIVACY])
def test_ntlm_v1_in_spnego(monkeypatch: pytest.MonkeyPatch, level: int) -> None:
    monkeypatch.setenv("LM_COMPAT_LEVEL", SESSION_SECURITY)
    made = Negotiator(level, ntlmv1=True)
    assert made.log_in()[2] == 15
    association, key = made.association, made.context.session_key
    assert association.became == [("alice", key)]
    association.protection = Protection(key, first=1)
    association.turn()
    for stub in (b"", b"y" * 100, b"much") if level != CONNECT else ():
        association.pipe.write(association.request(stub))
        assert association.answer() == _echo(stub, Encoding(False, "<"))
    assert Negotiator(level, "guess", ntlmv1=True).log_in()[2] != 15


@pytest.mark.parametrize("level", [INTEGRITY, PRIVACY])
def test_ntlm_v1_without_session_security(monkeypatch: pytest.MonkeyPatch, level: int) -> None:
    monkeypatch.setenv("LM_COMPAT_LEVEL", PLAIN)
    made = Client(level, ntlmv1=True)
    context = spnego.client("alice", "secret", protocol="ntlm")
    bind = made.trailed(rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), context.step() or b"")
    answer, _ = made.pipe.transceive(bind, 65535)
    (size,) = struct.unpack_from("<H", answer, 10)
    made.pipe.write(made.trailed(rpc.pdu(16, bytes(4)), context.step(answer[-size:]) or b""))
    made.mountd.answer()
    assert made.became == [("alice", context.session_key)]
    made.protection = PlainProtection(context.session_key)
    for stub in (b"", b"y" * 100, b"much"):
        made.pipe.write(made.request(stub))
        assert made.answer() == _echo(stub, Encoding(False, "<"))
    message = bytearray(made.request(b"transfer 1 to bob"))
    message[HEADER] ^= 1
    made.pipe.write(bytes(message))
    assert rpc.fault(rpc.messages(made.pipe)[0]) == Fault.ACCESS_DENIED


@pytest.mark.parametrize("version", [PLAIN, SESSION_SECURITY])
def test_ntlm_v1_where_it_is_not(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("LM_COMPAT_LEVEL", version)
    made = Negotiator(INTEGRITY)
    context = (0, rpc.SRVSVC, [rpc.NDR])
    if made.send(rpc.bind(context))[2] == 12:
        made.send(rpc.bind(context, ptype=14))
    assert not made.association.mountd.asked


def test_a_response_of_version_1_has_the_client_s_challenge() -> None:
    first = client.getNTLMSSPType1("", "", True, use_ntlmv2=True)
    acceptor = Acceptor(first.getData(), "NAS", ntlmv1=True)
    third, _ = client.getNTLMSSPType3(
        first, acceptor.challenge, "alice", "secret", "", use_ntlmv2=False
    )
    whole = third.getData()
    proof = acceptor.authenticate(whole)
    (at,) = struct.unpack_from("<I", whole, 16)
    assert (len(proof.nt_response), proof.client_challenge) == (24, whole[at : at + 8])
    with pytest.raises(ValueError, match="challenge of the client"):
        acceptor.authenticate(whole[:12] + bytes(2) + whole[14:])


def test_spnego_with_a_wrong_password() -> None:
    made = Negotiator(INTEGRITY, "wrong")
    assert rpc.fault(made.log_in()) == Fault.ACCESS_DENIED
    assert not made.association.became


@pytest.mark.parametrize(
    "token",
    [
        b"\x60",
        b"\x60\x05\x06\x03abc",
        bytes.fromhex("6013 0606 2b06 0105 0502 a009 3007 a005 3003 0601 01".replace(" ", "")),
        bytes.fromhex("60 84 ff ff ff ff 06".replace(" ", "")),
        b"NTLMSSP\0" + bytes(100),
    ],
)
def test_what_is_no_spnego_is_refused(token: bytes) -> None:
    made = Client(INTEGRITY, kind=9)
    message = made.trailed(rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), token)
    answer, _ = made.pipe.transceive(message, 65535)
    assert answer[2] == 13


def test_tokens_of_spnego() -> None:
    assert tokens.parse_response(tokens.response(1, b"\1", b"x" * 300, b"mic")) == tokens.Token(
        inner=b"x" * 300, mic=b"mic"
    )
    twice = tokens.encode(0xA2, tokens.encode(tokens.OCTETS, b"")) * 2
    with pytest.raises(ValueError, match="twice"):
        tokens.parse_response(tokens.encode(0xA1, tokens.encode(tokens.SEQUENCE, twice)))
    whole = tokens.response(1, b"\1", b"x" * 300, b"mic")
    for size in range(len(whole)):
        with pytest.raises(ValueError, match=r"."):
            tokens.parse_response(whole[:size])


@pytest.mark.parametrize(
    ("mechanisms", "mic", "fits"), [(1, 256, True), (1, 257, False), (90, 0, False)]
)
def test_what_mountd_would_not_take_is_refused_before(
    mechanisms: int, mic: int, fits: bool
) -> None:
    """A question that is too long would be the last that mountd answers to this process."""
    oid = tokens.encode(tokens.OID, tokens.KERBEROS + b"\1" * 30 * (mechanisms > 1))
    count = min(mechanisms, tokens.MAX_MECHANISMS)
    fields = tokens.encode(0xA0, tokens.encode(tokens.SEQUENCE, oid * count))
    fields += tokens.encode(0xA2, tokens.encode(tokens.OCTETS, b"ticket"))
    fields += tokens.encode(0xA3, tokens.encode(tokens.OCTETS, b"m" * mic)) if mic else b""
    init = tokens.encode(0xA0, tokens.encode(tokens.SEQUENCE, fields))
    token = tokens.encode(tokens.APPLICATION, tokens.encode(tokens.OID, tokens.SPNEGO) + init)
    response = tokens.response(1, mic=b"m" * mic)
    if fits:
        assert len(tokens.parse_init(token).mic) == len(tokens.parse_response(response).mic) == mic
        return
    with pytest.raises(ValueError, match="too long"):
        tokens.parse_init(token)
    if mic:
        with pytest.raises(ValueError, match="too long"):
            tokens.parse_response(response)
