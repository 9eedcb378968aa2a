"""smbprotocol with short names: a session on a share, and what the tests do with its opens."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from smbprotocol.connection import Connection, Dialects
from smbprotocol.exceptions import SMBResponseException
from smbprotocol.header import NtStatus
from smbprotocol.ioctl import SMB2IOCTLRequest, SMB2IOCTLResponse
from smbprotocol.open import (
    ImpersonationLevel,
    Open,
    SMB2LockElement,
    SMB2QueryInfoRequest,
    SMB2QueryInfoResponse,
    SMB2SetInfoRequest,
    SMB2SetInfoResponse,
)
from smbprotocol.session import Session
from smbprotocol.structure import IntField
from smbprotocol.tree import TreeConnect

from smbtest.server import ALICE, Account, Server

DIALECTS = {
    "2.0.2": Dialects.SMB_2_0_2,
    "2.1": Dialects.SMB_2_1_0,
    "3.0": Dialects.SMB_3_0_0,
    "3.0.2": Dialects.SMB_3_0_2,
    "3.1.1": Dialects.SMB_3_1_1,
}

# [MS-SMB2] 2.2.13.1.1
READ_DATA, WRITE_DATA, APPEND_DATA = 0x1, 0x2, 0x4
READ_EA, WRITE_EA = 0x8, 0x10
READ_ATTRIBUTES, WRITE_ATTRIBUTES = 0x80, 0x100
DELETE, READ_CONTROL, SYNCHRONIZE = 0x10000, 0x20000, 0x100000
GENERIC_READ, GENERIC_WRITE, MAXIMUM_ALLOWED = 0x80000000, 0x40000000, 0x02000000
READ, WRITE = 0x120089, 0x120116
ALL = READ | WRITE | DELETE
# 2.2.13: ShareAccess
SHARE_NONE, SHARE_READ, SHARE_WRITE, SHARE_DELETE, SHARE_ALL = 0, 1, 2, 4, 7
# CreateDisposition
SUPERSEDE, OPEN, CREATE, OPEN_IF, OVERWRITE, OVERWRITE_IF = range(6)
# CreateOptions
DIRECTORY_FILE, NON_DIRECTORY_FILE, DELETE_ON_CLOSE = 0x1, 0x40, 0x1000
# 2.2.3
MULTI_CHANNEL = 8
# 2.2.26.1
LOCK_SHARED, LOCK_EXCLUSIVE, LOCK_UNLOCK, LOCK_FAIL_IMMEDIATELY = 1, 2, 4, 16
# 2.2.37 InfoType
INFO_FILE, INFO_FILESYSTEM = 1, 2


class Client:
    """One connection with one session on one share; use it as a context."""

    def __init__(
        self,
        server: Server,
        account: Account = ALICE,
        *,
        share: str = "data",
        dialect: str | None = None,
        signed: bool = True,
        encrypted: bool = False,
        guid: uuid.UUID | None = None,
    ) -> None:
        self.server = server
        self.connection = Connection(guid or uuid.uuid4(), server.host, server.port, signed)
        self.connection.client_capabilities |= MULTI_CHANNEL
        self.connection.connect(DIALECTS[dialect] if dialect else None, timeout=20)
        try:
            self.session = Session(
                self.connection, account.name, account.password, encrypted, auth_protocol="ntlm"
            )
            self.session.connect()
            self.tree = TreeConnect(self.session, rf"\\{server.host}\{share}")
            self.tree.connect()
        except Exception:
            self.connection.disconnect(close=False)
            raise

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Log off and disconnect, however far the connection still works."""
        try:
            self.connection.disconnect(timeout=5)
        except Exception:  # whatever a killed server leaves behind
            self.connection.transport.close()

    def drop(self) -> None:
        """Cut the connection without a word."""
        self.connection.transport.close()

    @property
    def port(self) -> int:
        """The client's port, by which the server's process is found."""
        port: int = self.connection.transport._sock.getsockname()[1]
        return port

    def open(
        self,
        name: str,
        access: int = READ | WRITE,
        disposition: int = OPEN,
        *,
        share: int = SHARE_ALL,
        options: int = 0,
        attributes: int = 0,
        contexts: Sequence[Any] | None = None,
    ) -> Open:
        """Open a file of the share; the contexts of the answer are in `.contexts`."""
        opened = Open(self.tree, name)
        opened.contexts = opened.create(
            ImpersonationLevel.Impersonation,
            access,
            attributes,
            share,
            disposition,
            options,
            contexts,
        )
        return opened

    def send(self, message: Any) -> Any:
        """Send one message on the share and wait for its answer: the message's own bytes."""
        request = self.connection.send(message, self.session.session_id, self.tree.tree_connect_id)
        return self.connection.receive(request, timeout=60)["data"].get_value()

    def query(
        self,
        opened: Open,
        info_class: int,
        info_type: int = INFO_FILE,
        *,
        size: int = 65536,
        data: bytes = b"",
        additional: int = 0,
    ) -> bytes:
        """QUERY_INFO: the bytes of an information class."""
        response = SMB2QueryInfoResponse()
        request = self.query_message(opened, info_class, info_type, size, data, additional)
        response.unpack(self.send(request))
        answer: bytes = response["buffer"].get_value()
        return answer

    @staticmethod
    def query_message(
        opened: Open,
        info_class: int,
        info_type: int = INFO_FILE,
        size: int = 65536,
        data: bytes = b"",
        additional: int = 0,
    ) -> SMB2QueryInfoRequest:
        """Build a QUERY_INFO request."""
        request = SMB2QueryInfoRequest()
        request.fields["file_info_class"] = IntField(size=1)  # any class, known or not
        request["info_type"] = info_type
        request["file_info_class"] = info_class
        request["output_buffer_length"] = size
        request["additional_information"] = additional
        request["file_id"] = opened.file_id
        request["buffer"] = data
        return request

    def set(self, opened: Open, info_class: int, data: bytes, info_type: int = INFO_FILE) -> None:
        """SET_INFO with the bytes of an information class."""
        request = SMB2SetInfoRequest()
        request.fields["file_info_class"] = IntField(size=1)
        request["info_type"] = info_type
        request["file_info_class"] = info_class
        request["file_id"] = opened.file_id
        request["buffer"] = data
        SMB2SetInfoResponse().unpack(self.send(request))

    def ioctl(self, file_id: bytes, code: int, data: bytes = b"", size: int = 65536) -> bytes:
        """IOCTL with IS_FSCTL set: the output."""
        request = SMB2IOCTLRequest()
        request.fields["ctl_code"] = IntField(size=4)
        request["ctl_code"] = code
        request["file_id"] = file_id
        request["max_output_response"] = size
        request["flags"] = 1
        request["buffer"] = data
        response = SMB2IOCTLResponse()
        response.fields["ctl_code"] = IntField(size=4)
        response.unpack(self.send(request))
        answer: bytes = response["buffer"].get_value()
        return answer

    @staticmethod
    def lock(opened: Open, offset: int, length: int, flags: int) -> None:
        """Lock or unlock one range."""
        element = SMB2LockElement()
        element["offset"] = offset
        element["length"] = length
        element["flags"] = flags
        opened.lock([element])


@contextmanager
def refused(*statuses: int) -> Iterator[None]:
    """Check that the block ends with one of the statuses."""
    with pytest.raises(SMBResponseException) as caught:
        yield
    names = {value: name for name, value in vars(NtStatus).items() if isinstance(value, int)}
    wanted = [names.get(status, hex(status)) for status in statuses]
    assert names.get(caught.value.status, hex(caught.value.status)) in wanted
