"""usmbd as the tests start it: two workers, a state directory of its own."""

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from smbtest.forked import Forked, Process
from smbtest.server import ALICE, BOB, Server

WORKERS = 2
READY = "usmbd: ready"
WORKER = "usmbd.protocol.worker"  # how the processes show in `ps`
MOUNTD = "usmbd.mountd.cli.mountd"
RPC = "usmbd.mountd.rpc_child"
DOOR = "usmbd.protocol.door"
BIN = Path(sys.executable).parent


@cache
def password_file() -> bytes:
    """Return the password file of the tests' accounts, as the tool writes it.

    Once for a run: a tool takes a fourth of what a server's start and end take.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "usmbdpwd.db")
        Path(folder, "usmbd.conf").touch()
        files = ["-P", path, "-C", Path(folder, "usmbd.conf")]
        for account in (ALICE, BOB):
            subprocess.run(
                [BIN / "usmbd.adduser", "-a", "-p", account.password, *files, account.name],
                check=True,
                capture_output=True,
                text=True,
                timeout=30,
            )
        return path.read_bytes()


class Usmbd(Server):
    """The server under test."""

    kind = "usmbd"
    executed = True
    """Whether a start executes the program, as measurements want it. pytest has servers forked but
    where that is asked for (tests/conftest.py), which takes half of the CPU: forked.py."""

    @property
    def configuration_path(self) -> Path:
        """The server's configuration file."""
        return self.folder / "usmbd.conf"

    @property
    def password_path(self) -> Path:
        """The server's password file."""
        return self.folder / "usmbdpwd.db"

    def prepare(self) -> list[str]:
        """Write the configuration and the password file."""
        parameters = self.parameters() | {
            "tcp port": str(self.port),
            "state directory": str(self.state),
            "workers": str(WORKERS),
            "max ip connections": "0",  # all of the tests come from one address
            "server multi channel support": "yes",
        }
        self.configuration_path.write_text(self.configuration(parameters))
        self.password_path.touch(0o600)
        self.password_path.write_bytes(password_file())
        return [
            str(BIN / "usmbd"),
            "-P",
            str(self.password_path),
            "-C",
            str(self.configuration_path),
        ]

    def launch(self, command: list[str]) -> Process:
        """Fork it where it is the program itself, in an environment like this one."""
        if self.executed or self.options.environment or command[0] != str(BIN / "usmbd"):
            return super().launch(command)
        return Forked(command, self.log_path)

    def ready(self) -> bool:
        """Say whether every listener and every worker is up."""
        return any(READY in line for line in self.log.splitlines())

    def workers(self) -> list[int]:
        """List the pids of the workers."""
        return self.processes_named(WORKER)

    def door(self) -> list[int]:
        """List the pids of the process that accepts clients: one, or none while it is replaced."""
        return self.processes_named(DOOR)

    def mountd(self) -> list[int]:
        """List the pids of mountd and, behind it, of the RPC process that it started."""
        return [*self.processes_named(MOUNTD), *self.rpc()]

    def rpc(self) -> list[int]:
        """List the pids of the RPC process: one, or none while it is replaced."""
        return self.processes_named(RPC)


class Restarted(Usmbd):
    """A server that can be started again as it is, with the log of all its lives."""

    def prepare(self) -> list[str]:
        """Write the files at the first start alone."""
        if not self.password_path.exists():
            self._command = super().prepare()
        return self._command

    def again(self) -> None:
        """Start the server as a service manager does; what an earlier life said is known."""
        self.log_path.rename(self.folder / f"log-{self.pid}")
        assert self._process is not None
        self._process.wait()
        self._process = None
        self.start()
