"""The association: negotiation, fragments, faults, and clients that break the protocol."""

import struct
import uuid
from collections.abc import Callable

import pytest
import rpc_client as rpc

from usmbd.mountd.rpc import contexts as contexts_of
from usmbd.mountd.rpc import endpoint
from usmbd.mountd.rpc.endpoint import CallError, Encoding, Interface, Pipe, PipeBrokenError
from usmbd.mountd.rpc.pdu import Fault, Syntax

SECOND = (uuid.UUID("22345678-1234-abcd-ef00-0123456789ab"), 1)
OTHER = (uuid.UUID("12345678-1234-abcd-ef00-0123456789ab"), 1)


def _echo(stub: bytes, encoding: Encoding) -> bytes:
    return bytes([encoding.ndr64]) + encoding.endian.encode() + stub


def _denied(stub: bytes, encoding: Encoding) -> bytes:
    raise CallError(Fault.ACCESS_DENIED)


def _defect(stub: bytes, encoding: Encoding) -> bytes:
    raise KeyError("a defect of the server")


@pytest.fixture
def pipe() -> Pipe:
    calls: dict[int, Callable[[bytes, Encoding], bytes]] = {
        1: _echo,
        2: lambda stub, encoding: bytes(range(256)) * 40,
        3: _denied,
        4: _defect,
    }
    second = Interface(Syntax(SECOND[0], 1, 0), {1: _denied})
    return Pipe("srvsvc", [Interface(Syntax(rpc.SRVSVC[0], 3, 0), calls), second])


def test_bind_as_windows_sends_it(pipe: Pipe) -> None:
    """NDR, NDR64 and the features, each in a context of its own."""
    contexts = [(i, rpc.SRVSVC, [t]) for i, t in enumerate((rpc.NDR, rpc.NDR64, rpc.FEATURES))]
    answer, more = pipe.transceive(rpc.bind(*contexts, frag=5840), 65535)
    assert not more
    nil = uuid.UUID(int=0)
    assert rpc.results(answer) == [(0, 0, rpc.NDR[0]), (2, 2, nil), (3, 2, nil)]
    xmit, receive, group, length = struct.unpack_from("<HHIH", answer, 16)
    assert (xmit, receive) == (4280, 4280)
    assert group != 0
    assert answer[26 : 26 + length] == b"\\PIPE\\srvsvc\0"


def test_ndr64_alone_is_accepted(pipe: Pipe) -> None:
    rpc.bound(pipe, transfer=rpc.NDR64)
    pipe.write(rpc.request(1, b"x"))
    assert rpc.stub_of(rpc.messages(pipe)) == b"\x01<x"


@pytest.mark.parametrize(
    ("abstract", "transfer", "reason"),
    [
        (OTHER, rpc.NDR, 1),
        ((rpc.SRVSVC[0], 4), rpc.NDR, 1),
        ((rpc.SRVSVC[0], 3 | 1 << 16), rpc.NDR, 1),
        (rpc.SRVSVC, OTHER, 2),
    ],
)
def test_unknown_syntaxes_are_rejected(
    pipe: Pipe, abstract: rpc.Syntax, transfer: rpc.Syntax, reason: int
) -> None:
    answer, _ = pipe.transceive(rpc.bind((7, abstract, [transfer])), 65535)
    assert rpc.results(answer) == [(2, reason, uuid.UUID(int=0))]
    answer, _ = pipe.transceive(rpc.request(1, b"", context_id=7), 65535)
    assert rpc.fault(answer) == Fault.UNK_IF


def test_alter_context_adds_a_context(pipe: Pipe) -> None:
    rpc.bound(pipe)
    answer, _ = pipe.transceive(rpc.bind((5, rpc.SRVSVC, [rpc.NDR]), ptype=14), 65535)
    assert answer[2] == 15
    assert rpc.results(answer) == [(0, 0, rpc.NDR[0])]
    pipe.write(rpc.request(1, b"x", context_id=5))
    assert rpc.stub_of(rpc.messages(pipe)) == b"\0<x"


def test_a_context_stays_what_it_is(pipe: Pipe) -> None:
    """The same again is taken; another interface ends the association, as with Samba."""
    rpc.bound(pipe)
    answer, _ = pipe.transceive(rpc.bind((0, rpc.SRVSVC, [rpc.NDR]), ptype=14), 65535)
    assert rpc.results(answer) == [(0, 0, rpc.NDR[0])]
    answer, _ = pipe.transceive(rpc.bind((0, OTHER, [rpc.NDR]), ptype=14), 65535)
    assert rpc.results(answer) == [(2, 1, uuid.UUID(int=0))]
    answer, _ = pipe.transceive(rpc.bind((0, SECOND, [rpc.NDR]), ptype=14), 65535)
    assert rpc.fault(answer) == Fault.PROTO_ERROR
    with pytest.raises(PipeBrokenError):
        pipe.transceive(rpc.request(1, b"x"), 65535)


