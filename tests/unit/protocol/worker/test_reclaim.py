"""Memory goes back: what is free to the kernel, what one keeps for nothing to the others."""

import pytest
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.state.memory import STALLED_SECONDS
from usmbd.protocol.worker.reclaim import TIDY_TICKS, Reclaim


class Memories:
    """An engine's housekeeping, and how often it gave memory back."""

    def __init__(self, engine: Engine) -> None:
        """Look after the engine."""
        self.trims = 0
        self.reclaim = Reclaim(engine.server, self._trim)

    def _trim(self) -> None:
        self.trims += 1

    def seconds(self, count: int) -> None:
        """Let time pass."""
        for _ in range(count):
            self.reclaim.tick()


@pytest.fixture
def memories(engine: Engine) -> Memories:
    return Memories(engine)


def test_free_memory_goes_back_when_clients_have_gone(engine: Engine, memories: Memories) -> None:
    client = Client(engine).ready()
    memories.seconds(2 * TIDY_TICKS)
    before = memories.trims
    memories.seconds(TIDY_TICKS)
    assert memories.trims == before
    client.disconnect()
    memories.seconds(TIDY_TICKS)
    assert memories.trims == before + 1


def test_who_stalls_while_others_wait_is_closed(
    engine: Engine, memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls, moves, idle = (Client(engine, by_memory=True).ready() for _ in range(3))
    progress: dict[object, int | None] = {
        stalls.connection.transport: 1, moves.connection.transport: 1
    }  # fmt: skip
    kind = type(stalls.connection.transport)
    monkeypatch.setattr(kind, "progress", property(progress.get))
    memories.seconds(int(STALLED_SECONDS) * 2)
    assert not stalls.lost, "nobody waits for the memory"
    waiter = idle.connection.memory
    waiter.keep(1 << 30)
    waiter.starve(lambda: None)
    for number in range(int(STALLED_SECONDS) + 1):
        progress[moves.connection.transport] = number
        memories.seconds(1)
    assert "others wait" in stalls.lost
    assert not moves.lost
    assert not idle.lost
