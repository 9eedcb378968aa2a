"""FSCTL_PIPE_WAIT's input ([MS-FSCC] 2.3.49): a name that is not cut off, and not too long."""

import struct

import pytest

from usmbd.protocol.wire.fsctl import MAXIMUM_PIPE_NAME_BYTES, PipeWait, parse_pipe_wait
from usmbd.protocol.wire.status import NtStatus, SmbError


def request(name: bytes, length: int | None = None) -> memoryview:
    size = len(name) if length is None else length
    return memoryview(struct.pack("<QIBx", 0, size, 1) + name)


def test_the_name_is_read() -> None:
    _, name = parse_pipe_wait(request("srvsvc".encode("utf-16-le")))
    assert name == "srvsvc"
    assert PipeWait.SIZE == 14


def test_the_longest_name() -> None:
    assert MAXIMUM_PIPE_NAME_BYTES == 512
    _, name = parse_pipe_wait(request(b"x\0" * 256))
    assert name == "x" * 256


@pytest.mark.parametrize("data", [request(b"x\0" * 257), request(b"x\0", 4), request(b"", 2)])
def test_what_is_cut_off_or_too_long(data: memoryview) -> None:
    with pytest.raises(SmbError) as caught:
        parse_pipe_wait(data)
    assert caught.value.status is NtStatus.INVALID_PARAMETER
