"""The connection manager over a librdmacm in memory; its layouts against the real header."""

import asyncio
import ctypes
import errno
from collections.abc import Iterator

import pytest
from rdma_cm_fake import FakeLibrary

from usmbd.transport.smbdirect import cm_library
from usmbd.transport.smbdirect.attributes import Mask, State, decode
from usmbd.transport.smbdirect.cm import ConnectionManager, Refused, Request
from usmbd.transport.smbdirect.cm_library import Kind, address_text, socket_address
from usmbd.transport.smbdirect.provider import DeviceError, Unavailable


class Managed:
    """A connection manager, what it told, and the library below it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open it."""
        self.loop = loop
        self.library = FakeLibrary()
        self.requests: list[Request] = []
        self.told: list[tuple[object, ...]] = []
        self.manager = ConnectionManager(
            loop,
            on_request=self.requests.append,
            on_established=lambda id: self.told.append(("established", id)),
            on_disconnected=lambda id, why: self.told.append(("disconnected", id, why)),
            on_trouble=lambda text: self.told.append(("trouble", text)),
            on_refused=lambda peer, why: self.told.append(("refused", peer, why)),
            library=self.library.functions,
        )

    def run(self) -> None:
        """Let the loop take what is there."""
        self.loop.run_until_complete(asyncio.sleep(0.001))

    def request(self, **what: object) -> tuple[Request, int]:
        """Let a client come; return its request and its C object's address."""
        pointer = self.library.request(**what)  # type: ignore[arg-type]
        self.run()
        return self.requests[-1], pointer

    def close(self) -> None:
        """End all."""
        self.manager.close()
        self.library.close()


@pytest.fixture
def managed() -> Iterator[Managed]:
    loop = asyncio.new_event_loop()
    made = Managed(loop)
    yield made
    made.close()
    loop.close()


def test_layouts_are_those_of_the_header() -> None:
    # Compiled from Debian's rdma/rdma_cma.h.
    assert ctypes.sizeof(cm_library.Event) == 80
    assert cm_library.Event.connection.offset == 24
    assert ctypes.sizeof(cm_library.ConnectionParameters) == 24
    assert (cm_library.Id.local.offset, cm_library.Id.peer.offset) == (32, 160)


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::7", "::", "::1"])
def test_addresses_round_trip(address: str) -> None:
    name = bytes(socket_address(address, 5445)).ljust(128, b"\0")
    assert address_text(name) == (address, 5445)


def test_an_ipv4_client_of_a_dual_listener_is_told_as_ipv4() -> None:
    name = bytes(socket_address("::ffff:192.0.2.9", 445)).ljust(128, b"\0")
    assert address_text(name) == ("192.0.2.9", 445)
    assert address_text(b"\x1b\0" + bytes(126)) == ("", 0)  # AF_IB


def test_a_connection_from_request_to_end(managed: Managed) -> None:
    managed.manager.listen("::", 445)
    assert managed.manager.listening == ["[::]:445"]
    request, pointer = managed.request(data=b"\1\2\3\4" + bytes(52))
    assert (request.device, request.peer, request.local) == ("fake0", "192.0.2.7", "192.0.2.1")
    assert (request.port, request.initiator_depth, request.responder_resources) == (445, 32, 0)
    assert request.private_data == b"\1\2\3\4" + bytes(52)  # copied before it was given back
    attributes, mask = managed.manager.qp_attributes(request.id, State.RTR)
    assert decode(attributes).dest_qp_num == 77
    assert mask == Mask.STATE | Mask.DEST_QPN
    managed.manager.accept(request.id, 0x4711, initiator_depth=16, private_data=b"abc")
    assert managed.library.calls[-1] == ("accept", pointer, 0x4711, 16, 0, b"abc")
    managed.library.event(pointer, Kind.ESTABLISHED)
    managed.library.event(pointer, Kind.ADDR_CHANGE)
    managed.library.event(pointer, Kind.DISCONNECTED)
    managed.run()
    assert managed.told == [
        ("established", request.id),
        ("disconnected", request.id, "RDMA_CM_EVENT_DISCONNECTED"),
    ]
    managed.manager.disconnect(request.id)
    managed.manager.destroy(request.id)
    managed.manager.destroy(request.id)
    assert managed.library.names()[-2:] == ["disconnect", "destroy_id"]


def test_destroying_inside_a_callback_comes_after_the_acknowledgement(managed: Managed) -> None:
    request, pointer = managed.request()
    managed.manager._on_disconnected = lambda id, why: managed.manager.destroy(id)
    managed.library.event(pointer, Kind.UNREACHABLE, -errno.ETIMEDOUT)
    managed.run()
    assert pointer not in managed.library.ids
    with pytest.raises(DeviceError, match="gone"):
        managed.manager.accept(request.id, 1, initiator_depth=1)


def test_events_of_unknown_connections_are_ignored(managed: Managed) -> None:
    request, pointer = managed.request()
    managed.manager.reject(request.id)
    assert managed.library.names()[-2:] == ["reject", "destroy_id"]
    managed.library.event(pointer, Kind.DISCONNECTED)
    managed.library.event(0, Kind.ESTABLISHED)
    managed.run()
    assert managed.told == []
    managed.manager.reject(request.id)
    managed.manager.disconnect(request.id)


def test_the_reason_of_a_failure(managed: Managed) -> None:
    request, pointer = managed.request()
    managed.library.event(pointer, Kind.REJECTED, 28)
    managed.run()
    assert managed.told == [
        ("disconnected", request.id, "RDMA_CM_EVENT_REJECTED (No space left on device)")
    ]


