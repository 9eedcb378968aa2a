"""Whether users of the machine may make shares, and of what: smb.conf(5), `usershare ...`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from usmbd.mountd.config.parameters import SHARES
from usmbd.mountd.config.source import Entry, Source, parameter_key, share_key

NAMES: Final = (
    *("usershare path", "usershare allow guests", "usershare owner only"),
    *("usershare prefix allow list", "usershare prefix deny list", "usershare template share"),
)
"""All but `usershare max shares`, without which none of them has an effect."""

_NOT_OF_TEMPLATES: Final = frozenset({"path", "comment", "read only", "-valid", "available"})
"""The file says it, or it is what keeps the template from being a share."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of usershares."""

    folder: str
    most: int
    guests: bool = False
    owner_only: bool = True
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    template: tuple[Entry, ...] = ()
    """What each of them says besides."""
    sections: frozenset[str] = frozenset()
    """The file's, by `share_key`: a user has no name of theirs, whether they are served or not."""


def rules_of(values: Mapping[str, Any], source: Source) -> Rules | None:
    """Return the rules; None where there are no usershares. ValueError: there is no such template.

    `values` are those of [global].
    """
    folder, most = values["usershare path"], values["usershare max shares"]
    if not folder or not most:
        return None
    template: tuple[Entry, ...] = ()
    if name := values["usershare template share"]:
        section = source.sections.get(share_key(name))
        if section is None:
            raise ValueError(f"there is no section [{name}]")
        every = section.entries
        template = tuple(each for each in every if of_share(each) not in _NOT_OF_TEMPLATES)
    return Rules(
        folder,
        most,
        values["usershare allow guests"],
        values["usershare owner only"],
        tuple(values["usershare prefix allow list"]),
        tuple(values["usershare prefix deny list"]),
        template,
        frozenset(source.sections),
    )


def of_share(entry: Entry) -> str:
    """Return which parameter of a share an entry is about, by whatever name."""
    row = SHARES.get(parameter_key(entry.name))
    return row.name if row is not None else entry.name
