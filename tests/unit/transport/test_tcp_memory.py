"""What a connection keeps is counted, and bounded by whoever counts."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from meter import Meter

from usmbd.transport.expected import READ_SIZE

Wires = Callable[..., Any]
MIB = 1 << 20


@pytest.fixture
def meter(wire: Any) -> Meter:
    wire.transport.meter = Meter()
    return wire.transport.meter  # type: ignore[no-any-return]


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def test_a_frame_that_has_begun_is_counted_until_it_is_whole(wire: Any, meter: Meter) -> None:
    message = b"x" * MIB
    wire.put(frame(message)[: READ_SIZE * 2])
    assert MIB < meter.kept <= MIB + MIB // 4
    wire.put(frame(message)[READ_SIZE * 2 :])
    assert meter.kept == 0
    assert wire.receiver.bytes == [message]


def test_a_large_frame_waits_for_room_and_small_ones_do_not(wire: Any, meter: Meter) -> None:
    meter.limit = READ_SIZE
    wire.put(frame(b"small"))
    wire.put(frame(b"x" * MIB)[: READ_SIZE // 2])
    assert wire.receiver.bytes == [b"small"]
    assert len(meter.starved) == 1
    assert meter.most == 0
    wire.client.send(bytes(1000))
    wire.step(3)
    assert len(wire.transport._buffer) == READ_SIZE, "nothing more is read"
    meter.limit = 2 * MIB
    meter.feed()
    rest = frame(b"x" * MIB)[READ_SIZE // 2 + 1000 :]
    wire.put(rest)
    assert len(wire.receiver.messages) == 2
    assert meter.kept == 0


def test_who_sent_large_frames_keeps_no_large_buffer_without_room(wire: Any, meter: Meter) -> None:
    for _ in range(3):
        wire.put(frame(b"x" * MIB))
    wire.receiver.messages.clear()
    meter.limit = meter.most = 0
    wire.put(b"\0\0")
    assert meter.kept == 0
    assert len(wire.transport._buffer) == READ_SIZE
    wire.put(b"\0\3abc")
    assert wire.receiver.bytes == [b"abc"]


def test_nothing_is_delivered_while_the_meter_is_full(wire: Any, meter: Meter) -> None:
    def fill(message: memoryview) -> None:
        meter.full = True

    wire.receiver.on_message = fill
    wire.put(frame(b"one") + frame(b"two") + frame(b"three"))
    assert wire.receiver.bytes == [b"one"]
    wire.put(frame(b"four"))
    meter.full = False
    meter.feed()
    assert wire.receiver.bytes == [b"one", b"two"]
    wire.receiver.on_message = lambda message: None
    meter.full = False
    meter.feed()
    wire.step(3)
    assert wire.receiver.bytes == [b"one", b"two", b"three", b"four"]


def test_replies_that_nobody_takes_are_counted(wires: Wires) -> None:
    wire = wires(buffer=4096).start()
    meter = wire.transport.meter = Meter()
    wire.transport.send([bytes(MIB)])
    assert MIB * 3 // 4 < meter.kept <= MIB
    progress = wire.transport.progress
    wire.step(3)
    assert wire.transport.progress == progress, "none"
    wire.take(MIB // 2)
    assert wire.transport.progress != progress
    wire.take()
    assert meter.kept == 0
    assert wire.transport.progress is None


def test_the_end_gives_all_back(wires: Wires) -> None:
    wire = wires(buffer=4096).start()
    meter = wire.transport.meter = Meter()
    wire.transport.send([bytes(MIB)])
    wire.transport.close("enough")
    assert meter.most > 0
    assert meter.kept == 0


@pytest.mark.parametrize("by_client", [True, False])
def test_an_ended_connection_refers_to_nobody(wire: Any, by_client: bool) -> None:
    """Its receiver refers to it: both, and what they keep, would wait for the collector."""
    receiver = weakref.ref(wire.receiver)
    if by_client:
        wire.client.close()
        wire.step(3)
    else:
        wire.transport.close("over")
    assert wire.receiver.lost
    gc.disable()
    try:
        wire.receiver = None
        assert receiver() is None
    finally:
        gc.enable()


def test_who_starves_and_is_cut_off_is_gone_at_once(wire: Any, meter: Meter) -> None:
    meter.limit = READ_SIZE
    wire.put(frame(b"x" * MIB)[: READ_SIZE // 2])
    assert meter.starved
    wire.client.close()
    wire.step()
    assert len(wire.receiver.lost) == 1
    assert wire.transport._buffer is None
