"""The pool of threads: grows with work, shrinks without it, brings results to the loop."""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from usmbd.protocol.vfs.errors import status_of
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.worker import threads
from usmbd.protocol.worker.threads import ThreadPool

Until = Callable[[Callable[[], object]], None]


def running() -> int:
    return sum(thread.name == "usmbd-io" for thread in threading.enumerate())


@pytest.fixture
def pool(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPool]:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.05)
    for thread in threading.enumerate():
        if thread.name == "usmbd-io":  # of the test before
            thread.join(5)
    pool = ThreadPool(loop)
    yield pool
    pool.close()


def test_a_result_comes_back_on_the_loop(pool: ThreadPool, until: Until) -> None:
    got: list[Any] = []

    def resume(value: Any = None, error: BaseException | None = None) -> None:
        got.append((value, error, threading.current_thread() is threading.main_thread()))

    pool.submit(lambda a, b: (a + b, threading.current_thread().name), (1, 2), None, resume)
    until(lambda: got)
    assert got == [((3, "usmbd-io"), None, True)]


def test_an_exception_comes_back_too(pool: ThreadPool, until: Until) -> None:
    got: list[Any] = []
    pool.submit(int, ("x",), None, lambda value, error: got.append((value, error)))
    pool.submit(int, ("7",), None, lambda value, error: got.append((value, error)))
    until(lambda: len(got) == 2)
    assert {type(error) for _, error in got} == {ValueError, type(None)}


