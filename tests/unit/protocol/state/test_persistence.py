"""When persistent opens are written: one batch after the other, what failed a little later."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from usmbd.protocol.state import persistence
from usmbd.protocol.state.durable import DurableOpens
from usmbd.protocol.state.persistence import AT_ONCE, LANE, RETRY_SECONDS, Persistence
from usmbd.protocol.state.store.base import Doomed, EndResult
from usmbd.protocol.state.store.records import OPEN_DIRECTORY, OPEN_DISCONNECTED, OPEN_DURABLE
from usmbd.protocol.wire.status import NtStatus, SmbError

FULL = SmbError(NtStatus.INSUFFICIENT_RESOURCES)


class World:
    """A store, threads and a clock that do as the test says."""

    def __init__(self) -> None:
        """Begin with a store that has room."""
        self.written: list[tuple[bytes, ...]] = []
        self.full: set[bytes] = set()
        self.submitted: list[tuple[Callable[..., Any], tuple[Any, ...], Callable[..., None]]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.persistence = Persistence(self, self, self)  # type: ignore[arg-type]
        self.persistence.prepare(True)

    def prepare_persistent(self) -> None:
        """Be ready."""

    def persist(self, *keys: bytes) -> None:
        """Write, or none of it where one has no room."""
        if self.full & set(keys):
            raise FULL
        self.written.append(keys)

    def submit(
        self, work: Callable[..., Any], arguments: tuple[Any, ...], identity: None,
        ended: Callable[..., None], lane: str,
    ) -> None:  # fmt: skip
        """Keep work for a thread."""
        assert lane == LANE
        self.submitted.append((work, arguments, ended))

    def call_later(self, seconds: float, run: Callable[[], None]) -> None:
        """Keep a timer."""
        self.timers.append((seconds, run))

    def work(self) -> None:
        """Let a thread do what is next."""
        work, arguments, ended = self.submitted.pop(0)
        ended(work(*arguments), None)

    @property
    def keys(self) -> list[set[bytes]]:
        """What was written, batch by batch."""
        return [set(keys) for keys in self.written]


@pytest.fixture
def world() -> World:
    return World()


def test_what_comes_meanwhile_is_one_batch(world: World) -> None:
    for key in (b"a", b"b", b"c", b"b"):
        world.persistence.later(key)
    assert len(world.submitted) == 1
    world.work()
    assert world.keys == [{b"a"}]
    assert len(world.submitted) == 1
    world.work()
    assert world.keys == [{b"a"}, {b"b", b"c"}]
    assert not world.submitted
    world.persistence.later(b"d")
    world.work()
    assert world.keys[2:] == [{b"d"}]


def test_so_many_in_one_write(world: World) -> None:
    world.persistence.later(b"first")
    for number in range(2 * AT_ONCE + 1):
        world.persistence.later(number.to_bytes(2, "big"))
    world.work()
    world.work()
    assert [len(keys) for keys in world.written] == [1, AT_ONCE, AT_ONCE, 1]


def test_what_has_no_room_is_tried_again(world: World) -> None:
    """And leaves those written that need none."""
    world.full = {b"b"}
    world.persistence.later(b"first")
    for key in (b"a", b"b", b"c"):
        world.persistence.later(key)
    world.work()
    world.work()
    assert sorted(world.written[1:]) == [(b"a",), (b"c",)]
    ((seconds, again),) = world.timers
    assert seconds == RETRY_SECONDS
    assert not world.submitted
    world.full = set()
    again()
    world.work()
    assert world.written[3:] == [(b"b",)]
    assert len(world.timers) == 1


def test_so_many_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "MAX_RETRIES", 2)
    world.full = {b"a", b"b", b"c"}
    for key in sorted(world.full):
        world.persistence.later(key)
    world.work()
    world.work()
    assert len(world.timers) == 1
    world.timers.pop()[1]()
    world.full = set()
    world.work()
    assert sum(map(len, world.written)) == 2


def test_an_error_is_told_and_the_rest_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.persistence.later(b"a")
    world.persistence.later(b"b")
    _, _, ended = world.submitted.pop(0)
    ended(None, OSError("no disk"))
    assert "persistent opens cannot be kept" in caplog.text
    world.work()
    assert world.keys == [{b"b"}]


def test_nothing_is_written_where_no_share_wants_it(world: World) -> None:
    idle = Persistence(world, world, world)  # type: ignore[arg-type]
    idle.prepare(False)
    idle.later(b"a")
    assert not idle.ready
    assert not world.submitted
    world.persistence.prepare(False)  # what there is goes on being kept
    assert world.persistence.ready


def test_of_a_new_file_those_end_that_wait_for_their_clients() -> None:
    """Its number was another's, whose opens hold no descriptor; who has it open has it."""
    ended: list[object] = []
    waits, there = (
        SimpleNamespace(flags=flags | OPEN_DURABLE, open_id=flags, worker=1)
        for flags in (OPEN_DISCONNECTED, OPEN_DIRECTORY)
    )
    doomed = Doomed(b"key", "/gone")

    def end(*of: object) -> EndResult:
        ended.append(of)
        return EndResult((3,), doomed)

    opens = SimpleNamespace(
        _store=SimpleNamespace(
            opens={b"key": [there, waits]}.__getitem__,
            end_disconnected=end,
            deleted=lambda key: ended.append(("deleted", key)) or (4,),
        ),
        _forget=lambda *_, **__: None,
        _wake=lambda *_: None,
        _ended=lambda *of: ended.append(of),
    )
    DurableOpens.end_all(cast(DurableOpens, opens), b"key")
    # What was to be deleted has gone already: its name may be the new file's.
    nothing = EndResult((3, 4))
    assert ended == [(b"key", OPEN_DISCONNECTED), ("deleted", b"key"), (b"key", nothing)]
