"""The Server Service's calls that change shares and the server ([MS-SRVS])."""

from typing import Annotated, Any, Final

from usmbd.mountd.ipc.administration import (
    AddShare,
    ChangeShare,
    DeleteShare,
    Outcome,
    Result,
    SetServerComment,
)
from usmbd.mountd.ipc.rights import DISK_OPERATOR
from usmbd.mountd.ipc.settings import ShareConfig
from usmbd.mountd.rpc.access import is_administrator, may
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_PARAMETER,
    ERROR_NOT_SUPPORTED,
    NERR_DUPLICATE_SHARE,
    NERR_NET_NAME_NOT_FOUND,
    NERR_UNKNOWN_DEV_DIR,
)
from usmbd.mountd.rpc.interfaces import shares
from usmbd.mountd.rpc.interfaces.srvsvc import (
    CALLS,
    SV_ANNOUNCE_DELTA_MILLISECONDS,
    SV_ANNOUNCE_SECONDS,
    SV_DISCONNECT_MINUTES,
    SV_USERS_UNLIMITED,
    Server101,
    Server102,
)
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Handle,
    Nothing,
    U32Pointer,
    Union,
    Unique,
    WideString,
    WideStringPointer,
    structure,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import View

ERRORS: Final = {
    Result.DENIED: ERROR_ACCESS_DENIED,
    Result.NOT_FOUND: NERR_NET_NAME_NOT_FOUND,
    Result.EXISTS: NERR_DUPLICATE_SHARE,
    Result.INVALID: ERROR_INVALID_PARAMETER,
    Result.NO_FOLDER: NERR_UNKNOWN_DEV_DIR,
    Result.FIXED: ERROR_NOT_SUPPORTED,
}

ADD_LEVELS: Final = frozenset({2, 502, 503})
"""[MS-SRVS] 3.1.4.7."""

SET_LEVELS: Final = frozenset({1, 2, 502, 503, 1004, 1005, 1006, 1501})
"""[MS-SRVS] 3.1.4.11; with 0 and 501 nothing can be set."""

MAX_USES: Final = 0x7FFFFFFF


@structure
class Server1005:
    """SERVER_INFO_1005 ([MS-SRVS] 2.2.4.46)."""

    comment: WideStringPointer


@structure
class Number:
    """SERVER_INFO_1010, 1016, 1017, 1018, 1107 ([MS-SRVS] 2.2.4.47 to 2.2.4.51)."""

    value: U32


NUMBERS: Final = {
    1107: ("users", SV_USERS_UNLIMITED),
    1010: ("disconnect", SV_DISCONNECT_MINUTES),
    1016: ("hidden", 0),
    1017: ("announce", SV_ANNOUNCE_SECONDS),
    1018: ("announce_delta", SV_ANNOUNCE_DELTA_MILLISECONDS),
}
"""By their levels, the numbers of level 102 that can be set by Windows, and what they are here."""

SERVER_INFO = Union(
    ndr.UINT32,
    {
        101: Unique(ndr.of(Server101)),
        102: Unique(ndr.of(Server102)),
        1005: Unique(ndr.of(Server1005)),
        **dict.fromkeys(NUMBERS, Unique(ndr.of(Number))),
    },
    Nothing(),
)
"""What can be set of the server, and its comment alone of that ([MS-SRVS] 3.1.4.18)."""

Info = Annotated[tuple[int, Any], shares.INFO]


def _need_administrator(view: View, *values: Any) -> Asking[None]:
    """Status(ERROR_ACCESS_DENIED) for who does not administrate."""
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED, *values)


def _need_disk_operator(view: View, *values: Any) -> Asking[None]:
    """Status(ERROR_ACCESS_DENIED) for who may not change shares."""
    if not (yield from may(view, DISK_OPERATOR)):
        raise Status(ERROR_ACCESS_DENIED, *values)


def _check(answer: object, *values: Any) -> None:
    """Status, or a fault, unless a wish is fulfilled."""
    if not isinstance(answer, Outcome) or answer.result is Result.FAILED:
        raise CallError(Fault.SERVER_TOO_BUSY)
    if answer.result is not Result.DONE:
        raise Status(ERRORS[answer.result], *values)


def local_path(path: str) -> str:
    r"""Return the folder of this machine that `C:\srv\data` means, or `/srv/data`."""
    if path[:2].casefold() == "c:":
        path = path[2:]
    path = path.replace("\\", "/")
    return path.rstrip("/") or "/"


def _uses(number: int, *values: Any) -> int:
    """Return how many may use a share, 0 for all, as Samba's tools say it, too."""
    if number == shares.SHI_USES_UNLIMITED:
        return 0
    if number > MAX_USES:
        raise Status(ERROR_INVALID_PARAMETER, *values)
    return number


