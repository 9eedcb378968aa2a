"""MaxTransactSize, which NEGOTIATE promised, and the rights that EAs need."""

import struct
from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId

from usmbd.protocol.wire.access import (
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_READ_EA,
    FILE_WRITE_DATA,
    FILE_WRITE_EA,
)
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, FILE_OPEN_IF
from usmbd.protocol.wire.fscc.directory import FileNamesInformation
from usmbd.protocol.wire.fscc.ea import ExtendedAttribute, build_full_eas
from usmbd.protocol.wire.fscc.file_info import (
    FileAllInformation,
    FileBasicInformation,
    FileFullEaInformation,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlRequest
from usmbd.protocol.wire.query_info import SMB2_0_INFO_FILE
from usmbd.protocol.wire.status import NtStatus

LIMIT = 4096
FSCTL_IS_PATHNAME_VALID = 0x0009002C  # answered with success, whatever its input


def query_directory(file: FileId, size: int) -> tuple[int, bytes]:
    body = requests.query_directory(file, FileNamesInformation, limit=size)
    return Command.QUERY_DIRECTORY, body


def query_info(file: FileId, size: int) -> tuple[int, bytes]:
    return Command.QUERY_INFO, requests.query_info(file, FileAllInformation, limit=size)


def set_info(file: FileId, size: int) -> tuple[int, bytes]:
    data = bytes(size)  # more than the class needs is left alone ([MS-FSCC] 2.4)
    return Command.SET_INFO, requests.set_info(file, FileBasicInformation, data)


def ioctl(file: FileId, size: int) -> tuple[int, bytes]:
    return Command.IOCTL, requests.ioctl(file, FSCTL_IS_PATHNAME_VALID, b"x" * 8, limit=size)


def ioctl_input(file: FileId, size: int) -> tuple[int, bytes]:
    return Command.IOCTL, requests.ioctl(file, FSCTL_IS_PATHNAME_VALID, bytes(size), limit=8)


def ioctl_returned_input(file: FileId, size: int) -> tuple[int, bytes]:
    body = bytearray(requests.ioctl(file, FSCTL_IS_PATHNAME_VALID, b"x" * 8, limit=8))
    struct.pack_into("<I", body, 32, size)  # MaxInputResponse ([MS-SMB2] 2.2.31)
    assert IoctlRequest.parse(bytes(body)).max_input_response == size
    return Command.IOCTL, bytes(body)


@pytest.mark.parametrize(
    "build", [query_directory, query_info, set_info, ioctl, ioctl_input, ioctl_returned_input]
)
def test_what_is_larger_than_was_promised_is_refused(
    client: Client, build: Callable[[FileId, int], tuple[int, bytes]]
) -> None:
    """3.3.5.15, 3.3.5.18, 3.3.5.20, 3.3.5.21: INVALID_PARAMETER above, and not at the limit."""
    client.connection.max_transact_size = LIMIT
    file = client.open("it", options=FILE_DIRECTORY_FILE if build is query_directory else 0)
    assert client.call(*build(file, LIMIT)).status in (
        NtStatus.SUCCESS,
        NtStatus.INVALID_DEVICE_REQUEST,  # an FSCTL that is not known is refused after the size
    )
    assert client.call(*build(file, LIMIT + 1)).status is NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize("more", [0, FILE_WRITE_EA])
def test_eas_are_written_with_the_right_to(client: Client, more: int) -> None:
    """[MS-FSA] 2.1.5.15.5: FILE_WRITE_EA, and FILE_WRITE_DATA is no substitute."""
    file = client.open("it", FILE_WRITE_DATA | FILE_READ_EA | more, FILE_OPEN_IF)
    data = build_full_eas([ExtendedAttribute("ONE", b"1")])
    body = requests.set_info(file, FileFullEaInformation, data, SMB2_0_INFO_FILE)
    status = client.call(Command.SET_INFO, body).status
    assert status is (NtStatus.SUCCESS if more else NtStatus.ACCESS_DENIED)
    reply = client.call(Command.QUERY_INFO, requests.query_info(file, FileFullEaInformation))
    assert (b"ONE" in reply.message) == bool(more)


@pytest.mark.parametrize("more", [0, FILE_READ_EA])
def test_eas_are_read_with_the_right_to(client: Client, more: int) -> None:
    """[MS-SMB2] 3.3.5.20.1: FILE_READ_EA for FileFullEaInformation."""
    file = client.open("it", FILE_READ_DATA | FILE_READ_ATTRIBUTES | FILE_WRITE_EA | more)
    data = build_full_eas([ExtendedAttribute("ONE", b"1")])
    body = requests.set_info(file, FileFullEaInformation, data, SMB2_0_INFO_FILE)
    assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    reply = client.call(Command.QUERY_INFO, requests.query_info(file, FileFullEaInformation))
    assert reply.status is (NtStatus.SUCCESS if more else NtStatus.ACCESS_DENIED)
