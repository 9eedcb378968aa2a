"""Shares in the information levels of the Server Service ([MS-SRVS] 2.2.4.22 to 2.2.4.27)."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from usmbd.mountd.admin import descriptors
from usmbd.mountd.config.source import share_key
from usmbd.mountd.ipc.accounts import (
    MAX_ASKED,
    MAX_DECIDED,
    AskReadable,
    AskUses,
    Readable,
    Uses,
)
from usmbd.mountd.ipc.settings import ShareConfig, ShareType
from usmbd.mountd.rpc.calls import Asking
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Counted,
    Nothing,
    Octets,
    Union,
    Unique,
    WideStringPointer,
    structure,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import View

STYPE_DISKTREE = 0x00000000
STYPE_IPC = 0x00000003
STYPE_SPECIAL = 0x80000000

SHI1005_FLAGS_DFS = 0x00000001
SHI1005_FLAGS_DFS_ROOT = 0x00000002
SHI1005_FLAGS_ENCRYPT_DATA = 0x00008000
"""Flags of levels 501 and 1005 ([MS-SRVS] 2.2.4.29)."""

SHI_USES_UNLIMITED = 0xFFFFFFFF

FULL_ACCESS = 0x001F01FF
READ_ACCESS = 0x001200A9
"""The access masks of the share's security descriptor: all, and read with execute."""

Descriptor = Annotated[bytes | None, Unique(Octets())]


@structure
class Info0:
    """SHARE_INFO_0 ([MS-SRVS] 2.2.4.22)."""

    name: WideStringPointer


@structure
class Info1:
    """SHARE_INFO_1 ([MS-SRVS] 2.2.4.23)."""

    name: WideStringPointer
    type: U32
    remark: WideStringPointer


@structure
class Info2:
    """SHARE_INFO_2 ([MS-SRVS] 2.2.4.24)."""

    name: WideStringPointer
    type: U32
    remark: WideStringPointer
    permissions: U32
    max_uses: U32
    current_uses: U32
    path: WideStringPointer
    password: WideStringPointer


@structure
class Info501:
    """SHARE_INFO_501 ([MS-SRVS] 2.2.4.25)."""

    name: WideStringPointer
    type: U32
    remark: WideStringPointer
    flags: U32


@structure
class Info502:
    """SHARE_INFO_502_I ([MS-SRVS] 2.2.4.26)."""

    name: WideStringPointer
    type: U32
    remark: WideStringPointer
    permissions: U32
    max_uses: U32
    current_uses: U32
    path: WideStringPointer
    password: WideStringPointer
    descriptor_size: U32
    descriptor: Descriptor


@structure
class Info503:
    """SHARE_INFO_503_I ([MS-SRVS] 2.2.4.27)."""

    name: WideStringPointer
    type: U32
    remark: WideStringPointer
    permissions: U32
    max_uses: U32
    current_uses: U32
    path: WideStringPointer
    password: WideStringPointer
    server: WideStringPointer
    descriptor_size: U32
    descriptor: Descriptor


@structure
class Info1004:
    """SHARE_INFO_1004 ([MS-SRVS] 2.2.4.28)."""

    remark: WideStringPointer


@structure
class Info1005:
    """SHARE_INFO_1005 ([MS-SRVS] 2.2.4.29)."""

    flags: U32


@structure
class Info1006:
    """SHARE_INFO_1006 ([MS-SRVS] 2.2.4.30)."""

    max_uses: U32


@structure
class Info1501:
    """SHARE_INFO_1501_I ([MS-SRVS] 2.2.4.31)."""

    descriptor_size: U32
    descriptor: Descriptor


def share_type(share: ShareConfig) -> int:
    """Return the STYPE of a share ([MS-SRVS] 2.2.2.4)."""
    return STYPE_IPC | STYPE_SPECIAL if share.type is ShareType.PIPE else STYPE_DISKTREE


def share_flags(share: ShareConfig) -> int:
    """Return the flags of levels 501 and 1005: offline caching, and encryption if required."""
    dfs = SHI1005_FLAGS_DFS | SHI1005_FLAGS_DFS_ROOT if share.msdfs_root else 0
    encrypts = SHI1005_FLAGS_ENCRYPT_DATA if share.encryption_required else 0
    return share.csc_policy.flags | dfs | encrypts


def share_path(share: ShareConfig, visible: bool) -> str:
    """Return the share's directory as a path of drive C:, empty when it may not be seen."""
    if not visible or not share.path:
        return ""
    readable = share.path.encode("utf-8", "replace").decode()
    return "C:" + readable.replace("/", "\\")


def share_uses(share: ShareConfig) -> int:
    """Return how many connections the share takes."""
    return share.max_connections or SHI_USES_UNLIMITED


def share_security(share: ShareConfig, view: View) -> bytes:
    """Return a share's own descriptor, else: everyone may do what the share as a whole allows.

    Who may connect is then decided by the configuration, what he may do by the files ([MS-DTYP]
    2.4.6).
    """
    own = view.snapshot.securities.get(share_key(share.name))
    if own is not None:
        return own
    access = READ_ACCESS if share.read_only and share.path else FULL_ACCESS
    ace = descriptors.Ace(descriptors.ACCESS_ALLOWED, 0, access, descriptors.EVERYONE)
    return descriptors.pack(descriptors.Descriptor(None, None, (ace,)))


