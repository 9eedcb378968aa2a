"""The client's side of an association, written by hand: PDUs as a client builds them."""

import struct
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from impacket.dcerpc.v5 import ndr as their_ndr
from mountd_helpers import answered

from usmbd.mountd.admin.administration import Administration
from usmbd.mountd.admin.registered import Registered
from usmbd.mountd.admin.registry import HIVES
from usmbd.mountd.admin.registry_store import RegistryStore
from usmbd.mountd.admin.users import Users
from usmbd.mountd.config.load import load
from usmbd.mountd.directory import Directory
from usmbd.mountd.identity import Accounts
from usmbd.mountd.ipc.accounts import (
    AccountsRequest,
    AskUses,
    DirectoryRequest,
    DirectoryResponse,
    Uses,
)
from usmbd.mountd.ipc.codec import directory_client, directory_server
from usmbd.mountd.ipc.messages import ControlClose, ControlList, Message, Row
from usmbd.mountd.ipc.users import ChangePassword
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.rpc.endpoint import Encoding, Interface, Pipe
from usmbd.mountd.rpc.handles import Handles
from usmbd.mountd.rpc.view import Caller, Snapshot, View
from usmbd.mountd.service import Service
from usmbd.mountd.users import UserTable, format_users

NDR = (uuid.UUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), 2)
NDR64 = (uuid.UUID("71710533-beba-4937-8319-b5dbef9ccc36"), 1)
FEATURES = (uuid.UUID("6cb71c2c-9812-4540-0300-000000000000"), 1)
SRVSVC = (uuid.UUID("4b324fc8-1670-01d3-1278-5a47bf6ee188"), 3)

Syntax = tuple[uuid.UUID, int]


def pdu(ptype: int, body: bytes, *, flags: int = 3, call_id: int = 1, **lies: int) -> bytes:
    """Build a PDU; `frag_length`, `auth_length` and `version` may lie."""
    head = struct.pack("<BBBB", lies.get("version", 5), 0, ptype, flags) + b"\x10\0\0\0"
    length = lies.get("frag_length", 16 + len(body))
    return head + struct.pack("<HHI", length, lies.get("auth_length", 0), call_id) + body


def syntax(value: Syntax) -> bytes:
    """Build a p_syntax_id_t."""
    return value[0].bytes_le + struct.pack("<I", value[1])


def bind(
    *contexts: tuple[int, Syntax, list[Syntax]],
    ptype: int = 11,
    count: int | None = None,
    frag: int = 4280,
    **lies: int,
) -> bytes:
    """Build a bind (or alter_context, 14) of contexts (id, interface, transfer syntaxes)."""
    body = struct.pack("<HHIBBH", frag, frag, 0, len(contexts) if count is None else count, 0, 0)
    for context_id, abstract, transfers in contexts:
        body += struct.pack("<HBB", context_id, len(transfers), 0) + syntax(abstract)
        body += b"".join(map(syntax, transfers))
    return pdu(ptype, body, **lies)


def request(opnum: int, stub: bytes, *, context_id: int = 0, **more: int) -> bytes:
    """Build a request fragment."""
    return pdu(0, struct.pack("<IHH", len(stub), context_id, opnum) + stub, **more)


def results(answer: bytes) -> list[tuple[int, int, uuid.UUID]]:
    """Return what a bind_ack or alter_context_resp says to each context."""
    (length,) = struct.unpack_from("<H", answer, 24)
    offset = (26 + length + 3) & ~3
    count = answer[offset]
    found = []
    for index in range(count):
        result, reason, raw = struct.unpack_from("<HH16s", answer, offset + 4 + 24 * index)
        found.append((result, reason, uuid.UUID(bytes_le=raw)))
    assert len(answer) == offset + 4 + 24 * count
    return found


def fault(answer: bytes) -> int:
    """Return the status of a fault PDU."""
    assert answer[2] == 3
    status: int = struct.unpack_from("<I", answer, 24)[0]
    return status


