"""DFS: referrals ([MS-SMB2] 3.3.5.15.2), and paths of a root ([MS-DFSC] 3.3).

The server is a standalone root server: it knows the links in its shares with `msdfs root`, and
where `msdfs proxy` sends the rest. Who may not connect to a root gets no referral from it.
"""

import random
import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Final

from usmbd.mountd.ipc.messages import (
    ShareConfigRequest,
    ShareConfigResponse,
    TreeConnectResponse,
    TreeDisconnect,
    TreeStatus,
)
from usmbd.mountd.ipc.settings import DfsSite, ShareConfig
from usmbd.protocol.commands.request import Answer, Handling, Request
from usmbd.protocol.commands.tree_connect import question
from usmbd.protocol.effects import Slow, Waiting
from usmbd.protocol.state.interfaces import host_name
from usmbd.protocol.state.mountd import ask
from usmbd.protocol.state.volumes import open_for
from usmbd.protocol.vfs.dfs_links import find_link
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.wire import dfs, fsctl
from usmbd.protocol.wire.create import FILE_OPEN_REPARSE_POINT, CreateRequest
from usmbd.protocol.wire.dfs import Asked, Target
from usmbd.protocol.wire.header import SMB2_FLAGS_DFS_OPERATIONS
from usmbd.protocol.wire.ioctl import IoctlRequest, build_ioctl_response
from usmbd.protocol.wire.status import NtStatus, SmbError

TIME_TO_LIVE: Final = 600
"""Seconds for which clients keep a referral, as Samba tells."""

MAX_PATH: Final = 4096
"""Characters of a path; CREATE takes no longer ones either."""


def get_referrals(request: Request, body: IoctlRequest, data: memoryview) -> Answer | Handling:
    """Tell where a path is served; SmbError(NOT_FOUND) where it is nowhere but here.

    The client asks by IPC$ with the session of the user who wants the path.
    """
    config = request.connection.server.config
    if not config.dfs:
        # Samba's answer, too; FS_DRIVER_REQUIRED ([MS-SMB2] 3.3.5.15.2) is for what has no DFS.
        raise SmbError(NtStatus.NOT_FOUND)
    if body.ctl_code == fsctl.FSCTL_DFS_GET_REFERRALS_EX:
        asked = dfs.parse_request_ex(data)
    else:
        asked = dfs.parse_request(data)
    if not asked.max_level or len(asked.path) > MAX_PATH:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return _answer(request, body, asked)


def path_in_root(request: Request, body: CreateRequest, name: str) -> str:
    r"""Return a CREATE's name below a root; SmbError(PATH_NOT_COVERED) for what is elsewhere.

    With SMB2_FLAGS_DFS_OPERATIONS the name begins with `server\share` ([MS-SMB2] 3.3.5.9).
    """
    if request.tree.share.msdfs_proxy:
        raise SmbError(NtStatus.PATH_NOT_COVERED)
    if not request.header.flags & SMB2_FLAGS_DFS_OPERATIONS:
        return name
    # Who follows a path of DFS never means the link itself.
    body.create_options &= ~FILE_OPEN_REPARSE_POINT
    _, _, rest = split_path(name)
    return "\\".join(rest)


def _answer(request: Request, body: IoctlRequest, asked: Asked) -> Handling:
    """Find the root and the link, and build the answer."""
    server, share, rest = split_path(asked.path)
    if not share:  # domains and their controllers are not known here ([MS-DFSC] 3.3.5.1)
        raise SmbError(NtStatus.NOT_FOUND)
    addresses = yield from _look_up(request, share, rest)
    if addresses is None:
        raise SmbError(NtStatus.NOT_FOUND)
    config, consumed, found = addresses
    names = [server, share, *rest[:consumed]]
    path = "\\" + "\\".join(names)
    is_root = not found
    targets = [Target(path)] if is_root else _ordered(request, asked, config, found)
    flags = dfs.REFERRAL_SERVERS | dfs.STORAGE_SERVERS if is_root else dfs.STORAGE_SERVERS
    if not is_root and (yield from _leads_to_roots(request, server, found)):
        flags = dfs.REFERRAL_SERVERS
    if sum(target.begins_set for target in targets) > 1:
        flags |= dfs.TARGET_FAILBACK
    output = dfs.build_response(
        min(asked.max_level, dfs.MAX_VERSION),
        _prefix(asked.path, len(names)),
        path,
        targets,
        flags,
        server_type=dfs.ROOT_TARGETS if is_root else dfs.LINK_TARGETS,
        time_to_live=TIME_TO_LIVE,
    )
    if len(output) > body.max_output_response:
        raise SmbError(NtStatus.BUFFER_OVERFLOW)
    return list(build_ioctl_response(body, output))


