"""Calls of SAM that change users and passwords ([MS-SAMR] 3.1.5.4, 3.1.5.6, 3.1.5.7, 3.1.5.10)."""

from typing import Annotated, Any, Final

import msgspec

from usmbd.mountd.ipc.accounts import (
    Account,
    AccountPage,
    AccountsFound,
    FindNames,
    Kind,
    ListAdministrators,
    Standing,
)
from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.messages import MAX_NAME
from usmbd.mountd.ipc.users import (
    MAX_ENCRYPTED,
    MAX_TEXT,
    ChangePassword,
    CreateUser,
    DeleteUser,
    Scheme,
    SetPassword,
    SetStanding,
    Texts,
)
from usmbd.mountd.rpc.access import is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.samr import secrets
from usmbd.mountd.rpc.interfaces.samr import types as sam
from usmbd.mountd.rpc.interfaces.samr.asked import standings_of, texts_of
from usmbd.mountd.rpc.interfaces.samr.base import (
    CALLS,
    DISABLED,
    NO_EXPIRY,
    NORMAL,
    USER,
    Domain,
    OpenUser,
    control_of,
)
from usmbd.mountd.rpc.interfaces.samr.times import seconds_of
from usmbd.mountd.rpc.interfaces.samr.users import everything, in_level
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U8, U32, Enum, Handle, Sid, UnicodeString, Unique
from usmbd.mountd.rpc.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_INVALID_ACCOUNT_NAME,
    STATUS_INVALID_INFO_CLASS,
    STATUS_INVALID_PARAMETER,
    STATUS_NO_SUCH_USER,
    STATUS_NOT_SUPPORTED,
    STATUS_NTLM_BLOCKED,
    STATUS_PASSWORD_RESTRICTION,
    STATUS_USER_EXISTS,
    STATUS_WRONG_PASSWORD,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.translate import account_rid, name_account
from usmbd.mountd.rpc.view import View

DOMAIN_CREATE_USER: Final = 0x10
USER_WRITE, USER_FORCE_PASSWORD, DELETE = 0x20, 0x80, 0x10000
"""[MS-SAMR] 2.2.1.4, 2.2.1.7."""

ERRORS: Final = {
    Result.DENIED: STATUS_ACCESS_DENIED,
    Result.NOT_FOUND: STATUS_NO_SUCH_USER,
    Result.EXISTS: STATUS_USER_EXISTS,
    Result.INVALID: STATUS_INVALID_ACCOUNT_NAME,
    Result.FIXED: STATUS_ACCESS_DENIED,
    Result.WRONG_PASSWORD: STATUS_WRONG_PASSWORD,
    Result.RESTRICTED: STATUS_PASSWORD_RESTRICTION,
    Result.NO_NTLM: STATUS_NTLM_BLOCKED,
}

PASSWORDS: Final = 0x03000000
EXPIRED: Final = 0x08000000
"""Of WhichFields: the NT and the LM password, and whether it has expired ([MS-SAMR] 2.2.1.8)."""

OWN_FIELDS: Final[dict[int, str]] = {
    0x1: "name", 0x4: "rid", 0x8: "primary_group",
    0x400: "workstations", 0x800: "last_logon", 0x1000: "last_logoff", 0x2000: "hours",
    0x4000: "bad_passwords", 0x8000: "logons", 0x10000: "password_may", 0x20000: "password_must",
    0x40000: "password_set", 0x200000: "parameters", 0x400000: "country", 0x800000: "code_page",
}  # fmt: skip
"""The fields of UserAll by their bits, that stay as they are."""

TEXT_FIELDS: Final[dict[int, str]] = {
    0x2: "full_name", 0x10: "description", 0x20: "comment", 0x40: "home", 0x80: "home_drive",
    0x100: "script", 0x200: "profile",
}  # fmt: skip
"""Those that are kept, and told again."""

TEXT_LEVELS: Final[dict[int, dict[str, str]]] = {
    2: {"comment": "comment"},
    6: {"full_name": "full_name"},
    8: {"full_name": "text"},
    10: {"home": "home", "home_drive": "home_drive"},
    11: {"script": "text"},
    12: {"profile": "text"},
    13: {"description": "text"},
}
"""What of them a level sets, by the fields of its structure."""

