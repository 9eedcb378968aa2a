"""mountd's questions to the supervisor, over the real socket with a stand-in behind it."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from usmbd.mountd.admin import running
from usmbd.mountd.admin.administration import Administration, Host
from usmbd.mountd.admin.running import Lists, Running
from usmbd.mountd.ipc.administration import PAGE_ROWS, RunningPage
from usmbd.mountd.ipc.codec import control_server
from usmbd.mountd.ipc.messages import (
    ControlDone,
    ControlList,
    ControlRequest,
    ControlRows,
    ControlVersion,
    ControlVersionInfo,
    LimitRow,
    ListKind,
    Message,
    Row,
)
from usmbd.mountd.ipc.server import Client, Server, listen

ROW: Row = LimitRow("usmbd", "connections", 5, 1)
QUESTION = ControlList([ListKind.SESSIONS])
NOTHING = object()


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "control.sock"


def asked(path: Path, *answers: Message, ends: bool = False, message: Message = QUESTION) -> object:
    """Ask one question, which a stand-in answers so; what came of it, NOTHING if nothing did."""

    async def run() -> object:
        found: list[object] = []

        def said(client: Client[ControlRequest], handle: int, question: ControlRequest) -> None:
            assert question == message
            for answer in answers:
                client.send(handle, answer)
            if ends:
                client.close("")

        server = Server(listen(path), control_server(), said, lambda *_: None)
        made = Running(path)
        made.ask(message, found.append)
        for _ in range(10):
            await asyncio.sleep(0)
        made.close()
        server.close()
        return found[0] if found else NOTHING

    return asyncio.run(run())


def test_rows_come_in_parts(path: Path) -> None:
    parts = ControlRows([ROW] * 2, more=True), ControlRows([ROW])
    assert asked(path, *parts) == [ROW] * 3


def test_an_end_ends_the_questions(path: Path) -> None:
    """Their connections, and their timers; nobody is told."""

    async def run() -> list[str]:
        said: list[str] = []
        server = Server(
            listen(path), control_server(), lambda *_: said.append("asked"),
            lambda *_: said.append("gone"),
        )  # fmt: skip
        made = Running(path)
        made.ask(QUESTION, lambda rows: said.append("told"))
        for turn in range(10):
            await asyncio.sleep(0)
            if turn == 4:
                made.close()
        server.close()
        return said

    assert asyncio.run(run()) == ["asked", "gone"]


def test_what_is_done(path: Path) -> None:
    assert asked(path, ControlDone()) == []


@pytest.mark.parametrize("ends", [False, True])
def test_what_does_not_end_is_not_told(path: Path, ends: bool) -> None:
    found = asked(path, ControlRows([ROW], more=True), ends=ends)
    assert found is (None if ends else NOTHING)


def test_nonsense_and_too_much_fail(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(path, ControlVersionInfo("1", 1, 1, 1), message=ControlVersion()) is None
    monkeypatch.setattr(running, "MAX_TOLD", 2)
    assert asked(path, ControlRows([ROW] * 3, more=True)) is None


def test_nobody_to_ask(path: Path) -> None:
    async def run() -> list[object]:
        found: list[object] = []
        Running(path).ask(QUESTION, found.append)
        return found

    assert asyncio.run(run()) == [None]


def test_a_supervisor_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question fails after a while, and there are never many."""
    monkeypatch.setattr(running, "SECONDS", 0.05)

    async def run() -> list[object]:
        listener = listen(path)
        found: list[object] = []
        over = asyncio.Event()
        made = Running(path)
        for _ in range(running.MAX_QUESTIONS):
            made.ask(QUESTION, lambda rows: (found.append(rows), over.set())[0])
        assert not found
        made.ask(QUESTION, found.append)
        assert found == [None]
        while len(found) <= running.MAX_QUESTIONS:
            over.clear()
            await asyncio.wait_for(over.wait(), 30)
        listener.close()
        return found

    assert asyncio.run(run()) == [None] * (running.MAX_QUESTIONS + 1)


def test_few_lists_are_kept() -> None:
    lists = Lists()
    numbers = [lists.add([ROW] * count) for count in range(running.MAX_LISTS + 1)]
    assert lists.get(numbers[0]) is None
    assert lists.get(numbers[1]) == [ROW]
    lists.drop(numbers[1])
    assert lists.get(numbers[1]) is None


def test_a_list_goes_with_its_last_part() -> None:
    """Also one whose last part is full."""
    made = Administration(cast(Host, None), cast(Running, None))
    rows: list[Row] = [ROW] * (2 * PAGE_ROWS)
    number = made._lists.add(rows)
    told: list[object] = []
    made._page(number, rows, 0, told.append)
    assert made._lists.get(number) == rows
    made._page(number, rows, PAGE_ROWS, told.append)
    assert made._lists.get(number) is None
    assert told == [RunningPage([ROW] * PAGE_ROWS, len(rows), number)] * 2
