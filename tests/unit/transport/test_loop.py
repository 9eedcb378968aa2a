"""The workers' event loop: what it calls and when, and what a turn costs."""

import logging
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from usmbd.transport import loop as loop_module
from usmbd.transport.loop import TIMERS_SWEPT, EpollLoop

Pair = tuple[socket.socket, socket.socket]


def test_descriptors_and_calls_of_one_turn_see_its_number(loop: EpollLoop, pair: Pair) -> None:
    seen = []

    def readable() -> None:
        pair[0].recv(1)
        seen.append(loop.turn_number)
        loop.call_soon(lambda: seen.append(loop.turn_number))

    loop.add_reader(pair[0].fileno(), readable)
    for _ in range(2):
        pair[1].send(b"x")
        turns(loop)
    first, second = seen[0], seen[2]
    assert seen == [first, first, second, second]
    assert second == first + 1


def turns(loop: EpollLoop, number: int = 1) -> None:
    """Take turns that do not wait."""
    for _ in range(number):
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_a_reader_is_called_while_there_is_something(loop: EpollLoop, pair: Pair) -> None:
    called: list[str] = []
    loop.add_reader(pair[0].fileno(), called.append, "read")
    turns(loop)
    assert called == []
    pair[1].send(b"x")
    turns(loop, 2)
    assert called == ["read"] * 2
    pair[0].recv(1)
    turns(loop)
    assert called == ["read"] * 2


def test_reader_and_writer_of_one_descriptor(loop: EpollLoop, pair: Pair) -> None:
    called: list[str] = []
    fd = pair[0].fileno()
    loop.add_writer(fd, called.append, "write")
    loop.add_reader(fd, called.append, "read")
    turns(loop)
    assert called == ["write"]
    pair[1].send(b"x")
    turns(loop)
    assert called == ["write", "read", "write"]
    assert loop.remove_writer(fd)
    assert not loop.remove_writer(fd)
    turns(loop)
    assert called == ["write", "read", "write", "read"]
    assert loop.remove_reader(fd)
    assert not loop.remove_reader(fd)
    turns(loop)
    assert called == ["write", "read", "write", "read"]


def test_what_was_added_last_is_called(loop: EpollLoop, pair: Pair) -> None:
    called: list[int] = []
    for n in range(3):
        loop.add_reader(pair[0].fileno(), called.append, n)
        loop.add_writer(pair[1].fileno(), called.append, 10 * n)
    pair[1].send(b"x")
    turns(loop)
    assert sorted(called) == [2, 20]


@pytest.mark.parametrize("what", ["reader", "writer"])
def test_the_peers_end_wakes_both(loop: EpollLoop, pair: Pair, what: str) -> None:
    called: list[str] = []
    getattr(loop, f"add_{what}")(pair[0].fileno(), called.append, what)
    pair[1].close()
    turns(loop)
    assert called == [what]


def test_an_ender_hears_of_the_end_alone(loop: EpollLoop, pair: Pair) -> None:
    """And only where no reader does."""
    called: list[str] = []
    fd = pair[0].fileno()
    loop.add_ender(fd, called.append, "ender")
    loop.add_reader(fd, called.append, "reader")
    pair[1].send(b"x")
    turns(loop)
    assert called == ["reader"]
    loop.remove_reader(fd)
    pair[1].shutdown(socket.SHUT_WR)  # it may still read
    turns(loop, 3)
    assert called == ["reader"]
    pair[1].close()
    turns(loop)
    assert called == ["reader", "ender"]
    loop.add_reader(fd, called.append, "reader")
    turns(loop)
    assert called == ["reader", "ender", "reader"]
    loop.remove_reader(fd)
    assert loop.remove_ender(fd)
    turns(loop)
    assert not loop.remove_ender(fd)
    assert len(called) == 3
    assert fd not in loop._watched


def test_what_one_callback_stops_reading_is_not_cut_off(loop: EpollLoop) -> None:
    """What had come for it in this turn is no end."""
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[str] = []

    def stop_both() -> None:
        called.append("reader")
        for ours, _ in pairs:
            loop.remove_reader(ours.fileno())

    for ours, theirs in pairs:
        loop.add_ender(ours.fileno(), called.append, "ender")
        loop.add_reader(ours.fileno(), stop_both)
        theirs.send(b"x")
    turns(loop, 2)
    assert called == ["reader"]
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_a_descriptor_with_a_writer_alone_keeps_it_without_an_ender(
    loop: EpollLoop, pair: Pair
) -> None:
    called: list[str] = []
    fd = pair[0].fileno()
    loop.add_writer(fd, called.append, "writer")
    loop.add_ender(fd, called.append, "ender")
    loop.remove_ender(fd)
    turns(loop)
    assert called == ["writer"]


