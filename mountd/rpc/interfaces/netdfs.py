"""The DFS namespace management protocol, for standalone roots ([MS-DFSNM])."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.dfs import AddTarget, DfsLink, LinkPage, ListLinks, RemoveTarget
from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Calls, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_FILE_EXISTS,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_PARAMETER,
    ERROR_NO_MORE_ITEMS,
    ERROR_NOT_SUPPORTED,
    NERR_DFS_INTERNAL_ERROR,
    NERR_DFS_NO_SUCH_VOLUME,
)
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Array,
    Counted,
    Nothing,
    U32Pointer,
    Union,
    Unique,
    Uuid,
    WideString,
    WideStringPointer,
    structure,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.running import page
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("4fc742e0-4a10-11cf-8273-00aa004ae673"), 3)
"""[MS-DFSNM] 1.9."""

interface = CALLS.bind

MANAGER_VERSION: Final = 1
"""DFS_MANAGER_VERSION_NT4: standalone roots alone ([MS-DFSNM] 2.2.2.8), as Samba says."""

VOLUME_OK: Final = 1
STORAGE_ONLINE: Final = 2
"""[MS-DFSNM] 2.2.2.3, 2.2.2.4."""

ADD_VOLUME, RESTORE_VOLUME = 1, 2
"""Flags of NetrDfsAdd: the link has to be new ([MS-DFSNM] 3.1.4.1.3)."""

TIMEOUT: Final = 600
"""Seconds for which clients keep a referral; the engine tells the same."""


@structure
class Storage:
    """DFS_STORAGE_INFO ([MS-DFSNM] 2.2.3.5)."""

    state: U32
    server: WideStringPointer
    share: WideStringPointer


Storages = Annotated[list[Storage] | None, Unique(Array(ndr.of(Storage)))]


@structure
class Info1:
    """DFS_INFO_1 ([MS-DFSNM] 2.2.3.2)."""

    path: WideStringPointer


@structure
class Info2:
    """DFS_INFO_2 ([MS-DFSNM] 2.2.3.3)."""

    path: WideStringPointer
    comment: WideStringPointer
    state: U32
    count: U32


@structure
class Info3:
    """DFS_INFO_3 ([MS-DFSNM] 2.2.3.4)."""

    path: WideStringPointer
    comment: WideStringPointer
    state: U32
    count: U32
    storages: Storages


@structure
class Info4:
    """DFS_INFO_4 ([MS-DFSNM] 2.2.3.6)."""

    path: WideStringPointer
    comment: WideStringPointer
    state: U32
    timeout: U32
    guid: Uuid
    count: U32
    storages: Storages


@structure
class Info100:
    """DFS_INFO_100 ([MS-DFSNM] 2.2.3.9): a comment."""

    comment: WideStringPointer


_INFO = {1: Info1, 2: Info2, 3: Info3, 4: Info4, 100: Info100}
OTHER_LEVELS: Final = frozenset({0, *range(5, 10), 50, *range(101, 108), 150, 200, 300})
"""Those that are not told, for which clients have a place ([MS-DFSNM] 2.2.3.2, and Samba's)."""

INFO = Union(
    ndr.UINT32,
    {
        **dict.fromkeys(OTHER_LEVELS, Unique(Nothing())),
        **{level: Unique(ndr.of(kind)) for level, kind in _INFO.items()},
    },
    Nothing(),
)


@structure
class Entries1:
    """DFS_INFO_1_CONTAINER ([MS-DFSNM] 2.2.4.2)."""

    entries: Annotated[list[Info1] | None, Counted(ndr.of(Info1))]


@structure
class Entries2:
    """DFS_INFO_2_CONTAINER ([MS-DFSNM] 2.2.4.3)."""

    entries: Annotated[list[Info2] | None, Counted(ndr.of(Info2))]


@structure
class Entries3:
    """DFS_INFO_3_CONTAINER ([MS-DFSNM] 2.2.4.4)."""

    entries: Annotated[list[Info3] | None, Counted(ndr.of(Info3))]


@structure
class Entries4:
    """DFS_INFO_4_CONTAINER ([MS-DFSNM] 2.2.4.5)."""

    entries: Annotated[list[Info4] | None, Counted(ndr.of(Info4))]


_ENTRIES = {1: Entries1, 2: Entries2, 3: Entries3, 4: Entries4}
ENTRIES = Union(
    ndr.UINT32, {level: Unique(ndr.of(kind)) for level, kind in _ENTRIES.items()}, Nothing()
)


@structure
class Listing:
    """DFS_INFO_ENUM_STRUCT ([MS-DFSNM] 2.2.4.1)."""

    level: U32
    entries: Annotated[tuple[int, Any], ENTRIES]


ListingPointer = Annotated[Listing | None, Unique(ndr.of(Listing))]


def _storages(view: View, link: DfsLink) -> list[Storage]:
    """Return where a link leads, or a root is."""
    targets = link.targets or [f"\\{view.snapshot.config.netbios_name}\\{link.share}"]
    found = []
    for target in targets:
        _, server, share = target.split("\\", 2)
        found.append(Storage(STORAGE_ONLINE, server, share))
    return found


def _path(view: View, link: DfsLink) -> str:
    r"""Return `\\server\root\link`, as Samba says it."""
    names = (f"\\\\{view.snapshot.config.netbios_name}", link.share, link.path)
    return "\\".join(filter(None, names))


def _info(view: View, level: int, link: DfsLink) -> Any:
    """Return one link in a level's structure."""
    path, storages = _path(view, link), _storages(view, link)
    count = len(storages)
    makers: dict[int, Callable[[], Any]] = {
        1: lambda: Info1(path),
        2: lambda: Info2(path, "", VOLUME_OK, count),
        3: lambda: Info3(path, "", VOLUME_OK, count, storages),
        4: lambda: Info4(path, "", VOLUME_OK, TIMEOUT, UUID(int=0), count, storages),
        100: lambda: Info100(""),
    }
    return makers[level]()


def _known(view: View) -> None:
    """Status(ERROR_ACCESS_DENIED) for who has proved no account."""
    if view.caller.guest or view.caller.anonymous:
        raise Status(ERROR_ACCESS_DENIED)


def _links(view: View, share: str = "") -> Asking[list[DfsLink]]:
    """Return the roots and links, of one root if it is named."""
    links: list[DfsLink] = []
    while True:
        answer = yield ListLinks(view.caller.user, share, len(links))
        if not isinstance(answer, LinkPage):
            raise CallError(Fault.SERVER_TOO_BUSY)
        links += answer.links
        if len(links) >= answer.total or not answer.links:
            return links


def _place(path: str) -> tuple[str, str]:
    r"""Return share and path of `\\server\share\path`; Status(ERROR_INVALID_PARAMETER)."""
    names = [name for name in path.replace("/", "\\").split("\\") if name]
    if len(names) < 2 or len(path) > 1024:
        raise Status(ERROR_INVALID_PARAMETER)
    return names[1][:255], "\\".join(names[2:])


def _of(path: str) -> Callable[[DfsLink], bool]:
    """Return a test for the link at a place, in any case."""
    share, inner = (each.casefold() for each in _place(path))
    return lambda link: (link.share.casefold(), link.path.casefold()) == (share, inner)


@CALLS.call(0, status=False)
def get_version(view: View) -> U32:
    """NetrDfsManagerGetVersion ([MS-DFSNM] 3.1.4.1.1)."""
    return MANAGER_VERSION


def _administrates(view: View) -> Asking[None]:
    """Status(ERROR_ACCESS_DENIED) for who does not administrate."""
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED)


