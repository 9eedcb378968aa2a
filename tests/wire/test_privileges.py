"""What the server's processes run with, as /proc shows it while a client works."""

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from smbtest import smb2
from smbtest.peer import only_usmbd
from smbtest.processes import wait_for
from smbtest.raw import Raw
from smbtest.server import ALICE
from smbtest.usmbd import WORKERS, Usmbd

from usmbd.mountd.confine import profiles
from usmbd.mountd.confine.profiles import Profile
from usmbd.mountd.md4 import nt_hash

SECONDS = 20
KEEPER, RPC_CHILD = "usmbd.protocol.keeper", "usmbd.mountd.rpc_child"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")


@pytest.fixture(scope="module")
def server() -> Iterator[Usmbd]:
    """Run a server of this module's own."""
    only_usmbd("it is about usmbd's processes")
    made = Usmbd()
    made.shares["acls"] = made.shares["data"] | {"vfs objects": "acl_xattr streams_xattr"}
    with made.running():
        yield made


def status(pid: int) -> dict[str, list[str]]:
    """Return the fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def mask(profile: Profile) -> int:
    """Return the capabilities of a profile that this machine's root has at all."""
    own = int(status(os.getpid())["CapBnd"][0], 16)
    return sum(1 << each for each in profile.capabilities) & own


