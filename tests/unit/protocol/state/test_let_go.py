"""Who changes data is answered when others have let go of what they cached of them."""

import gc
from types import GeneratorType
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import acknowledge, breaks, take
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands import create
from usmbd.protocol.commands.breaks import LATE_FACTOR, LATE_SECONDS, LET_GO_SECONDS
from usmbd.protocol.state.caching.changes import FEW_HOLDERS
from usmbd.protocol.state.caching.rules import NONE, RH, RWH, R
from usmbd.protocol.state.open import Open
from usmbd.protocol.wire.fscc.set_info import FileAllocationInformation, FileEndOfFileInformation
from usmbd.protocol.wire.fsctl import (
    FSCTL_SET_ZERO_DATA,
    FileZeroData,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

MINE = b"m" * 16


def written(client: Client, file: FileId) -> int:
    """Begin to write."""
    return client.post(Command.WRITE, requests.write(file, b"new"))


def is_answered(client: Client, number: int) -> bool:
    """Tell whether a request has been answered by now; it has succeeded then."""
    replies = client.taken(number)
    assert all(reply.status is NtStatus.SUCCESS for reply in replies)
    return bool(replies)


CHANGES = {
    "write": (Command.WRITE, lambda file: requests.write(file, b"new")),
    "length": (
        Command.SET_INFO,
        lambda file: requests.set_info(file, FileEndOfFileInformation, bytes(8)),
    ),
    "allocation": (
        Command.SET_INFO,
        lambda file: requests.set_info(file, FileAllocationInformation, bytes(8)),
    ),
    "zeros": (
        Command.IOCTL,
        lambda file: requests.ioctl(
            file, FSCTL_SET_ZERO_DATA, FileZeroData(file_offset=0, beyond_final_zero=3).pack()
        ),
    ),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_change_waits_for_the_answer(client: Client, other: Client, change: str) -> None:
    command, body = CHANGES[change]
    file = client.open("file")
    take(other, RH)
    number = client.post(command, body(file))
    assert [after for _, after, _ in breaks(other)] == [NONE]
    assert not is_answered(client, number)
    assert acknowledge(other, NONE) is NtStatus.SUCCESS
    client.engine.settle()
    assert is_answered(client, number)


def test_a_change_waits_for_a_close(client: Client, other: Client) -> None:
    file = client.open("file")
    theirs, _ = take(other, RH)
    number = written(client, file)
    assert not is_answered(client, number)
    assert other.close(theirs) is NtStatus.SUCCESS
    client.engine.settle()
    assert is_answered(client, number)


def test_who_answers_nothing_is_waited_for_once(
    engine: Engine, client: Client, other: Client
) -> None:
    file = client.open("file")
    take(other, RH)
    number = written(client, file)
    engine.clock.advance(LET_GO_SECONDS * 0.9)
    assert not is_answered(client, number)
    assert is_answered(client, written(client, file))  # they have been asked before
    engine.clock.advance(LET_GO_SECONDS * 0.2)
    engine.settle()
    assert is_answered(client, number)


def test_who_answers_late_again_and_again_does_not_slow_a_writer_down(
    engine: Engine, client: Client, other: Client
) -> None:
    """A reader that takes a new lease for each of its writes had it wait all the time."""
    file = client.open("file")
    theirs, _ = take(other, RH)
    number = written(client, file)
    engine.clock.advance(LATE_SECONDS * 2)
    assert not is_answered(client, number)
    for key in (b"1" * 16, b"2" * 16):
        other.close(theirs)
        engine.settle()
        assert is_answered(client, number)
        theirs, state = take(other, RH, key)
        assert state == RH
        number = written(client, file)
    assert is_answered(client, number)
    other.close(theirs)
    engine.clock.advance(LATE_SECONDS * 2 * LATE_FACTOR)
    take(other, RH, b"3" * 16)
    assert not is_answered(client, written(client, file))


def test_nobody_waits_for_a_mere_read_cache(client: Client, other: Client) -> None:
    """Its client answers nothing: it has been told, also where another worker does that."""
    file = client.open("file")
    take(other, R)
    number = written(client, file)
    client.engine.settle()
    assert [after for _, after, _ in breaks(other)] == [NONE]
    assert is_answered(client, number)


def test_nobody_waits_for_his_own_client(client: Client) -> None:
    """Linux answers no break of a file while it writes to it by another open."""
    take(client, RH)
    assert is_answered(client, written(client, client.open("file")))


def test_two_writers_do_not_wait_for_each_other(client: Client, other: Client) -> None:
    """Each would answer the other's break behind its own write alone."""
    mine, _ = take(client, RH, MINE)
    theirs, state = take(other, RH)
    assert state == RH
    first = written(client, mine)
    assert not is_answered(client, first)
    second = written(other, theirs)
    client.engine.settle()
    assert is_answered(other, second)
    assert is_answered(client, first)
    assert [after for _, after, _ in breaks(client)] == [NONE]
    assert [after for _, after, _ in breaks(other)] == [NONE]


def test_nobody_waits_for_many(client: Client, other: Client) -> None:
    file = client.open("file")
    for number in range(FEW_HOLDERS + 1):
        take(other, RH, bytes([number]) * 16)
    assert is_answered(client, written(client, file))
    client.engine.settle()
    assert len(breaks(other)) == FEW_HOLDERS + 1


def test_a_write_of_any_length_waits_without_its_data(client: Client, other: Client) -> None:
    """With them, what Linux writes at a time would be more than a connection may have waiting."""
    file = client.open("file")
    take(other, RH)
    data = bytes(5 << 20)
    number = client.post(Command.WRITE, requests.write(file, data), credit_charge=80)
    assert not is_answered(client, number)
    assert not [
        found
        for handler in gc.get_objects()
        if isinstance(handler, GeneratorType) and handler.gi_frame is not None
        for found in handler.gi_frame.f_locals.values()
        if isinstance(found, bytes | memoryview) and found == data
    ]


def test_nothing_is_left_of_a_wait_whose_client_is_gone(
    engine: Engine, client: Client, other: Client
) -> None:
    file = client.open("file")
    take(other, RH)
    written(client, file)
    client.disconnect()
    engine.clock.advance(LET_GO_SECONDS)
    engine.settle()
    assert not engine.server.waiters


def test_nobody_waits_where_there_is_no_room(
    client: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been written is not refused."""
    file = client.open("file")
    take(other, RH)
    memory, sizes = client.connection.memory, list[int]()
    monkeypatch.setattr(type(memory), "wait", lambda _, size: sizes.append(size))
    assert is_answered(client, written(client, file))
    assert sizes == [0]


def test_to_be_asked_wakes_nobody_who_waits_for_the_answer(
    client: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CREATE would look for its file once more."""
    take(other, RWH)
    tries, admit = [], create.admit

    def count(*of: Any) -> Open:
        tries.append(of)
        return admit(*of)

    monkeypatch.setattr(create, "admit", count)
    number = client.post(Command.CREATE, requests.create("file"))
    client.engine.settle()
    assert len(tries) == 1
    assert acknowledge(other, RH) is NtStatus.SUCCESS
    assert client.taken(number)[-1].status is NtStatus.SUCCESS
    assert len(tries) == 2