@CALLS.call(14)
def share_add(
    view: View, server: WideStringPointer, level: U32, info: Info, wrong: U32Pointer
) -> Asking[U32Pointer]:
    """NetrShareAdd: a folder is shared from now on, and after a restart ([MS-SRVS] 3.1.4.7).

    Its password and permissions are for servers without users, and change nothing.
    """
    yield from _need_disk_operator(view, wrong)
    if level not in ADD_LEVELS or info[0] != level:
        raise Status(ERROR_INVALID_LEVEL, wrong)
    wanted = info[1]
    if wanted is None or not wanted.name or not wanted.path:
        raise Status(ERROR_INVALID_PARAMETER, wrong)
    if wanted.type != shares.STYPE_DISKTREE:
        raise Status(ERROR_NOT_SUPPORTED, wrong)
    path = local_path(wanted.path)
    if not path.startswith("/") or len(path) > 4096:
        raise Status(NERR_UNKNOWN_DEV_DIR, wrong)
    remark = wanted.remark or ""
    if len(remark) > 256 or len(wanted.name) > 256:
        raise Status(ERROR_INVALID_PARAMETER, wrong)
    answer = yield AddShare(
        view.caller.user,
        wanted.name,
        path,
        remark,
        _uses(wanted.max_uses, wrong),
        getattr(wanted, "descriptor", None) or b"",
    )
    _check(answer, wrong)
    return wrong


@CALLS.call(17)
def share_set_info(
    view: View,
    server: WideStringPointer,
    name: WideString,
    level: U32,
    info: Info,
    wrong: U32Pointer,
) -> Asking[U32Pointer]:
    """NetrShareSetInfo: comment, number of users, security ([MS-SRVS] 3.1.4.11).

    A share's folder and type stay, whatever levels 2 and 502 say, as in Windows.
    """
    yield from _need_disk_operator(view, wrong)
    if level not in SET_LEVELS or info[0] != level:
        raise Status(ERROR_INVALID_LEVEL, wrong)
    share = view.snapshot.share(name)
    if share is None:
        raise Status(NERR_NET_NAME_NOT_FOUND, wrong)
    wanted = info[1]
    if wanted is None:
        raise Status(ERROR_INVALID_PARAMETER, wrong)
    if level == 1005:
        _same_flags(share, wanted.flags, wrong)
        return wrong
    remark = (wanted.remark or "") if hasattr(wanted, "remark") else None
    if remark is not None and len(remark) > 256:
        raise Status(ERROR_INVALID_PARAMETER, wrong)
    answer = yield ChangeShare(
        view.caller.user,
        share.name,
        remark,
        _uses(wanted.max_uses, wrong) if hasattr(wanted, "max_uses") else None,
        getattr(wanted, "descriptor", None),
    )
    _check(answer, wrong)
    return wrong


def _same_flags(share: ShareConfig, flags: int, wrong: int | None) -> None:
    """Status(ERROR_NOT_SUPPORTED) for other flags of a share than it has: parameters make them."""
    if flags != shares.share_flags(share):
        raise Status(ERROR_NOT_SUPPORTED, wrong)


@CALLS.call(18)
def share_del(
    view: View, server: WideStringPointer, name: WideString, reserved: U32
) -> Asking[None]:
    """NetrShareDel: who uses the share is disconnected ([MS-SRVS] 3.1.4.12)."""
    yield from _need_disk_operator(view)
    _check((yield DeleteShare(view.caller.user, name[:256])))


class Deleting:
    """A share that is to be deleted when the client says so the second time."""

    def __init__(self, name: str) -> None:
        """Take the share's name."""
        self.name = name


@CALLS.call(37)
def share_del_start(
    view: View, server: WideStringPointer, name: WideString, reserved: U32
) -> Asking[Handle]:
    """NetrShareDelStart ([MS-SRVS] 3.1.4.14)."""
    yield from _need_disk_operator(view)
    if view.snapshot.share(name) is None:
        raise Status(NERR_NET_NAME_NOT_FOUND)
    return view.handles.add(Deleting(name[:256]))


@CALLS.call(38)
def share_del_commit(view: View, handle: Handle) -> Asking[Handle]:
    """NetrShareDelCommit ([MS-SRVS] 3.1.4.15)."""
    deleting = view.handles.get(handle, Deleting)
    closed = view.handles.close(handle)
    _check((yield DeleteShare(view.caller.user, deleting.name)), closed)
    return closed


@CALLS.call(22)
def server_set_info(
    view: View,
    server: WideStringPointer,
    level: U32,
    info: Annotated[tuple[int, Any], SERVER_INFO],
    wrong: U32Pointer,
) -> Asking[U32Pointer]:
    """NetrServerSetInfo: the comment, and all else to what it is already ([MS-SRVS] 3.1.4.18)."""
    yield from _need_administrator(view, wrong)
    if level not in SERVER_INFO.arms or info[0] != level:
        raise Status(ERROR_INVALID_LEVEL, wrong)
    wanted = info[1]
    if wanted is None or len(getattr(wanted, "comment", None) or "") > 256:
        raise Status(ERROR_INVALID_PARAMETER, wrong)
    for number, (name, own) in NUMBERS.items():
        said = wanted.value if level == number else getattr(wanted, name, own)
        if said != own:
            raise Status(ERROR_NOT_SUPPORTED, wrong)
    if level not in NUMBERS:
        _check((yield SetServerComment(view.caller.user, wanted.comment or "")), wrong)
    return wrong


@CALLS.call(19)
def share_del_sticky(view: View) -> Asking[None]:
    """NetrShareDelSticky ([MS-SRVS] 3.1.4.13): refused, for of a share there is one life."""
    yield from _need_administrator(view)
    raise Status(ERROR_NOT_SUPPORTED)
