"""Accounts of the machine's domain in descriptors, and the Unix ids that they stand for."""

import pytest

from usmbd.mountd.ipc.sids import MachineDomain as Told
from usmbd.protocol.vfs.machine_domain import MachineDomain
from usmbd.protocol.wire.security import Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import Sid

MACHINE = "S-1-5-21-1-2-3"
DOMAIN = MachineDomain(Told(MACHINE, [(5, 6), (1000, 1000), (1005, 1999)]))


def descriptor(*sids: str) -> SecurityDescriptor:
    owner, group, *others = map(Sid.from_string, sids)
    aces = Acl(tuple(Ace(0, 0, 1, sid) for sid in others))
    return SecurityDescriptor(owner, group, aces, aces)


@pytest.mark.parametrize(
    ("unix", "account"),
    [
        ("S-1-22-1-5", f"{MACHINE}-1010"),
        ("S-1-22-1-6", f"{MACHINE}-1012"),
        ("S-1-22-1-1000", f"{MACHINE}-3000"),
        ("S-1-22-1-1999", f"{MACHINE}-4998"),
    ],
)
def test_users_of_the_password_file_are_accounts(unix: str, account: str) -> None:
    assert DOMAIN.shown(descriptor(unix, unix, unix)) == descriptor(account, account, account)
    assert DOMAIN.meant(descriptor(account, account, account)) == descriptor(unix, unix, unix)


@pytest.mark.parametrize(
    "sid",
    [
        *["S-1-22-1-0", "S-1-22-1-4", "S-1-22-1-7", "S-1-22-1-1001", "S-1-22-1-2000"],
        *["S-1-22-2-5", "S-1-1-0", "S-1-5-32-544", "S-1-5-21-1-2-4-1010", "S-1-5-21-1-2"],
        *[MACHINE, f"{MACHINE}-513", f"{MACHINE}-1010-1", f"{MACHINE}-2147483650"],
    ],
)
def test_others_stay_what_they_are(sid: str) -> None:
    value = descriptor(sid, sid, sid)
    assert DOMAIN.shown(value) == value
    assert DOMAIN.meant(value) == value


def test_groups_and_users_that_were_accounts_are_understood() -> None:
    sent = descriptor(f"{MACHINE}-3002", f"{MACHINE}-1201")
    assert DOMAIN.meant(sent) == descriptor("S-1-22-1-1001", "S-1-22-2-100")


def test_what_is_not_there() -> None:
    empty = SecurityDescriptor()
    assert DOMAIN.shown(empty) == DOMAIN.meant(empty) == empty


def test_no_users() -> None:
    value = descriptor("S-1-22-1-5", "S-1-22-1-5")
    assert MachineDomain(Told(MACHINE, [])).shown(value) == value
