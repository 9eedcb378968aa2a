"""What parameters of a share do to its files: who sees them, and what permissions they get."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.configured import Configured

from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, CreateResponse
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_HIDDEN, FILE_PERSISTENT_ACLS
from usmbd.protocol.wire.fscc.directory import FileNamesInformation
from usmbd.protocol.wire.fscc.fs_info import FileFsAttributeInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import SMB2_0_INFO_FILESYSTEM, SMB2_0_INFO_SECURITY
from usmbd.protocol.wire.security import ACCESS_ALLOWED_ACE_TYPE, Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import EVERYONE
from usmbd.protocol.wire.status import NtStatus

READ_AND_CHANGE_PERMISSIONS = 0x60000

Serve = Callable[[str], Configured]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return what serves `data` with parameters for the share."""
    made: list[Configured] = []

    def start(share: str) -> Configured:
        path = tmp_path / str(len(made))
        (path / "data").mkdir(parents=True)
        text = f"[data]\npath = {{path}}/data\nread only = no\n{share}\n"
        made.append(Configured(path, text))
        return made[-1]

    yield start
    for engine in made:
        engine.close()


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """As in a worker."""
    before = os.umask(0)
    yield
    os.umask(before)


def client(engine: Configured) -> Client:
    return Client(engine).ready(share="data")


def test_hide_files(serve: Serve) -> None:
    """They are marked as hidden, and there for who wants them."""
    engine = serve("hide files = /~$*/Temporary Items/")
    for name, hidden in (("~$report.docx", True), ("TEMPORARY ITEMS", True), ("report", False)):
        (engine.files / name).touch()
        body = requests.create(name, 0x80, 1)
        created = client(engine).call(Command.CREATE, body).parse(CreateResponse)
        assert bool(created.file_attributes & FILE_ATTRIBUTE_HIDDEN) is hidden, name


@pytest.mark.parametrize(("value", "shown"), [("no", {"file", "fifo", "link"}), ("yes", {"file"})])
def test_hide_special_files(serve: Serve, value: str, shown: set[str]) -> None:
    """Listings leave them out, and links to them."""
    engine = serve(f"hide special files = {value}\nfollow symlinks = yes")
    os.mkfifo(engine.files / "fifo")
    (engine.files / "link").symlink_to("fifo")
    (engine.files / "file").touch()
    one = client(engine)
    root = one.open("", 1, 1, options=FILE_DIRECTORY_FILE)
    data = one.call(
        Command.QUERY_DIRECTORY, requests.query_directory(root, FileNamesInformation, "*")
    ).data
    for name in ("file", "fifo", "link"):
        assert (name.encode("utf-16-le") in data) is (name in shown)


@pytest.mark.parametrize(
    ("above", "name", "options", "mode"),
    [
        (0o2771, "file", 0, 0o660),
        (0o2771, "dir", FILE_DIRECTORY_FILE, 0o2771),
        (0o4755, "dir", FILE_DIRECTORY_FILE, 0o755),
        (0o1775, "dir", FILE_DIRECTORY_FILE, 0o1775),
    ],
)
def test_inherit_permissions(serve: Serve, above: int, name: str, options: int, mode: int) -> None:
    """The folder's instead of the masks', and nobody's set-uid, as smb.conf(5) has it."""
    engine = serve("inherit permissions = yes\ncreate mask = 0600\nforce directory mode = 0007")
    (engine.files / "above").mkdir()
    (engine.files / "above").chmod(above)
    client(engine).open(f"above\\{name}", 0x10080, options=options)
    assert stat.S_IMODE((engine.files / "above" / name).stat().st_mode) == mode


@pytest.mark.parametrize("value", ["yes", "no"])
def test_nt_acl_support(serve: Serve, value: str) -> None:
    """Nothing is told of permissions and nothing is set, without an error, as with smbd."""
    engine = serve(f"nt acl support = {value}")
    (engine.files / "file").touch(0o600)
    one, supported = client(engine), value == "yes"
    file = one.open("file", READ_AND_CHANGE_PERMISSIONS, 1)
    ask = requests.query_info(file, 0, SMB2_0_INFO_SECURITY, additional=7)
    told = SecurityDescriptor.parse(memoryview(one.call(Command.QUERY_INFO, ask).data))
    assert [told.owner is not None, told.dacl is not None] == [supported] * 2
    everybody = Acl((Ace(ACCESS_ALLOWED_ACE_TYPE, 0, 0x1F01FF, EVERYONE),))
    new = SecurityDescriptor(dacl=everybody).pack()
    body = requests.set_info(file, 0, new, SMB2_0_INFO_SECURITY, 4)
    assert one.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    assert ((engine.files / "file").stat().st_mode & 0o777 == 0o600) is not supported
    ask = requests.query_info(file, FileFsAttributeInformation, SMB2_0_INFO_FILESYSTEM)
    flags = int.from_bytes(one.call(Command.QUERY_INFO, ask).data[:4], "little")
    assert bool(flags & FILE_PERSISTENT_ACLS) is supported