def split_path(path: str) -> tuple[str, str, list[str]]:
    r"""Return server, share and names of `\server\share\names`; SmbError(INVALID_PARAMETER)."""
    names = [name for name in path.replace("/", "\\").split("\\") if name]
    if any(name in (".", "..") for name in names):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    server, share, *rest = [*names, "", ""][: max(len(names), 2)]
    return server, share, rest


def _prefix(path: str, names: int) -> str:
    """Return as much of a path as its first names take, separators that are too many included."""
    found = re.match(rf"(?:[\\/]*[^\\/]+){{{names}}}", path)
    return found[0] if found else path


def _look_up(
    request: Request, share: str, names: list[str]
) -> Waiting[tuple[ShareConfig, int, list[str]] | None]:
    """Return the root, how many names behind it lead to a link, and that link's targets.

    No targets: the root itself is meant. None: it is no root, or nothing in it is meant.
    """
    session, connection = request.session, request.connection
    server = connection.server
    tree_id, session.next_tree_id = session.next_tree_id, session.next_tree_id + 1
    asked = question(session, tree_id, share, connection)
    answer = yield from ask(server.mountd, asked, TreeConnectResponse)
    if answer.status is not TreeStatus.OK or answer.share is None:
        return None
    # It was counted as a tree connect, which it is none.
    server.mountd.tell(TreeDisconnect(session_id=session.session_id, tree_id=tree_id))
    config = answer.share
    if not config.msdfs_root:
        return None
    if config.msdfs_proxy:
        return config, 0, config.msdfs_proxy
    if not names:
        return config, 0, []
    identity = Identity(answer.uid, answer.gid, tuple(answer.groups))
    found = yield from Slow(_find, config, identity, "/".join(names), lane=config.name)
    return None if found is None else (config, *found)


def _find(share: ShareConfig, identity: Identity, path: str) -> tuple[int, list[str]] | None:
    """Look for a link in a root as whoever asks; runs on a thread."""
    try:
        volume = open_for(share, identity)
    except OSError:
        return None
    try:
        become(identity)
        return find_link(volume, path)
    finally:
        volume.close()


def _leads_to_roots(request: Request, server: str, targets: Sequence[str]) -> Waiting[bool]:
    """Tell whether all targets are roots of DFS themselves, as far as that is known: our own.

    An interlink: the client asks on by what the target's server says ([MS-DFSC] 3.1.5.4.5).
    """
    config = request.connection.server.config
    own = {server.casefold(), config.netbios_name.casefold(), host_name().casefold()}
    for target in targets:
        host, share, rest = split_path(target)
        if host.casefold() not in own or rest:
            return False
        answer = yield from ask(
            request.connection.server.mountd, ShareConfigRequest(share[:255]), ShareConfigResponse
        )
        if answer.share is None or not answer.share.msdfs_root:
            return False
    return True


def _ordered(
    request: Request, asked: Asked, share: ShareConfig, targets: list[str]
) -> list[Target]:
    """Return the targets in the order in which the client tries them.

    Those of its site come first, the others after; within both the link's order counts, or none
    with `msdfs shuffle referrals`.
    """
    sites = request.connection.server.config.dfs_sites
    chosen = list(targets)
    if share.msdfs_shuffle:
        random.shuffle(chosen)
    client = asked.site.casefold() or _site_of_client(sites, request.connection.transport.peer)
    costs = {each: _cost(sites, client, each) for each in chosen}
    chosen.sort(key=costs.__getitem__)
    result: list[Target] = []
    for each in chosen:
        begins = not result or costs[each] != costs[result[-1].address]
        result.append(Target(each, begins))
    return result


def _site_of_client(sites: Sequence[DfsSite], peer: str) -> str:
    """Return the site that a client's address is in, "" when it is in none."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:  # it has none: it is this machine's own
        return ""
    for site in sites:
        if any(address in ip_network(network) for network in site.networks):
            return site.name.casefold()
    return ""


def _cost(sites: Sequence[DfsSite], client: str, target: str) -> int:
    """Return what it costs a client to go to a target: 0 in its own site, else 1."""
    host = split_path(target)[0].casefold()
    near = (s for s in sites if client and s.name.casefold() == client)
    return 0 if any(host in map(str.casefold, site.servers) for site in near) else 1
