"""A lease's life, as pure functions of its state ([MS-SMB2] 3.3.1.12).

    granted -> raised*            by opens with the same key
            -> broken             the client is told; a mere read cache is gone at once
               -> broken more*    while it has not answered: it is told when it has
               -> acknowledged    done, or told of the next step
               -> expired         it never answered

The store applies them within its transactions, and a distributed one may apply them twice.
"""

from usmbd.protocol.state.caching.rules import NEEDS_ANSWER, NONE, STATES, H, R, W
from usmbd.protocol.state.store.records import LeaseState
from usmbd.protocol.wire.status import NtStatus, SmbError

EPOCH_MASK = 0xFFFF


def granted(state: int, version: int, epoch: int) -> LeaseState:
    """Return a new lease; the client's epoch counts on with what it gets (3.3.5.9.11)."""
    if state:
        epoch = epoch + 1 & EPOCH_MASK
    return LeaseState(state, version, epoch)


def raised(lease: LeaseState, asked: int, grantable: int) -> LeaseState:
    """Return a lease after another open with its key (3.3.5.9.8).

    It becomes what was asked if that is more in every respect, can be had as a whole, and no break
    is under way; else it stays.
    """
    if lease.breaking or asked != grantable or asked == lease.state or lease.state & ~asked:
        return lease
    return lease._replace(state=asked, epoch=lease.epoch + 1 & EPOCH_MASK)


def broken(lease: LeaseState, left: int) -> LeaseState:
    """Return a lease of which at most `left` may stay (3.3.4.7).

    What comes while the client has not answered is kept for its answer, and has no epoch.
    """
    left &= lease.state
    if lease.breaking:
        return lease._replace(required=lease.required & left)
    if left == lease.state:
        return lease
    epoch = lease.epoch + 1 & EPOCH_MASK
    if lease.state not in NEEDS_ANSWER:
        return lease._replace(state=left, epoch=epoch)
    return lease._replace(breaking=True, break_to=left, required=left, epoch=epoch)


def acknowledged(lease: LeaseState, state: int) -> LeaseState:
    """Return a lease after the client's answer (3.3.5.22.2).

    If it keeps more than may stay by now, the next step is on: with W and H gone, the rest goes
    without an answer. SmbError UNSUCCESSFUL when nothing was asked, REQUEST_NOT_ACCEPTED when it
    keeps more than it was left, or what is no state.
    """
    if not lease.breaking:
        raise SmbError(NtStatus.UNSUCCESSFUL)
    if state & ~lease.break_to or state not in STATES:
        raise SmbError(NtStatus.REQUEST_NOT_ACCEPTED)
    if not state & ~lease.required:
        return ended(lease, state)
    if state & (W | H):
        # In steps, as Windows does: the read cache is the last to go.
        return lease._replace(state=state, break_to=lease.required | R)
    return ended(lease, lease.required)


def expired(lease: LeaseState) -> LeaseState:
    """Return a lease whose client has not answered in time (3.3.6.5)."""
    return ended(lease, NONE) if lease.breaking else lease


def ended(lease: LeaseState, state: int) -> LeaseState:
    """Return a lease of which `state` has stayed after a break."""
    return lease._replace(state=state, breaking=False, break_to=NONE, required=NONE)
