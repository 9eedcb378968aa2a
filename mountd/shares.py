"""Shares, and the decision who may connect to them, in which role."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec

from usmbd.mountd.hosts import EMPTY, HostList, is_allowed
from usmbd.mountd.identity import Account, Accounts
from usmbd.mountd.ipc.messages import TreeConnectRequest, TreeConnectResponse, TreeStatus
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig, ShareType
from usmbd.mountd.substitute import Template, expand, expand_path, fill


@dataclass(frozen=True, slots=True)
class HostAccess:
    """`hosts allow` and `hosts deny` of the server or of a share."""

    allow: HostList = EMPTY
    deny: HostList = EMPTY

    def admits(self, client: str) -> bool:
        """Return whether the client's address may connect."""
        return is_allowed(client, self.allow, self.deny)


NO_RESTRICTION = HostAccess()


@dataclass(frozen=True, slots=True)
class ShareAccess:
    """What only mountd knows of a share. Users are names or `@group`s."""

    hosts: HostAccess = NO_RESTRICTION
    valid_users: tuple[str, ...] = ()
    invalid_users: tuple[str, ...] = ()
    read_list: tuple[str, ...] = ()
    write_list: tuple[str, ...] = ()
    admin_users: tuple[str, ...] = ()
    guest_account: str = ""
    """Empty: the server's."""
    guest_only: bool = False
    """Whoever connects is the guest; never without `guest ok` (smb.conf(5))."""
    force_user: str = ""
    force_group: str = ""
    force_account: Account | None = None
    """`force user` as resolved; `force_user` may be set without it in an unprivileged server."""

    def names(self) -> set[str]:
        """Return all users (not groups) that this share names."""
        lists = (
            self.valid_users,
            self.invalid_users,
            self.read_list,
            self.write_list,
            self.admin_users,
        )
        users = {name for each in lists for name in each if not name.startswith("@")}
        return users | {name for name in (self.guest_account, self.force_user) if name}


@dataclass(frozen=True, slots=True)
class Share:
    """One share as mountd knows it."""

    config: ShareConfig
    access: ShareAccess = field(default_factory=ShareAccess)
    path: str = ""
    """`config.path`, a `Template` where it holds substitutions."""
    substitutions: Mapping[str, str] = field(default_factory=dict)
    """What substitutions mean for every client: the share's and the server's names."""

    @property
    def has_templates(self) -> bool:
        """Whether any of it depends on who connects."""
        access = self.access
        lists = (
            access.valid_users,
            access.invalid_users,
            access.read_list,
            access.write_list,
            access.admin_users,
            (self.path, access.force_user, access.force_group),
        )
        return any(isinstance(text, Template) for each in lists for text in each)


def from_anywhere(share: Share) -> Share:
    """Return a share without `hosts allow` and `hosts deny`."""
    return replace(share, access=replace(share.access, hosts=NO_RESTRICTION))


def is_listed(
    user: str, names: tuple[str, ...], accounts: Accounts, groups: tuple[int, ...] = ()
) -> bool:
    """Return whether a list names the user, in any case, or a group that he is in.

    `groups` are gids that he has beside those that the system gives him.
    """
    folded = user.casefold()
    for name in names:
        if name[0] != "@":
            if name.casefold() == folded:
                return True
        elif accounts.is_member(user, name[1:]) or (
            groups and accounts.find_group(name[1:]) in groups
        ):
            return True
    return False


def _refuse(status: TreeStatus) -> TreeConnectResponse:
    """Return the answer that lets nobody in."""
    return TreeConnectResponse(status)


def _substitutions(
    request: TreeConnectRequest, share: Share, user: str, accounts: Accounts
) -> dict[str, str]:
    """Return what the substitutions mean for a tree connect; %u and %g before `force user`."""
    if not share.has_templates:  # the system is not asked in vain: it may ask a directory
        return {}
    group = accounts.primary_group(user)
    client = request.client_address
    return {
        **share.substitutions,
        "U": user,
        "u": user,
        "G": group,
        "g": group,
        "H": accounts.home(user),
        "I": client,
        "m": client,
        "M": client,
        "i": request.server_address,
    }


