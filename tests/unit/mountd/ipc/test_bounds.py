"""How long and how large what processes tell each other may be: one more is no message."""

from collections.abc import Callable
from typing import Any

import msgspec

from usmbd.mountd.ipc import accounts, administration, base, dfs, messages, registry, users

TEXT: dict[str, Callable[[int], object]] = {
    "text": lambda size: "x" * size,
    "bytes": bytes,
    "names": lambda size: ["x"] * size,
    "numbers": lambda size: [1] * size,
    "number": int,
}
# (type, what it is made of, least, most); -1: there is no least, None: there is no most
ROWS: list[tuple[Any, str, int, int | None]] = [
    (base.Name, "text", -1, 256),
    (base.ShareName, "text", 1, 255),
    (base.Address, "text", -1, 64),
    (base.Handle, "number", 0, None),
    (base.RpcData, "bytes", -1, 64 << 10),
    (base.Groups, "numbers", -1, 65536),
    (accounts.Id, "number", 0, 0xFFFFFFFF),
    (administration.Comment, "text", -1, 256),
    (administration.SharePath, "text", 1, 4096),
    (administration.Uses, "number", 0, 0x7FFFFFFF),
    (dfs.Path, "text", -1, 1024),
    (dfs.Target, "text", -1, 1024),
    (registry.KeyName, "text", 1, 255),
    (registry.Path, "names", 1, 32),
    (registry.ValueName, "text", -1, 1024),
    (registry.Data, "bytes", -1, 48 << 10),
    (registry.Descriptor, "bytes", -1, 16 << 10),
    (registry.U32, "number", 0, 0xFFFFFFFF),
    (registry.Index, "number", 0, None),
    (users.Encrypted, "bytes", 16, 1024),
    (users.Key, "bytes", 16, 64),
    (users.Salt, "bytes", -1, 16),
    (users.Authenticator, "bytes", -1, 64),
]
# (class, field, least, most) of those that have bounds of their own
FIELDS: list[tuple[type[msgspec.Struct], str, str, int, int | None]] = [
    (messages.Failed, "reason", "text", -1, 1024),
    (messages.ControlError, "reason", "text", -1, 4096),
    (messages.ControlDone, "note", "text", -1, 4096),
    (messages.ControlClose, "sessions", "numbers", -1, 1024),
    (messages.RpcRead, "max_length", "number", 0, None),
    (messages.RpcTransceive, "max_output", "number", 0, None),
    (messages.RpcOpen, "key", "bytes", -1, 32),
]


def fits(kind: Any, value: object) -> bool:
    """Whether a value is one of a type."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def wrong(kind: Any, made_of: str, least: int, most: int | None) -> bool:
    """Whether a type takes one less or one more than it should, or not as much as it should."""
    make = TEXT[made_of]
    allowed = [make(max(least, 0)), *([make(most)] if most is not None else [])]
    refused = [make(least - 1)] if least > 0 or (made_of == "number" and least == 0) else []
    refused += [make(most + 1)] if most is not None else []
    return not all(fits(kind, each) for each in allowed) or any(fits(kind, x) for x in refused)


def test_types() -> None:
    assert not [row for row in ROWS if wrong(*row)]


def test_fields() -> None:
    found = []
    for of, name, *row in FIELDS:
        (field,) = (each for each in msgspec.structs.fields(of) if each.name == name)
        if wrong(field.type, *row):
            found.append(f"{of.__name__}.{name}")
    assert not found