def bound(pipe: Pipe, abstract: Syntax = SRVSVC, transfer: Syntax = NDR) -> Pipe:
    """Bind one interface as context 0 and check that it was accepted."""
    answer, more = pipe.transceive(bind((0, abstract, [transfer])), 65535)
    assert not more
    assert answer[2] == 12
    assert results(answer) == [(0, 0, transfer[0])]
    return pipe


def messages(pipe: Pipe) -> list[bytes]:
    """Read all messages that wait in the pipe."""
    found = []
    while pipe.waiting:
        data, more = pipe.read(65535)
        assert not more
        found.append(data)
    return found


def stub_of(fragments: list[bytes], call_id: int = 1) -> bytes:
    """Put the stub of a response together, and check its fragments on the way."""
    stub = b""
    for index, fragment in enumerate(fragments):
        assert fragment[2] == 2, fragment.hex()
        length, auth, found_id, hint = struct.unpack_from("<HHII", fragment, 8)
        assert (length, auth, found_id) == (len(fragment), 0, call_id)
        assert bool(fragment[3] & 1) == (index == 0)
        assert bool(fragment[3] & 2) == (index == len(fragments) - 1)
        assert hint >= length - 24
        stub += fragment[24:]
    return stub


KEY = bytes(range(100, 116))
"""The application key of the administrator's session."""


class Running:
    """What runs in workers that are none: rows, and what was closed of them."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.rows: dict[str, list[Row]] = {}
        """By kind."""
        self.closed: list[ControlClose] = []
        self.dead = False

    def ask(self, message: Message, answered: Callable[[list[Row] | None], None]) -> None:
        """Answer as the supervisor does."""
        if self.dead:
            answered(None)
        elif isinstance(message, ControlList):
            answered([row for kind in message.kinds for row in self.rows.get(kind, [])])
        else:
            assert isinstance(message, ControlClose)
            self.closed.append(message)
            answered([])


class Machine:
    """An interface as a caller reaches it, with mountd behind it, and impacket as the client."""

    def __init__(
        self,
        interface: Callable[[View], Interface],
        view: View,
        users: Sequence[str],
        administrators: tuple[str, ...] = (),
        *,
        ndr64: bool = False,
    ) -> None:
        """Serve `view`, with these users in the password file."""
        table = UserTable(dict.fromkeys(users, bytes(16)))
        self.directory = Directory(table, Accounts(), administrators)
        self.running = Running()
        self.administration = Administration(self.directory, self.running)
        self.encoding = Encoding(ndr64, "<")
        self.view = view
        self._interface = interface

    @property
    def sid(self) -> str:
        """The machine's domain."""
        return self.view.snapshot.machine_sid

    def become(self, user: str) -> None:
        """Be another user from now on, on a pipe of his own."""
        caller = replace(self.view.caller, user=user)
        self.view = replace(self.view, caller=caller, rights={}, handles=Handles())

    def request(self, kind: Any) -> Any:
        """Begin a request of impacket's."""
        return kind(isNDR64=self.encoding.ndr64)

    def run(self, opnum: int, stub: bytes) -> bytes:
        """Make a call; return the stub of the answer."""
        answer = self._interface(self.view).calls[opnum](stub, self.encoding)
        if isinstance(answer, bytes):
            return answer
        try:
            question = next(answer)
            while True:
                question = answer.send(self.answer(question))
        except StopIteration as end:
            found: bytes = end.value
            return found

    def answer(self, question: DirectoryRequest) -> DirectoryResponse:
        """Answer a question as mountd does."""
        if isinstance(question, AccountsRequest):
            return answered(self.directory.steps(question))
        if isinstance(question, AskUses):
            return Uses([0] * len(question.shares))
        found: list[DirectoryResponse] = []
        self.administration.answer(question, found.append)
        return found[0]

    def call(self, request: Any, response: Any, status: int = 0) -> Any:
        """Make a call by impacket's structures; the status must be this one."""
        stub = self.run(request.opnum, request.getData())
        assert struct.unpack("<I", stub[-4:]) == (status,), hex(int.from_bytes(stub[-4:], "little"))
        return response(stub, isNDR64=self.encoding.ndr64)


