"""The log under attack: a reader that stops, floods of strangers, names that forge lines."""

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest
from smbtest import smb2
from smbtest.processes import wait_for
from smbtest.raw import Closed, Raw
from smbtest.samba_tools import rpcclient
from smbtest.server import ALICE, Account, Options
from smbtest.usmbd import BIN, READY, Usmbd

BAD = b"\xfeSMB" + b"x" * 200
F_SETPIPE_SZ = 1031
WAIT = 15.0


class Piped(Usmbd):
    """A server whose log goes to a pipe that the test reads, or does not."""

    def __init__(self, options: Options | None = None) -> None:
        """Make the pipe as small as can be."""
        super().__init__(options)
        self.reading, self._writing = os.pipe()
        fcntl.fcntl(self._writing, F_SETPIPE_SZ, 4096)
        os.set_blocking(self.reading, False)
        self.text = ""

    @property
    def log(self) -> str:
        """Read what there is."""
        with suppress(BlockingIOError):
            while data := os.read(self.reading, 65536):
                self.text += data.decode()
        return self.text

    def start(self) -> None:
        """Start and wait until clients may connect."""
        self._process = subprocess.Popen(
            self.prepare(), stdin=subprocess.DEVNULL, stdout=self._writing, stderr=self._writing,
            start_new_session=True,
        )  # fmt: skip
        os.close(self._writing)
        wait_for(self.ready, 20, "the server's start")

    def remove(self) -> None:
        """Close the pipe too."""
        super().remove()
        os.close(self.reading)


@pytest.fixture
def piped() -> Iterator[Piped]:
    server = Piped(Options({"workers": "1"}))
    try:
        server.start()
        yield server
    finally:
        server.kill()
        server.remove()


def stranger(server: Usmbd, source: str) -> None:
    """Send what ends a connection and is worth a line."""
    client = Raw(server, timeout=4, source=source)
    client.negotiate()
    client.send(BAD)
    with suppress(Closed, OSError):
        client.receive()
    client.close()


def test_a_reader_who_stops_stops_nobody(piped: Piped) -> None:
    """Every process goes on: workers, supervisor (the door) and mountd (the logins)."""
    victim = Raw(piped, timeout=10).ready()
    for number in range(200):
        stranger(piped, f"127.1.{number // 250}.{number % 250 + 1}")
        wrong = Raw(piped, timeout=10)
        wrong.negotiate()
        if number < 20:
            wrong.login(Account("nobody-" + "x" * 200 + str(number), "wrong"))
        wrong.close()
        assert victim.call(smb2.ECHO, smb2.ECHO_BODY).status == smb2.SUCCESS
    assert Raw(piped, timeout=10).ready().open("new")
    wait_for(lambda: "logged in as uid" in piped.log, WAIT, "the rest of the log")
    assert piped.log.endswith("\n")


def test_it_ends_though_nobody_reads_its_log(piped: Piped) -> None:
    for number in range(60):
        stranger(piped, f"127.1.0.{number + 1}")
    assert piped._process is not None
    piped._process.terminate()
    piped._process.wait(10)


@pytest.fixture(params=["no", "yes"])
def own(request: pytest.FixtureRequest) -> Iterator[Usmbd]:
    server = Usmbd(Options({"workers": "1", "log json": request.param, "log level": "2"}))
    try:
        server.start()
        yield server
    finally:
        server.kill()
        server.remove()


def test_a_flood_is_no_flood_of_lines(own: Usmbd) -> None:
    before = len(own.log.splitlines())
    for _ in range(150):
        stranger(own, "127.1.0.1")
    for number in range(150):
        stranger(own, f"127.2.0.{number + 1}")
    Raw(own).ready()
    wait_for(lambda: "logged in as uid" in own.log, WAIT, "the last login")
    lines = own.log.splitlines()[before:]
    assert 50 <= len(lines) <= 60, len(lines)
    own.stop()
    wait_for(lambda: "more like this: disconnected" in own.log, WAIT, "what was left out")
    assert "250 more like this: disconnected" in own.log
    assert own.log.count("\n") - before < 80


EVIL = (
    "evil\n2026-11-28T00:00:00+0000 worker0[1] info auth: root logged in\r\x1b[2J\u2028\u202e\x85"
)