def _level_2(share: ShareConfig, view: View, uses: int) -> Info2:
    """Return name, type, comment, limits and path."""
    return Info2(
        name=share.name,
        type=share_type(share),
        remark=share.comment,
        permissions=0,
        max_uses=share_uses(share),
        current_uses=uses,
        path=share_path(share, view.may_see_paths),
        password="",
    )


def _level_502(share: ShareConfig, view: View, uses: int) -> Info502:
    """Return level 2 and the security descriptor."""
    descriptor = share_security(share, view)
    return Info502(
        **vars(_level_2(share, view, uses)),
        descriptor_size=len(descriptor),
        descriptor=descriptor,
    )


def _level_503(share: ShareConfig, view: View, uses: int) -> Info503:
    """Return level 502 of a share that belongs to all names of the server."""
    return Info503(**vars(_level_502(share, view, uses)), server="*")


def _level_1501(share: ShareConfig, view: View, uses: int) -> Info1501:
    """Return the security descriptor alone."""
    descriptor = share_security(share, view)
    return Info1501(descriptor_size=len(descriptor), descriptor=descriptor)


LEVELS: dict[int, tuple[type[Any], Callable[[ShareConfig, View, int], Any]]] = {
    0: (Info0, lambda share, *_: Info0(share.name)),
    1: (Info1, lambda share, *_: Info1(share.name, share_type(share), share.comment)),
    2: (Info2, _level_2),
    501: (
        Info501,
        lambda share, *_: Info501(share.name, share_type(share), share.comment, share_flags(share)),
    ),
    502: (Info502, _level_502),
    503: (Info503, _level_503),
    1004: (Info1004, lambda share, *_: Info1004(share.comment)),
    1005: (Info1005, lambda share, *_: Info1005(share_flags(share))),
    1006: (Info1006, lambda share, *_: Info1006(share_uses(share))),
    1501: (Info1501, _level_1501),
}
"""The structure of a share by level, as a view shows it, with the sessions that use it."""

USED_LEVELS = frozenset({2, 502, 503})
"""The levels that say how many use a share."""

PATH_LEVELS = frozenset({2, 502, 503})
"""The levels that tell where a share lies: to administrators alone."""

LIST_LEVELS = frozenset({0, 1, 2, 501, 502, 503})
"""The levels that NetrShareEnum knows ([MS-SRVS] 3.1.4.8)."""

SAMBA_LEVELS = frozenset({1004, 1005, 1006, 1007, 1501})
"""Those for which Samba's client has a place in an answer, also where that is an error."""

INFO = Union(
    ndr.UINT32,
    {
        1007: Unique(Nothing()),
        **{level: Unique(ndr.of(made)) for level, (made, _) in LEVELS.items()},
    },
    Nothing(),
)
LIST = Union(
    ndr.UINT32,
    {
        **dict.fromkeys(SAMBA_LEVELS, Unique(Counted(ndr.UINT32))),
        **{level: Unique(Counted(ndr.of(LEVELS[level][0]))) for level in LIST_LEVELS},
    },
    Nothing(),
)

FIXED_SIZES = {0: 4, 1: 12, 2: 32, 501: 16, 502: 40, 503: 44}
"""Bytes of one element without what its pointers lead to, as NDR 2.0 encodes it."""


def fitting(
    view: View, shares: Sequence[ShareConfig], level: int, limit: int
) -> Sequence[ShareConfig]:
    """Return the first shares that fit `limit` bytes of information, and always one.

    A list that never moves on would keep a client asking for ever.
    """
    total = 0
    for index, share in enumerate(shares):
        total += FIXED_SIZES[level] + 2 * (len(share.name) + 1)
        if level:
            total += 2 * (len(share.comment) + 1)
        if level in PATH_LEVELS:
            total += 2 * (len(share.path) + 1)
        if level in (502, 503):
            total += len(share_security(share, view))
        if total > limit and index:
            return shares[:index]
    return shares


def seen(view: View, shares: Sequence[ShareConfig]) -> Asking[list[ShareConfig]]:
    """Return those that a list shows: `access based share enum` keeps some for who may use them."""
    hidden = [share.name for share in shares if share.access_based_share_enum]
    caller, readable = view.caller, dict[str, bool]()
    while len(readable) < len(hidden):
        part = hidden[len(readable) : len(readable) + MAX_DECIDED]
        answer = yield AskReadable(
            part, caller.user, caller.guest, caller.anonymous, caller.address, caller.ticket
        )
        if not isinstance(answer, Readable) or len(answer.readable) != len(part):
            raise CallError(Fault.SERVER_TOO_BUSY)
        readable |= zip(part, answer.readable, strict=True)
    return [share for share in shares if readable.get(share.name, True)]


def ask_uses(level: int, shares: Sequence[ShareConfig]) -> Asking[list[int]]:
    """Return how many sessions use each share, where the level says so; else nobody is asked."""
    counts: list[int] = []
    while level in USED_LEVELS and len(counts) < len(shares):
        part = shares[len(counts) : len(counts) + MAX_ASKED]
        answer = yield AskUses([share.name for share in part])
        if not isinstance(answer, Uses) or len(answer.counts) != len(part):
            raise CallError(Fault.SERVER_TOO_BUSY)
        counts += answer.counts
    return counts or [0] * len(shares)
