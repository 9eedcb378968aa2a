"""A server that the tests start for themselves: ports, folders, accounts, start and stop.

`Usmbd` is what is tested; `Smbd` (Samba's) takes its place with USMBD_TEST_PEER=smbd, to see
whether a test asks for what a server really does.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from smbtest import processes
from smbtest.forked import Process

REPOSITORY = Path(__file__).resolve().parents[3]
HOST = "127.0.0.1"
NETBIOS_NAME = "USMBDTEST"
WORKGROUP = "TESTGROUP"
START_SECONDS = 60
STOP_SECONDS = 20  # a drain may not take longer, on a busy machine


class Account(NamedTuple):
    """A user of the server; the name must be an account of the system."""

    name: str
    password: str


# Two unprivileged accounts that every Debian and Ubuntu has: no test adds users to a machine.
ALICE = Account("games", "secret-Pass1")
BOB = Account("man", "sécret-Pass2 ✓")


@dataclass
class Options:
    """Parameters beyond the common ones, in the spelling that both servers understand."""

    parameters: dict[str, str] = field(default_factory=dict)
    shares: dict[str, dict[str, str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def free_port() -> int:
    """Find a TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def keeps_xattrs(folder: Path) -> bool:
    """Say whether user attributes can be stored there (tmpfs has none before Linux 6.6)."""
    probe = folder / f".xattr-{os.getpid()}"
    try:
        probe.touch()
        os.setxattr(probe, "user.usmbd.test", b"1")
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


def reachable(folder: Path) -> bool:
    """Say whether users other than the owner may pass through all folders on the way."""
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder for a share in which everybody may write, for as long as the block."""
    folder = storage()
    try:
        (folder / "share").mkdir()
        (folder / "share").chmod(0o777)
        yield folder / "share"
    finally:
        shutil.rmtree(folder)


def storage() -> Path:
    """Make a folder for shares: extended attributes are kept there, all users can reach it.

    USMBD_TEST_FOLDER names another place, such as a file system that the tests are to run on.
    """
    candidates = [REPOSITORY / "run", Path("/var/tmp"), Path(tempfile.gettempdir())]
    if wanted := os.environ.get("USMBD_TEST_FOLDER"):
        candidates = [Path(wanted)]
    for candidate in candidates:
        with suppress(OSError):
            candidate.mkdir(exist_ok=True)
            if keeps_xattrs(candidate) and (os.geteuid() != 0 or reachable(candidate)):
                folder = Path(tempfile.mkdtemp(prefix="test-", dir=candidate))
                folder.chmod(0o755)
                return folder
    raise RuntimeError(
        f"no file system with extended attributes: {', '.join(map(str, candidates))}"
    )


class Server(ABC):
    """A running server with the shares of `default_shares` and the users ALICE and BOB."""

    kind: str
    administrator = BOB
    """Who may change the server by DCE/RPC, where a test has it so (`admin users`)."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.host = HOST
        self.port = free_port()
        self.folder = storage()
        # Unix sockets: their names may not be longer than 107 bytes
        self.state = Path(tempfile.mkdtemp(prefix="usmbd-"))
        self.log_path = self.folder / "log"
        self.data = self.folder / "data"
        self._process: Process | None = None
        for name in ("data", "readonly", "private"):
            (self.folder / name).mkdir()
            (self.folder / name).chmod(0o777)
        self.shares = self.default_shares() | self.options.shares

    def default_shares(self) -> dict[str, dict[str, str]]:
        """Return the shares that every test finds, by name."""
        writable = {
            "path": str(self.data),
            "read only": "no",
            "create mask": "0777",
            "directory mask": "0777",
            "store dos attributes": "yes",
            "vfs objects": "streams_xattr",
        }
        return {
            "data": writable | {"comment": "The tests' folder"},
            "encrypted": writable | {"server smb encrypt": "required"},
            "hidden": writable | {"browseable": "no"},
            "readonly": {"path": str(self.folder / "readonly"), "read only": "yes"},
            "private": writable | {"path": str(self.folder / "private"), "valid users": ALICE.name},
        }

    def parameters(self) -> dict[str, str]:
        """Return the [global] parameters that both servers understand."""
        return {
            "netbios name": NETBIOS_NAME,
            "workgroup": WORKGROUP,
            "server string": "A server under test",
            "server min protocol": "SMB2_02",
            "server max protocol": "SMB3_11",
            "interfaces": "lo",
            "bind interfaces only": "yes",
        }

    def configuration(self, parameters: dict[str, str]) -> str:
        """Return the configuration file's text."""
        sections = {"global": parameters | self.options.parameters} | self.shares
        return "\n".join(
            f"[{name}]\n" + "".join(f"\t{key} = {value}\n" for key, value in values.items())
            for name, values in sections.items()
        )

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def children(self) -> list[int]:
        """List the pids of all processes below the main one."""
        return processes.children(self.pid)

    def processes_named(self, text: str) -> list[int]:
        """List the pids of the children whose command line holds `text`."""
        return [pid for pid in self.children() if text in processes.command_line(pid)]

    def process_of(self, client_port: int) -> int:
        """Return the pid that serves the connection from `client_port`."""
        found: list[int] = []

        def settled() -> bool:
            pid = processes.holder([self.pid, *self.children()], self.port, client_port)
            found[:] = [] if pid is None else [pid]
            return pid is not None

        processes.wait_for(settled, START_SECONDS, f"a process that serves port {client_port}")
        return found[0]

    @abstractmethod
    def prepare(self) -> list[str]:
        """Write the configuration and the accounts; the command that starts the server."""

    @abstractmethod
    def ready(self) -> bool:
        """Say whether clients may connect."""

    def launch(self, command: list[str]) -> Process:
        """Start the command."""
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                env=os.environ | self.options.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start the server and wait until clients may connect."""
        self._process = self.launch(self.prepare())

        def up() -> bool:
            assert self._process is not None
            status = self._process.poll()
            if status is not None:
                raise AssertionError(f"the server ended with {status}:\n{self.log}")
            return self.ready()

        try:
            processes.wait_for(up, START_SECONDS, "the server's start")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log}") from None

    def stop(self) -> None:
        """End the server as an admin does; nothing may be left and nothing may have failed."""
        assert self._process is not None
        assert self._process.poll() is None, f"the server had ended on its own:\n{self.log}"
        family = self.children()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still there {STOP_SECONDS} s after SIGTERM:\n{self.log}"
            ) from None
        processes.wait_for(
            lambda: not any(map(processes.alive, family)), STOP_SECONDS, "the children's end"
        )
        self._process = None
        self.check_log()

    def check_log(self) -> None:
        """Check that no exception has come out of the server."""
        assert "Traceback" not in self.log, self.log

    def kill(self) -> None:
        """End everything at once, for the case that `stop` did not."""
        if self._process is not None:
            if self._process.poll() is None:  # else its number may be another's by now
                for pid in [*self.children(), self._process.pid]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Start it, hand it over, `stop` it; whatever happens, nothing of it is left."""
        try:
            self.start()
            yield self
            self.stop()
        finally:
            self.kill()
            self.remove()

    def remove(self) -> None:
        """Delete the server's folders."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()  # `run/`, once it is empty
