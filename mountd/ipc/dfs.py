"""What the RPC process asks of mountd about the links of DFS, and has it change ([MS-DFSNM])."""

from typing import Annotated

from msgspec import Meta, Struct

from usmbd.mountd.ipc.base import MAX_ROWS, Message, Name, ShareName

MAX_PATH = 1024
"""Characters of a link's place in its root."""

MAX_TARGETS = 64
"""Of one link: PATH_MAX has room for some hundred short ones, an answer for 64 KiB."""

PAGE_LINKS = 32
"""Links of one answer: with all their targets they may have 2 KiB each."""

Path = Annotated[str, Meta(max_length=MAX_PATH)]
Target = Annotated[str, Meta(max_length=MAX_PATH)]


LINK_PREFIX = "msdfs:"


def parse_link(text: str) -> list[str]:
    r"""Return the targets of a link's text, as `\server\share\path`; none: it is no DFS link.

    Slashes are backslashes, as with Samba; what names no share is left out.
    """
    if not text.startswith(LINK_PREFIX):
        return []
    targets = []
    for each in text[len(LINK_PREFIX) :].split(","):
        parts = [part for part in each.strip().replace("/", "\\").split("\\") if part]
        if len(parts) >= 2:
            targets.append("\\" + "\\".join(parts))
    return targets[:MAX_TARGETS]


class DfsLink(Struct, array_like=True, frozen=True):
    r"""A link, or with an empty path the root itself; `\server\share\path` are its targets."""

    share: ShareName
    path: Path
    targets: Annotated[list[Target], Meta(max_length=MAX_TARGETS)]


class ListLinks(Message):
    """List roots and links, of one root if it is named. Answer: `LinkPage`."""

    by: Name
    share: Annotated[str, Meta(max_length=255)] = ""
    start: Annotated[int, Meta(ge=0)] = 0


class LinkPage(Message):
    """A part of the list."""

    links: Annotated[list[DfsLink], Meta(max_length=MAX_ROWS)]
    total: int


class AddTarget(Message):
    """Add a target to a link, which is made where there is none. Answer: `Outcome`."""

    by: Name
    share: ShareName
    path: Path
    target: Target
    new: bool = False
    """The link must not be there yet."""


class RemoveTarget(Message):
    """Remove a target, with the last the link; all of it, without a target. Answer: `Outcome`."""

    by: Name
    share: ShareName
    path: Path
    target: Target = ""


DfsRequest = ListLinks | AddTarget | RemoveTarget
DfsResponse = LinkPage