def test_requests_in_fragments_and_in_pieces(pipe: Pipe) -> None:
    """Fragments are joined, however the bytes are cut into writes."""
    rpc.bound(pipe)
    stream = (
        rpc.request(1, b"ab", flags=1)
        + rpc.request(1, b"cd", flags=0)
        + rpc.request(1, b"ef", flags=2)
        + rpc.request(1, b"next")
    )
    for offset in range(len(stream)):
        pipe.write(stream[offset : offset + 1])
    answers = rpc.messages(pipe)
    assert rpc.stub_of(answers[:1]) == b"\0<abcdef"
    assert rpc.stub_of(answers[1:]) == b"\0<next"


def test_object_identifier_is_skipped(pipe: Pipe) -> None:
    rpc.bound(pipe)
    body = struct.pack("<IHH", 1, 0, 1) + bytes(16) + b"x"
    pipe.write(rpc.pdu(0, body, flags=0x83))
    assert rpc.stub_of(rpc.messages(pipe)) == b"\0<x"


def test_big_endian_client(pipe: Pipe) -> None:
    """A client writes in its byte order, the answer is in ours (C706 14.1).

    A version is one number of 32 bits: its halves change places (C706 12.6.3.1).
    """
    abstract = rpc.SRVSVC[0].bytes + struct.pack(">I", 3)
    transfer = rpc.NDR[0].bytes + struct.pack(">I", 2)
    body = struct.pack(">HHIBBHHBB", 4280, 4280, 0, 1, 0, 0, 0, 1, 0) + abstract + transfer
    head = bytes((5, 0, 11, 3, 0, 0, 0, 0))
    answer, _ = pipe.transceive(head + struct.pack(">HHI", 16 + len(body), 0, 1) + body, 65535)
    assert rpc.results(answer) == [(0, 0, rpc.NDR[0])]
    head = bytes((5, 0, 0, 3, 0, 0, 0, 0)) + struct.pack(">HHI", 25, 0, 1)
    pipe.write(head + struct.pack(">IHH", 1, 0, 1) + b"x")
    assert rpc.stub_of(rpc.messages(pipe)) == b"\0>x"


def test_responses_are_fragmented_and_read_in_parts(pipe: Pipe) -> None:
    rpc.bound(pipe)
    pipe.write(rpc.request(2, b"", call_id=9))
    assert pipe.waiting > 40 * 256
    first, more = pipe.read(1024)
    assert (len(first), more) == (1024, True)
    rest, more = pipe.read(65535)
    assert not more
    fragments = [first + rest, *rpc.messages(pipe)]
    assert [len(f) <= 4280 for f in fragments] == [True] * 3
    assert all((len(f) - 24) % 8 == 0 for f in fragments)
    assert rpc.stub_of(fragments, call_id=9) == bytes(range(256)) * 40
    assert pipe.read(10) == (b"", False)


def test_fragments_fit_the_client(pipe: Pipe) -> None:
    """A client that takes less gets less, but never below what it has to take."""
    answer, _ = pipe.transceive(rpc.bind((0, rpc.SRVSVC, [rpc.NDR]), frag=100), 65535)
    assert struct.unpack_from("<HH", answer, 16) == (1432, 1432)
    pipe.write(rpc.request(2, b""))
    answers = rpc.messages(pipe)
    assert max(map(len, answers)) <= 1432
    assert rpc.stub_of(answers) == bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("opnum", "context_id", "status"),
    [(99, 0, 0x1C010002), (1, 9, 0x1C010003), (3, 0, 5), (4, 0, 0x1C000012)],
)
def test_faults(pipe: Pipe, opnum: int, context_id: int, status: int) -> None:
    """A call that cannot be served costs that call, not the pipe."""
    rpc.bound(pipe)
    answer, _ = pipe.transceive(rpc.request(opnum, b"", context_id=context_id), 65535)
    assert rpc.fault(answer) == status
    pipe.write(rpc.request(1, b"x"))
    assert rpc.stub_of(rpc.messages(pipe)) == b"\0<x"


def test_authenticated_bind_is_refused(pipe: Pipe) -> None:
    asked = bytearray(rpc.bind((0, rpc.SRVSVC, [rpc.NDR]))) + bytes((9, 5, 0, 0)) + bytes(12)
    struct.pack_into("<HH", asked, 8, len(asked), 8)
    answer, _ = pipe.transceive(bytes(asked), 65535)
    assert answer[2] == 13
    assert struct.unpack_from("<H", answer, 16) == (8,)
    with pytest.raises(PipeBrokenError):
        pipe.write(b"x")


def test_orphaned_call_is_dropped(pipe: Pipe) -> None:
    rpc.bound(pipe)
    pipe.write(rpc.request(1, b"lost", flags=1) + rpc.pdu(19, b"") + rpc.request(1, b"x"))
    assert rpc.stub_of(rpc.messages(pipe)) == b"\0<x"


