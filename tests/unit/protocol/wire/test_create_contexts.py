"""Create contexts: chains within and past their bounds, and the data of each."""

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from impacket import smb3structs
from smbprotocol import create_contexts as peer

from usmbd.protocol.wire import create_contexts as cc
from usmbd.protocol.wire import create_contexts_aapl as aapl
from usmbd.protocol.wire import create_contexts_posix as posix
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

KEY = bytes(range(16))


def pack_chain(items: list[Any]) -> memoryview:
    return memoryview(peer.SMB2CreateContextRequest.pack_multiple(items))


def peer_context(name: bytes, data: bytes) -> Any:
    context = peer.SMB2CreateContextRequest()
    context["buffer_name"] = name
    context["buffer_data"] = data
    return context


def test_chain_of_smbprotocol_is_read() -> None:
    lease = peer.SMB2CreateRequestLeaseV2()
    lease["lease_key"] = KEY
    lease["lease_state"] = 7
    lease["parent_lease_key"] = bytes(16)
    lease["epoch"] = b"\x01\x00"
    durable = peer.SMB2CreateDurableHandleRequestV2()
    durable["timeout"] = 1000
    durable["create_guid"] = KEY
    chain = [
        peer_context(b"DH2Q", durable.pack()),
        peer_context(b"QFid", b""),
        peer_context(b"RqLs", lease.pack()),
        peer_context(cc.SMB2_CREATE_APP_INSTANCE_ID, struct.pack("<HH", 20, 0) + KEY),
    ]
    contexts = cc.parse_contexts(pack_chain(chain))
    assert cc.parse_durable_request_v2(contexts[b"DH2Q"]) == (1000, 0, KEY)
    assert contexts[b"QFid"] == b""
    read = cc.parse_lease(contexts[b"RqLs"])
    assert (read.version, read.lease_key, read.lease_state, read.epoch) == (2, KEY, 7, 1)
    assert cc.parse_app_instance_id(contexts[cc.SMB2_CREATE_APP_INSTANCE_ID]) == KEY


def test_chain_is_read_by_smbprotocol() -> None:
    chain = cc.build_contexts(
        [
            cc.maximal_access_response(0, 0x1F01FF),
            cc.on_disk_id_response(5, 6),
            cc.durable_response_v2(60000, 2),
            cc.lease_response(KEY, 3, 0),
            (b"QFid", b""),
        ]
    )
    data: Any = chain
    read = []
    while data:
        context = peer.SMB2CreateContextRequest()
        context.unpack(data)
        read.append(context["buffer_name"].get_value())
        assert context["data_offset"].get_value() % 8 == 0
        step = context["next"].get_value()
        assert step % 8 == 0
        data = data[step:] if step else b""
    assert read == [b"MxAc", b"QFid", b"DH2Q", b"RqLs", b"QFid"]
    contexts = cc.parse_contexts(memoryview(chain))
    assert contexts[b"MxAc"] == struct.pack("<II", 0, 0x1F01FF)
    assert contexts[b"QFid"] == struct.pack("<QQ", 5, 6) + bytes(16)


def test_answers_are_read_by_impacket() -> None:
    access = smb3structs.SMB2_CREATE_QUERY_MAXIMAL_ACCESS_RESPONSE(
        cc.maximal_access_response(0xC0000022, 5)[1]
    )
    assert (access["QueryStatus"], access["MaximalAccess"]) == (0xC0000022, 5)
    durable = smb3structs.SMB2_CREATE_DURABLE_HANDLE_RESPONSE_V2(cc.durable_response_v2(9, 2)[1])
    assert (durable["Timeout"], durable["Flags"]) == (9, 2)
    assert cc.durable_response() == (b"DHnQ", bytes(8))


def raw(
    next_: int = 0,
    name_offset: int = 16,
    name_length: int = 4,
    data_offset: int = 24,
    data_length: int = 8,
    size: int = 32,
) -> bytes:
    header = struct.pack("<IHHHHI", next_, name_offset, name_length, 0, data_offset, data_length)
    return (header + b"RqLs").ljust(size, b"\0")


@pytest.mark.parametrize(
    "chain",
    [
        raw(next_=8),
        raw(next_=33),
        raw(next_=36, size=64),
        raw(next_=0xFFFFFFF8),
        raw(name_offset=0),
        raw(name_length=0),
        raw(name_length=3),
        raw(name_length=17),
        raw(data_offset=20),
        raw(data_offset=28),
        raw(data_offset=16),
        raw(data_offset=32),
        raw(data_length=9),
        raw(data_length=0xFFFFFFFF),
        raw(next_=32, data_length=16) + raw(),
        raw(next_=32) * (cc.MAXIMUM_CONTEXTS + 1),
    ],
)
def test_bad_chain_is_refused(chain: bytes) -> None:
    with pytest.raises(SmbError) as error:
        cc.parse_contexts(memoryview(chain))
    assert error.value.status is NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize("chain", [bytes(15), raw(next_=32), raw(next_=32) + bytes(15)])
