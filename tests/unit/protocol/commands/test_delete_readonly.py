"""Deleting what is read only ([MS-FSA] 2.1.5.15.3), which `delete readonly` allows."""

from smbengine import requests
from smbengine.macos import Serve

from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_OPEN
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_READONLY
from usmbd.protocol.wire.fscc.set_info import FileDispositionInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus


def test_only_where_the_share_says_so(serve: Serve) -> None:
    """By disposition and on close, of files that are there and of new ones."""
    for value, status in (("no", NtStatus.CANNOT_DELETE), ("yes", NtStatus.SUCCESS)):
        one = serve(f"delete readonly = {value}", modules="")
        for name in ("set", "close"):
            body = requests.create(name, attributes=FILE_ATTRIBUTE_READONLY)
            one.close(one.call(Command.CREATE, body).file_id)
        opened = one.open("set", 0x10000, FILE_OPEN)
        body = requests.set_info(opened, FileDispositionInformation, b"\1")
        assert one.call(Command.SET_INFO, body).status is status
        one.close(opened)
        for name, attributes in (("close", 0), ("new", FILE_ATTRIBUTE_READONLY)):
            body = requests.create(
                name, 0x10000, options=FILE_DELETE_ON_CLOSE, attributes=attributes
            )
            reply = one.call(Command.CREATE, body)
            assert reply.status is status, name
            if status is NtStatus.SUCCESS:
                one.close(reply.file_id)
            assert (one.engine.files / name).exists() is (
                name == "close" and status is not NtStatus.SUCCESS
            )
        assert (one.engine.files / "set").exists() is (status is not NtStatus.SUCCESS)
