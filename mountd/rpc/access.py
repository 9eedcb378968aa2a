"""What a caller may do with what he opens by LSA or SAM ([MS-LSAD] 3.1.4.2, [MS-SAMR] 3.1.2.1)."""

from dataclasses import dataclass

from usmbd.mountd.admin.descriptors import (
    ACCESS_ALLOWED,
    ADMINISTRATORS,
    EVERYONE,
    Ace,
    Descriptor,
    pack,
)
from usmbd.mountd.ipc.accounts import AskRights, Rights
from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.rights import AskGiven
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.ntstatus import STATUS_ACCESS_DENIED
from usmbd.mountd.rpc.view import View

MAXIMUM_ALLOWED = 0x02000000
GENERIC_ALL = 0x10000000
GENERIC_EXECUTE = 0x20000000
GENERIC_WRITE = 0x40000000
GENERIC_READ = 0x80000000
ACCESS_SYSTEM_SECURITY = 0x01000000
"""[MS-DTYP] 2.4.3."""

GENERIC = GENERIC_ALL | GENERIC_EXECUTE | GENERIC_WRITE | GENERIC_READ


@dataclass(frozen=True, slots=True)
class Access:
    """The rights of one kind of object: what the generic ones mean, and what everybody has."""

    all: int
    read: int
    write: int
    execute: int
    everybody: int

    def granted(self, desired: int, administrator: bool, denied: int = STATUS_ACCESS_DENIED) -> int:
        """Return what is granted of a request; Status(denied) when that is not all.

        Bits that mean nothing are not granted either, as by Windows (smbtorture, samr.connect).
        """
        mine = self.all if administrator else self.everybody
        wanted = desired & ~(GENERIC | MAXIMUM_ALLOWED)
        for bit, meaning in (
            (GENERIC_ALL, self.all),
            (GENERIC_READ, self.read),
            (GENERIC_WRITE, self.write),
            (GENERIC_EXECUTE, self.execute),
        ):
            if desired & bit:
                wanted |= meaning
        if administrator:
            mine |= ACCESS_SYSTEM_SECURITY
        if wanted & ~mine:
            raise Status(denied)
        return wanted | (mine & self.all if desired & MAXIMUM_ALLOWED else 0)

    def descriptor(self) -> bytes:
        """Return the self-relative descriptor that says so ([MS-DTYP] 2.4.6)."""
        aces = (
            Ace(ACCESS_ALLOWED, 0, self.everybody, EVERYONE),
            Ace(ACCESS_ALLOWED, 0, self.all, ADMINISTRATORS),
        )
        return pack(Descriptor(ADMINISTRATORS, ADMINISTRATORS, aces))


def is_administrator(view: View) -> Asking[bool]:
    """Tell whether the caller administrates the server; mountd is asked once a pipe."""
    if view.caller.guest or view.caller.anonymous:
        return False
    if "administrator" not in view.rights:
        answer = yield AskRights(view.caller.user)
        view.rights["administrator"] = isinstance(answer, Rights) and answer.administrator
    return view.rights["administrator"]


def may(view: View, right: str) -> Asking[bool]:
    """Tell whether the caller administrates, or has been given this right; asked once a pipe."""
    if (yield from is_administrator(view)):
        return True
    if view.caller.guest or view.caller.anonymous:
        return False
    if right not in view.rights:
        answer = yield AskGiven(view.caller.user, right)
        view.rights[right] = isinstance(answer, Outcome) and answer.result is Result.DONE
    return view.rights[right]


def need(granted: int, wanted: int) -> None:
    """Status(ACCESS_DENIED) when a handle was opened without what a call needs."""
    if wanted & ~granted:
        raise Status(STATUS_ACCESS_DENIED)