def test_what_cannot_be_served_is_refused(managed: Managed) -> None:
    managed.library.request(verbs=False)
    pointer = managed.library.request()
    ctypes.memset(pointer + cm_library.Id.peer.offset, 0x1B, 1)  # AF_IB
    managed.run()
    assert managed.requests == []
    assert managed.told == [
        ("refused", "192.0.2.7", "it has no device"),
        ("refused", "?", "its address is of no known family"),
    ]
    assert managed.library.ids == {}


@pytest.mark.parametrize("address", ["::", "0.0.0.0", "192.0.2.1"])
def test_a_listener_is_for_one_family(managed: Managed, address: str) -> None:
    # iWARP's kernel side refuses an IPv4 client of a listener for both, and tells nobody.
    managed.manager.listen(address, 5445)
    (_, id, _), option, bound, _ = managed.library.calls
    assert option == ("set_option", id, 0, 2, 1, 4)  # RDMA_OPTION_ID_AFONLY, an int that is 1
    assert bound == ("bind_addr", id)


def test_a_library_that_refuses_the_option(managed: Managed) -> None:
    managed.library.refuse["set_option"] = errno.ENOSYS
    with pytest.raises(Refused, match=r"listening on \[::\]:445"):
        managed.manager.listen("::", 445)
    assert managed.library.ids == {}


def test_a_taken_port(managed: Managed) -> None:
    managed.library.refuse["listen"] = errno.EADDRINUSE
    with pytest.raises(Refused, match=r"cannot listen on \[::\]:445: Address already") as caught:
        managed.manager.listen("::", 445)
    assert caught.value.code == errno.EADDRINUSE
    assert managed.library.ids == {}
    assert managed.manager.listening == []


def test_a_refused_accept(managed: Managed) -> None:
    request, _ = managed.request()
    managed.library.refuse["accept"] = errno.EACCES
    with pytest.raises(Refused, match="credentials"):
        managed.manager.accept(request.id, 1, initiator_depth=1)


def test_a_device_that_is_taken_away(managed: Managed) -> None:
    managed.manager.listen("192.0.2.1", 445)
    _, pointer = managed.request()
    (listener,) = set(managed.library.ids) - {pointer}
    managed.library.event(listener, Kind.DEVICE_REMOVAL)
    managed.library.event(pointer, Kind.DEVICE_REMOVAL)
    managed.run()
    assert [what[0] for what in managed.told] == ["trouble", "disconnected"]
    assert managed.manager.listening == []


def test_a_broken_channel_is_left_alone(managed: Managed) -> None:
    managed.library.request()
    managed.library.refuse["get_cm_event"] = errno.EBADF
    managed.run()
    managed.run()
    assert managed.told == [("trouble", "no RDMA requests any more: Bad file descriptor")]


def test_closing_ends_everything(managed: Managed) -> None:
    managed.manager.listen("::", 445)
    managed.request()
    managed.request(peer="2001:db8::1", local="2001:db8::2")
    assert managed.requests[-1].peer == "2001:db8::1"
    managed.manager.close()
    managed.manager.close()
    assert managed.library.ids == {}
    assert managed.library.names().count("disconnect") == 2
    assert managed.library.names()[-1] == "destroy_event_channel"


def test_no_device() -> None:
    library = FakeLibrary(channel=False)
    loop = asyncio.new_event_loop()
    for code, text in ((errno.ENODEV, "no RDMA device"), (errno.ENOENT, "modprobe rdma_ucm")):
        library.refuse["create_event_channel"] = code
        with pytest.raises(Unavailable, match=text):
            ConnectionManager(
                loop,
                on_request=print,
                on_established=print,
                on_disconnected=print,
                on_trouble=print,
                on_refused=print,
                library=library.functions,
            )
    library.close()
    loop.close()


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, use_errno: bool) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cm_library, "CDLL", missing)
    with pytest.raises(Unavailable, match=r"librdmacm1\): librdmacm.so.1: cannot open"):
        cm_library.load.__wrapped__()


def test_the_real_library_has_all_functions() -> None:
    try:
        library = cm_library.load()
    except Unavailable as error:
        pytest.skip(str(error))
    assert library.event_str(Kind.DISCONNECTED) == b"RDMA_CM_EVENT_DISCONNECTED"


def test_how_many_reads_the_client_answers() -> None:
    def request(data: bytes, depth: int = 3, responder: int = 5) -> Request:
        return Request(1, "d", "p", "l", 445, depth, responder, data)

    assert request(bytes(56)).read_depth(iwarp=False) == 3
    assert request(b"").read_depth(iwarp=True) == 3  # drivers differ in whose view they tell
    assert request(b"", 0, 5).read_depth(iwarp=True) == 5
    assert request(b"", 0, 0).read_depth(iwarp=True) == 1
    for other in (b"\0\0\0\x20", bytes(7), bytes(9), bytes(56)):  # none of SMB Direct's
        assert request(other).read_depth(iwarp=True) == 3
    assert request(bytes(8)).read_depth(iwarp=True) == 1
    assert request(b"\xff" * 8).read_depth(iwarp=True) == 255
    for order in ("big", "little"):
        data = (32).to_bytes(4, order) + (1).to_bytes(4, order)  # type: ignore[arg-type]
        assert request(data).read_depth(iwarp=True) == 32
