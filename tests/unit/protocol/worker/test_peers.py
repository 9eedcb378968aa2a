"""What workers tell each other, over the real sockets, with servers that only note it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, call

import pytest

from usmbd.protocol.state.notify.change import Change, DirectoryChange
from usmbd.protocol.state.store.bus import ChangesLost, Message, WakeAll
from usmbd.protocol.worker import peers as module
from usmbd.protocol.worker.peers import ANSWER_SECONDS, FLUSH_SECONDS, WorkerPeers


class Loop:
    """A loop that turns when the test says so."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self.readers: dict[int, Callable[[], None]] = {}
        self.later: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def add_reader(self, fd: int, run: Callable[[], None]) -> None:
        """Keep who reads."""
        self.readers[fd] = run

    def remove_reader(self, fd: int) -> None:
        """Forget him."""
        del self.readers[fd]

    def call_later(self, seconds: float, run: Callable[..., None], *arguments: Any) -> None:
        """Keep what is to be done."""
        self.later.append((seconds, run, arguments))

    def turn(self) -> None:
        """Read everything there is."""
        for run in list(self.readers.values()):
            run()


class Workers:
    """Two workers: what the first is told."""

    def __init__(self, path: Path) -> None:
        """Listen."""
        self.loop = Loop()
        self.told, self.teller = MagicMock(worker=3), MagicMock(worker=4)
        self.told.waiters = {}
        self.receiver = WorkerPeers(path, 3, self.loop)  # type: ignore[arg-type]
        self.sender = WorkerPeers(path, 4, self.loop)  # type: ignore[arg-type]
        self.receiver.serve(self.told)
        self.sender.serve(self.teller)

    def say(self, message: Message) -> None:
        """Send a message that no method sends alone."""
        assert self.sender._send(3, message)


@pytest.fixture
def workers(state: Path) -> Iterator[Workers]:
    made = Workers(state)
    yield made
    made.receiver.close()
    made.sender.close()
    assert not made.loop.readers


LEASE = b"c" * 16, b"l" * 16
CHANGE = DirectoryChange(
    ((b"k" * 16, "f\u00f6lder"), (b"l" * 16, "")), (Change(1, 2, "n\udc80me"),), True
)


@pytest.mark.parametrize(
    ("say", "told"),
    [
        (lambda all_: all_.sender.wake(3, b"key"), [call.wake(b"key")]),
        (
            lambda all_: all_.sender.break_caching(3, b"key", 7, 5, LEASE),
            [call.caching.break_own(7, 5, LEASE)],
        ),
        (lambda all_: all_.sender.close_open(3, 8, 9), [call.close_own_open(8, 9)]),
        (lambda all_: all_.sender.mark_again(3, 8, 9), [call.mark_again(8, 9)]),
        (lambda all_: all_.sender.forget_open(3, 7), [call.durable.forget(7)]),
        (lambda all_: all_.sender.doomed(3, b"key"), [call.notifier.is_doomed(b"key")]),
        (lambda all_: all_.sender.changed(3, CHANGE), [call.notifier.receive(CHANGE)]),
        (lambda all_: all_.say(ChangesLost()), [call.notifier.all_lost()]),
    ],
)
def test_what_is_told_is_done(
    workers: Workers, say: Callable[[Workers], None], told: list[Any]
) -> None:
    say(workers)
    workers.loop.turn()
    assert workers.told.mock_calls == told
    assert not workers.teller.mock_calls


def test_all_that_waits_is_woken(workers: Workers) -> None:
    workers.told.waiters = {b"one": [], b"two": []}
    workers.say(WakeAll())
    workers.loop.turn()
    assert workers.told.mock_calls == [call.wake(b"one"), call.wake(b"two")]


def test_a_session_is_closed_and_that_is_told(workers: Workers) -> None:
    gone: list[str] = []
    workers.sender.close_session(3, 0x77, lambda: gone.append("gone"))
    workers.loop.turn()
    ((number, said),) = (each.args for each in workers.told.end_session.mock_calls)
    assert number == 0x77
    assert not gone
    said()
    workers.loop.turn()
    assert gone == ["gone"]
    said()
    workers.loop.turn()
    assert gone == ["gone"]
    ((seconds, late, arguments),) = workers.loop.later
    assert seconds == ANSWER_SECONDS
    late(*arguments)
    assert gone == ["gone"]  # once


def test_who_does_not_answer_is_not_waited_for(workers: Workers) -> None:
    gone: list[str] = []
    workers.sender.close_session(3, 0x77, lambda: gone.append("late"))
    workers.sender.close_session(9, 0x77, lambda: gone.append("nobody there"))
    assert gone == ["nobody there"]
    ((_, late, arguments),) = workers.loop.later
    late(*arguments)
    assert gone == ["nobody there", "late"]
    assert workers.sender.is_there(3)
    assert not workers.sender.is_there(9)


def test_what_is_open_below_is_put_together(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, str, bytes]] = []

    def tell(server: object, path: str, key: bytes, found: Any) -> None:
        asked.append((server, path, key))
        found(module.Below((b"a", b"b"), True))

    monkeypatch.setattr(module, "tell", tell)
    workers.teller.config.workers = 8
    found: list[module.Below] = []
    workers.sender.find_below("/srv/n\udc80me", b"key", found.append)
    workers.loop.turn()
    workers.loop.turn()
    assert asked == [(workers.told, "/srv/n\udc80me", b"key")]
    assert found == [module.Below((b"a", b"b"), True)]
    ((seconds, late, arguments),) = workers.loop.later
    assert seconds == ANSWER_SECONDS
    late(*arguments)
    assert len(found) == 1
    workers.teller.config.workers = 3  # nobody else is there
    workers.sender.find_below("/srv", b"key", found.append)
    assert found[1:] == [module.NOTHING]


def test_all_are_told_of_a_folder(workers: Workers) -> None:
    workers.teller.config.workers = 8
    workers.sender.root_opened("/srv/n\udc80me/" + "long" * 1000)
    workers.loop.turn()
    path = "/srv/n\udc80me/" + "long" * 1000
    assert workers.told.mock_calls == [call.roots.opened_elsewhere(path)]


def test_an_answer_that_is_late_is_done_without(workers: Workers) -> None:
    workers.teller.config.workers = 4
    found: list[module.Below] = []
    workers.sender.find_below("/srv", b"key", found.append)
    assert not found
    ((_, late, arguments),) = workers.loop.later
    late(*arguments)
    assert found == [module.NOTHING]


def test_what_has_to_wait_is_sent_later(workers: Workers) -> None:
    count = 0
    while not workers.sender._bus.pending:
        workers.sender.doomed(3, count.to_bytes(16, "little"))
        count += 1
    ((seconds, flush, arguments),) = workers.loop.later
    assert seconds == FLUSH_SECONDS
    for _ in range(1000):
        if len(workers.told.notifier.is_doomed.mock_calls) == count:
            break
        workers.loop.turn()
        workers.loop.later.clear()
        flush(*arguments)
    assert not workers.sender._bus.pending
    found = [each.args[0] for each in workers.told.notifier.is_doomed.mock_calls]
    assert found == [number.to_bytes(16, "little") for number in range(count)]