EXPIRES_FIELD: Final = 0x80000
CONTROL_FIELD: Final = 0x100000
"""Those that say something of the account: AccountExpires, UserAccountControl."""

SECRET_LEVELS: Final = frozenset({18, 23, 24, 25, 26, 31, 32})


def _check(answer: object, *values: Any) -> None:
    """Status, or a fault, unless a wish is fulfilled."""
    if not isinstance(answer, Outcome) or answer.result is Result.FAILED:
        raise CallError(Fault.SERVER_TOO_BUSY)
    if answer.result is not Result.DONE:
        raise Status(ERRORS[answer.result], *values)


def _find(name: str) -> Asking[Account | None]:
    """Return the account of a name, a user or a group."""
    answer = yield FindNames([(name, None)])
    assert isinstance(answer, AccountsFound)
    return answer.accounts[0]


@CALLS.call(50)
def create_user2(
    view: View, handle: Handle, name: UnicodeString, kind: U32, desired: U32
) -> Asking[tuple[Handle, U32, U32]]:
    """SamrCreateUser2InDomain: a user of the password file ([MS-SAMR] 3.1.5.4.4).

    He has no password that anybody knows until one is set. Machines have no accounts here.
    """
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_CREATE_USER)
    if domain.builtin:
        raise Status(STATUS_ACCESS_DENIED)
    if kind != NORMAL:
        raise Status(STATUS_INVALID_PARAMETER)
    if not name or len(name) > MAX_NAME or "\0" in name:
        raise Status(STATUS_INVALID_ACCOUNT_NAME)
    found = yield from _find(name)
    if found is not None and (found.stored or found.kind is Kind.GROUP):
        raise Status(STATUS_USER_EXISTS)
    _check((yield CreateUser(view.caller.user, name)))
    made = yield from _find(name)
    rid = account_rid(made) if made is not None else None
    if made is None or rid is None:
        raise CallError(Fault.SERVER_TOO_BUSY)
    granted = USER.granted(desired, (yield from is_administrator(view)))
    return view.handles.add(OpenUser(made, rid, granted)), granted, rid


@CALLS.call(12)
def create_user(
    view: View, handle: Handle, name: UnicodeString, desired: U32
) -> Asking[tuple[Handle, U32]]:
    """SamrCreateUserInDomain ([MS-SAMR] 3.1.5.4.5)."""
    user, _, rid = yield from create_user2(view, handle, name, NORMAL, desired)
    return user, rid


@CALLS.call(35)
def delete_user(view: View, handle: Handle) -> Asking[Handle]:
    """SamrDeleteUser ([MS-SAMR] 3.1.5.7.3)."""
    user = view.handles.get(handle, OpenUser)
    need(user.granted, DELETE)
    if not user.account.stored:
        raise Status(STATUS_ACCESS_DENIED, handle)
    _check((yield DeleteUser(view.caller.user, user.account.name)), handle)
    return view.handles.close(handle)


# -- what an administrator sets ------------------------------------------------------------------


@CALLS.call(37, 58)
def set_user(view: View, handle: Handle, level: Enum, info: secrets.UserSet) -> Asking[None]:
    """SamrSetInformationUser and its second version ([MS-SAMR] 3.1.5.6.4, 3.1.5.6.5).

    Passwords and texts are set, accounts closed and ended; all else that is told of users is the
    system's, and can only stay as it is.
    """
    user = view.handles.get(handle, OpenUser)
    if info[0] != level:
        raise Status(STATUS_INVALID_INFO_CLASS)
    given = info[1]
    if level in SECRET_LEVELS:
        need(user.granted, USER_FORCE_PASSWORD)
        whole = getattr(given, "all", None)
    else:
        need(user.granted, USER_WRITE)
        whole = given if level == 21 else None
        if whole is not None and whole.fields & PASSWORDS:
            raise Status(STATUS_ACCESS_DENIED)
    (standing,) = yield from standings_of([user.account])
    (texts,) = yield from texts_of([user.account])
    wish = SetStanding(view.caller.user, user.account.name)
    if whole is not None:
        fields = whole.fields
        said = {field: getattr(whole, field) for bit, field in TEXT_FIELDS.items() if fields & bit}
        wish.texts = _texts(texts, everything(view, user, standing, texts), said)
        _same(view, user, standing, texts, whole)
        if fields & CONTROL_FIELD:
            _control(standing, whole.control, wish)
        if fields & EXPIRES_FIELD:
            _end(whole.expires, wish)
    elif level == 16:
        _control(standing, given.number, wish)
    elif level == 17:
        _end(given.time, wish)
    elif level not in SECRET_LEVELS:
        fields_of = TEXT_LEVELS.get(level, {})
        said = {field: getattr(given, own) for field, own in fields_of.items()}
        wish.texts = _texts(texts, everything(view, user, standing, texts), said)
        if given != in_level(view, user, standing, wish.texts or texts, level):
            raise Status(STATUS_NOT_SUPPORTED)
    expires = bool(whole.expired if whole else getattr(given, "expired", 0))
    says_so = whole is None or bool(whole.fields & EXPIRED)
    if level in SECRET_LEVELS and (whole is None or whole.fields & PASSWORDS):
        _check((yield _password(view, user, given, must_change=says_so and expires)))
    elif whole is not None and says_so:
        wish.must_change = expires
    if wish != SetStanding(wish.by, wish.user):
        _check((yield wish))


