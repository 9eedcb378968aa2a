"""Processes that are stopped, and a file system: who notices, who waits, what comes instead."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbtest import smb2
from smbtest.peer import only_usmbd
from smbtest.processes import alive, wait_for
from smbtest.raw import Closed, Raw
from smbtest.server import BOB, Options
from smbtest.usmbd import BIN, WORKERS, Usmbd

SECONDS = 60
TIMEOUT = 3
LOGOFF = 2


@pytest.fixture
def server() -> Iterator[Usmbd]:
    """Run a server of this test's own, whose processes are to be harmed."""
    only_usmbd("they are usmbd's processes")
    made = Usmbd(Options({"worker timeout": str(TIMEOUT)}))
    with made.running():
        yield made


def listed(server: Usmbd) -> str:
    """Return what `usmbd.control --list` shows of the workers, whatever they do."""
    command = [BIN / "usmbd.control", "-C", server.configuration_path, "--list"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    return done.stdout


def test_a_stopped_worker_is_noticed_avoided_and_replaced(server: Usmbd) -> None:
    stopped, other = server.workers()
    old = Raw(server, timeout=SECONDS).ready()
    while server.process_of(old.port) != stopped:
        old.close()
        old = Raw(server, timeout=SECONDS).ready()
    assert "hangs_in" in listed(server)
    os.kill(stopped, signal.SIGSTOP)
    wait_for(lambda: "does not answer" in server.log, SECONDS, "a line about it")
    assert "it is stopped by a signal" in listed(server)
    for _ in range(6):
        client = Raw(server, timeout=SECONDS).ready()
        assert server.process_of(client.port) != stopped  # on a busy machine there is a new one
        client.close()
    wait_for(lambda: not alive(stopped), SECONDS, "its end")
    wait_for(lambda: len(server.workers()) == WORKERS, SECONDS, "another one")
    assert other in server.workers()
    assert old.closed()
    fresh = next(pid for pid in server.workers() if pid != other)
    clients: list[Raw] = []  # they stay: the next comes to who has fewer

    def served() -> bool:
        try:
            clients.append(Raw(server, timeout=SECONDS).ready())
        except (Closed, ConnectionError):
            return False
        return server.process_of(clients[-1].port) == fresh

    wait_for(served, SECONDS, "a client of the new one")


def test_a_worker_that_goes_on_in_time_keeps_its_clients(server: Usmbd) -> None:
    client = Raw(server, timeout=SECONDS).ready()
    file_id = client.open("kept")
    pid = server.process_of(client.port)
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: "does not answer" in server.log, SECONDS, "a line about it")
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: "answers again" in server.log, SECONDS, "a line about it")
    assert client.call(smb2.WRITE, smb2.write_body(file_id, b"on")).status == smb2.SUCCESS
    assert "stopped by a signal" not in listed(server)


def test_a_stopped_supervisor_blames_nobody(server: Usmbd) -> None:
    client = Raw(server, timeout=SECONDS).ready()
    os.kill(server.pid, signal.SIGSTOP)
    threading.Event().wait(TIMEOUT + 1)
    os.kill(server.pid, signal.SIGCONT)
    Raw(server, timeout=SECONDS).ready().close()
    assert client.call(smb2.ECHO, smb2.ECHO_BODY).status == smb2.SUCCESS
    assert "is ended" not in server.log


def test_a_stopped_mountd_is_replaced_and_the_login_succeeds(server: Usmbd) -> None:
    """The worker asks the new one again; nobody has to try a second time."""
    mountd = next(
        pid for pid in server.mountd()
        if b"rpc" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    )  # fmt: skip
    os.kill(mountd, signal.SIGSTOP)
    Raw(server, timeout=SECONDS).ready().close()
    assert not alive(mountd)
    assert "mountd has not answered and is ended: it is stopped by a signal" in server.log


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of its own that a test may freeze; it thaws."""
    image, place = tmp_path / "image", tmp_path / "mount"
    if os.geteuid() or not shutil.which("fsfreeze") or not shutil.which("mkfs.ext4"):
        pytest.skip("only root can freeze a file system")
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, place], check=False).returncode:
        pytest.skip("no loop device can be mounted here")
    place.chmod(0o777)
    yield place
    subprocess.run(["fsfreeze", "-u", place], check=False, stderr=subprocess.DEVNULL)
    wait_for(
        lambda: not subprocess.run(["umount", place], check=False).returncode, SECONDS, "umount"
    )


def test_a_stopped_door_is_replaced_and_a_killed_one_is(server: Usmbd) -> None:
    """Who is connected does not notice; who comes meanwhile waits."""
    old = Raw(server, timeout=SECONDS).ready()
    for number, reason in ((signal.SIGSTOP, "has not answered"), (signal.SIGKILL, "(-9)")):
        (door,) = server.door()
        os.kill(door, number)
        Raw(server, timeout=SECONDS).ready().close()
        assert server.door() not in ([], [door])
        assert reason in server.log
        assert old.call(smb2.ECHO, smb2.ECHO_BODY).status == smb2.SUCCESS
    old.close()


def test_a_share_that_hangs_holds_up_nobody_else(freezable: Path) -> None:
    """Its clients write, open, close and leave; those of others are served meanwhile."""
    share = {"path": str(freezable), "read only": "no"}
    server = Usmbd(Options({"worker timeout": str(TIMEOUT)}, {"hangs": share}))
    try:
        server.start()
        clients = [Raw(server, timeout=SECONDS).ready(share="hangs") for _ in range(6)]
        files = [client.open(f"file{number}") for number, client in enumerate(clients)]
        workers = server.workers()
        bystanders: dict[int, Raw] = {}
        while len(bystanders) < WORKERS:
            each = Raw(server, timeout=SECONDS).ready(account=BOB)
            bystanders[server.process_of(each.port)] = each
        subprocess.run(["fsfreeze", "-f", freezable], check=True)
        for client, file_id in zip(clients, files, strict=True):
            for _ in range(40):
                client.post(smb2.WRITE, smb2.write_body(file_id, b"x" * 100))
            client.post(smb2.CREATE, smb2.create_body("new", smb2.READ_WRITE, 3))
            client.post(smb2.CLOSE, smb2.close_body(file_id))
        clients[0].close()
        clients[1].post(LOGOFF, b"\x04\0\0\0")
        Raw(server, timeout=SECONDS).ready(account=BOB).close()
        for _ in range(100):
            for each in bystanders.values():
                assert each.call(smb2.ECHO, smb2.ECHO_BODY).status == smb2.SUCCESS
                file_id = each.open("bystander")
                assert each.call(smb2.CLOSE, smb2.close_body(file_id)).status == smb2.SUCCESS
        assert "does not answer" not in server.log
        subprocess.run(["fsfreeze", "-u", freezable], check=True)
        for client in clients[2:]:
            statuses = [client.reply().status for _ in range(42)]
            assert statuses == [smb2.SUCCESS] * 42
        assert server.workers() == workers
        server.stop()
    finally:
        subprocess.run(["fsfreeze", "-u", freezable], check=False, stderr=subprocess.DEVNULL)
        server.kill()
        server.remove()