def _target(server: str | None, share: str | None) -> str:
    r"""Return `\server\share`; Status(ERROR_INVALID_PARAMETER) for what is no such thing."""
    names = (server or "").strip("\\"), (share or "").strip("\\")
    if not all(names) or any("," in each or "/" in each for each in names) or "\\" in names[0]:
        raise Status(ERROR_INVALID_PARAMETER)
    if sum(map(len, names)) > 1000:
        raise Status(ERROR_INVALID_PARAMETER)
    return f"\\{names[0]}\\{names[1]}"


def _done(answer: object) -> None:
    """Turn what became of a wish into a status."""
    if not isinstance(answer, Outcome):
        raise CallError(Fault.SERVER_TOO_BUSY)
    if answer.result is not Result.DONE:
        raise Status(_FAILURES[answer.result])


_FAILURES = {
    Result.DENIED: ERROR_ACCESS_DENIED,
    Result.NOT_FOUND: NERR_DFS_NO_SUCH_VOLUME,
    Result.EXISTS: ERROR_FILE_EXISTS,
    Result.INVALID: ERROR_INVALID_PARAMETER,
    Result.FAILED: NERR_DFS_INTERNAL_ERROR,
}


@CALLS.call(1)
def add(
    view: View,
    path: WideString,
    server: WideString,
    share: WideStringPointer,
    comment: WideStringPointer,
    flags: U32,
) -> Asking[None]:
    """NetrDfsAdd ([MS-DFSNM] 3.1.4.1.3); links keep no comments, as with Samba."""
    yield from _administrates(view)
    root, inner = _place(path)
    if flags & ~(ADD_VOLUME | RESTORE_VOLUME):
        raise Status(ERROR_INVALID_PARAMETER)
    target = _target(server, share)
    new = bool(flags & ADD_VOLUME)
    _done((yield AddTarget(view.caller.user, root, inner, target, new)))


