"""Whatever the bytes, a parser returns or raises what the dispatcher maps to a status."""

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usmbd.protocol.wire import (
    create,
    create_contexts,
    create_contexts_aapl,
    fsctl,
    fsctl_smb2,
    ioctl,
    lock,
    negotiate,
    negotiate_contexts,
    oplock_break,
    query_directory,
    query_info,
    read,
    session_setup,
    set_info,
    tree_connect,
    write,
)
from usmbd.protocol.wire.status import SmbError


def copychunks(data: memoryview) -> Any:
    return fsctl_smb2.parse_copychunks(data, fsctl_smb2.CopychunkCopy.parse(data))


def body(kind: Any, *parsers: Callable[..., Any]) -> Callable[[memoryview], None]:
    """Return a parser of a whole message; the body begins at the first byte of the input."""

    def parse(data: memoryview) -> None:
        message = memoryview(bytes(64) + data)
        request = kind.parse(message, 64)
        for parser in parsers:
            with suppress(SmbError):
                parser(message, request)

    return parse


PARSERS: list[Callable[[memoryview], Any]] = [
    create_contexts.parse_contexts,
    create_contexts.parse_lease,
    create_contexts_aapl.parse_server_query,
    lambda data: negotiate_contexts.parse_contexts(data, 8),
    lambda data: negotiate.parse_smb1_dialects(memoryview(bytes(32) + data)),
    lambda data: oplock_break.parse_acknowledgment(bytes(64) + data),
    fsctl.parse_pipe_wait,
    fsctl.parse_trim,
    fsctl_smb2.parse_validate_negotiate,
    copychunks,
    body(negotiate.NegotiateRequest, negotiate.parse_dialects, negotiate.parse_negotiate_contexts),
    body(session_setup.SessionSetupRequest, session_setup.security_buffer),
    body(tree_connect.TreeConnectRequest, tree_connect.share_path),
    body(create.CreateRequest, create.create_name, create.create_contexts_buffer),
    body(read.ReadRequest, read.read_channel_info),
    body(write.WriteRequest, write.write_data, write.write_channel_info),
    body(lock.LockRequest, lock.parse_locks),
    body(ioctl.IoctlRequest, ioctl.ioctl_input),
    body(query_directory.QueryDirectoryRequest, query_directory.search_pattern),
    body(query_info.QueryInfoRequest, query_info.query_info_input),
    body(set_info.SetInfoRequest, set_info.set_info_buffer),
]

# Small numbers are where counts, lengths and offsets become almost right.
WORDS = st.lists(
    st.one_of(st.integers(0, 160), st.integers(0, 0xFFFF)).map(lambda n: struct.pack("<H", n)),
    max_size=80,
).map(b"".join)


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=60, deadline=None)
@given(data=st.one_of(WORDS, st.binary(max_size=200)))
def test_bad_bytes_raise_nothing_else(parser: Callable[[memoryview], Any], data: bytes) -> None:
    with suppress(SmbError):
        parser(memoryview(data))
