"""Quotas of users ([MS-SMB2] 3.3.5.20.4, 3.3.5.21.4, [MS-FSA] 2.1.5.21, 2.1.5.22).

Everybody is told his own; those of others, and to set any, are for who is root here
(`admin users`), as with Samba. Any open of the volume will do, as on Windows; Samba's client opens
QUOTA_FILE.
"""

import errno
import logging
import time
from dataclasses import replace
from operator import itemgetter
from stat import S_ISGID

import msgspec

from usmbd.protocol.commands.request import Answer, Handling, Reply, Request
from usmbd.protocol.effects import Blocking, Slow
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.vfs import quotactl, quotas
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.options import InheritOwner
from usmbd.protocol.vfs.quotactl import BLOCK, LIMIT_MAX, UserQuota
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES, READ_CONTROL, SYNCHRONIZE
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_SYSTEM,
)
from usmbd.protocol.wire.fscc.chain import whole_entries
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.fscc.fs_info import QueriedVolume
from usmbd.protocol.wire.fscc.quota import (
    DELETE_ENTRY,
    ENTRY_ALIGNMENT,
    NO_LIMIT,
    Quota,
    QuotaHead,
    build_quotas,
    parse_quotas,
    parse_sid,
    parse_sids,
)
from usmbd.protocol.wire.query_info import (
    QueryInfoRequest,
    QueryQuotaInfo,
    build_query_info_response,
    query_info_input,
)
from usmbd.protocol.wire.set_info import SetInfoResponse
from usmbd.protocol.wire.sid import Sid, unix_uid, unix_user
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

log = logging.getLogger("usmbd.files")

QUOTA_FILE = "$extend\\$quota:$q:$index_allocation"
"""Where NTFS keeps quotas ([MS-FSA] 2.1.5.21), in lower case: here the volume's root."""

QUOTA_FILE_ACCESS = FILE_READ_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE
"""What an open of it is granted: nothing that would change the root or list it."""

QUOTA_FILE_ATTRIBUTES = (
    FILE_ATTRIBUTE_HIDDEN
    | FILE_ATTRIBUTE_SYSTEM
    | FILE_ATTRIBUTE_DIRECTORY
    | FILE_ATTRIBUTE_ARCHIVE
)

_RESPONSE = SetInfoResponse().pack()
_NOBODY = 0xFFFFFFFF
_ENTRY = QuotaHead.SIZE + unix_user(0).size
"""Bytes that an entry of an answer takes at least."""


def quota_file_stat(root: FileStat) -> FileStat:
    """Return what a CREATE says of QUOTA_FILE: attributes and no times, as NTFS and Samba have it.

    It is there, whether quotas are counted or not: who asks it for some is told.
    """
    return msgspec.structs.replace(
        root,
        creation_time=0,
        last_access_time=0,
        last_write_time=0,
        change_time=0,
        attributes=QUOTA_FILE_ATTRIBUTES,
    )


