"""What parameters of the table do: each is served by mountd's own service and the engine.

`test_every_parameter.py` has the list of all of them and of their tests.
"""

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import NTLM_NEGOTIATE, Client
from smbengine.configured import Configured

from usmbd.mountd.config.load import load
from usmbd.mountd.rpc.interfaces.shares import share_flags
from usmbd.protocol.commands.smbtorture import FSCTL_SMBTORTURE_FORCE_UNACKED_TIMEOUT
from usmbd.protocol.supervisor.listeners import Listeners
from usmbd.protocol.vfs.short_names import short_name
from usmbd.protocol.vfs.spelling import to_wire
from usmbd.protocol.wire.access import DELETE, FILE_READ_DATA
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    CreateResponse,
)
from usmbd.protocol.wire.fscc.directory import FileBothDirectoryInformation
from usmbd.protocol.wire.fsctl import FSCTL_PIPE_WAIT
from usmbd.protocol.wire.header import RELATED_ID, Command
from usmbd.protocol.wire.negotiate import (
    SMB2_GLOBAL_CAP_DIRECTORY_LEASING,
    SMB2_GLOBAL_CAP_LEASING,
    NegotiateResponse,
)
from usmbd.protocol.wire.query_directory import SMB2_REOPEN
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.wire.tree_connect import SMB2_SHAREFLAG_COMPRESS_DATA, TreeConnectResponse

ROOT = Path(__file__).resolve().parents[2]
SUCCESS, DENIED = NtStatus.SUCCESS, NtStatus.ACCESS_DENIED
NOT_FOUND = NtStatus.OBJECT_NAME_NOT_FOUND
HIDDEN = 2
MULTI_CHANNEL, ENCRYPTION = 0x08, 0x40

