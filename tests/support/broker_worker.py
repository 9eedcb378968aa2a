"""A worker as the RDMA broker of the supervisor sees it."""

from types import SimpleNamespace
from typing import Any

from usmbd.protocol.worker import messages


class Worker:
    """A worker that remembers what it is told."""

    def __init__(self, number: int) -> None:
        """Have the library's device open."""
        self.number = number
        self.clients: dict[int, tuple[str, bytes]] = {}
        self.rdma = {"fake0": ""}
        self.told: list[Any] = []
        self.ready = SimpleNamespace(is_set=lambda: True)
        self.silent = False
        self.serves = True

    def send(self, message: Any) -> None:
        """Be told something."""
        messages.decode_to_worker(messages.encode(message))  # it can travel
        self.told.append(message)
