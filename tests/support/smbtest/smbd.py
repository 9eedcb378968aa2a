"""Samba's smbd in the place of usmbd, private to a folder: it shows whether the tests are right."""

import os
import shlex
import signal
import socket
import subprocess
from contextlib import suppress

from smbtest import processes
from smbtest.server import ALICE, BOB, HOST, Account, Server

RUN = shlex.split(os.environ.get("SMBD", ""))
"""What runs the programs of another release's Samba."""


class Smbd(Server):
    """The peer. Needs root: smbd changes its user."""

    kind = "smbd"
    administrator = Account("root", BOB.password)
    """`admin users` are those of files; of DCE/RPC it is root alone without a domain."""

    def prepare(self) -> list[str]:
        """Write smb.conf and the password database."""
        if os.geteuid() != 0:
            raise RuntimeError("smbd needs root")
        folders = {}
        for name in ("private", "pid", "lock", "state", "cache", "ncalrpc", "binddns"):
            path = self.state / name
            path.mkdir(exist_ok=True, mode=0o755)
            suffix = "" if name == "ncalrpc" else "directory"
            folders[f"{name} {'dir' if name in ('private', 'ncalrpc', 'binddns') else suffix}"] = (
                str(path)
            )
        (self.state / "private").chmod(0o700)
        # smbd looks its brothers' locks up as the user: else it takes their opens for stale
        self.state.chmod(0o755)
        parameters = (
            self.parameters()
            | folders
            | {
                "smb ports": str(self.port),
                "disable netbios": "yes",
                "server role": "standalone server",
                "passdb backend": "tdbsam",
                "usershare path": "",
                "logging": "file",
                "log file": f"{self.folder}/samba.log",
                "load printers": "no",
                "printcap name": "/dev/null",
                "map archive": "yes",
                "map system": "no",
                "map hidden": "no",
                "map readonly": "no",
                "ea support": "yes",
                "kernel oplocks": "no",
                "posix locking": "no",
                "server multi channel support": "yes",
            }
            | ({"persistent handles": "yes", "kernel share modes": "no"} if RUN else {})
        )
        path = self.folder / "smb.conf"
        path.write_text(self.configuration(parameters))
        for account in (ALICE, BOB, self.administrator):
            subprocess.run(
                [*RUN, "/usr/bin/smbpasswd", "-c", path, "-s", "-a", account.name],
                input=f"{account.password}\n{account.password}\n",
                text=True,
                check=True,
                capture_output=True,
                timeout=30,
            )
        return [
            *RUN,
            "/usr/sbin/smbd",
            "-F",
            "--no-process-group",
            "-s",
            str(path),
            "-l",
            str(self.folder),
        ]

    def ready(self) -> bool:
        """Say whether the port is open."""
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def kill(self) -> None:
        """End it and its helpers for DCE/RPC, which have sessions of their own and stay."""
        super().kill()
        for pid in processes.with_argument(str(self.folder / "smb.conf")):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