Serve = Callable[..., Configured]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return what serves `data` with parameters for [global] and for the share."""
    made: list[Configured] = []

    def start(share: str = "", server: str = "", name: str = "data") -> Configured:
        path = tmp_path / str(len(made))
        (path / "data").mkdir(parents=True)
        usual = "path = {path}/data\n" if "path =" not in share else ""
        usual += "read only = no\n" if "read only" not in share else ""
        text = f"[global]\n{server}\n[{name}]\n{usual}{share}\n"
        made.append(Configured(path, text))
        return made[-1]

    yield start
    for engine in made:
        engine.close()


def client(engine: Configured, share: str = "data", **login: str) -> Client:
    return Client(engine).ready(share=share, **login)  # type: ignore[arg-type]


def connects(engine: Configured, share: str = "data", user: str = "alice") -> NtStatus:
    one = Client(engine)
    one.negotiate(0x311)
    one.login(user, {"alice": "secret", "bob": "hidden"}[user])
    return one.connect(share).status


def negotiated(engine: Configured, *dialects: int) -> NegotiateResponse:
    reply = Client(engine).negotiate(*dialects)
    assert reply.status is SUCCESS
    return reply.parse(NegotiateResponse)


def utf16(text: str) -> bytes:
    return text.encode("utf-16-le")


# -- [global] --------------------------------------------------------------------------------------


def test_names_in_the_challenge(serve: Serve) -> None:
    one = Client(serve(server="netbios name = BOX\nworkgroup = TEAM"))
    one.negotiate(0x311)
    _, (reply,) = one.setup(NTLM_NEGOTIATE)
    assert utf16("BOX") in reply.message
    assert utf16("TEAM") in reply.message


def test_tcp_port_and_interfaces(tmp_path: Path) -> None:
    text = "[global]\ntcp port = {}\ninterfaces = 127.0.0.1\nbind interfaces only = yes\n"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    made = Listeners(load(tmp_path / "c", text.format(number)).server)
    assert [sock.getsockname() for sock in made.sockets] == [("127.0.0.1", number)]
    made.close()


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("smb2 max read", "max_read_size"),
        ("smb2 max write", "max_write_size"),
        ("smb2 max trans", "max_transact_size"),
    ],
)
def test_sizes(serve: Serve, name: str, field: str) -> None:
    assert getattr(negotiated(serve(server=f"{name} = 128K")), field) == 131072


def test_smb2_max_credits(serve: Serve) -> None:
    one = client(serve(server="smb2 max credits = 32"))
    for _ in range(4):
        one.call(Command.ECHO, requests.EMPTY, credits=512)
    assert one.credits <= 32
    assert client(serve(server="smb2 max credits = 512")).credits > 32


def test_max_active_sessions(serve: Serve) -> None:
    engine = serve(server="max active sessions = 1")
    client(engine)
    other = Client(engine)
    other.negotiate(0x311)
    _, replies = other.setup(NTLM_NEGOTIATE)
    assert replies[-1].status is NtStatus.INSUFFICIENT_RESOURCES


def test_max_open_files(serve: Serve) -> None:
    one = client(serve(server="max open files = 2"))
    assert [one.create(f"f{n}") is SUCCESS for n in range(3)] == [True, True, False]


def test_dialects(serve: Serve) -> None:
    engine = serve(server="server min protocol = SMB2_10\nserver max protocol = SMB3_00")
    assert negotiated(engine, 0x202, 0x210, 0x300, 0x302).dialect_revision == 0x300
    assert Client(engine).negotiate(0x202).status is NtStatus.NOT_SUPPORTED


def test_server_signing(serve: Serve) -> None:
    assert negotiated(serve(server="server signing = mandatory")).security_mode & 2
    assert not negotiated(serve(server="server signing = auto")).security_mode & 2


def test_smb3_encryption(serve: Serve) -> None:
    def capable(value: str) -> int:
        engine = serve(server=f"smb3 encryption = {value}")
        return negotiated(engine, 0x300).capabilities & ENCRYPTION

    assert [bool(capable(value)) for value in ("auto", "off")] == [True, False]


def test_multi_channel(serve: Serve) -> None:
    def capable(value: str) -> int:
        engine = serve(server=f"server multi channel support = {value}")
        return negotiated(engine).capabilities & MULTI_CHANNEL

    assert [bool(capable(value)) for value in ("yes", "no")] == [True, False]


def test_leases(serve: Serve) -> None:
    def capable(value: str) -> int:
        engine = serve(server=f"smb2 leases = {value}")
        return negotiated(engine).capabilities & SMB2_GLOBAL_CAP_LEASING

    assert [bool(capable(value)) for value in ("yes", "no")] == [True, False]


def test_posix_extensions(serve: Serve) -> None:
    for word, offered in (("yes", True), ("no", False)):
        one = Client(serve(server=f"smb3 unix extensions = {word}"))
        one.negotiate(posix=True)
        assert one.contexts.posix_extensions is offered


def test_compression(serve: Serve) -> None:
    for word, offered in (("yes", (5, 2)), ("no", (0,))):
        one = Client(serve(server=f"smb3 compression = {word}"))
        one.negotiate(compression=(5, 9, 2))
        assert one.contexts.compression_algorithms == offered


def test_compress_data(serve: Serve) -> None:
    def flags(share: str, server: str = "", algorithms: tuple[int, ...] = (5,)) -> int:
        one = Client(serve(share=share, server=server))
        one.negotiate(compression=algorithms)
        one.login()
        return one.connect().parse(TreeConnectResponse).share_flags & SMB2_SHAREFLAG_COMPRESS_DATA

    assert flags("compress data = yes")
    assert not flags("compress data = no")
    assert not flags("")
    assert not flags("compress data = yes", "smb3 compression = no")
    assert not flags("compress data = yes", algorithms=(9,))


def test_directory_leases(serve: Serve) -> None:
    def capable(*lines: str) -> int:
        engine = serve(server="\n".join(lines))
        return negotiated(engine).capabilities & SMB2_GLOBAL_CAP_DIRECTORY_LEASING

    assert capable("smb3 directory leases = yes")
    assert not capable("smb3 directory leases = auto")
    assert not capable()
    assert not capable("smb3 directory leases = no")
    assert not capable("smb3 directory leases = yes", "smb2 leases = no")


def test_fake_fscaps(serve: Serve) -> None:
    one = client(serve(server="share:fake_fscaps = 0x0".replace("0x0", "268435456")))
    root = one.open("", 0x80, options=FILE_DIRECTORY_FILE)
    info = one.call(Command.QUERY_INFO, requests.query_info(root, 5, 2)).data
    assert int.from_bytes(info[:4], "little") & 268435456


def test_fsctl_smbtorture(serve: Serve) -> None:
    """Without a session, as smbtorture sends it."""
    for value, status in (("yes", SUCCESS), ("no", NtStatus.USER_SESSION_DELETED)):
        one = client(serve(server=f"smbd:FSCTL_SMBTORTURE = {value}"))
        nothing = RELATED_ID, RELATED_ID
        body = requests.ioctl(nothing, FSCTL_SMBTORTURE_FORCE_UNACKED_TIMEOUT)
        assert one.call(Command.IOCTL, body, session_id=0, tree_id=0).status is status
        assert one.connection.acknowledges is (value == "no")
        for other in (requests.ioctl(nothing, FSCTL_PIPE_WAIT), body[:40]):
            answer = one.call(Command.IOCTL, other, session_id=0, tree_id=0)
            assert answer.status is not SUCCESS


def test_root_directory(serve: Serve) -> None:
    one = client(serve("path = /data", "root directory = {path}"))
    one.open("file")
    assert (one.engine.files / "file").exists()


# -- shares ----------------------------------------------------------------------------------------


def test_path_and_read_only(serve: Serve) -> None:
    engine = serve("read only = yes")
    (engine.files / "here").touch()
    one = client(engine)
    assert one.create("here", access=0x80, disposition=1) is SUCCESS
    assert one.create("new", disposition=FILE_CREATE) is DENIED
    assert client(serve("read only = no")).create("new", disposition=FILE_CREATE) is SUCCESS


def test_max_connections(serve: Serve) -> None:
    engine = serve("max connections = 1")
    one = client(engine)
    assert one.connect().status is SUCCESS  # a session counts once
    assert connects(engine) is NtStatus.REQUEST_NOT_ACCEPTED


def test_case_sensitive(serve: Serve) -> None:
    for value, expected in (("no", SUCCESS), ("yes", NOT_FOUND)):
        engine = serve(
            f"case sensitive = {value}\nveto files = /hidden*/\nvfs objects = streams_xattr"
        )
        for name in ("File", "Hidden"):
            (engine.files / name).touch()
        one = client(engine)
        assert one.create("fILE", disposition=FILE_OPEN) is expected
        assert (one.create("Hidden", disposition=FILE_OPEN) is SUCCESS) is (value == "yes")
        stream = one.open("File:note", share=0)
        assert one.create("File:NOTE", disposition=FILE_OPEN) is (
            NtStatus.SHARING_VIOLATION if value == "no" else NOT_FOUND
        )
        if value == "yes":  # another stream, which goes alone
            one.close(one.open("File:NOTE", DELETE, options=FILE_DELETE_ON_CLOSE))
            assert os.listxattr(engine.files / "File")[0].startswith("user.DosStream.note")
        one.close(stream)
        root = one.open("", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)
        for pattern in ("fILE", "f*", "*LE"):
            listing = requests.query_directory(
                root, FileBothDirectoryInformation, pattern, SMB2_REOPEN
            )
            found = NtStatus.NO_SUCH_FILE if value == "yes" else SUCCESS
            assert one.call(Command.QUERY_DIRECTORY, listing).status is found


@pytest.mark.parametrize(
    ("value", "served", "told"),
    [("no", False, False), ("illegal", True, False), ("yes", True, True)],
)
def test_mangled_names(serve: Serve, value: str, served: bool, told: bool) -> None:
    """Odd names are spelled and 8.3 names open files, and listings tell those."""
    engine = serve(f"mangled names = {value}")
    long, odd = "a name that is too long.text", "what?"
    for name in (long, odd):
        (engine.files / name).touch()
    one = client(engine)
    for name in (short_name(long), to_wire(odd)):
        assert (one.create(name, disposition=FILE_OPEN) is SUCCESS) is served
    root = one.open("", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)
    level = FileBothDirectoryInformation
    listing = one.call(Command.QUERY_DIRECTORY, requests.query_directory(root, level)).data
    assert utf16(long) in listing
    assert (utf16(to_wire(odd)) in listing) is served
    assert (utf16(short_name(long)) in listing) is told


def test_hide_dot_files(serve: Serve) -> None:
    for value in ("no", "yes"):
        engine = serve(f"hide dot files = {value}")
        (engine.files / ".rc").touch()
        one = client(engine)
        created = one.call(Command.CREATE, requests.create(".rc", 0x80, 1)).parse(CreateResponse)
        assert bool(created.file_attributes & HIDDEN) is (value == "yes")


def test_csc_policy(serve: Serve) -> None:
    """What clients may keep for when they are offline, as they and administrators are told."""
    for value, flags in (("manual", 0), ("documents", 0x10), ("programs", 0x20), ("disable", 0x30)):
        engine = serve(f"csc policy = {value}")
        one = Client(engine)
        one.negotiate(0x311)
        one.login("alice", "secret")
        told = one.connect().parse(TreeConnectResponse)
        assert told.share_flags & 0x30 == flags
        share = one.session.tree_connect_table[one.tree_id].share
        assert share_flags(share) & 0x30 == flags


def test_veto_files(serve: Serve) -> None:
    engine = serve("veto files = /secret*/")
    (engine.files / "secret.txt").touch()
    assert client(engine).create("secret.txt", disposition=1) is NOT_FOUND


def test_follow_symlinks(serve: Serve) -> None:
    for value in ("no", "yes"):
        engine = serve(f"follow symlinks = {value}")
        (engine.files / "real").touch()
        (engine.files / "link").symlink_to("real")
        one = client(engine)
        status = one.create("link", access=FILE_READ_DATA, disposition=FILE_OPEN)
        assert (status is SUCCESS) is (value == "yes")


def test_crossmnt(serve: Serve) -> None:
    """/proc is a mount beneath / everywhere."""
    for value in ("no", "yes"):
        one = client(serve(f"path = /\nread only = yes\ncrossmnt = {value}"))
        status = one.create("proc", access=0x80, disposition=1, options=FILE_DIRECTORY_FILE)
        assert (status is SUCCESS) is (value == "yes")


def test_slow(serve: Serve) -> None:
    """A call of a share that may hang is made on a thread, in the share's part of them."""
    for value in ("no", "yes"):
        engine = serve(f"slow = {value}")
        one = client(engine)
        del engine.threads.lanes[:]
        one.open("file")
        assert bool(engine.threads.lanes) is (value == "yes")