def test_what_one_callback_removes_is_not_called(loop: EpollLoop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def first_come(number: int) -> None:
        called.append(number)
        for ours, _ in pairs:
            loop.remove_reader(ours.fileno())

    for number, (ours, theirs) in enumerate(pairs):
        loop.add_reader(ours.fileno(), first_come, number)
        theirs.send(b"x")
    turns(loop)
    assert len(called) == 1
    for sockets in pairs:
        for sock in sockets:
            sock.close()


@pytest.mark.parametrize("told", [True, False])
def test_a_number_that_is_another_files(loop: EpollLoop, pair: Pair, told: bool) -> None:
    """Closing a descriptor makes the kernel forget it, whether the loop was told before or not."""
    called: list[str] = []
    other = socket.socketpair()
    fd = os.dup(pair[0].fileno())
    loop.add_reader(fd, called.append, "old")
    if told:
        loop.remove_reader(fd)
    os.close(fd)
    os.dup2(other[0].fileno(), fd)
    loop.add_reader(fd, called.append, "new")
    loop.add_writer(fd, called.append, "writable")
    loop.remove_writer(fd)
    other[1].send(b"x")
    turns(loop)
    assert called == ["new"]
    os.close(fd)
    loop.remove_reader(fd)
    for sock in other:
        sock.close()


def test_what_cannot_be_watched_is_an_error(loop: EpollLoop, tmp_path: Any) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(PermissionError):
        loop.add_reader(file.fileno(), print)
    assert not loop.remove_reader(file.fileno() if not file.closed else 9999)


def test_call_soon_is_for_the_next_turn(loop: EpollLoop) -> None:
    called: list[int] = []

    def again(n: int) -> None:
        called.append(n)
        if n < 3:
            loop.call_soon(again, n + 1)

    loop.call_soon(again, 1)
    turns(loop)
    assert called == [1]
    turns(loop, 3)
    assert called == [1, 2, 3]


def test_timers_go_in_the_order_of_their_times(loop: EpollLoop) -> None:
    called: list[str] = []
    loop.call_later(0.004, loop.stop)
    loop.call_later(0.002, called.append, "second")
    loop.call_later(0, called.append, "first")
    loop.call_later(-1, called.append, "overdue")
    loop.call_later(3600, called.append, "never")
    loop.run_forever()
    assert called == ["overdue", "first", "second"]


def test_timers_of_one_moment_go_in_the_order_of_their_making(
    loop: EpollLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(loop, "time", lambda: now)
    called: list[int] = []
    for n in range(20):
        loop.call_later(0.001, called.append, n)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert called == list(range(20))


def test_a_timer_is_never_early(loop: EpollLoop) -> None:
    seconds = 0.02
    begun = time.monotonic()
    loop.call_later(seconds, loop.stop)
    loop.run_forever()
    assert time.monotonic() >= begun + seconds


def test_a_cancelled_timer_is_not_called_and_holds_nothing(loop: EpollLoop) -> None:
    class Thing:
        pass

    thing = Thing()
    known = weakref.ref(thing)
    called: list[object] = []
    timer = loop.call_later(0.001, called.append, thing)
    del thing
    loop.call_later(0.002, loop.stop)
    timer.cancel()
    timer.cancel()
    assert known() is None
    loop.run_forever()
    assert called == []


def test_cancelled_timers_take_no_room(loop: EpollLoop) -> None:
    """Those that are left go in their order."""
    called: list[int] = []
    kept = []
    for number in range(5 * TIMERS_SWEPT):
        timer = loop.call_later(30 + number, called.append, number)
        if number % TIMERS_SWEPT:
            timer.cancel()
        else:
            kept.append(loop.call_later(0.001 * (5 - len(kept)), called.append, number))
            timer.cancel()
    loop.call_later(0.01, loop.stop)
    assert len(loop._timers) <= TIMERS_SWEPT + 2
    loop.run_forever()
    assert called == [number * TIMERS_SWEPT for number in reversed(range(5))]


def test_one_timer_may_cancel_another_of_the_same_moment(
    loop: EpollLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(loop, "time", lambda: now)
    called: list[str] = []
    loop.call_later(0, lambda: second.cancel())
    second = loop.call_later(0, called.append, "second")
    loop.call_later(0, loop.stop)
    loop.run_forever()
    assert called == []


def test_threads_wake_the_loop(loop: EpollLoop) -> None:
    called: list[int] = []
    total = 200

    def take(n: int) -> None:
        called.append(n)
        if len(called) == 4 * total:
            loop.stop()

    def work() -> None:
        for n in range(total):
            loop.call_soon_threadsafe(take, n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert sorted(called) == sorted([*range(total)] * 4)


def test_many_calls_of_threads_wake_once(loop: EpollLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = os.eventfd_write
    monkeypatch.setattr(os, "eventfd_write", lambda fd, n: (written.append(n), write(fd, n)))
    called: list[int] = []
    for n in range(10):
        loop.call_soon_threadsafe(called.append, n)
    assert len(written) == 1
    turns(loop)
    assert called == list(range(10))
    loop.call_soon_threadsafe(called.append, 10)
    assert len(written) == 2


def test_to_be_woken_is_one_wait(loop: EpollLoop, costs: Callable[[], list[object]]) -> None:
    """Nobody reads what has woken the loop: it is told once each time."""
    left = 20

    def again() -> None:
        nonlocal left
        left -= 1
        thread = threading.Thread(
            target=loop.call_soon_threadsafe, args=(again if left else loop.stop,)
        )
        thread.start()

    loop.call_soon_threadsafe(again)
    loop.run_forever()
    waits = costs()
    assert len(waits) <= 22
    assert set(waits) <= {None, 0}


def test_a_signal_is_handled_on_the_loop(loop: EpollLoop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    called: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: (called.append("signal"), loop.stop()))
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert called == ["signal"]
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_was_ignored_is_ignored_after_the_loop(loop: EpollLoop) -> None:
    """Told twice to end, a process is not cut off in what it does last."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        loop.add_signal_handler(signal.SIGUSR1, loop.stop)
        loop.add_signal_handler(signal.SIGUSR1, loop.stop)
        loop.close()
        os.kill(os.getpid(), signal.SIGUSR1)
        # Not SIG_IGN: Python tells of a signal in the moment of the change as of an error.
        assert callable(signal.getsignal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_wakes_a_loop_that_sleeps(loop: EpollLoop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    killer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    killer.start()
    loop.run_forever()
    killer.join()
    loop.close()
    signal.signal(signal.SIGUSR1, before)


def test_a_callback_that_fails_is_logged_and_the_loop_goes_on(
    loop: EpollLoop, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []

    def fail() -> None:
        called.append("fail")
        raise ValueError("on purpose")

    pair[1].send(b"x")
    loop.add_reader(pair[0].fileno(), fail)
    loop.call_soon(fail)
    loop.call_later(0, fail)
    loop.call_later(0, loop.stop)
    with caplog.at_level(logging.ERROR):
        loop.run_forever()
    assert len(called) >= 3
    assert caplog.text.count("ValueError: on purpose") == len(called)


def test_a_closed_loop_takes_no_calls_of_threads() -> None:
    before = len(os.listdir("/proc/self/fd"))
    loop = EpollLoop()
    loop.close()
    loop.close()
    with pytest.raises(RuntimeError):
        loop.call_soon_threadsafe(print)
    assert len(os.listdir("/proc/self/fd")) == before


class Poll:
    """An epoll whose waits are counted, with how long they may take."""

    def __init__(self, epoll: Any) -> None:
        """Stand before `epoll`."""
        self._epoll = epoll
        self.waits: list[float | None] = []

    def __getattr__(self, name: str) -> Any:
        """Pass the rest on."""
        return getattr(self._epoll, name)

    def poll(self, timeout: float | None, events: int) -> list[tuple[int, int]]:
        """Wait."""
        self.waits.append(timeout)
        return self._epoll.poll(timeout, events)


@pytest.fixture
def costs(loop: EpollLoop, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[object]]:
    """Return a function that tells what system calls the loop has made: waits, clocks, alarms."""
    loop._epoll = poll = Poll(loop._epoll)  # type: ignore[assignment]
    made: list[object] = poll.waits  # type: ignore[assignment]
    monotonic, alarm = time.monotonic, loop_module._set_timerfd
    monkeypatch.setattr(time, "monotonic", lambda: (made.append("clock"), monotonic())[1])
    monkeypatch.setattr(
        loop_module, "_set_timerfd", lambda fd, when: (made.append("alarm"), alarm(fd, when))
    )

    def taken() -> list[object]:
        result = made[:]
        made.clear()
        return result

    return taken


def test_a_turn_is_one_wait(loop: EpollLoop, pair: Pair, costs: Callable[[], list[object]]) -> None:
    """No clock and no alarm, though a timer waits; no timeout, or Python would read the clock."""
    loop.call_later(3600, print)
    left = 20

    def read() -> None:
        nonlocal left
        pair[0].recv(1)
        left -= 1
        if left:
            pair[1].send(b"x")
        else:
            loop.stop()

    loop.add_reader(pair[0].fileno(), read)
    costs()
    pair[1].send(b"x")
    loop.run_forever()
    assert costs() == ["alarm"] + [None] * 20


def test_the_clock_is_read_once_a_turn(loop: EpollLoop, costs: Callable[[], list[object]]) -> None:
    def ask() -> None:
        assert len({loop.time() for _ in range(10)}) == 1
        loop.call_later(3600, print)

    costs()
    loop.call_soon(ask)
    loop.call_soon(ask)
    turns(loop)
    assert costs() == [0, "clock"]
    loop.call_soon(ask)
    turns(loop)
    assert costs() == ["alarm", 0, "clock"]