@CALLS.call(2)
def remove(
    view: View, path: WideString, server: WideStringPointer, share: WideStringPointer
) -> Asking[None]:
    """NetrDfsRemove ([MS-DFSNM] 3.1.4.1.4)."""
    yield from _administrates(view)
    root, inner = _place(path)
    target = _target(server, share) if server or share else ""
    _done((yield RemoveTarget(view.caller.user, root, inner, target)))


@CALLS.call(3)
def set_info(
    view: View,
    path: WideString,
    server: WideStringPointer,
    share: WideStringPointer,
    level: U32,
) -> Asking[None]:
    """NetrDfsSetInfo: links have nothing to set ([MS-DFSNM] 3.1.4.1.5)."""
    yield from _administrates(view)
    raise Status(ERROR_NOT_SUPPORTED)


@CALLS.call(4)
def get_info(
    view: View,
    path: WideString,
    server: WideStringPointer,
    share: WideStringPointer,
    level: U32,
) -> Asking[Annotated[tuple[int, Any], INFO]]:
    """NetrDfsGetInfo ([MS-DFSNM] 3.1.4.1.6)."""
    _known(view)
    if level not in _INFO:
        raise Status(ERROR_INVALID_LEVEL, (level, None))
    links = yield from _links(view, _place(path)[0])
    found = next(filter(_of(path), links), None)
    if found is None:
        raise Status(NERR_DFS_NO_SUCH_VOLUME, (level, None))
    return level, _info(view, level, found)


def _enumerate(
    view: View, level: int, limit: int, wanted: Listing | None, resume: int | None, share: str
) -> Asking[tuple[Listing | None, int | None]]:
    """Return a part of the list of roots and links."""
    _known(view)
    if level not in _ENTRIES or (wanted is not None and wanted.level != level):
        raise Status(ERROR_INVALID_LEVEL, None, resume)  # a level unknown here has no form to echo
    links = yield from _links(view, share)
    rows: Sequence[Any] = [_info(view, level, link) for link in links]
    chosen, _, following = page(rows, limit, resume)
    if resume is not None and not chosen:
        raise Status(ERROR_NO_MORE_ITEMS, _listing(level, []), resume)
    resume = None if resume is None else (following or len(rows))
    return _listing(level, list(chosen)), resume


def _listing(level: int, rows: list[Any]) -> Listing:
    """Return rows in a level's container."""
    return Listing(level, (level, _ENTRIES[level](rows)))


@CALLS.call(5)
def enumerate_links(
    view: View, level: U32, limit: U32, wanted: ListingPointer, resume: U32Pointer
) -> Asking[tuple[ListingPointer, U32Pointer]]:
    """NetrDfsEnum ([MS-DFSNM] 3.1.4.1.7)."""
    return (yield from _enumerate(view, level, limit, wanted, resume, ""))


@CALLS.call(21)
def enumerate_links_of(
    view: View,
    path: WideString,
    level: U32,
    limit: U32,
    wanted: ListingPointer,
    resume: U32Pointer,
) -> Asking[tuple[ListingPointer, U32Pointer]]:
    """NetrDfsEnumEx, of one root ([MS-DFSNM] 3.1.4.1.8)."""
    return (yield from _enumerate(view, level, limit, wanted, resume, _place(path)[0]))
