"""System accounts: the uid, gid and groups that a user's file operations run with.

Root maps every user to his own account. Anyone else can act only as himself: there every user
is the one who started the server, the embedded default.
"""

import grp
import os
import pwd
from dataclasses import dataclass

# The kernel's overflow ids, "nobody" where no account of that name exists.
OVERFLOW_ID = 65534


def find_entry(name: str) -> pwd.struct_passwd | None:
    """Return the system's user of this name, whoever the server is."""
    if not name or "\0" in name:
        return None
    try:
        return pwd.getpwnam(name)
    except (KeyError, UnicodeError):
        return None


@dataclass(frozen=True, slots=True)
class Account:
    """Who acts: a name for the log, and the ids for the kernel."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    def with_group(self, gid: int) -> "Account":
        """Return the account with another primary group (`force group`)."""
        return Account(self.name, self.uid, gid, tuple(dict.fromkeys((gid, *self.groups))))


NOBODY = Account("nobody", OVERFLOW_ID, OVERFLOW_ID, (OVERFLOW_ID,))


class Accounts:
    """The accounts of this system, as this process may use them."""

    def __init__(self) -> None:
        """Note whether this process may act for others."""
        self.privileged = os.geteuid() == 0

    def find(self, name: str) -> Account | None:
        """Return the account of the name, or None when the system has none."""
        if not self.privileged:
            return self.own(name)
        entry = find_entry(name)
        if entry is None:
            return None
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(groups))

    def uid(self, name: str) -> int | None:
        """Return the uid of the system's account of this name, whoever the server acts as."""
        entry = find_entry(name)
        return entry.pw_uid if entry is not None else None

    def exists(self, name: str) -> bool:
        """Return whether `find` has an account for the name; does not look for its groups."""
        return not self.privileged or find_entry(name) is not None

    def guest(self, name: str) -> Account:
        """Return the guest account; the kernel's overflow ids when there is none, or it is root."""
        account = self.find(name) or NOBODY
        return NOBODY if self.privileged and account.uid == 0 else account

    def own(self, name: str) -> Account:
        """Return the identity of this process under a user's name."""
        return Account(name, os.geteuid(), os.getegid(), tuple(os.getgroups()))

    def home(self, name: str) -> str:
        """Return the home directory of the system's user of this name; "" when there is none."""
        entry = find_entry(name)
        return entry.pw_dir if entry is not None else ""

    def homes(self) -> dict[str, str]:
        """Return the home directories of the users that the system lists, which may not be all."""
        return {entry.pw_name: entry.pw_dir for entry in pwd.getpwall()}

    def primary_group(self, name: str) -> str:
        """Return the name of the user's primary group; "" when the system does not know it."""
        entry = find_entry(name)
        return self.group_name(entry.pw_gid) if entry is not None else ""

    def group_name(self, gid: int) -> str:
        """Return the name of a group; "" when it has none."""
        try:
            return grp.getgrgid(gid).gr_name
        except KeyError:
            return ""

    def find_group(self, name: str) -> int | None:
        """Return the gid of the group, or None when the system has none."""
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, UnicodeError, ValueError):
            return None

    def is_member(self, user: str, group: str) -> bool:
        """Return whether the system's user of this name is in the group of this name.

        Asked of the system, not of `Account`: an unprivileged server maps all users to one
        account, but `@group` in a share's lists still means the user who logged in.
        """
        gid = self.find_group(group)
        entry = find_entry(user)
        if gid is None or entry is None:
            return False
        return gid in os.getgrouplist(entry.pw_name, entry.pw_gid)
