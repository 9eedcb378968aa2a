"""mountd as a process: its sockets, its manners with broken clients, its RPC child."""

import contextlib
import hashlib
import hmac
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbtest.processes import wait_for
from smbtest.slow_log import SlowLog, Terminator

from usmbd.mountd import lockfile
from usmbd.mountd.ipc.client import BlockingClient
from usmbd.mountd.ipc.codec import RECEIVE_SIZE, mountd_client
from usmbd.mountd.ipc.messages import (
    AnonymousRequest,
    LoginRequest,
    LoginResponse,
    LoginStatus,
    MountdResponse,
    ServerConfigRequest,
    ServerConfigResponse,
)
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.ntlm import nt_owf_v2
from usmbd.mountd.users import edit_users

START = 20.0


def login(user: str, password: str) -> LoginRequest:
    challenge, blob = b"12345678", b"\x01\x01" + b"\0" * 30
    key = nt_owf_v2(nt_hash(password), user, "D")
    proof = hmac.digest(key, challenge + blob, hashlib.md5)
    return LoginRequest(user, "D", "PC", challenge, proof + blob, "192.0.2.1")


def is_alive(pid: int) -> bool:
    """Return whether the process runs (one that is dead and not waited for does not)."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


class Mountd:
    """A running mountd in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        """Write the files and start it."""
        self.directory = directory
        self.state = directory / "state"
        self.config = directory / "usmbd.conf"
        self.config.write_text(f"[global]\nstate directory = {self.state}\nworkgroup = ONE\n")
        self.passwords = directory / "pwd.db"
        edit_users(self.passwords, lambda hashes: hashes.update(alice=nt_hash("secret")))
        self.log = directory / "log"
        self.process = self.start()

    def command(self, *options: str) -> list[str]:
        """Return the command line with the files of this directory."""
        files = ["-C", str(self.config), "-P", str(self.passwords)]
        return [sys.executable, "-m", "usmbd.mountd.cli.mountd", *files, *options]

    def start(self, *, verbose: bool = True, log: int | None = None) -> subprocess.Popen[bytes]:
        """Start it and wait until it is ready; its log is `log`, or the file."""
        read_end, write_end = os.pipe()
        try:
            with self.log.open("ab") as file:
                options = ["-v"] if verbose else []
                command = self.command("-n", *options, "--ready-fd", str(write_end))
                process = subprocess.Popen(command, pass_fds=(write_end,), stderr=log or file)
            os.close(write_end)
            assert os.read(read_end, 16) == b"ready\n", self.log.read_text()
        finally:
            os.close(read_end)
        return process

    def client(self) -> BlockingClient[MountdResponse]:
        """Connect as a worker does."""
        return BlockingClient(self.state / "mountd.sock", mountd_client())

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until the log holds the text so many times."""
        end = time.monotonic() + START
        while self.log.read_text().count(text) < count:
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def rpc_pid(self) -> int:
        """Return the RPC process' id; mountd serves logins before it has started that process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        end = time.monotonic() + START
        while not (pids := children.read_text().split()):
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)
        return int(pids[0])

    def stop(self) -> int:
        """End it; return its exit code."""
        self.process.terminate()
        return self.process.wait(START)


