"""A client that watches a directory, and what it is told."""

import struct

from msgspec.structs import replace

from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.requests import FileId
from smbengine.server import Engine
from usmbd.protocol.wire.change_notify import (
    FILE_ACTION_ADDED,
    FILE_ACTION_MODIFIED,
    FILE_ACTION_REMOVED,
    FILE_ACTION_RENAMED_NEW_NAME,
    FILE_ACTION_RENAMED_OLD_NAME,
    FILE_NOTIFY_CHANGE_DIR_NAME,
    FILE_NOTIFY_CHANGE_FILE_NAME,
)
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

NAMES = FILE_NOTIFY_CHANGE_FILE_NAME | FILE_NOTIFY_CHANGE_DIR_NAME
ADDED, REMOVED, MODIFIED = FILE_ACTION_ADDED, FILE_ACTION_REMOVED, FILE_ACTION_MODIFIED
OLD, NEW = FILE_ACTION_RENAMED_OLD_NAME, FILE_ACTION_RENAMED_NEW_NAME
LIST = 0x00120089
"""FILE_GENERIC_READ."""

BASIC, RENAME, EAS = 4, 10, 15
"""FileInformationClass."""

Changes = list[tuple[int, str]]


def configure(engine: Engine, **settings: bool) -> None:
    """Change settings of the server, as a reload does."""
    engine.server.config = replace(engine.server.config, **settings)


def records(data: bytes) -> Changes:
    """Read FILE_NOTIFY_INFORMATION ([MS-FSCC] 2.7.1)."""
    found, at = [], 0
    while True:
        following, action, length = struct.unpack_from("<III", data, at)
        found.append((action, data[at + 12 : at + 12 + length].decode("utf-16-le")))
        if not following:
            return found
        assert following % 4 == 0
        at += following


class Watcher:
    """A client with a directory open, and the request that waits on it."""

    def __init__(self, client: Client, name: str = "", **fields: int) -> None:
        """Open and watch."""
        self.client = client
        self.file_id = client.open(name, LIST, options=FILE_DIRECTORY_FILE)
        self.fields = fields
        self.message_id = -1
        self.async_id = 0
        self.wait()

    def body(self, **fields: int) -> bytes:
        """Return a request."""
        return requests.change_notify(self.file_id, **(self.fields | fields))

    def wait(self, **fields: int) -> None:
        """Have one more request wait."""
        self.message_id, self.async_id = self.client.pending(
            Command.CHANGE_NOTIFY, self.body(**fields)
        )

    def ask(self, **fields: int) -> Reply:
        """Send a request that is answered at once."""
        return self.client.call(Command.CHANGE_NOTIFY, self.body(**fields))

    def reply(self) -> Reply:
        """Return the answer to the request that waited."""
        self.client.engine.settle()
        (reply,) = self.client.taken(self.message_id)
        return reply

    def told(self) -> Changes:
        """Return what the request that waited was told; another one waits from then on."""
        reply = self.reply()
        assert reply.status is NtStatus.SUCCESS
        return records(reply.data)

    def more(self) -> Changes:
        """Return what has gathered since, or [] if the next request has to wait."""
        message_id = self.client.post(Command.CHANGE_NOTIFY, self.body())
        replies = self.client.taken(message_id)
        assert len(replies) == 1
        if replies[0].status is NtStatus.PENDING:
            self.message_id = message_id
            return []
        assert replies[0].status is NtStatus.SUCCESS
        return records(replies[0].data)

    def all_told(self) -> Changes:
        """Return all that the client has been told, until a request waits again."""
        found: Changes = []
        self.client.engine.settle()
        for reply in self.client.taken(self.message_id):
            assert reply.status is NtStatus.SUCCESS
            found += records(reply.data)
            while more := self.more():
                found += more
        return found


def set_info(client: Client, file_id: FileId, kind: int, data: bytes) -> NtStatus:
    """Change something of an open."""
    body = requests.set_info(file_id, kind, data)
    return client.call(Command.SET_INFO, body).status


def rename(client: Client, old: str, new: str) -> None:
    """Rename a file by an open of its own, which is closed."""
    file_id = client.open(old)
    data = requests.named(new)
    assert set_info(client, file_id, RENAME, data) is NtStatus.SUCCESS
    client.close(file_id)


def basic(creation: int = 0, access: int = 0, write: int = 0, attributes: int = 0) -> bytes:
    """Return FileBasicInformation; 0 leaves what there is."""
    return struct.pack("<QQQQII", creation, access, write, 0, attributes, 0)


def nothing_is_left(engine: Engine) -> bool:
    """Say whether no watch, place or byte is taken, and nobody thinks that somebody watches."""
    notify = engine.server.notifier
    return (
        not notify.watched
        and not notify.directories.used
        and not notify.buffers.used
        and not engine.store.anybody_watches()
    )
