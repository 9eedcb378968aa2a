"""librdmacm's functions and structures, as far as a server needs them (`rdma/rdma_cma.h`).

A public and stable C interface. pyverbs has one of its own, but it crashes when it listens on
all addresses, does not tell which connection an event is about and blocks with the
interpreter's lock held.
"""

import ctypes
import socket
from collections.abc import Callable
from ctypes import (
    CDLL,
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_int,
    c_uint8,
    c_uint32,
    c_void_p,
)
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

from usmbd.transport.base import host_text
from usmbd.transport.smbdirect.attributes import Attributes
from usmbd.transport.smbdirect.provider import Unavailable

RDMA_PS_TCP = 0x0106
"""The port space of reliable connections."""

RDMA_OPTION_ID = 0
"""Level of options of one id."""

RDMA_OPTION_ID_AFONLY = 2
"""A listener takes no clients of another address family; an `int`."""


class Kind(IntEnum):
    """`rdma_cm_event_type`, as far as a server sees them."""

    CONNECT_REQUEST = 4
    CONNECT_ERROR = 6
    UNREACHABLE = 7
    REJECTED = 8
    ESTABLISHED = 9
    DISCONNECTED = 10
    DEVICE_REMOVAL = 11
    ADDR_CHANGE = 14
    TIMEWAIT_EXIT = 15


class EventChannel(Structure):
    """`rdma_event_channel`."""

    _fields_ = (("fd", c_int),)


class VerbsContext(Structure):
    """The beginning of `ibv_context`."""

    _fields_ = (("device", c_void_p),)


class Id(Structure):
    """The beginning of `rdma_cm_id`; `local` and `peer` are `sockaddr_storage`."""

    _fields_ = (
        ("verbs", POINTER(VerbsContext)),
        ("channel", c_void_p),
        ("context", c_void_p),
        ("qp", c_void_p),
        ("local", c_char * 128),
        ("peer", c_char * 128),
    )


class ConnectionParameters(Structure):
    """`rdma_conn_param`."""

    _fields_ = (
        ("private_data", c_void_p),
        ("private_data_len", c_uint8),
        ("responder_resources", c_uint8),
        ("initiator_depth", c_uint8),
        ("flow_control", c_uint8),
        ("retry_count", c_uint8),
        ("rnr_retry_count", c_uint8),
        ("srq", c_uint8),
        ("qp_num", c_uint32),
    )


class Event(Structure):
    """`rdma_cm_event`, whose union is as long as what datagrams have in it."""

    _fields_ = (
        ("id", c_void_p),
        ("listen_id", c_void_p),
        ("event", c_int),
        ("status", c_int),
        ("connection", ConnectionParameters),
        ("_rest", c_char * 32),
    )


class SocketAddress4(Structure):
    """`sockaddr_in`: port and address in network order."""

    _fields_ = (("family", ctypes.c_uint16), ("port", c_uint8 * 2), ("address", c_uint8 * 4))


class SocketAddress6(Structure):
    """`sockaddr_in6`: all but the scope in network order."""

    _fields_ = (
        ("family", ctypes.c_uint16),
        ("port", c_uint8 * 2),
        ("flow", c_uint8 * 4),
        ("address", c_uint8 * 16),
        ("scope", c_uint32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """The functions. Those that return an int return 0, or -1 and set ctypes' errno."""

    create_event_channel: Callable[..., Any]
    destroy_event_channel: Callable[..., Any]
    create_id: Callable[..., int]
    destroy_id: Callable[..., int]
    set_option: Callable[..., int]
    bind_addr: Callable[..., int]
    listen: Callable[..., int]
    get_cm_event: Callable[..., int]
    ack_cm_event: Callable[..., int]
    init_qp_attr: Callable[..., int]
    accept: Callable[..., int]
    reject: Callable[..., int]
    disconnect: Callable[..., int]
    event_str: Callable[..., bytes]
    get_device_name: Callable[..., bytes]


@cache
def load() -> Library:
    """Bind librdmacm; Unavailable when it is not there."""
    try:
        manager = CDLL("librdmacm.so.1", use_errno=True)
        verbs = CDLL("libibverbs.so.1", use_errno=True)
    except OSError as error:
        raise Unavailable(f"RDMA needs librdmacm (Debian: librdmacm1): {error}") from error

    def bind(name: str, result: Any, *arguments: Any, library: CDLL = manager) -> Any:
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise Unavailable(f"librdmacm has no {name}") from error
        function.restype, function.argtypes = result, arguments
        return function

    parameters = POINTER(ConnectionParameters)
    return Library(
        create_event_channel=bind("rdma_create_event_channel", POINTER(EventChannel)),
        destroy_event_channel=bind("rdma_destroy_event_channel", None, POINTER(EventChannel)),
        create_id=bind(
            "rdma_create_id", c_int, POINTER(EventChannel), POINTER(c_void_p), c_void_p, c_int
        ),
        destroy_id=bind("rdma_destroy_id", c_int, c_void_p),
        set_option=bind(
            "rdma_set_option", c_int, c_void_p, c_int, c_int, c_void_p, ctypes.c_size_t
        ),
        bind_addr=bind("rdma_bind_addr", c_int, c_void_p, c_void_p),
        listen=bind("rdma_listen", c_int, c_void_p, c_int),
        get_cm_event=bind(
            "rdma_get_cm_event", c_int, POINTER(EventChannel), POINTER(POINTER(Event))
        ),
        ack_cm_event=bind("rdma_ack_cm_event", c_int, POINTER(Event)),
        init_qp_attr=bind(
            "rdma_init_qp_attr", c_int, c_void_p, POINTER(Attributes), POINTER(c_int)
        ),
        accept=bind("rdma_accept", c_int, c_void_p, parameters),
        reject=bind("rdma_reject", c_int, c_void_p, c_char_p, c_uint8),
        disconnect=bind("rdma_disconnect", c_int, c_void_p),
        event_str=bind("rdma_event_str", c_char_p, c_int),
        get_device_name=bind("ibv_get_device_name", c_char_p, c_void_p, library=verbs),
    )


def socket_address(address: str, port: int) -> Structure:
    """Return a `sockaddr` for an IPv4 or IPv6 address; a link-local one has its `%interface`."""
    *_, (family, _, _, _, name) = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )
    number = (c_uint8 * 2)(*port.to_bytes(2, "big"))
    if family == socket.AF_INET:
        packed = socket.inet_pton(family, address)
        return SocketAddress4(family, number, (c_uint8 * 4)(*packed))
    packed = socket.inet_pton(family, str(name[0]).partition("%")[0])
    scope = int(name[3]) if len(name) > 3 else 0
    return SocketAddress6(family, number, (c_uint8 * 4)(), (c_uint8 * 16)(*packed), scope)


def address_text(storage: bytes) -> tuple[str, int]:
    """Return address and port of a `sockaddr_storage`, as a socket would; "" for other families.

    An IPv4 client of a listener for both is told as IPv4.
    """
    family = int.from_bytes(storage[:2], "little" if _LITTLE else "big")
    port = int.from_bytes(storage[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(family, storage[4:8]), port
    if family != socket.AF_INET6:
        return "", 0
    text = host_text(socket.inet_ntop(family, storage[8:24]))
    scope = SocketAddress6.from_buffer_copy(storage).scope
    if scope:
        try:
            text += f"%{socket.if_indextoname(scope)}"
        except OSError:
            text += f"%{scope}"
    return text, port


_LITTLE = bytes(ctypes.c_uint16(1)) == b"\1\0"
