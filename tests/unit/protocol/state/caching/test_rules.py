"""The state machine as data: what breaks, what is granted, and a lease's life."""

import pytest

from usmbd.protocol.state.caching import lease as life
from usmbd.protocol.state.caching.caching import Asked
from usmbd.protocol.state.caching.needed import BreakNeededError
from usmbd.protocol.state.caching.rules import (
    BREAKS,
    LEVEL_OF_STATE,
    NEEDS_ANSWER,
    NONE,
    RH,
    RW,
    RWH,
    STATE_OF_LEVEL,
    STATES,
    H,
    Operation,
    R,
    W,
    grantable,
)
from usmbd.protocol.state.store.others import Others
from usmbd.protocol.state.store.records import OPLOCK_BREAKING, LeaseState, OpenRecord
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_EXECUTE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_READ_EA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    READ_CONTROL,
    SYNCHRONIZE,
    WRITE_DAC,
)
from usmbd.protocol.wire.create import (
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_EXCLUSIVE,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_LEASE,
    SMB2_OPLOCK_LEVEL_NONE,
)
from usmbd.protocol.wire.create_contexts import LeaseContext
from usmbd.protocol.wire.status import NtStatus, SmbError

KEY = b"key of the file"
ME, OTHER = b"m" * 16, b"o" * 16


def record(access: int = FILE_READ_DATA, **fields: int | bytes) -> OpenRecord:
    return OpenRecord(open_id=1, granted_access=access, share_access=7, **fields)  # type: ignore[arg-type]


def leased(
    state: int, key: bytes = OTHER, client: bytes = OTHER, breaking: bool = False
) -> OpenRecord:
    return record(
        oplock_level=SMB2_OPLOCK_LEVEL_LEASE,
        lease_key=key,
        client_guid=client,
        lease_state=state,
        lease_version=1,
        oplock_state=OPLOCK_BREAKING if breaking else 0,
    )


def oplocked(level: int, breaking: bool = False) -> OpenRecord:
    return record(oplock_level=level, oplock_state=OPLOCK_BREAKING if breaking else 0)


def ask(
    state: int,
    others: list[OpenRecord],
    *,
    access: int = FILE_READ_DATA,
    locked: int | None = None,
    **how: bool,
) -> OpenRecord:
    """Ask for a lease beside other opens."""
    mine = record(access, client_guid=ME)
    lease = LeaseContext(1, ME, state, 0)
    how = {"overwrite": False, "waited": False} | how
    asked = Asked(KEY, mine, SMB2_OPLOCK_LEVEL_LEASE, lease, allocation=4096, **how)
    asked.admit(mine, Others.of(others), locked)
    return mine


def test_every_verdict_leaves_a_state_that_a_client_can_hold() -> None:
    for verdicts in BREAKS.values():
        for state, (left, _) in verdicts.items():
            assert state in STATES
            assert left in STATES
            assert left & ~state == 0 != state & ~left


def test_only_an_answer_lets_go_of_what_a_client_has_to_write_or_to_close() -> None:
    for operation, verdicts in BREAKS.items():
        for state, (_, waits) in verdicts.items():
            if waits:
                assert state in NEEDS_ANSWER, (operation, state)


def test_oplocks_are_names_of_states() -> None:
    for level, state in STATE_OF_LEVEL.items():
        assert LEVEL_OF_STATE[state] == level
    assert set(LEVEL_OF_STATE) == set(STATES)


@pytest.mark.parametrize(
    ("state", "granted"),
    [
        (NONE, NONE),
        (R, R),
        (H, NONE),
        (W, NONE),
        (RH, RH),
        (RW, RW),
        (W | H, NONE),
        (RWH, RWH),
        (8, NONE),
        (0xFFFFFFFF, NONE),
    ],
)
def test_who_is_alone_gets_what_is_a_state(state: int, granted: int) -> None:
    assert grantable(state, record(), (), False) == granted


@pytest.mark.parametrize("asked", STATES)
@pytest.mark.parametrize("held", [NONE, R, RH])
def test_beside_another_lease_nobody_writes(held: int, asked: int) -> None:
    assert ask(asked, [leased(held)]).lease_state == asked & ~W


@pytest.mark.parametrize("asked", STATES)
def test_beside_an_oplock_there_is_no_handle_lease(asked: int) -> None:
    assert ask(asked, [oplocked(SMB2_OPLOCK_LEVEL_II)]).lease_state == asked & R


