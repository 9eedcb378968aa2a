"""mountd in this thread, one that talks to it, and a stand-in for the RPC process."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from usmbd.mountd.config.load import load
from usmbd.mountd.daemon import Daemon
from usmbd.mountd.ipc.client import BlockingClient
from usmbd.mountd.ipc.codec import mountd_client
from usmbd.mountd.ipc.messages import (
    MOUNTD_SOCKET,
)
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import edit_users

SECONDS = 30.0


class Rpc:
    """What the daemon needs of the RPC process."""

    made: "Rpc"

    def __init__(
        self, listener: Any, begin: Callable[[], bytes], answer: Any, fork_server: Any
    ) -> None:
        """Begin with nothing told."""
        self.listener = listener
        self.begin = begin
        self.told: list[bytes] = []
        self.calls: list[str] = []
        Rpc.made = self

    def start(self) -> None:
        """Note it."""
        self.calls.append("start")

    def stop(self) -> None:
        """Note it."""
        self.calls.append("stop")

    def tell(self, frames: bytes) -> None:
        """Note it."""
        self.told.append(frames)


class Mountd:
    """A daemon in this thread, and one that talks to it."""

    def __init__(self, state: Path) -> None:
        """Write the files."""
        self.state = state / "run"
        self.file = state / "usmbd.conf"
        self.passwords = state / "users"
        self.configure("workgroup = TEAM")
        edit_users(self.passwords, lambda hashes: hashes.update(alice=nt_hash("secret")))
        self.daemon = Daemon(load(self.file), self.passwords)
        self.error: BaseException | None = None

    def configure(self, more: str) -> None:
        """Write the configuration."""
        text = f"[global]\nstate directory = {self.state}\n{more}\n[data]\npath = /srv\n"
        self.file.write_text(text)

    def serve(
        self, talk: Callable[[BlockingClient[Any]], object], end: int = signal.SIGTERM
    ) -> None:
        """Serve while `talk` asks, then end by a signal."""
        reader, writer = os.pipe()

        def other() -> None:
            try:
                assert os.read(reader, 10) == b"ready\n"
                client = BlockingClient(self.state / MOUNTD_SOCKET, mountd_client(), SECONDS)
                try:
                    talk(client)
                finally:
                    client.close()
            except BaseException as error:
                self.error = error
            finally:
                os.kill(os.getpid(), end)

        thread = threading.Thread(target=other)
        thread.start()
        try:
            self.daemon.run(writer)
        finally:
            thread.join()
            os.close(reader)
        if self.error is not None:
            raise self.error


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