def test_store_dos_attributes(serve: Serve) -> None:
    name, stored = "user.DOSATTRIB", b""
    for value in ("yes", "no"):
        engine = serve(f"store dos attributes = {value}")
        client(engine).open("file", attributes=HIDDEN)
        assert (name in os.listxattr(engine.files / "file")) is (value == "yes")
        stored = stored or os.getxattr(engine.files / "file", name)
        (engine.files / "other").touch()
        os.setxattr(engine.files / "other", name, stored)
        reply = client(engine).call(Command.CREATE, requests.create("other", 0x80, FILE_OPEN))
        seen = reply.parse(CreateResponse).file_attributes
        assert bool(seen & HIDDEN) is (value == "yes")


def test_ea_support(serve: Serve) -> None:
    ea = b"\0\0\0\0\0\x01\x01\0A\0B"
    for value in ("no", "yes"):
        engine = serve(f"ea support = {value}")
        contexts = [(b"ExtA", ea)]
        status = client(engine).create("file", disposition=FILE_CREATE, contexts=contexts)
        assert (status is SUCCESS) is (value == "yes"), status


@pytest.mark.parametrize(
    ("line", "name", "options", "mode"),
    [
        ("create mask = 0600", "file", 0, 0o600),
        ("create mask = 0600\nforce create mode = 0044", "file", 0, 0o644),
        ("directory mask = 0700", "dir", FILE_DIRECTORY_FILE, 0o700),
        ("directory mask = 0700\nforce directory mode = 0005", "dir", FILE_DIRECTORY_FILE, 0o705),
    ],
)
def test_modes(serve: Serve, line: str, name: str, options: int, mode: int) -> None:
    engine = serve(line)
    before = os.umask(0)  # as in a worker
    try:
        client(engine).open(name, 0x10080, options=options)
    finally:
        os.umask(before)
    assert stat.S_IMODE((engine.files / name).stat().st_mode) & 0o777 == mode


