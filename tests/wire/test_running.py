"""What changes under a running server: the files, the folder behind a share, the users."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smbtest import smb2
from smbtest.peer import only_usmbd
from smbtest.processes import wait_for
from smbtest.raw import Raw
from smbtest.server import ALICE, BOB, Options
from smbtest.usmbd import BIN, WORKERS, Usmbd

SECONDS = 20
FSCTL_QUERY_NETWORK_INTERFACE_INFO = 0x001401FC
NETWORK_NAME_DELETED, USER_SESSION_DELETED = 0xC00000C9, 0xC0000203


@pytest.fixture(scope="module")
def server() -> Iterator[Usmbd]:
    """Run a server of this module's own."""
    only_usmbd("it is usmbd's configuration that changes")
    made = Usmbd(Options({"log level": "2"}))
    with made.running():
        yield made


@pytest.fixture
def configure(server: Usmbd) -> Iterator[Callable[[str, str], None]]:
    """Change the configuration's text and have it read; afterwards it is as it was."""
    before = server.configuration_path.read_text()

    def read(text: str) -> None:
        # What the supervisor says, with a note or without, and mountd.
        readers = (r"(?m) configuration read(;|$)", r" configuration read, generation")
        counts = [len(re.findall(reader, server.log)) for reader in readers]
        server.configuration_path.write_text(text)
        os.kill(server.pid, signal.SIGHUP)

        def done() -> bool:
            return all(
                len(re.findall(reader, server.log)) > count
                for reader, count in zip(readers, counts, strict=True)
            )

        wait_for(done, SECONDS, "the new files")

    def change(old: str, new: str) -> None:
        assert old in before
        head, _, rest = before.partition(old)
        # A section says one thing: what the new lines say it does not say again.
        names = tuple(f"\t{name} =" for name in re.findall(r"(?m)^\t(.+?) =", new))
        body, next_section, tail = rest.partition("\n[")
        kept = [line for line in body.split("\n") if not names or not line.startswith(names)]
        read(head + new + "\n".join(kept) + next_section + tail)

    yield change
    read(before)


def adduser(server: Usmbd, *options: str) -> None:
    files = ["-C", server.configuration_path, "-P", server.password_path]
    subprocess.run([BIN / "usmbd.adduser", *files, *options], check=True, timeout=SECONDS)


def create(client: Raw, name: str = "file", access: int = smb2.READ_WRITE) -> int:
    """Open or create a file; return the status."""
    status: int = client.call(smb2.CREATE, smb2.create_body(name, access)).status
    return status


def becomes(client: Raw, status: int) -> None:
    """Wait until a CREATE gets this status."""
    wait_for(lambda: create(client) == status, SECONDS, hex(status))


# -- the configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "invalid users = games",
        "valid users = man",
        "hosts deny = ALL",
        "force user = nobody\n\tpath = /nowhere",
    ],
)
def test_a_tree_that_is_not_permitted_any_more(
    server: Usmbd, configure: Callable[[str, str], None], line: str
) -> None:
    with Raw(server).ready(account=ALICE) as client, Raw(server).ready(account=BOB) as other:
        assert create(client) == smb2.SUCCESS
        other.connect("hidden")
        configure("[data]\n", f"[data]\n\t{line}\n")
        becomes(client, NETWORK_NAME_DELETED)
        assert create(other) == smb2.SUCCESS


def test_a_share_that_is_read_only_now(
    server: Usmbd, configure: Callable[[str, str], None]
) -> None:
    with Raw(server).ready(account=ALICE) as client:
        file = client.open("file")
        configure("[data]\n", "[data]\n\tread only = yes\n\tread list = nobody\n")
        becomes(client, smb2.ACCESS_DENIED)
        assert client.call(smb2.WRITE, smb2.write_body(file, b"x")).status == smb2.ACCESS_DENIED
        configure("[data]\n", "[data]\n\tread only = yes\n\twrite list = games\n")
        becomes(client, smb2.SUCCESS)


def test_a_share_that_is_gone(server: Usmbd, configure: Callable[[str, str], None]) -> None:
    with Raw(server).ready(account=ALICE) as client:
        client.connect("readonly")
        configure("[readonly]\n", "[other]\n")
        becomes(client, NETWORK_NAME_DELETED)


