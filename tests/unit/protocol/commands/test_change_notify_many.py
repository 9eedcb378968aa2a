"""CHANGE_NOTIFY: many who watch one directory are told in slices of the loop's time, in order."""

from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.notify import ADDED, NAMES, REMOVED, Watcher, nothing_is_left
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.protocol.state.notify import telling
from usmbd.protocol.state.notify.change import came
from usmbd.protocol.state.notify.telling import WATCHES_AT_ONCE
from usmbd.protocol.state.notify.watch import Watch
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

MANY = 3 * WATCHES_AT_ONCE


@pytest.fixture
def crowd(client: Client) -> list[Watcher]:
    """Watch one directory many times."""
    return [Watcher(client, completion_filter=NAMES) for _ in range(MANY)]


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count who is told, or ended, without a pause; it says the most of them so far."""
    counts = [0]

    def counted(act: Callable[..., object]) -> Callable[..., object]:
        def count(*args: object) -> object:
            counts[-1] += 1
            return act(*args)

        return count

    for name in ("tell", "end", "lose"):
        monkeypatch.setattr(Watch, name, counted(getattr(Watch, name)))
    turn = Rotation.turn

    def new_turn(rotation: Rotation) -> None:
        counts.append(0)
        turn(rotation)

    monkeypatch.setattr(Rotation, "turn", new_turn)
    return lambda: max(counts)


def test_all_are_told_in_slices(
    crowd: list[Watcher], engine: Engine, most: Callable[[], int]
) -> None:
    """The second change comes to each after the first, however many there are."""
    rotation = Rotation(engine, looks=1)
    for change in ("touch", "unlink"):
        getattr(engine.files / "file", change)()
    engine.settle()
    while rotation.waiting:
        rotation.turn()
    assert most() <= 2 * WATCHES_AT_ONCE
    assert [each.told() for each in crowd] == [[(ADDED, "file")]] * MANY
    assert [each.more() for each in crowd] == [[(REMOVED, "file")]] * MANY


def test_changes_that_come_together_are_taken_in_slices(client: Client, engine: Engine) -> None:
    """What was read of the kernel's queue is not lost when the slice is over before its end."""
    watcher = Watcher(client, completion_filter=NAMES)
    rotation = Rotation(engine, looks=3)
    for number in range(20):
        (engine.files / str(number)).touch()
    engine.settle()
    turns = 0
    while rotation.waiting:
        rotation.turn()
        turns += 1
    assert turns >= 4
    assert watcher.all_told() == [(ADDED, str(number)) for number in range(20)]


def test_a_directory_that_many_watch_is_deleted(
    client: Client, other: Client, engine: Engine, most: Callable[[], int]
) -> None:
    (engine.files / "folder").mkdir()
    watchers = [Watcher(client, "folder", completion_filter=NAMES) for _ in range(20)]
    rotation = Rotation(engine, looks=5)
    folder = other.open("folder", 0x10080, options=FILE_DIRECTORY_FILE)
    deletion = requests.set_info(folder, 13, b"\1")
    assert other.call(Command.SET_INFO, deletion).status is NtStatus.SUCCESS
    while rotation.waiting:
        rotation.turn()
    assert most() <= 6
    assert {each.reply().status for each in watchers} == {NtStatus.DELETE_PENDING}
    for each in watchers:
        client.close(each.file_id)
    other.close(folder)
    while rotation.waiting:
        rotation.turn()
    assert nothing_is_left(engine)


def test_changes_that_come_faster_than_they_are_told(
    crowd: list[Watcher], client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be told has a limit: beyond it clients list, and hear of what comes then."""
    monkeypatch.setattr(telling, "MOST_BEHIND", 4)
    notifier = engine.server.notifier
    assert notifier._directories is not None
    (directory,) = notifier._directories._by_key.values()
    rotation = Rotation(engine, looks=1)
    tell = notifier._telling.tell
    for number in range(10):
        tell(directory, [came(f"new{number}", is_directory=False)])
    late = Watcher(client, completion_filter=NAMES)
    for number in range(10, 20):
        tell(directory, [came(f"new{number}", is_directory=False)])
    assert len(notifier._telling._rows) == 5
    while rotation.waiting:
        rotation.turn()
    assert [each.told() for each in crowd] == [[(ADDED, "new0")]] * MANY
    assert late.reply().status is NtStatus.NOTIFY_ENUM_DIR
    assert {each.ask().status for each in crowd} == {NtStatus.NOTIFY_ENUM_DIR}
    for each in crowd:
        each.wait()
    tell(directory, [came("last", is_directory=False)])
    while rotation.waiting:
        rotation.turn()
    assert [each.told() for each in crowd] == [[(ADDED, "last")]] * MANY