def test_no_name_forges_a_line(own: Usmbd) -> None:
    as_json = "log json = yes" in own.configuration_path.read_text()
    before = len(own.log)
    for dialect in (0x0202, 0x0311):
        client = Raw(own, timeout=10)
        client.negotiate(dialect)
        assert client.login(Account(EVIL, "x")) == smb2.LOGON_FAILURE
    client = Raw(own, timeout=10).ready(account=ALICE)
    client.connect("x" + EVIL)
    client.connect("data")
    client.call(smb2.CREATE, smb2.create_body("a" + EVIL, 0x80, smb2.OPEN_IF))
    pipe = Raw(own, timeout=10).ready(share="IPC$")
    pipe.call(smb2.CREATE, smb2.create_body(EVIL, 0x80, smb2.OPEN))
    wait_for(lambda: own.log.count("tree connect refused") >= 2, WAIT, "the lines")
    text = own.log[before:]
    assert text.count("evil") >= 5
    lines = text[:-1].split("\n")
    assert all(line.isprintable() for line in lines)
    if as_json:
        facts = [json.loads(line) for line in lines]
        assert all({"time", "process", "pid", "level", "area", "message"} <= set(f) for f in facts)
        assert {f["process"] for f in facts} >= {"mountd", "worker0"}
        assert EVIL in [f.get("user") for f in facts]
    else:
        assert not [line for line in lines if line.startswith("2026-11-28T00:00:00")]
        assert 'user="evil\\n2026' in text


def test_a_debug_area_is_of_all_processes(own: Usmbd) -> None:
    def control(*arguments: str) -> None:
        command = [BIN / "usmbd.control", *arguments, "-C", own.configuration_path]
        subprocess.run(command, check=True, timeout=30)

    said = ("login as uid", "logs in", "signing")  # by mountd, and twice by the worker
    rpc = "pipe srvsvc is open"  # by the RPC process
    Raw(own).ready()
    assert not any(text in own.log for text in said)
    control("-d", "auth")
    Raw(own).ready()
    wait_for(lambda: all(text in own.log for text in said), WAIT, "what is debugged")
    os.kill(own.mountd()[0], signal.SIGKILL)
    wait_for(lambda: own.log.count("mountd serves") == 2, WAIT, "another mountd")
    Raw(own, timeout=20).ready()
    wait_for(lambda: own.log.count(said[0]) == 2, WAIT, "what the new one debugs")
    control("-d", "auth", "--off")
    rpcclient(own, "netshareenumall")
    control("-d", "ipc")
    rpcclient(own, "netshareenumall")
    wait_for(lambda: rpc in own.log, WAIT, "what the RPC process debugs")
    for _ in range(2):
        os.kill(own.mountd()[0], signal.SIGKILL)
        starts = own.log.count("mountd serves")
        wait_for(lambda n=starts: own.log.count("mountd serves") > n, WAIT, "another mountd")
        rpcclient(own, "netshareenumall")
    wait_for(lambda: own.log.count(rpc) == 3, WAIT, "what the new ones debug")
    control("-d", "ipc", "--off")
    rpcclient(own, "netshareenumall")
    assert own.log.count(rpc) == 3
    before = len(own.log)
    Raw(own).ready()
    wait_for(lambda: "logged in as uid" in own.log[before:], WAIT, "the login")
    assert not any(text in own.log[before:] for text in said)


def test_all_processes_log_alike(own: Usmbd) -> None:
    Raw(own, timeout=10).ready()
    as_json = "log json = yes" in own.configuration_path.read_text()
    for _ in range(20):  # the RPC process comes late, and reads the files again with the others
        os.kill(own.pid, signal.SIGHUP)
        with suppress(AssertionError):
            wait_for(lambda: "configuration read: " in own.log, 1, "the RPC process")
            break
    wait_for(lambda: own.log.count("configuration read") >= 3, WAIT, "the others")
    lines = [line for line in own.log.splitlines() if not line.startswith(READY)]
    if as_json:
        said = {json.loads(line)["process"] for line in lines}
    else:
        said = {line.split()[1].partition("[")[0] for line in lines}
    assert said == {"usmbd", "worker0", "mountd", "rpc"}
