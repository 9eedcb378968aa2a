"""[homes]: a share for each user's home directory, as in smb.conf(5)."""

import dataclasses

import msgspec

from usmbd.mountd.config.load import HOMES, Configuration
from usmbd.mountd.config.source import share_key
from usmbd.mountd.identity import Accounts
from usmbd.mountd.shares import Share
from usmbd.mountd.substitute import Template, fill
from usmbd.mountd.users import UserTable


def find_share(
    configuration: Configuration,
    name: str,
    user: str,
    users: UserTable,
    accounts: Accounts,
    *,
    by_ticket: bool = False,
) -> Share | None:
    """Return the share that `user` means by a name: a section, else somebody's home, else None.

    `homes` is his own. Only users of the password file have a home here, of all that the system
    knows, and who came `by_ticket` has his own; who may connect to another's is for `valid users`
    to say. A home comes before what some user of the machine has named so (Samba).
    """
    share = configuration.find_share(name)
    is_theirs = share is not None and share_key(name) in configuration.usershares
    if configuration.homes is None or (share is not None and not is_theirs):
        return share
    wanted = user if share_key(name) == HOMES else name
    owner = users.find(wanted)
    if owner is None and by_ticket and share_key(wanted) == share_key(user):
        owner = user
    directory = accounts.home(owner) if owner else ""
    if not owner or not directory:
        return share
    return home_of(configuration.homes, owner, directory)


def home_of(homes: Share, owner: str, directory: str) -> Share:
    """Return the share of a user's home: at the path of [homes], else at his home directory."""
    substitutions = {**homes.substitutions, "S": owner}
    comment = fill(homes.config.comment, {**substitutions, "U": owner, "u": owner, "H": directory})
    path = homes.path or directory
    config = msgspec.structs.replace(
        homes.config,
        name=owner,
        path=str(path),
        comment=comment if isinstance(homes.config.comment, Template) else homes.config.comment,
    )
    return dataclasses.replace(homes, config=config, path=path, substitutions=substitutions)