def test_oplocks(serve: Serve) -> None:
    for value, level in (("no", 0), ("yes", 9)):
        one = client(serve(f"oplocks = {value}"))
        reply = one.call(Command.CREATE, requests.create("file", oplock=9))
        assert reply.parse(CreateResponse).oplock_level == level


def test_kernel_oplocks(serve: Serve) -> None:
    """How they work: protocol/state/test_kernel_oplocks.py."""
    for text, waits in (
        (";", False),
        ("kernel oplocks = no", False),
        ("kernel oplocks = yes", True),
    ):
        engine = serve(text)
        one = client(engine)
        one.call(Command.CREATE, requests.create("file", oplock=9))
        assert bool(engine.server.caching.kernel._owners) is waits


def test_posix_locking(serve: Serve) -> None:
    """How it works: protocol/state/test_local_locks.py."""
    for text, mapped in (
        (";", False),
        ("posix locking = no", False),
        ("posix locking = yes", True),
    ):
        engine = serve(text)
        one = client(engine)
        asked = requests.create("file", oplock=9, contexts=[(b"DHnQ", bytes(16))])
        reply = one.call(Command.CREATE, asked).parse(CreateResponse)
        assert bool(reply.create_contexts_length) is not mapped  # a durable handle
        (session,) = engine.server.session_table.values()
        (open_,) = session.open_table.values()
        assert (open_.local_locks is not None) is mapped