def test_bind_with_more_contexts_than_can_be(pipe: Pipe) -> None:
    """All contexts the count can say, and only as many accepted as one association may hold."""
    contexts = [(i, rpc.SRVSVC, [rpc.NDR]) for i in range(255)]
    answer, _ = pipe.transceive(rpc.bind(*contexts), 65535)
    found = rpc.results(answer)
    assert len(found) == 255
    assert [r[:2] for r in found[: contexts_of.MAX_CONTEXTS]] == [(0, 0)] * contexts_of.MAX_CONTEXTS
    assert {r[:2] for r in found[contexts_of.MAX_CONTEXTS :]} == {(2, 3)}


def _bind_claiming(count: int, transfers: int) -> bytes:
    body = struct.pack("<HHIBBH", 4280, 4280, 0, count, 0xFF, 0xFFFF)
    return rpc.pdu(11, body + struct.pack("<HBB", 0, transfers, 0) + rpc.syntax(rpc.SRVSVC))


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(_bind_claiming(255, 1), id="contexts that are not there"),
        pytest.param(_bind_claiming(1, 255), id="transfer syntaxes that are not there"),
        pytest.param(rpc.pdu(11, b""), id="bind without a body"),
        pytest.param(rpc.pdu(11, b"", frag_length=0), id="length zero"),
        pytest.param(rpc.pdu(11, b"", frag_length=15), id="length below the header"),
        pytest.param(rpc.pdu(11, b"", version=4), id="another version"),
        pytest.param(b"\xff" * 16, id="garbage"),
        pytest.param(rpc.request(1, b""), id="request before the bind"),
        pytest.param(rpc.pdu(2, bytes(8)), id="a response from the client"),
    ],
)
def test_broken_beginnings_end_the_pipe(pipe: Pipe, hostile: bytes) -> None:
    pipe.write(hostile)
    with pytest.raises(PipeBrokenError):
        pipe.read(100)
    with pytest.raises(PipeBrokenError):
        pipe.write(rpc.bind((0, rpc.SRVSVC, [rpc.NDR])))


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(rpc.request(1, b"", frag_length=4281), id="longer than agreed"),
        pytest.param(rpc.request(1, b"", frag_length=17), id="shorter than a request"),
        pytest.param(rpc.pdu(0, bytes(8), flags=0x83), id="object identifier not there"),
        pytest.param(rpc.request(1, b"", flags=2), id="last fragment of nothing"),
        pytest.param(rpc.request(1, b"", flags=1) * 2, id="two first fragments"),
        pytest.param(
            rpc.request(1, b"", flags=1) + rpc.request(1, b"", flags=2, call_id=2),
            id="fragments of two calls",
        ),
        pytest.param(rpc.bind((0, rpc.SRVSVC, [rpc.NDR])), id="second bind"),
        pytest.param(rpc.pdu(17, b""), id="shutdown from a client"),
    ],
)
def test_broken_requests_end_the_pipe(pipe: Pipe, hostile: bytes) -> None:
    """Answers made before stay readable; then the pipe is gone."""
    rpc.bound(pipe)
    pipe.write(hostile)
    rpc.messages(pipe)
    with pytest.raises(PipeBrokenError):
        pipe.read(100)


def test_fragments_that_never_end(pipe: Pipe) -> None:
    rpc.bound(pipe)
    pipe.write(rpc.request(1, b"", flags=1))
    for _ in range(endpoint.MAX_REQUEST_STUB // 4000 + 1):
        pipe.write(rpc.request(1, bytes(4000), flags=0))
    with pytest.raises(PipeBrokenError):
        pipe.write(b"")
    assert rpc.fault(rpc.messages(pipe)[0]) == Fault.REMOTE_NO_MEMORY


def test_a_fragment_may_be_as_large_as_was_agreed(pipe: Pipe) -> None:
    rpc.bound(pipe)
    size = pipe._max_recv_frag
    fixed = len(rpc.request(1, b""))
    pipe.write(rpc.request(1, bytes(size - fixed), flags=1))
    pipe.write(b"")
    pipe.write(rpc.request(1, bytes(size - fixed + 1), flags=0))
    with pytest.raises(PipeBrokenError):
        pipe.write(b"")


def test_client_that_does_not_read(pipe: Pipe) -> None:
    rpc.bound(pipe)
    while pipe.waiting <= endpoint.MAX_PENDING_OUTPUT:
        pipe.write(rpc.request(2, b""))
    pipe.write(rpc.request(2, b""))
    with pytest.raises(PipeBrokenError):
        pipe.write(b"")
    assert pipe.waiting < endpoint.MAX_PENDING_OUTPUT + 20000


def test_a_client_may_leave_unread_what_just_fits(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    rpc.bound(pipe)
    pipe.write(rpc.request(2, b""))
    monkeypatch.setattr(endpoint, "MAX_PENDING_OUTPUT", pipe.waiting)
    pipe.write(rpc.request(2, b""))
    pipe.write(rpc.request(2, b""))
    with pytest.raises(PipeBrokenError):
        pipe.write(b"")