@pytest.fixture
def mountd(tmp_path: Path) -> Iterator[Mountd]:
    running = Mountd(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


def test_it_serves_ends_and_leaves_no_child(mountd: Mountd) -> None:
    answer = mountd.client().request(login("alice", "secret"))
    assert isinstance(answer, LoginResponse)
    assert answer.status is LoginStatus.OK
    for name in ("mountd.sock", "rpc.sock", "mountd.lock"):
        assert (mountd.state / name).stat().st_mode & 0o777 == 0o600
    assert lockfile.running(mountd.state) == mountd.process.pid
    child = mountd.rpc_pid()
    assert mountd.stop() == 0
    assert not Path(f"/proc/{child}").exists()
    assert lockfile.running(mountd.state) is None


def test_broken_clients_hurt_only_themselves(mountd: Mountd) -> None:
    good = mountd.client()
    good.request(ServerConfigRequest())
    descriptors = len(os.listdir(f"/proc/{mountd.process.pid}/fd"))
    for data in (b"x", b"\xff" * 1000, b"\x91" * 100_000, b"y" * 150_000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bad:
            bad.settimeout(START)
            bad.connect(str(mountd.state / "mountd.sock"))
            bad.send(data)
            assert bad.recv(100) == b""
    # One that asks and never reads: it is closed, and the others are served meanwhile.
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as deaf:
        deaf.connect(str(mountd.state / "mountd.sock"))
        deaf.settimeout(1.0)
        request = mountd_client().encode(1, ServerConfigRequest())
        with contextlib.suppress(OSError):
            for _ in range(20_000):
                deaf.send(request)
        assert isinstance(good.request(ServerConfigRequest()), ServerConfigResponse)
    mountd.wait_for("it does not read its answers")
    assert isinstance(good.request(AnonymousRequest("192.0.2.1")), LoginResponse)
    assert len(os.listdir(f"/proc/{mountd.process.pid}/fd")) == descriptors


def test_a_delayed_answer_holds_up_nobody(mountd: Mountd) -> None:
    client, other = mountd.client(), mountd.client()
    for _ in range(3):
        client.request(login("alice", "wrong"))
    start = time.monotonic()
    client.send(login("alice", "wrong"))
    other.request(login("bob", "x"))
    quick = time.monotonic() - start
    answer = client.request(AnonymousRequest(""))
    assert isinstance(answer, LoginResponse)
    assert quick < 0.2


def test_a_login_that_waits_is_answered_by_the_files_as_they_are_then(mountd: Mountd) -> None:
    client = mountd.client()
    for _ in range(3):
        client.request(login("alice", "wrong"))
    edit_users(mountd.passwords, lambda hashes: hashes.update(bob=hashes.pop("alice")))
    client.send(login("alice", "secret"))  # right, and its answer waits
    assert lockfile.tell_to_reload(mountd.state)
    codec = mountd_client()
    answers = [codec.decode(client._socket.recv(RECEIVE_SIZE))[1] for _ in range(2)]
    (answer,) = [a for a in answers if isinstance(a, LoginResponse)]
    assert answer.status is LoginStatus.BAD_USER


def test_reload(mountd: Mountd) -> None:
    client = mountd.client()
    mountd.config.write_text("[global]\nworkers = some\n")
    mountd.process.send_signal(signal.SIGHUP)
    mountd.wait_for("the new configuration is not used")
    answer = client.request(ServerConfigRequest())
    assert isinstance(answer, ServerConfigResponse)
    assert answer.config.workgroup == "ONE"
    mountd.config.write_text(f"[global]\nstate directory = {mountd.state}\nworkgroup = TWO\n")
    assert lockfile.tell_to_reload(mountd.state)
    mountd.wait_for("configuration read, generation 2")
    answer = client.request(ServerConfigRequest())
    assert isinstance(answer, ServerConfigResponse)
    assert (answer.config.workgroup, answer.generation) == ("TWO", 2)


def test_a_user_who_is_removed_by_whatever_way_is_out(mountd: Mountd) -> None:
    """Another program has written the password file, and nobody told mountd."""
    client = mountd.client()
    before = mountd.passwords.read_text()
    mountd.passwords.write_text("no line of a password file\n")
    mountd.wait_for("the new configuration is not used")
    assert "generation 2" not in mountd.log.read_text()
    answer = client.request(login("alice", "secret"))
    assert isinstance(answer, LoginResponse)
    assert answer.status is LoginStatus.OK
    mountd.passwords.write_text(before.replace("alice", "bob"))
    mountd.wait_for("configuration read, generation 2")
    answers = [client.request(login("alice", "secret")) for _ in range(2)]  # the first: it is new
    (last,) = [each for each in answers if isinstance(each, LoginResponse)][-1:]
    assert last.status is LoginStatus.BAD_USER


def test_a_killed_rpc_process_is_replaced_and_dies_with_mountd(mountd: Mountd) -> None:
    os.kill(mountd.rpc_pid(), signal.SIGKILL)
    mountd.wait_for("the RPC process started", 2)
    child = mountd.rpc_pid()
    mountd.process.kill()
    end = time.monotonic() + START
    while is_alive(child):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_second_signal_to_end_cuts_off_no_log(mountd: Mountd) -> None:
    """Signals come from the supervisor and from the service manager, while the log is written."""
    assert mountd.stop() == 0
    log = SlowLog()
    process = mountd.process = mountd.start(log=log.writing)
    mountd.rpc_pid()
    signals = Terminator(process)
    wait_for(lambda: lockfile.running(mountd.state) is None, START, "mountd has ended its work")
    time.sleep(0.3)  # signals come now
    text = log.read_to_end()
    assert signals.wait(START) == 0, text
    assert "mountd ends" in text.splitlines()[-1]


def test_only_one_for_a_directory_and_a_killed_one_is_no_hindrance(mountd: Mountd) -> None:
    second = subprocess.run(mountd.command("-n"), capture_output=True, text=True, timeout=START)
    assert second.returncode == 1
    # Before it come the notes on the configuration.
    assert second.stderr.splitlines()[-1] == f"another mountd serves {mountd.state}"
    mountd.process.kill()
    mountd.process.wait()
    mountd.process = mountd.start()
    assert isinstance(mountd.client().request(ServerConfigRequest()), ServerConfigResponse)


def test_a_directory_of_another_is_not_trusted(mountd: Mountd) -> None:
    mountd.stop()
    mountd.state.chmod(0o777)
    second = subprocess.run(mountd.command("-n"), capture_output=True, text=True, timeout=START)
    assert second.returncode == 1
    assert "others can write in it: chmod go-w" in second.stderr


def test_detached(mountd: Mountd) -> None:
    mountd.stop()
    with mountd.log.open("ab") as log:
        assert subprocess.run(mountd.command(), stderr=log, timeout=START).returncode == 0
    pid = lockfile.running(mountd.state)
    assert pid is not None
    assert isinstance(mountd.client().request(ServerConfigRequest()), ServerConfigResponse)
    os.kill(pid, signal.SIGTERM)
    mountd.wait_for("mountd ends", 2)


def test_the_log_is_as_the_files_say(mountd: Mountd) -> None:
    def refused() -> str:
        """Have a login refused that the level tells of or not; return what the log says then."""
        before = len(mountd.log.read_text())
        mountd.client().request(login("carol", "x"))
        said = ""
        for _ in range(100 if tells else 5):  # a thread writes the log
            if "login failed" in (said := mountd.log.read_text()[before:]):
                break
            time.sleep(0.1)
        return said

    for lines, tells, as_json in (
        ("log level = 1", False, False),
        ("log level = 2", True, False),
        ("log level = 2\nlog json = yes", True, True),
    ):
        mountd.stop()
        mountd.config.write_text(f"[global]\nstate directory = {mountd.state}\n{lines}\n")
        mountd.process = mountd.start(verbose=False)
        said = refused()
        assert ("login failed" in said) is tells
        assert said.startswith("{") is as_json
