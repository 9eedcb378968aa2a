"""The machine's domain in security descriptors: its users as clients name them, Unix ids as kept.

Files have uids, and what is stored says S-1-22-1-uid: that holds whatever becomes of the machine's
SID. Clients see and send the accounts of the machine's domain, as from Samba.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

from usmbd.mountd.ipc.sids import MachineDomain as Told
from usmbd.mountd.ipc.sids import rid_gid, rid_uid, user_rid
from usmbd.protocol.wire.security import Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import Sid, unix_group, unix_uid, unix_user


class MachineDomain:
    """Which uids are accounts of the domain, and what its SIDs mean."""

    __slots__ = ("_firsts", "_lasts", "_sid")

    def __init__(self, told: Told) -> None:
        """Take what mountd says; ValueError when its SID is none."""
        self._sid = Sid.from_string(told.sid)
        self._firsts = [first for first, _ in told.uids]
        self._lasts = [last for _, last in told.uids]

    def shown(self, descriptor: SecurityDescriptor) -> SecurityDescriptor:
        """Return a descriptor as clients see it."""
        return _mapped(descriptor, self.account)

    def meant(self, descriptor: SecurityDescriptor) -> SecurityDescriptor:
        """Return what a client's descriptor means: Unix ids in place of the domain's accounts."""
        return _mapped(descriptor, self.unix)

    def account(self, sid: Sid) -> Sid:
        """Return the account that a Unix user is; any other SID as it is."""
        uid = unix_uid(sid)
        if uid is None:
            return sid
        place = bisect_right(self._firsts, uid) - 1
        rid = user_rid(uid) if place >= 0 and uid <= self._lasts[place] else None
        return sid if rid is None else self._with_rid(rid)

    def unix(self, sid: Sid) -> Sid:
        """Return the Unix user or group that an account is; any other SID as it is."""
        own, subs = self._sid, sid.sub_authorities
        if sid.authority != own.authority or subs[:-1] != own.sub_authorities:
            return sid
        uid, gid = rid_uid(subs[-1]), rid_gid(subs[-1])
        if uid is not None:
            return unix_user(uid)
        return sid if gid is None else unix_group(gid)

    def _with_rid(self, rid: int) -> Sid:
        return Sid(self._sid.authority, (*self._sid.sub_authorities, rid))


def _mapped(descriptor: SecurityDescriptor, sid_of: Callable[[Sid], Sid]) -> SecurityDescriptor:
    """Return a descriptor with other SIDs."""

    def acl(value: Acl | None) -> Acl | None:
        if value is None:
            return None
        return replace(value, aces=tuple(replace(ace, sid=sid_of(ace.sid)) for ace in value.aces))

    return replace(
        descriptor,
        owner=descriptor.owner and sid_of(descriptor.owner),
        group=descriptor.group and sid_of(descriptor.group),
        dacl=acl(descriptor.dacl),
        sacl=acl(descriptor.sacl),
    )
