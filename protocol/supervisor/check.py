"""The configuration, as mountd's check of the files understands it."""

import asyncio
import tempfile
from typing import Final

import msgspec

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.supervisor.processes import Processes

CHECK_SECONDS: Final = 60
"""Until a check that does not end is given up: a file or an account may be on a network's disk."""


class CheckError(Exception):
    """The files cannot be used; the text says why, unless mountd has said it."""

    def __init__(self, reason: str, status: int = 1) -> None:
        """Keep the reason and the exit status of a program that cannot start for it."""
        super().__init__(reason)
        self.status = status


NO_END = "the check of the configuration does not end"


def check(processes: Processes, files: list[str]) -> ServerConfig:
    """Check the files before there is an event loop; mountd's errors go to standard error.

    Its warnings do not: the log has them as soon as mountd serves.
    """
    with tempfile.TemporaryFile() as output:
        try:
            status = processes.run("check", ["--check", "--quiet", *files], output, CHECK_SECONDS)
        except TimeoutError:
            raise CheckError(NO_END) from None
        if status:
            raise CheckError("", status)
        output.seek(0)
        return msgspec.json.decode(output.read(), type=ServerConfig)


async def check_again(processes: Processes, files: list[str]) -> ServerConfig:
    """Check the files while serving; mountd's complaints are in the CheckError."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        try:
            process = await processes.start(
                "check",
                ["--check", "--quiet", *files],
                streams=[output.fileno(), complaints.fileno()],
            )
        except OSError as error:
            raise CheckError(f"it cannot be checked: {error.strerror or error}") from error
        try:
            status = await asyncio.wait_for(process.wait(), CHECK_SECONDS)
        except TimeoutError:
            process.kill()
            raise CheckError(NO_END) from None
        output.seek(0)
        complaints.seek(0)
        if status:
            said = complaints.read().decode(errors="replace").strip()
            raise CheckError(said or f"its check ended with status {status}")
        return msgspec.json.decode(output.read(), type=ServerConfig)