def test_durable_handles(serve: Serve) -> None:
    asked = [(b"DHnQ", bytes(16))]
    for text, durable in ((";", True), ("durable handles = no", False)):
        one = client(serve(text))
        body = requests.create("file", oplock=9, contexts=asked)
        reply = one.call(Command.CREATE, body).parse(CreateResponse)
        assert bool(reply.create_contexts_length) is durable


def test_encryption_of_a_share(serve: Serve) -> None:
    one = client(serve("server smb encrypt = required"))
    assert one.create("file") is DENIED
    one.seals = True
    assert one.create("file") is SUCCESS


@pytest.mark.parametrize(
    ("line", "alice", "bob"),
    [
        ("valid users = alice", SUCCESS, DENIED),
        ("invalid users = alice", DENIED, SUCCESS),
        ("hosts deny = ALL", DENIED, DENIED),
    ],
)
def test_who_may_connect(serve: Serve, line: str, alice: NtStatus, bob: NtStatus) -> None:
    engine = serve(line)
    assert (connects(engine, user="alice"), connects(engine, user="bob")) == (alice, bob)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("read only = no\nread list = alice", DENIED),
        ("read only = yes\nwrite list = alice", SUCCESS),
    ],
)
def test_who_may_write(serve: Serve, line: str, status: NtStatus) -> None:
    assert client(serve(line)).create("file", disposition=FILE_CREATE) is status


def test_sections_that_are_no_shares(serve: Serve) -> None:
    for line in ("available = no", "printable = yes"):
        assert connects(serve(line)) is NtStatus.BAD_NETWORK_NAME
