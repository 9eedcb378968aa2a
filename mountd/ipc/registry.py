"""What the RPC process asks mountd of the registry: keys, values, security ([MS-RRP] 3.1.1).

A key goes by its path, the hive first. Each question says `by` whom it is asked, and is answered
with an `Outcome` where it fails.
"""

from typing import Annotated

from msgspec import Meta

from usmbd.mountd.ipc.base import MAX_NAME, Message, Name

MAX_KEY_NAME = 255
"""Characters of a key's name ([MS-RRP] 3.1.1.1 has 255)."""

MAX_DEPTH = 32
"""Keys in each other, the hive included: Windows has 512, and nobody more than some ten."""

MAX_VALUE_NAME = 1024
"""Characters of a value's name: Windows has 16,383."""

MAX_VALUE = 48 * 1024
"""Bytes of a value: an RPC request has 64 KiB."""

MAX_DESCRIPTOR = 16 * 1024
"""Bytes of a key's security descriptor."""

KeyName = Annotated[str, Meta(min_length=1, max_length=MAX_KEY_NAME)]
Path = Annotated[list[KeyName], Meta(min_length=1, max_length=MAX_DEPTH)]
ValueName = Annotated[str, Meta(max_length=MAX_VALUE_NAME)]
Data = Annotated[bytes, Meta(max_length=MAX_VALUE)]
Descriptor = Annotated[bytes, Meta(max_length=MAX_DESCRIPTOR)]
U32 = Annotated[int, Meta(ge=0, lt=1 << 32)]
Index = Annotated[int, Meta(ge=0)]


class OpenKey(Message):
    """May the key be opened for this access? Answer: `KeyOpened`."""

    by: Name
    path: Path
    access: U32


class CreateKey(Message):
    """Open a key, and make it where there is none. Answer: `KeyOpened`."""

    by: Name
    path: Path
    access: U32
    class_name: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    volatile: bool = False
    """It ends with mountd."""
    security: Descriptor = b""
    """Empty: what it inherits."""


class KeyOpened(Message):
    """A key is open."""

    granted: U32
    created: bool = False


class DeleteKey(Message):
    """Delete a key without subkeys. Answer: `Outcome`."""

    by: Name
    path: Path


class DescribeKey(Message):
    """What is in a key? Answer: `KeyDescription`."""

    by: Name
    path: Path


class KeyDescription(Message):
    """What is in a key; lengths in characters, of data in bytes."""

    class_name: str
    subkeys: int
    longest_subkey: int
    longest_class: int
    values: int
    longest_value_name: int
    longest_value: int
    security_size: int
    written: int
    """FILETIME."""


class FindSubkey(Message):
    """Which is the subkey of this number? Answer: `SubkeyFound`."""

    by: Name
    path: Path
    index: Index


class SubkeyFound(Message):
    """A subkey."""

    name: str
    class_name: str
    written: int


class FindValue(Message):
    """The value of a name, or of a number where the name is None. Answer: `ValueFound`."""

    by: Name
    path: Path
    name: ValueName | None = None
    index: Index = 0


class ValueFound(Message):
    """A value."""

    name: str
    kind: U32
    """Of the value: REG_SZ = 1 ... ([MS-RRP] 3.1.1.5)."""
    data: bytes


class SetValue(Message):
    """Set a value. Answer: `Outcome`."""

    by: Name
    path: Path
    name: ValueName
    kind: U32
    """Of the value: REG_SZ = 1 ... ([MS-RRP] 3.1.1.5)."""
    data: Data


class DeleteValue(Message):
    """Delete a value. Answer: `Outcome`."""

    by: Name
    path: Path
    name: ValueName


class GetKeySecurity(Message):
    """A key's self-relative descriptor. Answer: `KeySecurity`."""

    by: Name
    path: Path


class KeySecurity(Message):
    """A key's self-relative descriptor."""

    descriptor: bytes


class SetKeySecurity(Message):
    """Set a key's descriptor, whole. Answer: `Outcome`."""

    by: Name
    path: Path
    descriptor: Descriptor


RegistryRequest = (
    OpenKey
    | CreateKey
    | DeleteKey
    | DescribeKey
    | FindSubkey
    | FindValue
    | SetValue
    | DeleteValue
    | GetKeySecurity
    | SetKeySecurity
)
RegistryResponse = KeyOpened | KeyDescription | SubkeyFound | ValueFound | KeySecurity
