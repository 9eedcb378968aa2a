"""What clients learn of links and special files: targets that stay in the share, and no others."""

import os
import socket
import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.server import Engine

from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES
from usmbd.protocol.wire.create import FILE_OPEN, FILE_OPEN_REPARSE_POINT
from usmbd.protocol.wire.fscc import attributes
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.status import NtStatus

GET = fsctl.FSCTL_GET_REPARSE_POINT


@pytest.fixture
def folder(engine: Engine) -> Path:
    """Return a folder of the share's, two levels deep."""
    path = engine.files / "one/two"
    path.mkdir(parents=True)
    return path


def ask(client: Client, name: str, code: int = GET, limit: int = 4096) -> Reply:
    opened = client.open(name, FILE_READ_ATTRIBUTES, FILE_OPEN, options=FILE_OPEN_REPARSE_POINT)
    return client.call(Command.IOCTL, requests.ioctl(opened, code, limit=limit))


def data(reply: Reply) -> bytes:
    assert reply.status is NtStatus.SUCCESS
    fixed = reply.parse(IoctlResponse)
    return reply.message[fixed.output_offset :][: fixed.output_count]


def target(found: bytes) -> str:
    """Read a link by the document's table."""
    tag, length, reserved = struct.unpack_from("<IHH", found)
    assert (tag, length, reserved) == (attributes.IO_REPARSE_TAG_SYMLINK, len(found) - 8, 0)
    substitute, size, shown, shown_size, flags = struct.unpack_from("<HHHHI", found, 8)
    assert flags == 1
    name = found[20 + substitute :][:size]
    assert name == found[20 + shown :][:shown_size]
    return name.decode("utf-16-le")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nothing", "nothing"),
        ("sub/file", r"sub\file"),
        ("../beside", r"..\beside"),
        ("../../top", r"..\..\top"),
        ("./Ü 日本", r".\Ü 日本"),
        ("a/../../../top", r"a\..\..\..\top"),
    ],
)
def test_links_within_the_share(client: Client, folder: Path, text: str, told: str) -> None:
    (folder / "link").symlink_to(text)
    found = data(ask(client, r"one\two\link"))
    assert target(found) == told
    assert data(ask(client, r"one\two\link", limit=len(found))) == found
    short = ask(client, r"one\two\link", limit=len(found) - 1)
    assert short.status is NtStatus.BUFFER_TOO_SMALL


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "../../../outside",
        "a/../../../../outside",
        "../../../data/one",
        "..//../../x",
        "../../..",
        "na:me",
        "x/CON",
    ],
)
def test_links_that_leave_it_or_cannot_be_said(client: Client, folder: Path, text: str) -> None:
    """By their text: what a client would look for on its own machine, or elsewhere on this one."""
    (folder / "link").symlink_to(text)
    assert ask(client, r"one\two\link").status is NtStatus.NOT_SUPPORTED


def test_a_link_that_was_moved(client: Client, engine: Engine, folder: Path) -> None:
    """It is judged by where it is now."""
    (folder / "link").symlink_to("../../top")
    opened = client.open(
        r"one\two\link", FILE_READ_ATTRIBUTES, FILE_OPEN, options=FILE_OPEN_REPARSE_POINT
    )
    os.rename(folder / "link", engine.files / "one/link")
    reply = client.call(Command.IOCTL, requests.ioctl(opened, GET))
    assert reply.status is NtStatus.NOT_SUPPORTED


def test_a_vetoed_name_is_not_told(engine: Engine, folder: Path) -> None:
    share = engine.mountd.shares["data"]
    options = {name: getattr(share, name) for name in share.__struct_fields__}
    engine.mountd.shares["data"] = type(share)(**options | {"veto_files": ["secret*"]})
    (folder / "link").symlink_to("../Secret file")
    (folder / "other").symlink_to("../open file")
    client = Client(engine).ready()
    assert ask(client, r"one\two\link").status is NtStatus.NOT_SUPPORTED
    assert target(data(ask(client, r"one\two\other"))) == r"..\open file"


def test_special_files(client: Client, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.getcwd()
        os.chdir(folder)  # a socket's name has 107 bytes at most
        try:
            sock.bind("socket")
        finally:
            os.chdir(here)
    for name, tag in (
        ("fifo", attributes.IO_REPARSE_TAG_LX_FIFO),
        ("socket", attributes.IO_REPARSE_TAG_AF_UNIX),
    ):
        assert data(ask(client, rf"one\two\{name}", limit=8)) == struct.pack("<IHH", tag, 0, 0)
        assert ask(client, rf"one\two\{name}", limit=7).status is NtStatus.BUFFER_TOO_SMALL
