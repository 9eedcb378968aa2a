"""`force user` and `force group` of a share, as far as they are the same for all clients."""

from collections.abc import Callable
from typing import Any

from usmbd.mountd.config.choose import Chosen
from usmbd.mountd.config.source import Entry
from usmbd.mountd.identity import Account, Accounts
from usmbd.mountd.substitute import Template


def forced(
    chosen: Chosen, values: dict[str, Any], accounts: Accounts, warn: Callable[[Entry, str], None]
) -> tuple[Account | None, int | None]:
    """Return the account of `force user` and the gid of `force group`.

    Nobody connects while one of them is not there, as with smbd. An unprivileged server acts as its
    own user, whatever is said here: both are checked and have no effect.
    """
    account, gid = None, None
    user, group = values["force user"], values["force group"]
    if user and not isinstance(user, Template):
        account = accounts.find(user)
        if account is None:
            what = f"force user = {user}: there is no such account (now): nobody can connect"
            warn(chosen["force user"][1], what)
    if group and not isinstance(group, Template):
        gid = accounts.find_group(group.lstrip("@+"))
        if gid is None:
            what = f"force group = {group}: there is no such group (now): nobody can connect"
            warn(chosen["force group"][1], what)
        if group.startswith("+"):
            gid = None  # of who is in it already: it is decided where they connect
    if accounts.privileged:
        return account, gid
    for name in ("force user", "force group"):
        if values[name]:
            warn(chosen[name][1], f"{name!r} has no effect: the server is not root")
    return None, None
