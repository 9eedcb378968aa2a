"""Users ([MS-SAMR] 3.1.5.5.5)."""

from collections.abc import Callable
from typing import Final

from usmbd.mountd.ipc.accounts import (
    Kind,
    Standing,
)
from usmbd.mountd.ipc.sids import RID_USERS
from usmbd.mountd.ipc.users import Texts
from usmbd.mountd.rpc.access import is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.interfaces.samr import types as sam
from usmbd.mountd.rpc.interfaces.samr.asked import find_account, standings_of, texts_of
from usmbd.mountd.rpc.interfaces.samr.base import (
    CALLS,
    DOMAIN_LOOKUP,
    FIELDS,
    MEMBER,
    USER,
    USER_LIST_GROUPS,
    USER_READ_ACCOUNT,
    USER_READ_GENERAL,
    USER_READ_LOGON,
    Domain,
    OpenUser,
    control_of,
)
from usmbd.mountd.rpc.interfaces.samr.times import time_of
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Enum,
    Handle,
)
from usmbd.mountd.rpc.ntstatus import (
    STATUS_INVALID_INFO_CLASS,
    STATUS_NO_SUCH_USER,
)
from usmbd.mountd.rpc.translate import (
    account_rid,
    rid_question,
)
from usmbd.mountd.rpc.view import View


@CALLS.call(34)
def open_user(view: View, handle: Handle, desired: U32, rid: U32) -> Asking[Handle]:
    """SamrOpenUser ([MS-SAMR] 3.1.5.1.9)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_LOOKUP)
    question = None if domain.builtin else rid_question(rid)
    account = None
    if question is not None and question[0] is Kind.USER:
        account = yield from find_account(*question)
    if account is None or account_rid(account) != rid:
        raise Status(STATUS_NO_SUCH_USER)
    granted = USER.granted(desired, (yield from is_administrator(view)))
    return view.handles.add(OpenUser(account, rid, granted))


_NEEDED: Final = {
    **dict.fromkeys((4, 10, 11, 12, 14), USER_READ_LOGON),
    **dict.fromkeys((16, 17, 20), USER_READ_ACCOUNT),
}
"""What a level needs, if not USER_READ_GENERAL ([MS-SAMR] 3.1.5.5.5)."""


@CALLS.call(36, 47)
def query_user(view: View, handle: Handle, level: Enum) -> Asking[sam.UserPointer]:
    """SamrQueryInformationUser and its second version ([MS-SAMR] 3.1.5.5.5, 3.1.5.5.6)."""
    user = view.handles.get(handle, OpenUser)
    if level not in sam.USER.arms:
        raise Status(STATUS_INVALID_INFO_CLASS)
    need(user.granted, _NEEDED.get(level, USER_READ_GENERAL))
    (standing,) = yield from standings_of([user.account])
    (texts,) = yield from texts_of([user.account])
    return level, in_level(view, user, standing, texts, level)


def _home(view: View, user: OpenUser, texts: Texts) -> str:
    """Return what was said of a user's home, else its share, as clients name it."""
    name = user.account.name
    if texts.home:
        return texts.home
    if view.snapshot.home(name) is None:
        return ""
    return f"\\\\{view.snapshot.config.netbios_name}\\{name}"


def in_level(view: View, user: OpenUser, standing: Standing, texts: Texts, level: int) -> object:
    """Return what is told of a user in a level."""
    name, full_name = user.account.name, texts.full_name or user.account.full_name
    home = _home(view, user, texts)
    identity = name, full_name, user.rid, RID_USERS
    control, ends = control_of(standing), time_of(standing.ends, sam.NEVER)
    times = password_times(view, standing)
    places = home, texts.home_drive, texts.script, texts.profile
    description, comment = texts.description, texts.comment
    answers: dict[int, Callable[[], object]] = {
        1: lambda: sam.UserGeneral(name, full_name, RID_USERS, description, comment),
        2: lambda: sam.UserPreferences(comment, "", 0, 0),
        3: lambda: sam.UserLogon(
            *(*identity, *places, "", sam.ZERO, sam.ZERO, *times),
            *(sam.ALWAYS, 0, 0, control),
        ),
        4: lambda: sam.UserHours(sam.ALWAYS),
        5: lambda: sam.UserAccount(
            *(*identity, *places, description, "", sam.ZERO, sam.ZERO, sam.ALWAYS, 0, 0),
            *(times[0], ends, control),
        ),
        6: lambda: sam.UserNames(name, full_name),
        7: lambda: sam.OneText(name),
        8: lambda: sam.OneText(full_name),
        9: lambda: sam.OneNumber(RID_USERS),
        10: lambda: sam.UserHome(home, texts.home_drive),
        11: lambda: sam.OneText(texts.script),
        12: lambda: sam.OneText(texts.profile),
        13: lambda: sam.OneText(description),
        14: lambda: sam.OneText(""),
        16: lambda: sam.OneNumber(control),
        17: lambda: sam.OneTime(ends),
        20: lambda: sam.UserParameters(None),
        21: lambda: everything(view, user, standing, texts),
    }
    return answers[level]()


def password_times(view: View, standing: Standing) -> tuple[bytes, bytes, bytes]:
    """Return when a password was set, may be changed and must be ([MS-SAMR] 3.1.5.14.3, .4)."""
    changed = 0 if standing.must_change else standing.changed
    may = changed and changed + view.snapshot.policy.minimum_age
    must = sam.ZERO if standing.must_change else time_of(standing.expires, sam.NEVER)
    return time_of(changed, sam.ZERO), time_of(may, sam.ZERO), must


def everything(view: View, user: OpenUser, standing: Standing, texts: Texts) -> sam.UserAll:
    """Return UserAllInformation: when somebody was here is not kept, hashes are told to nobody."""
    changed, may, must = password_times(view, standing)
    return sam.UserAll(
        last_logon=sam.ZERO,
        last_logoff=sam.ZERO,
        password_set=changed,
        expires=time_of(standing.ends, sam.NEVER),
        password_may=may,
        password_must=must,
        name=user.account.name,
        full_name=texts.full_name or user.account.full_name,
        home=_home(view, user, texts),
        home_drive=texts.home_drive,
        script=texts.script,
        profile=texts.profile,
        description=texts.description,
        workstations="",
        comment=texts.comment,
        parameters=None,
        lm_hash=None,
        nt_hash=None,
        private=None,
        descriptor_size=0,
        descriptor=None,
        rid=user.rid,
        primary_group=RID_USERS,
        control=control_of(standing),
        fields=FIELDS,
        hours=sam.ALWAYS,
        bad_passwords=0,
        logons=0,
        country=0,
        code_page=0,
        lm_set=0,
        nt_set=1,
        expired=int(standing.must_change),
        private_sensitive=0,
    )


@CALLS.call(39)
def groups_of_user(view: View, handle: Handle) -> sam.MembershipsPointer:
    """SamrGetGroupsForUser: the group of all users ([MS-SAMR] 3.1.5.9.1)."""
    need(view.handles.get(handle, OpenUser).granted, USER_LIST_GROUPS)
    return sam.Memberships([sam.Member(RID_USERS, MEMBER)])