def test_cut_chain_raises(chain: bytes) -> None:
    with pytest.raises(MalformedError):
        cc.parse_contexts(memoryview(chain))


@pytest.mark.parametrize(
    ("header", "good"),
    [
        ((0, 16, 4, 0, 24, 8), True),
        ((0, 16, 4, 0, 0, 0), True),
        ((0, 16, 4, 0, 77, 0), True),  # DataOffset counts only if there is data
        ((32, 16, 4, 0, 24, 8), True),  # one more would follow where nothing is left
        ((4, 16, 4, 0, 0, 0), False),
        ((12, 16, 4, 0, 0, 0), False),
        ((36, 16, 4, 0, 0, 0), False),  # past the end, and not aligned
        ((40, 16, 4, 0, 0, 0), False),  # past the end
        ((8, 16, 4, 0, 0, 0), False),  # within the header
        ((0, 16, 3, 0, 0, 0), False),  # a short name
        ((0, 15, 4, 0, 0, 0), False),  # within the header
        ((0, 29, 4, 0, 0, 0), False),  # a name past the end
        ((0, 28, 4, 0, 0, 0), True),
        ((24, 21, 4, 0, 0, 0), False),  # past its own end
        ((0, 16, 4, 0, 20, 8), False),  # data that is not aligned
        ((0, 20, 8, 0, 24, 8), False),  # data within the name
        ((0, 16, 4, 0, 24, 9), False),  # data past the end
    ],
)
def test_each_bound_of_a_context(header: tuple[int, ...], good: bool) -> None:
    """[MS-SMB2] 2.2.13.2: Next, NameOffset and -Length, DataOffset and -Length, of 32 bytes."""
    data = memoryview(struct.pack("<IHHHHI", *header) + b"Name" + bytes(12))
    assert len(data) == 32
    if good:
        cc._read(data)
    else:
        with pytest.raises(SmbError) as caught:
            cc._read(data)
        assert caught.value.status is NtStatus.INVALID_PARAMETER


def test_edges_that_are_allowed() -> None:
    assert cc.parse_contexts(memoryview(b"")) == {}
    # DataOffset means nothing without data; the first of two contexts counts.
    chain = raw(next_=32, data_offset=0xFFFF, data_length=0) + raw()
    assert cc.parse_contexts(memoryview(chain)) == {b"RqLs": b""}


PARSERS: list[tuple[Callable[[memoryview], Any], int]] = [
    (cc.parse_u64, 8),
    (cc.parse_maximal_access, 8),
    (cc.parse_durable_request, 16),
    (cc.parse_durable_reconnect, 16),
    (cc.parse_durable_request_v2, 32),
    (cc.parse_durable_reconnect_v2, 36),
    (cc.parse_lease, 32),
    (cc.parse_lease, 52),
    (cc.parse_app_instance_id, 20),
    (cc.parse_app_instance_version, 24),
    (posix.parse_posix_mode, 4),
]


@pytest.mark.parametrize(("parser", "size"), PARSERS)
def test_other_sizes_are_refused(parser: Callable[[memoryview], Any], size: int) -> None:
    for other in (size - 1, size + 1):
        with pytest.raises(SmbError) as error:
            parser(memoryview(bytes(other)))
        assert error.value.status is NtStatus.INVALID_PARAMETER


def test_fixed_data_is_read() -> None:
    assert cc.parse_u64(memoryview(struct.pack("<Q", 1 << 40))) == 1 << 40
    assert cc.parse_maximal_access(memoryview(b"")) is None
    cc.parse_durable_request(memoryview(bytes(16)))
    reconnect = cc.parse_durable_reconnect(memoryview(struct.pack("<QQ", 1, 2)))
    assert (reconnect.persistent, reconnect.volatile) == (1, 2)
    version = struct.pack("<HHIQQ", 24, 0, 0, 3, 4)
    assert cc.parse_app_instance_version(memoryview(version)) == (3, 4)
    assert cc.parse_lease(memoryview(bytes(32))).version == 1


def test_aapl_answers_what_was_asked() -> None:
    query = aapl.parse_server_query(memoryview(struct.pack("<IIQQ", 1, 0, 7, 4)))
    assert query is not None
    assert query.client_capabilities == aapl.AAPL_UNIX_BASED
    name, data = aapl.server_query_response(query, 2, 4, "Xserve")
    assert name == b"AAPL"
    assert data == struct.pack("<IIQQQII", 1, 0, 7, 2, 4, 0, 12) + "Xserve".encode("utf-16-le")
    query.request_bitmap = aapl.AAPL_VOLUME_CAPS
    assert aapl.server_query_response(query, 2, 4, "x")[1] == struct.pack("<IIQQ", 1, 0, 2, 4)