@pytest.mark.parametrize(
    ("held", "granted"),
    [(R, SMB2_OPLOCK_LEVEL_II), (RH, SMB2_OPLOCK_LEVEL_NONE), (NONE, SMB2_OPLOCK_LEVEL_II)],
)
@pytest.mark.parametrize(
    "level", [SMB2_OPLOCK_LEVEL_II, SMB2_OPLOCK_LEVEL_EXCLUSIVE, SMB2_OPLOCK_LEVEL_BATCH]
)
def test_beside_a_handle_lease_there_is_no_oplock(held: int, granted: int, level: int) -> None:
    mine = record(client_guid=ME)
    Asked(KEY, mine, level, None, allocation=0, overwrite=False, waited=False).admit(
        mine, Others.of([leased(held)]), None
    )
    assert mine.oplock_level == granted


@pytest.mark.parametrize(
    ("access", "granted"),
    [
        (FILE_READ_ATTRIBUTES, RWH),
        (FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | SYNCHRONIZE, RWH),
        (READ_CONTROL, RH),
        (FILE_READ_DATA, RH),
        (DELETE, RH),
    ],
)
def test_an_open_without_caching_forbids_to_write_unless_it_only_looks(
    access: int, granted: int
) -> None:
    assert ask(RWH, [record(access)]).lease_state == granted


@pytest.mark.parametrize(
    ("locked", "overwrite", "granted"),
    [(0, False, NONE), (4095, False, NONE), (4096, False, RH), (0, True, RH), (None, False, RH)],
)
def test_what_is_locked_is_not_cached(locked: int | None, overwrite: bool, granted: int) -> None:
    """Locks behind AllocationSize, and of what is emptied, are no matter ([MS-FSA] 2.1.5.18)."""
    assert ask(RWH, [record()], locked=locked, overwrite=overwrite).lease_state == granted


@pytest.mark.parametrize("asked", [*STATES, H, W])
@pytest.mark.parametrize("held", STATES)
def test_a_lease_is_raised_to_more_of_the_same_alone(held: int, asked: int) -> None:
    after = ask(asked, [leased(held, ME, ME)])
    raised = asked in STATES and asked & held == held
    assert after.lease_state == (asked if raised else held)
    assert after.lease_epoch == (raised and asked != held)


@pytest.mark.parametrize("other", [R, RH])
def test_a_lease_is_raised_as_a_whole_or_not(other: int) -> None:
    assert ask(RWH, [leased(R, ME, ME), leased(other)]).lease_state == R
    assert ask(RH, [leased(R, ME, ME), leased(other)]).lease_state == RH


def test_a_lease_that_breaks_is_not_raised_and_says_so() -> None:
    after = ask(RWH, [leased(RH, ME, ME, breaking=True)])
    assert (after.lease_state, after.oplock_state) == (RH, OPLOCK_BREAKING)


@pytest.mark.parametrize("held", STATES)
def test_nobody_breaks_his_own_lease(held: int) -> None:
    ask(RWH, [leased(held, ME, ME)], access=FILE_WRITE_DATA, overwrite=True)
    others = [leased(held, ME, OTHER), leased(held, OTHER, ME)]  # neither client nor key alone
    for other in others:
        if held & W:
            with pytest.raises(BreakNeededError):
                ask(R, [other])


@pytest.mark.parametrize(
    ("held", "left", "overwritten"),
    [(NONE, None, None), (R, None, NONE), (RH, None, NONE), (RW, R, NONE), (RWH, RH, NONE)],
)
def test_what_an_open_breaks(held: int, left: int | None, overwritten: int | None) -> None:
    for overwrite, expected in ((False, left), (True, overwritten)):
        mine = record(FILE_READ_DATA | FILE_WRITE_DATA)
        asked = Asked(KEY, mine, 0, None, allocation=0, overwrite=overwrite, waited=False)
        if held & W:
            with pytest.raises(BreakNeededError) as needed:
                asked.admit(mine, Others.of([leased(held)]), None)
            assert needed.value.breaks == asked.breaks
        else:
            asked.admit(mine, Others.of([leased(held)]), None)
        assert [one.left for one in asked.breaks] == ([] if expected is None else [expected])


@pytest.mark.parametrize("held", [RH, RWH])
def test_an_open_waits_for_the_end_of_any_break(held: int) -> None:
    with pytest.raises(BreakNeededError):
        ask(R, [leased(held, breaking=True)])