def _control(standing: Standing, new: int, wish: SetStanding) -> None:
    """Wish for what UserAccountControl says; Status(STATUS_NOT_SUPPORTED) for any other bit."""
    changed = new ^ control_of(standing)
    if changed & ~(DISABLED | NO_EXPIRY):
        raise Status(STATUS_NOT_SUPPORTED)
    if changed & DISABLED:
        wish.disabled = bool(new & DISABLED)
    if changed & NO_EXPIRY:
        wish.lasting = bool(new & NO_EXPIRY)


def _end(time: bytes, wish: SetStanding) -> None:
    """Wish for an account's end; Status for what no day here is."""
    ends = seconds_of(time)
    if not 0 <= ends < 1 << 32:
        raise Status(STATUS_INVALID_PARAMETER)
    wish.ends = ends


def _texts(old: Texts, told: sam.UserAll, said: dict[str, str | None]) -> Texts | None:
    """Return the texts with what is said; None: they are told as they shall be already."""
    new = {
        field: text or "" for field, text in said.items() if (text or "") != getattr(told, field)
    }
    for text in new.values():
        if len(text) > MAX_TEXT or not text.isprintable():
            raise Status(STATUS_INVALID_PARAMETER)
    return msgspec.structs.replace(old, **new) if new else None


def _same(view: View, user: OpenUser, standing: Standing, texts: Texts, given: sam.UserAll) -> None:
    """Status(STATUS_NOT_SUPPORTED) where any field would become another that stays."""
    now = everything(view, user, standing, texts)
    for bit, field in OWN_FIELDS.items():
        if given.fields & bit and getattr(given, field) != getattr(now, field):
            raise Status(STATUS_NOT_SUPPORTED)


def _password(view: View, user: OpenUser, given: Any, *, must_change: bool) -> SetPassword:
    """Return the wish for another password; it stays encrypted."""
    wish = _encrypted(view, user, given)
    wish.must_change = must_change
    return wish


def _encrypted(view: View, user: OpenUser, given: Any) -> SetPassword:
    """Return the new password as it came."""
    key = view.caller.key
    if not key:  # a session without one: a guest's
        raise Status(STATUS_ACCESS_DENIED)
    names = view.caller.user, user.account.name
    if isinstance(given, secrets.SetHashes):
        if not given.nt_present:
            raise Status(STATUS_INVALID_PARAMETER)
        return SetPassword(*names, Scheme.HASH, given.nt_hash, key)
    if isinstance(given.password, secrets.AesPassword):
        aes = given.password
        return SetPassword(*names, Scheme.AES, _cipher(aes), key, aes.salt, aes.authenticator)
    return SetPassword(*names, Scheme.RC4, given.password, key)


def _cipher(password: secrets.AesPassword) -> bytes:
    """Return what AES encrypted; Status when that is no password's."""
    cipher = password.cipher or b""
    if not 16 <= len(cipher) <= MAX_ENCRYPTED or len(cipher) != password.size:
        raise Status(STATUS_INVALID_PARAMETER)
    return cipher


# -- what users change themselves ----------------------------------------------------------------


def _rc4(view: View, name: str | None, new: bytes | None, verifier: bytes | None) -> ChangePassword:
    """Return the wish of a user; Status where the NT hash plays no part in it."""
    if not name or len(name) > MAX_NAME or new is None or verifier is None:
        raise Status(STATUS_INVALID_PARAMETER)
    return ChangePassword(name, view.caller.address, Scheme.RC4, new, verifier)


