"""The configuration, as mountd's check of the files understands it."""

import asyncio
import contextlib
import os
import socket
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from usmbd.mountd.ipc.codec import RECEIVE_SIZE, CodecError, mountd_client
from usmbd.mountd.ipc.messages import (
    MAX_WARNINGS,
    MOUNTD_SOCKET,
    Failed,
    ReloadRequest,
    ReloadResponse,
)
from usmbd.mountd.ipc.probe import BEAT
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.supervisor.processes import Processes

CHECK_SECONDS: Final = 60
"""Until a check that does not end is given up: a file or an account may be on a network's disk."""


MORE: Final = "warning: there are more: usmbd.control --check"


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
    with open(os.memfd_create("configuration"), "w+b") as output:
        try:
            status = processes.run("check", ["--check", "--quiet", *files], output, CHECK_SECONDS)
        except TimeoutError:
            raise CheckError(NO_END) from None
        except OSError as error:
            raise CheckError(f"it cannot be checked: {error.strerror or error}") from error
        if status:
            raise CheckError("", status)
        output.seek(0)
        return msgspec.json.decode(output.read(), type=ServerConfig)


class Checked(NamedTuple):
    """Files that can be used."""

    config: ServerConfig
    warnings: str = ""
    """A line each; the log has them as well, of mountd."""


async def check_again(processes: Processes, files: list[str]) -> Checked:
    """Check the files while serving; mountd's complaints are in the CheckError."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        try:
            process = await processes.start(
                "check",
                ["--check", *files],
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
        said = complaints.read().decode(errors="replace").strip()
        if status:
            raise CheckError(said or f"its check ended with status {status}")
        return Checked(msgspec.json.decode(output.read(), type=ServerConfig), _warnings(said))


def _warnings(said: str) -> str:
    """Return the lines that are warnings, as many as a message has room for."""
    found = ""
    for line in said.split("\n"):
        if line.startswith("warning: "):
            if len(found) + len(line) >= MAX_WARNINGS - len(MORE):
                return found + MORE
            found += line + "\n"
    return found.rstrip("\n")


async def read_again(processes: Processes, files: list[str], state: Path) -> Checked:
    """Have mountd use the files, and check them beside it; CheckError when either refuses.

    mountd knows more than the check: what it had before, what the registry says.
    """
    refusal = asyncio.create_task(mountd_refuses(state))
    try:
        fresh = await check_again(processes, files)
        if refused := await refusal:
            raise CheckError(refused)
        return fresh
    finally:
        refusal.cancel()  # of a question that is asked already nothing but the answer


async def mountd_refuses(state: Path) -> str:
    """Have mountd read the files again; return why it does not use them, "" where it does."""
    codec = mountd_client()
    loop = asyncio.get_running_loop()

    async def ask(sock: socket.socket) -> str | None:
        sock.connect(str(state / MOUNTD_SOCKET))
        await loop.sock_sendall(sock, codec.encode(1, ReloadRequest()))
        while data := await loop.sock_recv(sock, RECEIVE_SIZE):
            _, answer = codec.decode(data)
            if isinstance(answer, ReloadResponse):
                return answer.refused
            if isinstance(answer, Failed):
                return answer.reason
        return None

    end = loop.time() + CHECK_SECONDS
    while (left := end - loop.time()) > 0:
        with (
            contextlib.suppress(OSError, CodecError),  # it is being started again
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as sock,
        ):
            if (said := await asyncio.wait_for(ask(sock), left)) is not None:
                return said
        await asyncio.sleep(BEAT)
    return "mountd does not say whether it uses the files"