def test_each_process_has_what_it_needs(server: Usmbd) -> None:
    client = Raw(server).ready()
    client.open("file")
    (mountd,) = [pid for pid in server.mountd() if pid not in server.processes_named(RPC_CHILD)]
    processes = [
        (server.pid, profiles.SUPERVISOR),
        (mountd, profiles.MOUNTD),
        *((pid, profiles.WORKER) for pid in server.workers()),
        *((pid, profiles.KEEPER) for pid in server.processes_named(KEEPER)),
    ]
    processes += [(pid, profiles.DOOR) for pid in server.door()]
    processes += [(pid, profiles.RPC) for pid in server.rpc()]
    assert len(processes) == 5 + WORKERS
    for pid, profile in processes:
        if profile.own_user:

            def somebody_else(pid: int = pid) -> bool:
                return int(status(pid)["Uid"][0]) in profiles.UNUSED_IDS

            wait_for(somebody_else, SECONDS, "the end of its imports")
        found = status(pid)
        assert int(found["CapPrm"][0], 16) == int(found["CapBnd"][0], 16) == mask(profile)
        assert int(found["CapEff"][0], 16) & ~mask(profile) == 0
        assert int(found["CapInh"][0], 16) == int(found["CapAmb"][0], 16) == 0
        assert found["NoNewPrivs"] == ["1"]
        assert found["Seccomp"] == ["2"]
        limits = Path(f"/proc/{pid}/limits").read_text()
        (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core.split()[4:6] == ["0", "0"]
        # Others' threads too: rights belong to threads.
        for task in Path(f"/proc/{pid}/task").iterdir():
            text = (task / "status").read_text()
            assert "NoNewPrivs:\t1\nSeccomp:\t2" in text
    client.close()


def memory_of(pid: int) -> Iterator[bytes]:
    """Return the memory that a process can write, piece by piece."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            place, mode = line.split()[:2]
            if mode.startswith("rw"):
                start, end = (int(each, 16) for each in place.split("-"))
                with suppress(OSError):  # of a device, or gone meanwhile
                    memory.seek(start)
                    yield memory.read(end - start)


def test_mountd_alone_reads_the_password_file(server: Usmbd) -> None:
    """No other has it open, or a hash in its memory, also while users are logged in."""
    clients = [Raw(server).ready() for _ in range(2 * WORKERS)]
    hashed = nt_hash(ALICE.password)
    secrets = (hashed, base64.b64encode(hashed))
    assert secrets[1] in server.password_path.read_bytes()
    (mountd,) = [pid for pid in server.mountd() if pid not in server.processes_named(RPC_CHILD)]
    others = {server.pid, *server.workers(), *server.processes_named(KEEPER)}
    others |= {*server.door(), *server.rpc()} - {mountd}

    def knows(pid: int) -> bool:
        return any(secret in piece for piece in memory_of(pid) for secret in secrets)

    try:
        assert knows(mountd), "or the test finds nothing"
    except PermissionError:
        pytest.skip("not even root looks into processes here")
    assert mountd not in others
    assert len(others) == 4 + WORKERS
    assert [pid for pid in others if knows(pid)] == []
    held = [os.readlink(fd) for pid in others for fd in Path(f"/proc/{pid}/fd").iterdir()]
    assert str(server.password_path) not in held
    for client in clients:
        client.close()


class Handing(Usmbd):
    """A server on a host whose mounts are handed on, as systemd makes them."""

    def __init__(self, password_folder: str = "") -> None:
        """Have the password file in a folder that is the server's own, unless another is named."""
        super().__init__()
        self.password_folder = Path(password_folder or self.folder / "usmbd")

    @property
    def password_path(self) -> Path:
        """The server's password file."""
        return self.password_folder / "usmbdpwd.db"

    def prepare(self) -> list[str]:
        """Start it in mounts of its own that are."""
        self.password_folder.mkdir(exist_ok=True)
        return ["unshare", "--mount", "--propagation", "shared", "--", *super().prepare()]


def test_no_worker_sees_the_password_file_or_the_keys() -> None:
    """But it sees what is mounted over a share later."""
    only_usmbd("it is about usmbd's processes")
    own = Handing()
    with own.running():
        if "mounts of its own" in own.log or "hiding" in own.log:
            pytest.skip("no mounts of its own on this machine")
        secrets = (own.password_path, own.state / "secrets" / "credentials.key")
        for secret in secrets:
            assert secret.exists()
            assert Path(f"/proc/{own.mountd()[0]}/root{secret}").exists()
            for pid in own.workers():
                root = Path(f"/proc/{pid}/root")
                assert not Path(f"{root}{secret}").exists()
                assert Path(f"{root}{own.data}").is_dir()
        client = Raw(own).ready()
        client.open("below")
        client.close()
        host = ["nsenter", "-t", str(own.pid), "-m", "--"]
        subprocess.run([*host, "mount", "-t", "tmpfs", "none", str(own.data)], check=True)
        client = Raw(own).ready()
        body = smb2.create_body("below", disposition=1)  # FILE_OPEN
        assert client.call(smb2.CREATE, body).status == smb2.OBJECT_NAME_NOT_FOUND
        client.close()
        os.kill(own.workers()[0], 9)
        wait_for(lambda: len(own.workers()) == WORKERS, SECONDS, "another worker")
        for pid in own.workers():
            assert not Path(f"/proc/{pid}/root{secrets[0]}").exists()


def test_workers_serve_where_the_password_file_lies_among_what_they_need() -> None:
    """In the data directory, which is a share as well, whose path is a link."""
    only_usmbd("it is about usmbd's processes")
    own = Handing()
    own.password_folder = own.data
    link = own.folder / "link"
    link.symlink_to(own.data)
    own.shares["link"] = own.shares["data"] | {"path": str(link)}
    with own.running():
        for pid in own.workers():
            assert Path(f"/proc/{pid}/root{own.data}").samefile(own.data)
        for share in ("data", "link"):
            client = Raw(own).ready(share=share)
            client.open(f"by-{share}")
            client.close()
            assert (own.data / f"by-{share}").exists()
        note = f"at most {own.password_path} alone is hidden from workers, until it is replaced"
        assert note in own.log


def test_no_process_with_rights_reads_what_a_stranger_sends_first(server: Usmbd) -> None:
    """Who accepts has no rights; the supervisor has a client's socket for a moment alone."""
    (door,) = server.door()
    client = Raw(server)  # which says nothing
    assert server.process_of(client.port) == door
    client.negotiate()
    assert server.process_of(client.port) in server.workers()
    client.close()


def test_nt_acls_are_stored_without_the_right_to_it(server: Usmbd) -> None:
    client = Raw(server).ready(share="acls")

    def keeps_acl(name: str) -> bool:
        """Have what a new file shows stored with it."""
        file_id = client.open(name, access=0x1F01FF)
        dacl = client.call(smb2.QUERY_INFO, smb2.query_body(file_id, 3, 0, 4096, additional=4))
        body = smb2.set_body(file_id, 3, 0, dacl.body[8:], 4)  # what QUERY_INFO brought
        assert client.call(smb2.SET_INFO, body).status == smb2.SUCCESS
        return bool(os.getxattr(server.data / name, "security.NTACL"))

    assert keeps_acl("with-an-acl")
    (before,) = server.processes_named(KEEPER)
    os.kill(before, 9)
    wait_for(
        lambda: server.processes_named(KEEPER) not in ([], [before]), SECONDS, "another keeper"
    )
    assert keeps_acl("with-another-acl")
    assert client.call(smb2.ECHO, smb2.ECHO_BODY).status == smb2.SUCCESS
    client.close()