def test_encryption_that_a_share_or_the_server_requires_now(
    server: Usmbd, configure: Callable[[str, str], None]
) -> None:
    with Raw(server).ready(account=ALICE) as client:
        configure("[data]\n", "[data]\n\tserver smb encrypt = required\n")
        becomes(client, NETWORK_NAME_DELETED)
    with Raw(server).ready(account=ALICE, share="hidden") as client:
        configure("[global]\n", "[global]\n\tsmb3 encryption = required\n")
        becomes(client, USER_SESSION_DELETED)


# -- the users ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "another password", "another without mountd"])
def test_a_user_who_may_not_log_in_like_this_any_more(server: Usmbd, how: str) -> None:
    with Raw(server).ready(account=ALICE, share="hidden") as client:
        other = Raw(server).ready(account=BOB, share="hidden")
        password = server.password_path.read_text()
        try:
            if how == "deleted":
                server.password_path.write_text(
                    "".join(x for x in password.splitlines(True) if not x.startswith(ALICE.name))
                )
                os.kill(server.pid, signal.SIGHUP)
            elif how == "another password":
                adduser(server, "-u", "-p", "another-Pass3", ALICE.name)
            else:
                copy = server.folder / "copy.db"
                shutil.copy(server.password_path, copy)
                adduser(server, "-P", str(copy), "-u", "-p", "another-Pass3", ALICE.name)
                assert create(client) == smb2.SUCCESS
                copy.replace(server.password_path)  # nobody is told
                os.kill(server.mountd()[0], signal.SIGKILL)
            becomes(client, USER_SESSION_DELETED)
            assert create(other) == smb2.SUCCESS
        finally:
            adduser(server, "-p", ALICE.password, ALICE.name)
            other.close()


# -- the addresses --------------------------------------------------------------------------------


def test_an_address_that_comes_after_the_start(server: Usmbd) -> None:
    """The server listens on what `lo` has: 127.0.0.1, until it has another address too."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root adds addresses, with ip(8)")
    address = "127.{}.{}.{}".format(*(1 + byte % 250 for byte in os.urandom(3)))

    def reached() -> bool:
        with socket.socket() as client:
            return client.connect_ex((address, server.port)) == 0

    def told() -> bool:
        with Raw(server).ready() as client:
            body = smb2.ioctl_body(b"\xff" * 16, FSCTL_QUERY_NETWORK_INTERFACE_INFO)
            return socket.inet_aton(address) in client.call(smb2.IOCTL, body).body

    assert not reached()
    add = ["ip", "address", "add", f"{address}/8", "dev", "lo"]
    if subprocess.run(add, capture_output=True, check=False).returncode:
        pytest.skip("no address can be added here")
    try:
        wait_for(reached, SECONDS, "the listener")
        wait_for(told, SECONDS, "its announcement")
    finally:
        subprocess.run([*add[:2], "del", *add[3:]], check=True)
    wait_for(lambda: not reached(), SECONDS, "the listener's end")
    assert not told()


# -- the folder behind a share --------------------------------------------------------------------


@pytest.fixture
def disk(server: Usmbd) -> Iterator[Path]:
    """Mount a file system over the folder of `readonly` while clients have been there."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    path = server.folder / "readonly"
    for _ in range(2 * WORKERS):
        Raw(server).ready(share="readonly").close()
    mount = ["mount", "-t", "tmpfs", "-o", "mode=777,size=1m", "usmbd-test", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    (path / "on-the-disk").touch()
    yield path
    subprocess.run(["umount", "-l", path], check=False, capture_output=True)


def test_new_connections_see_the_disk_in_every_worker(server: Usmbd, disk: Path) -> None:
    clients = [Raw(server).ready(share="readonly") for _ in range(4 * WORKERS)]
    try:
        assert len({server.process_of(client.port) for client in clients}) == WORKERS
        for client in clients:
            reply = client.call(smb2.CREATE, smb2.create_body("on-the-disk", 0x80, 1))
            assert reply.status == smb2.SUCCESS
    finally:
        for client in clients:
            client.close()


def test_the_disk_can_be_unmounted_when_its_clients_are_gone(server: Usmbd, disk: Path) -> None:
    def unmounted() -> bool:
        done = subprocess.run(["umount", disk], capture_output=True, check=False)
        return done.returncode == 0

    with Raw(server).ready(share="readonly") as client:
        client.call(smb2.CREATE, smb2.create_body("on-the-disk", 0x80, 1))
        assert not unmounted()
    wait_for(unmounted, SECONDS, "the end of its use")
