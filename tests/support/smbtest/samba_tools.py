"""smbclient and rpcclient, independent of the machine's own Samba configuration."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from smbtest.server import ALICE, HOST, WORKGROUP, Account

DIALECTS = ("SMB2_02", "SMB2_10", "SMB3_00", "SMB3_02", "SMB3_11")
PROTECTIONS = ("off", "sign", "encrypt")


class Endpoint(Protocol):
    """What a client connects to: a server, or a forwarder in front of it."""

    host: str
    port: int
    state: Path


def client_configuration(server: Endpoint) -> str:
    """Return the path of an smb.conf for Samba's clients, written at the first call."""
    path = server.state / "client.conf"
    if not path.exists():
        own = server.state / "client"
        own.mkdir()
        path.write_text(
            "[global]\n\tclient min protocol = SMB2_02\n"
            f"\tworkgroup = {WORKGROUP}\n\tnetbios name = TESTCLIENT\n"
            + "".join(
                f"\t{name} = {own}\n"
                for name in ("lock directory", "state directory", "cache directory", "private dir")
            )
        )
    return str(path)


def credentials(account: Account | None) -> list[str]:
    """Return the options that log in as an account; None: anonymous."""
    return ["-N", "-U", "%"] if account is None else ["-U", f"{account.name}%{account.password}"]


def smbclient_command(
    server: Endpoint,
    account: Account | None = ALICE,
    *,
    dialect: str | None = None,
    protection: str | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """Smbclient's command line up to the share; `dialect` is the only one that it then speaks."""
    command = ["smbclient", "-s", client_configuration(server), "-p", str(server.port)]
    command += credentials(account)
    if dialect:
        command += ["-m", dialect, f"--option=client min protocol={dialect}"]
    if protection:
        command += [f"--client-protection={protection}"]
    return command + [f"--option={option}" for option in options]


def smbclient(
    server: Endpoint,
    commands: Sequence[str],
    *,
    share: str = "data",
    account: Account | None = ALICE,
    dialect: str | None = None,
    protection: str | None = None,
    options: Sequence[str] = (),
    ok: bool = True,
    timeout: float = 60,
    stdout: BinaryIO | int = subprocess.PIPE,
) -> str:
    """Run smbclient's commands, one after the other, in one connection; what it said.

    `ok=False`: it must fail. An NT_STATUS in a command that "succeeded" counts as a failure.
    """
    command = smbclient_command(
        server, account, dialect=dialect, protection=protection, options=options
    )
    command += [f"//{server.host}/{share}", "-c", ";".join(commands)]
    run = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        env=os.environ | {"LC_ALL": "C.UTF-8", "HOME": str(server.state)},
        timeout=timeout,
        check=False,
    )
    said = (run.stdout or b"").decode(errors="replace")
    failed = run.returncode != 0 or "NT_STATUS_" in said
    assert failed != ok, f"{commands}: status {run.returncode}\n{said}"
    return said


def rpcclient(
    server: Endpoint, *commands: str, account: Account | None = ALICE, ok: bool | None = True
) -> str:
    """Run rpcclient's commands; what it said. `ok=False`: the last one must fail; None: it may."""
    run = subprocess.run(
        [
            *["rpcclient", "-s", client_configuration(server), "-p", str(server.port)],
            *credentials(account),
            *[HOST, "-c", ";".join(commands)],
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ok is None or (run.returncode == 0) == ok, run.stdout + run.stderr
    return run.stdout + run.stderr