def test_who_overwrites_waits_for_a_reader_s_answer_only_behind_another_wait() -> None:
    breaking = leased(RH, breaking=True)
    ask(R, [breaking], access=FILE_WRITE_DATA, overwrite=True)
    with pytest.raises(BreakNeededError):
        ask(R, [breaking], access=FILE_WRITE_DATA, overwrite=True, waited=True)


@pytest.mark.parametrize(
    ("access", "oplock_breaks", "lease_breaks"),
    [
        (FILE_READ_ATTRIBUTES, False, False),
        (FILE_WRITE_ATTRIBUTES, False, False),
        (SYNCHRONIZE, False, False),
        (READ_CONTROL, True, False),
        (FILE_READ_EA, True, True),
        (FILE_EXECUTE, True, True),
        (WRITE_DAC, True, True),
        (DELETE, True, True),
    ],
)
def test_who_only_looks_breaks_nothing(
    access: int, oplock_breaks: bool, lease_breaks: bool
) -> None:
    for holder, breaks in (
        (oplocked(SMB2_OPLOCK_LEVEL_BATCH), oplock_breaks),
        (leased(RWH), lease_breaks),
    ):
        if breaks:
            with pytest.raises(BreakNeededError):
                ask(R, [holder], access=access)
        else:
            ask(R, [holder], access=access)


# -- a lease's life ----------------------------------------------------------------------


def test_the_epoch_counts_what_a_client_got_or_lost() -> None:
    assert life.granted(NONE, 2, 0x10).epoch == 0x10
    assert life.granted(RWH, 2, 0xFFFF).epoch == 0
    lease = life.granted(R, 2, 0x10)
    assert lease.epoch == 0x11
    assert life.raised(lease, R, R) == lease
    assert life.raised(lease, RH, RH).epoch == 0x12
    assert life.broken(lease, R) == lease
    assert life.broken(lease, NONE) == LeaseState(NONE, 2, 0x12)


def test_a_read_cache_goes_without_an_answer() -> None:
    lease = life.broken(LeaseState(R, 1, 0), NONE)
    assert (lease.state, lease.breaking) == (NONE, False)


@pytest.mark.parametrize("state", [RH, RW, RWH])
def test_anything_else_needs_one(state: int) -> None:
    lease = life.broken(LeaseState(state, 1, 0), R)
    assert (lease.state, lease.breaking, lease.break_to) == (state, True, R)


@pytest.mark.parametrize("kept", [NONE, R, RH])
def test_a_client_may_keep_less(kept: int) -> None:
    breaking = life.broken(LeaseState(RWH, 1, 0), RH)
    assert life.acknowledged(breaking, kept) == LeaseState(kept, 1, 1)


@pytest.mark.parametrize("kept", [W, H, RW, RWH, W | H, 8])
def test_a_client_may_not_keep_more_or_what_is_no_state(kept: int) -> None:
    breaking = life.broken(LeaseState(RWH, 1, 0), RH)
    with pytest.raises(SmbError) as error:
        life.acknowledged(breaking, kept)
    assert error.value.status is NtStatus.REQUEST_NOT_ACCEPTED


def test_an_answer_without_a_question_is_refused() -> None:
    with pytest.raises(SmbError) as error:
        life.acknowledged(LeaseState(R, 1, 0), R)
    assert error.value.status is NtStatus.UNSUCCESSFUL


def test_what_comes_during_a_break_is_asked_in_steps() -> None:
    first = life.broken(LeaseState(RWH, 2, 1), RH)
    more = life.broken(first, NONE)
    assert (more.break_to, more.required, more.epoch) == (RH, NONE, 2)
    step = life.acknowledged(more, RH)
    assert (step.state, step.break_to, step.breaking, step.epoch) == (RH, R, True, 2)
    assert life.acknowledged(step, R) == LeaseState(NONE, 2, 2)


def test_silence_costs_all() -> None:
    assert life.expired(life.broken(LeaseState(RWH, 1, 0), RH)) == LeaseState(NONE, 1, 1)
    quiet = LeaseState(RWH, 1, 0)
    assert life.expired(quiet) == quiet


def test_a_lease_of_version_2_begins_with_its_client_s_epoch() -> None:
    mine = record(client_guid=ME)
    lease = LeaseContext(2, ME, RW, 0, epoch=7)
    Asked(KEY, mine, SMB2_OPLOCK_LEVEL_LEASE, lease, allocation=0, overwrite=False, waited=False)
    assert (mine.lease_version, mine.lease_epoch, mine.lease_state) == (2, 8, RW)


def test_all_operations_have_their_row() -> None:
    assert set(BREAKS) == set(Operation)