def _expanded(names: tuple[str, ...], *, substitutions: Mapping[str, str]) -> tuple[str, ...]:
    """Return a list of users with the values of its substitutions; most lists have none."""
    if not any(isinstance(name, Template) for name in names):
        return names
    return tuple(
        expand(name, substitutions) if isinstance(name, Template) else name for name in names
    )


def _with_forced_group(
    account: Account, share: Share, substitutions: Mapping[str, str], accounts: Accounts
) -> Account | None:
    """Return who acts with the group of `force group`, if there is one; None: it is not there.

    `+group` is for those who are in it already.
    """
    group, gid = share.access.force_group, share.config.force_gid
    if gid is None and group and accounts.privileged:
        gid = accounts.find_group(fill(group, substitutions).lstrip("@+"))
        if gid is None:
            return None
        if group.startswith("+") and gid not in (account.gid, *account.groups):
            return account
    return account if gid is None else account.with_group(gid)


def unproven(request: TreeConnectRequest) -> bool:
    """Tell whether a session has proved no account."""
    return request.guest or request.anonymous


def decide(
    request: TreeConnectRequest,
    share: Share | None,
    server: ServerConfig,
    server_hosts: HostAccess,
    accounts: Accounts,
    known: Account | None = None,
) -> TreeConnectResponse:
    """Return what the user may do on the share, `max connections` aside.

    `known` is who acts for a user that came by a ticket, which gives him groups.

    The order is the strict one: hosts, then `invalid users` before every list that lets in,
    `read list` before `write list`. The user's ids are looked up here again, never taken from
    the request.
    """
    if share is None:
        return _refuse(TreeStatus.NO_SHARE)
    config, access = share.config, share.access
    clients = (request.client_address, *request.other_addresses)
    if not all(map(server_hosts.admits, clients)) or not all(map(access.hosts.admits, clients)):
        return _refuse(TreeStatus.HOST_DENIED)

    is_guest = unproven(request) or access.guest_only
    is_pipe = config.type is ShareType.PIPE
    if request.anonymous and is_pipe and server.restrict_anonymous >= 2:
        return _refuse(TreeStatus.INVALID_USER)
    if is_guest and not (config.guest_ok or is_pipe):
        return _refuse(TreeStatus.INVALID_USER)

    guest_name = access.guest_account or server.guest_account
    user = guest_name if is_guest else request.user
    substitutions = _substitutions(request, share, user, accounts)
    names = partial(_expanded, substitutions=substitutions)
    listed = partial(
        is_listed, accounts=accounts, groups=known.groups if known and not is_guest else ()
    )
    if listed(user, names(access.invalid_users)):
        return _refuse(TreeStatus.INVALID_USER)
    if access.valid_users and not listed(user, names(access.valid_users)):
        return _refuse(TreeStatus.INVALID_USER)

    account = accounts.guest(guest_name) if is_guest else (known or accounts.find(user))
    if account is None and is_pipe:
        account = accounts.guest(guest_name)
    if access.force_account is not None:
        account = access.force_account
    elif access.force_user and accounts.privileged:
        account = accounts.find(fill(access.force_user, substitutions))
    if account is not None:
        account = _with_forced_group(account, share, substitutions, accounts)
    if account is None:
        return _refuse(TreeStatus.NO_USER)
    if isinstance(share.path, Template):
        substitutions |= {"u": account.name, "g": accounts.group_name(account.gid)}
        try:
            config = msgspec.structs.replace(config, path=expand_path(share.path, substitutions))
        except ValueError:
            return _refuse(TreeStatus.NO_SHARE)
    is_admin = not is_guest and listed(user, names(access.admin_users))
    if is_admin and accounts.privileged:
        account = Account("root", 0, 0, (0,))

    writable = not config.read_only
    if listed(user, names(access.read_list)):
        writable = False
    elif listed(user, names(access.write_list)):
        writable = True
    return TreeConnectResponse(
        TreeStatus.OK,
        share=config,
        writable=writable,
        admin=is_admin,
        guest=is_guest,
        uid=account.uid,
        gid=account.gid,
        groups=list(account.groups),
    )
