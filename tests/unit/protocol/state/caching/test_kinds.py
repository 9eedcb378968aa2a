"""A file with many opens: who opens it is decided by their kinds, as beside each of them."""

import random

import pytest
from smbengine import requests
from smbengine.client import Client

from usmbd.protocol.state.caching.caching import Asked
from usmbd.protocol.state.caching.needed import BreakNeededError
from usmbd.protocol.state.caching.rules import LEVEL_OF_STATE, RH, STATES, R
from usmbd.protocol.state.store import others
from usmbd.protocol.state.store.others import Others
from usmbd.protocol.state.store.records import (
    NO_ID,
    OPEN_DELETE_ON_CLOSE,
    OPEN_DISCONNECTED,
    OPEN_DURABLE,
    OPEN_PERSISTENT,
    OPLOCK_BREAKING,
    OPLOCK_HELD,
    OpenRecord,
)
from usmbd.protocol.wire.access import DELETE, FILE_READ_ATTRIBUTES, FILE_READ_DATA, READ_CONTROL
from usmbd.protocol.wire.create import (
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_LEASE,
)
from usmbd.protocol.wire.create_contexts import LeaseContext
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus, SmbError

ACCESS = (FILE_READ_ATTRIBUTES, READ_CONTROL, FILE_READ_DATA)
FLAGS = (0, OPEN_DELETE_ON_CLOSE, OPEN_DURABLE, OPEN_PERSISTENT)
IDS = (NO_ID, b"m" * 16, b"o" * 16)


def an_open(chance: random.Random, open_id: int, *, calm: bool) -> OpenRecord:
    """Return any open; a `calm` one that others seldom have to wait for."""
    record = OpenRecord(open_id, chance.choice(ACCESS), 7, chance.choice(FLAGS))
    record.client_guid, record.lease_key = chance.choice(IDS), chance.choice(IDS)
    state = chance.choice((0, R, RH) if calm else STATES)
    if chance.random() < 0.5:
        record.oplock_level = SMB2_OPLOCK_LEVEL_LEASE
        record.lease_state, record.lease_version, record.lease_epoch = state, 2, 7
    else:
        record.oplock_level = LEVEL_OF_STATE[state]
    if not calm:
        record.oplock_state = chance.choice((OPLOCK_HELD, OPLOCK_BREAKING))
        record.flags |= chance.choice((0, 0, 0, OPEN_DISCONNECTED))
    return record


def decided(seed: int) -> tuple[object, ...]:
    """Return what becomes of an open beside others, all by chance."""
    chance = random.Random(seed)
    calm = chance.random() < 0.7
    kinds = [an_open(chance, 0, calm=calm) for _ in range(chance.randrange(1, 4))]
    beside = []
    for number in range(1, 12):
        beside.append(OpenRecord.parse(chance.choice(kinds).pack()))
        beside[-1].open_id = number
    mine = an_open(chance, 99, calm=True)
    lease = None
    if mine.oplock_level == SMB2_OPLOCK_LEVEL_LEASE:
        lease = LeaseContext(2, mine.lease_key, chance.choice(STATES), 0)
    level = chance.choice((SMB2_OPLOCK_LEVEL_II, SMB2_OPLOCK_LEVEL_BATCH))
    overwrite, waited = chance.random() < 0.3, chance.random() < 0.3
    asked = Asked(b"", mine, level, lease, allocation=9, overwrite=overwrite, waited=waited)
    outcome: object = None
    try:
        asked.admit(mine, Others.of(beside), chance.choice((None, 3, 10)))
    except BreakNeededError:
        outcome = "waits"
    except SmbError as error:
        outcome = error.status
    return outcome, mine.pack(), [(one.record.open_id, one.left) for one in asked.breaks]


def test_kinds_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Granted, refused and broken is the same by kinds as by each of the opens."""
    beside_each = [decided(seed) for seed in range(1500)]
    monkeypatch.setattr(others, "FEW", 0)
    assert [decided(seed) for seed in range(1500)] == beside_each
    outcomes = [outcome for outcome, _, _ in beside_each]
    assert min(outcomes.count(one) for one in set(outcomes)) > 20
    assert len(set(outcomes)) == 3


@pytest.mark.parametrize("share", [0, 7])
@pytest.mark.parametrize("level", [0, SMB2_OPLOCK_LEVEL_BATCH])
def test_an_open_beside_many_reads_none_of_them(
    client: Client, monkeypatch: pytest.MonkeyPatch, level: int, share: int
) -> None:
    """Nor does one that is refused."""
    for _ in range(others.FEW + 1):
        client.open("file", oplock=SMB2_OPLOCK_LEVEL_II)
    read = []
    parse = OpenRecord.parse
    monkeypatch.setattr(OpenRecord, "parse", lambda *of: read.append(of) or parse(*of))
    status = client.create("file", oplock=level, share=share)
    assert status is (NtStatus.SUCCESS if share else NtStatus.SHARING_VIOLATION)
    assert len(read) < 4


def test_one_of_many_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its id, also where that stands in another's record; what they share is told once."""
    records = [OpenRecord(number, number % 2, 3 + number % 2) for number in range(1, 40)]
    records[5].session_id = records[7].open_id
    opens = Others.of(records)
    assert opens.with_id(8) == records[7]
    assert opens.with_id(40) is None
    assert opens.without(8).all == [one for one in records if one.open_id != 8]
    assert opens.without(40).all == records
    assert opens.sharing() == {(0, 3), (1, 4)}


def test_a_rename_beside_many_reads_none_of_them(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(others.FEW + 1):
        client.open("file", oplock=SMB2_OPLOCK_LEVEL_II)
    file = client.open("file", access=DELETE)
    read = []
    parse = OpenRecord.parse
    monkeypatch.setattr(OpenRecord, "parse", lambda *of: read.append(of) or parse(*of))
    assert client.call(Command.SET_INFO, requests.rename(file, "other")).status is NtStatus.SUCCESS
    assert len(read) < 6
