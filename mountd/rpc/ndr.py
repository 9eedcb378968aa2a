"""Between scapy's NDR structures and the calls of an interface.

scapy guards itself: a list of more than `conf.max_list_count` (100) elements is refused, and an
element is only looked for while bytes are left. What it raises for broken stubs is not one class
of errors, so everything that its parser raises counts as a bad stub.
"""

from collections.abc import Callable
from typing import Any

from scapy.layers.dcerpc import NDRConformantArray, NDRPointer, NDRUnion, NDRVaryingArray

from usmbd.mountd.rpc.endpoint import CallError, Encoding
from usmbd.mountd.rpc.pdu import Fault

MAX_STUB = 8 * 1024
"""Largest stub decoded: names of at most 1 KiB each are all that the requests here carry."""

REFERENT_ID = 0x20000
"""What stands for a pointer that is not null; unique pointers need no unique numbers."""

ENDIAN_NAMES = {"<": "little", ">": "big"}


def decode(structure: type[Any], stub: bytes, encoding: Encoding) -> Any:
    """Decode a request; `CallError(BAD_STUB_DATA)` when it is short, too long or malformed."""
    if len(stub) > MAX_STUB:
        raise CallError(Fault.BAD_STUB_DATA)
    try:
        request = structure(stub, ndr64=encoding.ndr64, ndrendian=ENDIAN_NAMES[encoding.endian])
    except Exception as error:
        raise CallError(Fault.BAD_STUB_DATA) from error
    # scapy takes an empty stub for a request of default values, and stops silently where a stub
    # ends between two fields: neither is one that a client may send.
    if any(field.name not in request.fields for field in structure.fields_desc):
        raise CallError(Fault.BAD_STUB_DATA)
    return request


def call(
    structure: type[Any], handler: Callable[[Any, Encoding], Any]
) -> Callable[[bytes, Encoding], bytes]:
    """Return the call that decodes `structure`, asks `handler`, and encodes its answer.

    The handler returns a scapy packet, or the bytes of a stub that is already encoded.
    """

    def run(stub: bytes, encoding: Encoding) -> bytes:
        answer = handler(decode(structure, stub, encoding), encoding)
        return answer if isinstance(answer, bytes) else encode(answer, encoding)

    return run


def encode(answer: Any, encoding: Encoding) -> bytes:
    """Encode an answer in the call's transfer syntax; answers are always little-endian."""
    answer.ndr64 = encoding.ndr64
    return bytes(answer)


def text(value: bytes | str | None) -> str:
    """Return a string parameter: scapy hands out UTF-8, and None for a null pointer."""
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def string(value: str) -> Any:
    """Return a pointer to a NUL-terminated UTF-16 string, `[string] wchar_t *`.

    The counts are given: left to itself, scapy counts the octets of the name in UTF-8.
    """
    units = len(value.encode("utf-16-le", "replace")) // 2 + 1
    varying = NDRVaryingArray(actual_count=units, value=value)
    return NDRPointer(
        referent_id=REFERENT_ID, value=NDRConformantArray(max_count=units, value=[varying])
    )


def union(level: int, value: Any) -> Any:
    """Return the arm of an information union for `level`; None is a null pointer."""
    return NDRUnion(tag=level, value=value)