@CALLS.call(55)
def change_password2(
    view: View,
    server: lsa.StringPointer,
    name: UnicodeString,
    new: secrets.PasswordPointer,
    verifier: secrets.HashPointer,
    lm_present: U8,
    lm_new: secrets.PasswordPointer,
    lm_verifier: secrets.HashPointer,
) -> Asking[None]:
    """SamrUnicodeChangePasswordUser2; LM hashes are not kept ([MS-SAMR] 3.1.5.10.3)."""
    _check((yield _rc4(view, name, new, verifier)))


@CALLS.call(63)
def change_password3(
    view: View,
    server: lsa.StringPointer,
    name: UnicodeString,
    new: secrets.PasswordPointer,
    verifier: secrets.HashPointer,
    lm_present: U8,
    lm_new: secrets.PasswordPointer,
    lm_verifier: secrets.HashPointer,
    more: secrets.PasswordPointer,
) -> Asking[
    tuple[
        Annotated[sam.DomainPassword | None, Unique(ndr.of(sam.DomainPassword))],
        Annotated[secrets.ChangeFailure | None, Unique(ndr.of(secrets.ChangeFailure))],
    ]
]:
    """SamrUnicodeChangePasswordUser3, as Windows has it beside the document's calls."""
    _check((yield _rc4(view, name, new, verifier)), None, None)
    return None, None


@CALLS.call(73)
def change_password4(
    view: View,
    server: lsa.StringPointer,
    name: UnicodeString,
    password: Annotated[secrets.AesPassword, ndr.of(secrets.AesPassword)],
) -> Asking[None]:
    """SamrUnicodeChangePasswordUser4, by AES ([MS-SAMR] 3.1.5.10.4)."""
    if not name or len(name) > MAX_NAME:
        raise Status(STATUS_INVALID_PARAMETER)
    wish = ChangePassword(
        name,
        view.caller.address,
        Scheme.AES,
        _cipher(password),
        b"",
        password.salt,
        password.authenticator,
        min(password.iterations, 1 << 32),
    )
    _check((yield wish))


@CALLS.call(38, 54)
def change_by_lm(view: View) -> None:
    """SamrChangePasswordUser, SamrOemChangePasswordUser2: by LM hashes, or by DES alone."""
    raise Status(STATUS_NOT_SUPPORTED)


# -- what is the system's ------------------------------------------------------------------------


def _refuse(view: View) -> Asking[None]:
    """Status: who administrates is told that it is not done, all others that they may not."""
    administrates = yield from is_administrator(view)
    raise Status(STATUS_NOT_SUPPORTED if administrates else STATUS_ACCESS_DENIED)


@CALLS.call(10, 14)
def create_group(view: View) -> Asking[tuple[Handle, U32]]:
    """SamrCreateGroupInDomain, SamrCreateAliasInDomain: groups are the system's."""
    yield from _refuse(view)
    return bytes(20), 0


@CALLS.call(23, 30)
def delete_group(view: View, handle: Handle) -> Asking[Handle]:
    """SamrDeleteGroup, SamrDeleteAlias: groups are the system's."""
    yield from _refuse(view)
    return handle


@CALLS.call(45)
def remove_from_all(view: View, handle: Handle, sid: Sid) -> Asking[None]:
    """SamrRemoveMemberFromForeignDomain, done before somebody is deleted ([MS-SAMR] 3.1.5.8.7).

    No alias lists anybody but Administrators, and whom, the configuration says.
    """
    view.handles.get(handle, Domain)
    if not (yield from is_administrator(view)):
        raise Status(STATUS_ACCESS_DENIED)
    answer = yield ListAdministrators()
    assert isinstance(answer, AccountPage)
    if sid in {name_account(view, each).sid for each in answer.accounts}:
        raise Status(STATUS_NOT_SUPPORTED)


@CALLS.call(2, 9, 21, 22, 24, 26, 29, 31, 32, 52, 53)
def change_group(view: View) -> Asking[None]:
    """Refuse changes of security, of the domain, of groups and aliases, and of their members.

    Groups are the system's; whose is Administrators says `admin users`.
    """
    yield from _refuse(view)
