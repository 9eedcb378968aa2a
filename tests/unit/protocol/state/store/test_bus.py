"""Messages between workers: delivery, bounds, dead peers, garbage, strangers."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stranger import as_stranger

from usmbd.protocol.state.store import bus as bus_module
from usmbd.protocol.state.store.bus import (
    Bus,
    CloseSession,
    Message,
    SessionClosed,
    WakeAll,
    WakeFile,
)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Bus, Bus]]:
    """Join workers 1 and 2."""
    one, two = Bus(tmp_path, 1), Bus(tmp_path, 2)
    yield one, two
    one.close()
    two.close()


def receive_all(sender: Bus, receiver: Bus) -> list[Message]:
    messages: list[Message] = []
    while arrived := receiver.receive():
        messages += arrived
        sender.flush()
    return messages


def test_messages_arrive(pair: tuple[Bus, Bus]) -> None:
    one, two = pair
    sent: list[Message] = [WakeFile(b"k" * 271), CloseSession(1 << 63, 1, 7), SessionClosed(7)]
    assert all(one.send(2, message) for message in sent)
    assert two.receive() == sent
    assert two.receive() == []
    assert one.send(1, WakeFile(b"own"))
    assert one.receive() == [WakeFile(b"own")]


def test_a_slow_peer_gets_everything_later_and_once(pair: tuple[Bus, Bus]) -> None:
    one, two = pair
    while not one.pending:
        assert one.send(2, WakeFile(b"first"))
    late: list[Message] = [SessionClosed(n) for n in range(100)]
    for message in late + late:
        assert one.send(2, message)
    messages = receive_all(one, two)
    assert messages[-100:] == late
    assert set(messages[:-100]) == {WakeFile(b"first")}
    assert not one.pending


def test_the_queue_is_bounded_and_loses_no_wake_up(
    pair: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "QUEUE_MAX", 8)
    one, two = pair
    while not one.pending:
        one.send(2, WakeFile(b"first"))
    assert all(one.send(2, WakeFile(bytes([n]))) for n in range(20))
    assert WakeAll() in receive_all(one, two)
    while not one.pending:
        one.send(2, WakeFile(b"first"))
    results = [one.send(2, SessionClosed(n)) for n in range(20)]
    assert results == [True] * 7 + [False] * 13
    assert one.send(2, WakeFile(b"more"))
    assert len(receive_all(one, two)) > 7


def test_dead_peers_are_noticed(pair: tuple[Bus, Bus], tmp_path: Path) -> None:
    one, two = pair
    assert not one.send(3, SessionClosed(1))
    while not one.pending:
        one.send(2, WakeFile(b"k"))
    two.close()
    one.flush()
    assert not one.pending
    # A killed worker leaves its socket's name; its successor takes it over.
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stale.bind(str(tmp_path / "worker-4.sock"))
    stale.close()
    assert not one.send(4, SessionClosed(1))
    successor = Bus(tmp_path, 4)
    assert one.send(4, SessionClosed(1))
    assert successor.receive() == [SessionClosed(1)]
    successor.close()


def test_garbage_is_dropped(pair: tuple[Bus, Bus], tmp_path: Path) -> None:
    one, two = pair
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for garbage in (b"", b"\x91\x81\xa4type\xa4Nope", b"\xff" * 100):
        stranger.sendto(garbage, str(tmp_path / "worker-2.sock"))
    stranger.close()
    assert one.send(2, SessionClosed(1))
    assert two.receive() == [SessionClosed(1)]
    with pytest.raises(ValueError, match="bytes"):
        one.send(2, WakeFile(bytes(2000)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_another_user_s_messages_are_dropped_whatever_the_modes(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="bus-") as name:  # where others can come
        directory = Path(name)
        directory.chmod(0o755)
        bus = Bus(directory, 1)
        path = directory / "worker-1.sock"
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o777)

        def send() -> None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.connect(str(path))
                sock.send(bus_module._encode([CloseSession(1, 0, 1)]))

        as_stranger(send)
        assert bus.send(1, SessionClosed(2))
        assert bus.receive() == [SessionClosed(2)]
        bus.close()