def test_other_aapl_commands_are_left_alone() -> None:
    assert aapl.parse_server_query(memoryview(struct.pack("<IIQ", 2, 0, 1))) is None
    assert aapl.parse_server_query(memoryview(b"")) is None
    with pytest.raises(SmbError):
        aapl.parse_server_query(memoryview(struct.pack("<II", 1, 0)))


def test_posix_mode_and_answer() -> None:
    assert posix.parse_posix_mode(memoryview(struct.pack("<I", 0o100755))) == 0o755
    for nothing in (0xFFFF, 0xFFFFFFFF):
        assert posix.parse_posix_mode(memoryview(struct.pack("<I", nothing))) is None
    name, data = posix.posix_response(2, 0, 0o644, b"owner", b"group")
    assert name == posix.SMB2_CREATE_POSIX
    assert data == struct.pack("<III", 2, 0, 0o644) + b"ownergroup"


def test_what_is_known_of_a_header_is_what_it_says() -> None:
    """Whatever its fields are, and whether they have been seen before, with another rest too."""
    chance = random.Random(1)
    chain = bytearray(
        cc.build_contexts([(b"RqLs", bytes(32)), (bytes(range(16)), b"x" * 7), (b"QFid", b"")])
    )

    def outcome(data: bytes) -> dict[bytes, bytes] | type[Exception]:
        try:
            return {
                name: bytes(found) for name, found in cc.parse_contexts(memoryview(data)).items()
            }
        except SmbError as error:
            return type(error)

    for _ in range(3000):
        data = bytearray(chain[: chance.choice((len(chain), chance.randrange(len(chain))))])
        for _ in range(chance.randrange(3)):
            if data:
                at = chance.randrange(min(len(data), 24))
                data[at] = chance.choice((0, 4, 8, 16, 24, 32, 255, chance.randrange(256)))
        first = outcome(bytes(data))
        assert outcome(bytes(data)) == first
        cc._shapes.clear()
        assert outcome(bytes(data)) == first
        if not isinstance(first, type):
            assert all(found in bytes(data) for found in first.values())


def test_a_chain_whose_shape_is_known_is_read_as_any_other() -> None:
    """Whatever of it is changed, header or data, and however many shapes are known by then."""
    chance = random.Random(2)
    names = (b"DH2Q", b"RqLs", b"MxAc", b"QFid", b"AlSi")
    behind = 120  # the header and the fixed part of a CREATE

    def known(data: memoryview) -> cc.Contexts | None:
        return cc.known_contexts(memoryview(bytes(behind) + data + b"rest"), behind, len(data))

    def outcome(read: Callable[[memoryview], cc.Contexts | None], data: bytes) -> object:
        try:
            found = read(memoryview(data))
        except SmbError as error:
            return type(error), error.status
        return None if found is None else {name: bytes(said) for name, said in found.items()}

    unknown = 0
    for _ in range(2000):
        chosen = chance.sample(names, chance.randrange(1, 5))
        chain = [(name, chance.randbytes(chance.choice((0, 4, 8, 32, 52)))) for name in chosen]
        data = bytearray(cc.build_contexts(chain))
        assert outcome(cc.parse_contexts, bytes(data)) == dict(chain)
        assert outcome(known, bytes(data)) == dict(chain)
        for _ in range(chance.randrange(3)):
            data[chance.randrange(len(data))] = chance.choice((0, 4, 8, 16, 24, 32, 255))
        found = outcome(known, bytes(data))
        unknown += found is None
        assert found is None or found == outcome(cc.parse_contexts, bytes(data))
        assert len(cc._shapes) <= cc._SHAPES
    assert 0 < unknown < 2000


def test_a_chain_that_is_known_has_to_stand_in_its_message() -> None:
    """Behind the fixed part of the CREATE, and not beyond the end."""
    chain = cc.build_contexts([(b"DH2Q", bytes(32)), (b"MxAc", b"")])
    cc.parse_contexts(memoryview(chain))
    for before in (0, 119, 120, 128):
        message = memoryview(bytes(before) + chain)
        found = cc.known_contexts(message, before, len(chain))
        assert (found is not None) is (before >= 120)
        for cut in (1, 20, len(chain) - 10, len(chain)):
            assert cc.known_contexts(message[:-cut], before, len(chain)) is None


@pytest.mark.parametrize("count", range(4))
def test_a_chain_of_any_length_comes_back(count: int) -> None:
    chain = [(b"QFid", b""), (bytes(range(16)), b"x" * 7), (b"RqLs", bytes(52))][:count]
    built = cc.build_contexts(chain)
    assert bool(built) is bool(count)
    found = cc.parse_contexts(memoryview(built))
    assert {name: bytes(data) for name, data in found.items()} == dict(chain)