def test_without_another_thread_those_that_there_are_go_on(
    pool: ThreadPool, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, got = threading.Event(), []
    pool.submit(gate.wait, (), None, lambda *answer: got.append(answer))
    until(lambda: pool.threads == 1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as refusing:
        refusing.setattr(threading.Thread, "start", refuse)
        pool.submit(int, ("7",), None, lambda *answer: got.append(answer))
        assert pool.threads == 1
    gate.set()
    until(lambda: got == [(True, None), (7, None)])


def test_without_any_thread_calls_fail_and_the_next_find_one(
    pool: ThreadPool, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as refusing:
        refusing.setattr(threading.Thread, "start", refuse)
        for lane in (None, "share", "share"):
            pool.submit(int, ("7",), None, lambda *answer: got.append(answer), lane, 1)
        until(lambda: len(got) == 3)
    assert {status_of(error) for _, error in got} == {NtStatus.INSUFFICIENT_RESOURCES}
    assert pool.threads == pool.busiest == 0
    pool.submit(int, ("8",), None, lambda *answer: got.append(answer), "share", 1)
    until(lambda: got[-1] == (8, None))


def test_calls_that_wait_do_not_hold_up_others(pool: ThreadPool, until: Until) -> None:
    gate, got = threading.Event(), []
    for _ in range(5):
        pool.submit(gate.wait, (5,), None, lambda value, error: got.append(value))
    pool.submit(str, (), None, lambda value, error: got.append("beside"))
    until(lambda: got)
    assert got == ["beside"]
    assert running() == 6
    gate.set()
    until(lambda: len(got) == 6)


def test_threads_are_bounded(
    pool: ThreadPool, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "MAXIMUM_THREADS", 3)
    gate, got = threading.Event(), []
    for _ in range(10):
        pool.submit(gate.wait, (5,), None, lambda value, error: got.append(value))
    assert running() <= 3
    gate.set()
    until(lambda: len(got) == 10)
    assert got == [True] * 10


def test_idle_threads_end_and_come_again(pool: ThreadPool, until: Until) -> None:
    got: list[Any] = []
    pool.submit(str, (), None, lambda value, error: got.append(value))
    until(lambda: not running())
    assert pool.threads == 0
    pool.submit(str, (), None, lambda value, error: got.append(value))
    until(lambda: len(got) == 2)


def test_a_loop_that_is_closed_ends_the_thread(
    pool: ThreadPool, loop: asyncio.AbstractEventLoop, until: Until
) -> None:
    gate = threading.Event()
    pool.submit(gate.wait, (5,), None, lambda value, error: None)
    worker = next(t for t in threading.enumerate() if t.name == "usmbd-io")
    loop.close()
    gate.set()
    worker.join(5)
    assert not worker.is_alive()


def test_a_share_that_hangs_takes_its_part_alone(
    pool: ThreadPool, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its further calls wait for its own; those of others run beside them."""
    monkeypatch.setattr(threads, "LANE_THREADS", 3)
    gate, got = threading.Event(), []
    for _ in range(50):
        pool.submit(gate.wait, (5,), None, lambda value, error: got.append(value), "hangs")
    for name in ("other", None):
        pool.submit(str, (), None, lambda value, error: got.append(value), name)
    until(lambda: len(got) == 2)
    assert got == ["", ""]
    assert running() <= 5
    gate.set()
    until(lambda: len(got) == 52)
    assert not pool._lanes


def test_calls_of_a_lane_come_in_order(
    pool: ThreadPool, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "LANE_THREADS", 1)
    got: list[int] = []
    for number in range(20):
        pool.submit(int, (number,), None, lambda value, error: got.append(value), "lane")
    pool.submit(int, ("x",), None, lambda value, error: got.append(-1), "lane")
    until(lambda: len(got) == 21)
    assert got == [*range(20), -1]


def test_an_idle_thread_holds_on_to_nothing(pool: ThreadPool, until: Until) -> None:
    class Thing:
        """What a call is given."""

    thing, got = Thing(), []
    gone = weakref.ref(thing)
    pool.submit(isinstance, (thing, Thing), None, lambda value, error: got.append(value))
    del thing
    until(lambda: got and gone() is None)


def test_a_call_that_comes_as_a_thread_is_told_to_end_is_made(
    pool: ThreadPool, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 60)
    got: list[Any] = []
    for number in range(20):
        pool.submit(int, (number,), None, lambda value, error: got.append(value))
        until(lambda number=number: got == [*range(number + 1)])  # type: ignore[misc]
        pool._look()
        pool._look()


def test_one_call_after_the_other_needs_one_thread(
    pool: ThreadPool, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[int] = []

    def ended(value: Any, _: BaseException | None) -> None:
        got.append(value)
        if value < 200:
            pool.submit(int, (value + 1,), None, ended)

    woken = []
    wake = pool._pipe.wake
    monkeypatch.setattr(pool._pipe, "wake", lambda number: (woken.append(number), wake(number)))
    pool.submit(int, (0,), None, ended)
    until(lambda: len(got) == 201)
    assert pool.threads == 1
    assert woken == [1] * 201


def test_who_is_done_is_asked_before_the_loop_has_its_result(
    pool: ThreadPool, until: Until
) -> None:
    """To start a thread takes longer than many a call."""
    done, got = threading.Event(), []
    for number in range(10):
        done.clear()
        pool.submit(done.set, (), None, lambda value, error: got.append(value))
        done.wait()
        while not pool._idle:
            time.sleep(0.001)
        assert pool.threads == 1, number
    until(lambda: len(got) == 10)


def test_a_closed_pool_ends_its_threads_and_gives_its_pipe_back(
    loop: asyncio.AbstractEventLoop, until: Until
) -> None:
    pool = ThreadPool(loop)
    reading, gone = os.dup(pool._pipe._reading), weakref.ref(pool._pipe)
    gate, got = threading.Event(), []
    for call in (str, str, gate.wait):
        pool.submit(call, (), None, lambda value, error: got.append(value))
    until(lambda: len(got) == 2)
    pool.close()
    assert pool.threads == 0
    gate.set()
    until(lambda: len(got) == 3 and not running())
    del pool
    until(lambda: gone() is None)
    assert os.read(reading, 1) == b"", "nobody can write any more"
    os.close(reading)