def query(request: Request, body: QueryInfoRequest) -> Handling:
    """Answer SMB2_0_INFO_QUOTA: for the users of a list, or for all, from one on."""
    open_ = request.open
    if open_.pipe is not None:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    counted, _ = yield from Blocking(quotactl.kept, open_.node.fd)
    if not counted:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    data = query_info_input(request.message, body)
    try:
        asked = QueryQuotaInfo.parse(data)
    except MalformedError:
        raise SmbError(NtStatus.INVALID_PARAMETER) from None
    sids = data[QueryQuotaInfo.SIZE :]
    limit = body.output_buffer_length
    if asked.sid_list_length:
        if asked.sid_list_length > len(sids):
            raise SmbError(NtStatus.INVALID_PARAMETER)
        answer = yield from Slow(
            _of_list, open_, sids[: asked.sid_list_length], bool(asked.return_single)
        )
        return _fitting(answer, limit)
    if asked.start_sid_length:
        start, end = asked.start_sid_offset, asked.start_sid_offset + asked.start_sid_length
        if end > len(sids):
            raise SmbError(NtStatus.INVALID_PARAMETER)
        open_.next_quota = _uid(request.tree, parse_sid(sids[start:end]))
    elif asked.restart_scan:
        open_.next_quota = 0
    count = 1 if asked.return_single else min(quotas.MAXIMUM_AT_ONCE, max(limit // _ENTRY, 1))
    found = yield from Slow(_next, open_, count)
    return _continued(open_, found, limit)


def _of_list(open_: Open, data: memoryview, single: bool) -> bytes:
    """Return the entries of the users that a client names; one that nobody is has nothing."""
    tree = open_.tree
    sids = []
    for sid in parse_sids(data):
        sids.append(sid)
        if single:
            break
        if len(sids) > quotas.MAXIMUM_AT_ONCE:
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
    uids = [_uid(tree, sid) for sid in sids]
    if not tree.administers and any(uid != tree.identity.uid for uid in uids):
        raise SmbError(NtStatus.ACCESS_DENIED)
    known = quotas.of_users(open_.node.fd, [uid for uid in uids if uid != _NOBODY])
    by_uid = {quota.uid: quota for quota in known}
    nothing = UserQuota(_NOBODY, 0, 0, 0, 0)
    return build_quotas(
        _told(by_uid.get(uid, nothing), sid) for uid, sid in zip(uids, sids, strict=True)
    )


def _next(open_: Open, count: int) -> list[UserQuota]:
    """Return the quotas that an enumeration comes to: all, or the user's own."""
    tree, first = open_.tree, open_.next_quota
    if first >= _NOBODY:
        return []
    if tree.administers:
        return quotas.of_all(open_.node.fd, first, count)
    own = tree.identity.uid
    return quotas.of_users(open_.node.fd, [own]) if first <= own else []


def _continued(open_: Open, found: list[UserQuota], limit: int) -> Answer:
    """Answer with as many as fit, and keep where the next request goes on."""
    if not found:
        raise SmbError(NtStatus.NO_MORE_ENTRIES)
    entries: list[Quota] = []
    end = 0
    for quota in found:
        entry = _told(quota, _sid(open_.tree, quota.uid))
        end = -(-end // ENTRY_ALIGNMENT) * ENTRY_ALIGNMENT + QuotaHead.SIZE + entry.sid.size
        if end > limit:
            break
        entries.append(entry)
    if not entries:
        raise SmbError(NtStatus.BUFFER_TOO_SMALL)
    open_.next_quota = found[len(entries) - 1].uid + 1
    return list(build_query_info_response(build_quotas(entries)))


def _fitting(data: bytes, limit: int) -> Answer:
    """Answer with the entries of a list, as far as they fit."""
    if len(data) <= limit:
        return list(build_query_info_response(data))
    data = whole_entries(data, limit)
    if not data:
        raise SmbError(NtStatus.BUFFER_TOO_SMALL)
    return Reply(build_query_info_response(data), NtStatus.BUFFER_OVERFLOW)


def change(request: Request, data: memoryview) -> Handling:
    """Set limits by SMB2_0_INFO_QUOTA ([MS-FSCC] 2.4.41)."""
    open_, tree = request.open, request.tree
    counted, _ = yield from Blocking(quotactl.kept, open_.node.fd)
    if not counted:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if not tree.administers or not tree.writable:
        raise SmbError(NtStatus.ACCESS_DENIED)
    yield Slow(_set, open_.node, tree, data)
    return _RESPONSE


def _set(node: Node, tree: TreeConnect, data: memoryview) -> None:
    """Read all entries, then set them."""
    node.volume.check_writable()
    limits: list[tuple[int, int, int]] = []
    for quota in parse_quotas(data):
        uid = _uid(tree, quota.sid)
        if uid == _NOBODY:
            raise SmbError(NtStatus.NO_SUCH_USER)
        if len(limits) == quotas.MAXIMUM_AT_ONCE:
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
        if quota.limit == DELETE_ENTRY:
            limits.append((uid, 0, 0))
        else:
            limits.append((uid, _blocks(quota.threshold), _blocks(quota.limit)))
    try:
        quotas.set_limits(node.fd, limits)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        raise SmbError(NtStatus.INVALID_PARAMETER) from error


def _blocks(limit: int) -> int:
    """Return a limit in the kernel's blocks, for which 0 is none: nothing at all is one block."""
    if limit == NO_LIMIT:
        return 0
    if limit < 0:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return min(max(limit // BLOCK, 1), LIMIT_MAX)


def left(tree: TreeConnect, node: Node) -> tuple[int, int] | None:
    """Return the limit of a tree's user and what he may still take, in bytes; None without one.

    Of the file system of a node. The least of his own and of his group's: in a directory with
    set-gid that is the directory's, as with Samba. Where files belong to who has their directory
    (`inherit owner`) his quota counts, but for root.
    """
    stat, uid = node.last_stat, tree.identity.uid
    if uid and node.volume.options.inherit_owner is not InheritOwner.NO:
        uid = stat.uid
    own_group = not (node.is_directory and stat.mode & S_ISGID)
    now = time.time()
    try:
        found = [
            quotas.left(quotas.of_users(node.fd, [uid])[0], now),
            quotas.left(
                quotas.of_group(node.fd, tree.identity.gid if own_group else stat.gid), now
            ),
        ]
    except OSError as error:  # without CAP_SYS_ADMIN of the machine, for one: the disk is told
        log.debug("a quota cannot be read: %s", error.strerror)
        return None
    return min((each for each in found if each is not None), key=itemgetter(1), default=None)


def within(tree: TreeConnect, node: Node, facts: QueriedVolume) -> QueriedVolume:
    """Tell of a volume as its user may fill it ([MS-FSCC] 2.5.4, 2.5.8)."""
    found = left(tree, node)
    if found is None:
        return facts
    unit = facts.sectors_per_unit * facts.bytes_per_sector
    limit, free = (size // unit for size in found)
    return replace(
        facts,
        total_units=min(facts.total_units, limit),
        available_units=min(facts.available_units, free),
    )


def _told(quota: UserQuota, sid: Sid) -> Quota:
    """Return an entry as a client sees it."""
    return Quota(sid, quota.used, quota.soft or NO_LIMIT, quota.hard or NO_LIMIT)


def _sid(tree: TreeConnect, uid: int) -> Sid:
    """Return the SID of a user."""
    sid = unix_user(uid)
    return sid if tree.domain is None else tree.domain.account(sid)


def _uid(tree: TreeConnect, sid: Sid) -> int:
    """Return whom a SID stands for; nobody, if it is no user's."""
    uid = unix_uid(sid if tree.domain is None else tree.domain.unix(sid))
    return _NOBODY if uid is None else uid
