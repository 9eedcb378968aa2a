"""What a structure has where nobody sets a field: its StructureSize, zeros, and little else."""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import usmbd.protocol.wire
from usmbd.protocol.wire.base import Wire

for _found in pkgutil.walk_packages(usmbd.protocol.wire.__path__, "usmbd.protocol.wire."):
    importlib.import_module(_found.name)

ONE_MORE = {
    "ChangeNotifyResponse", "CreateRequest", "CreateResponse", "ErrorResponse", "IoctlRequest",
    "IoctlResponse", "NegotiateResponse", "QueryDirectoryRequest", "QueryDirectoryResponse",
    "QueryInfoRequest", "QueryInfoResponse", "ReadRequest", "ReadResponse",
    "SessionSetupRequest", "SessionSetupResponse", "SetInfoRequest", "TreeConnectRequest",
    "WriteRequest", "WriteResponse",
}  # fmt: skip
"""StructureSize counts one byte of the buffer that follows ([MS-SMB2] 2.2: "regardless of how
long the buffer actually is")."""

OTHER_SIZES = {
    "LockRequest": 48,  # with its first range (2.2.26)
    "DuplicateExtentsEx": 48,  # the size of it with handles of 64 bits ([MS-FSCC] 2.3.9)
}

HEADER = 64  # bytes before each body (2.2.1)

MEANS_NOTHING = re.compile("reserved|padding|flags|_offset$|_length$|_count$|^remaining")
"""Fields that are zero unless they are set."""

NOT_ZERO: dict[str, dict[str, int | bytes]] = {
    "ChangeNotifyResponse": {"output_buffer_offset": HEADER + 8},
    "CompressionChainedHeader": {"protocol_id": b"\xfcSMB"},
    "CompressionTransformHeader": {"protocol_id": b"\xfcSMB"},
    "ContextHeader": {"name_offset": 16},  # behind its own 16 bytes (2.2.13.2)
    "ControlInformation": {"default_quota_threshold": -1, "default_quota_limit": -1},  # no quota
    "CreateRequest": {"impersonation_level": 2},  # Impersonation
    "Header": {"protocol_id": b"\xfeSMB", "process_id": 0xFEFF},
    "IoctlRequest": {"flags": 1},  # SMB2_0_IOCTL_IS_FSCTL
    "IoctlResponse": {"input_offset": HEADER + 48, "output_offset": HEADER + 48},
    "PipePeek": {"named_pipe_state": 3},  # FILE_PIPE_CONNECTED_STATE
    "QueryDirectoryResponse": {"output_buffer_offset": HEADER + 8},
    "QueryInfoResponse": {"output_buffer_offset": HEADER + 8},
    "RdmaTransform": {"transform_count": 1},
    "ReadResponse": {"data_offset": HEADER + 16},
    "SessionSetupResponse": {"security_buffer_offset": HEADER + 8},
    "SymbolicLinkError": {"sym_link_error_tag": 0x4C4D5953, "reparse_tag": 0xA000000C},
    "TransformHeader": {"protocol_id": b"\xfdSMB", "flags": 1},  # encrypted
}


def structures(of: type[Wire] = Wire) -> Iterator[type[Wire]]:
    for each in of.__subclasses__():
        yield each
        yield from structures(each)


ALL = sorted({each for each in structures() if each.__module__.startswith("usmbd.")}, key=repr)


def defaults(structure: type[Wire]) -> dict[str, int | bytes]:
    """Return the fields that need not be set."""
    return {
        field.name: field.default
        for field in dataclasses.fields(structure)  # type: ignore[arg-type]
        if field.default is not dataclasses.MISSING
    }


@pytest.mark.parametrize("structure", ALL, ids=lambda each: each.__name__)
def test_what_nobody_sets(structure: type[Wire]) -> None:
    found = defaults(structure)
    size = found.pop("structure_size", None)
    if size is not None:
        name = structure.__name__
        assert size == OTHER_SIZES.get(name, structure.SIZE + (name in ONE_MORE))
    wanted = NOT_ZERO.get(structure.__name__, {})
    for name, value in found.items():
        zero = bytes(len(value)) if isinstance(value, bytes) else 0
        if name in wanted or MEANS_NOTHING.search(name):
            assert value == wanted.get(name, zero), name


def test_the_tables_name_what_there_is() -> None:
    names = {each.__name__ for each in ALL}
    assert (ONE_MORE | set(OTHER_SIZES) | set(NOT_ZERO)) <= names
    for each in ALL:
        assert set(NOT_ZERO.get(each.__name__, {})) <= set(defaults(each)), each