class Served(Machine):
    """The same with a mountd that has files and a registry; man governs it, games is a user."""

    def __init__(
        self, interface: Callable[[View], Interface], folder: Path, *, ndr64: bool
    ) -> None:
        """Write the files, and serve what they say to man."""
        self.folder = folder
        (folder / "data").mkdir(exist_ok=True)
        config, passwords = folder / "usmbd.conf", folder / "passwords.db"
        if not config.exists():
            config.write_text(
                f"[global]\n\tadmin users = man\n\tstate directory = {folder}/state\n"
                f"[data]\n\tpath = {folder}/data\n\tcomment = from the file\n"
            )
            hashes = {name: nt_hash(name) for name in ("games", "man")}
            passwords.write_text(format_users(hashes))
        self.service = Service(load(config), passwords)
        self.service.machine_sid = "S-1-5-21-1-2-3"
        caller = Caller(user="man", domain="HOME", uid=6, address="192.0.2.1", key=KEY)
        view = View(self._snapshot(), caller)
        super().__init__(interface, view, ["games", "man"], ("man",), ndr64=ndr64)
        self.store = RegistryStore(folder / "registry.db", HIVES)
        registered = Registered(self.store)
        self.service.use_registry(registered)
        self.service.configured = self._configured
        self.administration = Administration(self.service, self.running, self.store, registered)
        assert self.administration.rights is not None
        self.service.holders = self.administration.rights.holders
        self.view.snapshot = self._snapshot()
        self.reloads = 0
        self.now = 1000.0
        self.delayed = 0.0

    def _snapshot(self) -> Snapshot:
        return self.service.describe_for_rpc(1).snapshot()

    def _configured(self, _message: object) -> None:
        self.reloads += 1
        self.view.snapshot = self._snapshot()

    def answer(self, question: DirectoryRequest) -> DirectoryResponse:
        """Answer a question as mountd does, by its messages' bytes."""
        _, asked = directory_server().decode(directory_server().encode(1, question))
        self.directory = self.service.directory
        if isinstance(asked, ChangePassword):
            derive = Users(self.service).deriving(asked)
            derived = derive() if derive is not None else None
            outcome, self.delayed = self.service.change_password(asked, self.now, derived)
            return outcome
        _, told = directory_client().decode(directory_client().encode(1, super().answer(asked)))
        return told

    def request(self, request: Any, uuid: object = None, checkError: bool = True) -> Any:
        """Make a call as impacket's own helpers do, which speak NDR 2.0."""
        module = sys.modules[type(request).__module__]
        stub = self.run(request.opnum, request.getData())
        answer = getattr(module, type(request).__name__ + "Response")(
            stub, isNDR64=self.encoding.ndr64
        )
        code = int.from_bytes(stub[-4:], "little")
        if code:
            raise module.DCERPCSessionError(error_code=code, packet=answer)
        return answer


def plain(value: Any) -> Any:
    """Return what impacket has read as dictionaries, lists, numbers and texts."""
    if isinstance(value, their_ndr.NDR):
        if isinstance(value, their_ndr.NDRUNION):
            (name, _) = value.union[value["tag"]]
            return plain(value[name])
        names = [name for name, *_ in value.structure if name != "Data" or len(value.structure) > 1]
        return {name: plain(value[name]) for name in names} if names else plain(value["Data"])
    if isinstance(value, list):
        if all(isinstance(each, bytes) and len(each) == 1 for each in value):
            return b"".join(value)
        return [plain(each) for each in value]
    return value
