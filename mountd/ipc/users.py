"""What the RPC process asks mountd to change of users: by an administrator, or by themselves.

New passwords stay encrypted until mountd has them: the RPC process never knows one.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from usmbd.mountd.ipc.base import Address, Message, Name

MAX_ENCRYPTED = 1024
"""Bytes of an encrypted password: AES has 16 more than RC4's 532 at most."""

MAX_TEXT = 256
"""Characters of what administrators say of a user, as with Windows."""

Encrypted = Annotated[bytes, Meta(min_length=16, max_length=MAX_ENCRYPTED)]
Key = Annotated[bytes, Meta(min_length=16, max_length=64)]
Salt = Annotated[bytes, Meta(max_length=16)]
Authenticator = Annotated[bytes, Meta(max_length=64)]


class Scheme(StrEnum):
    """How a new password is encrypted ([MS-SAMR] 3.2.2)."""

    RC4 = "rc4"
    """With RC4, and a salt behind it or none."""
    AES = "aes"
    """AEAD-AES-256-CBC-HMAC-SHA512."""
    HASH = "hash"
    """Its NT hash, with DES."""


Text = Annotated[str, Meta(max_length=MAX_TEXT)]


class Texts(Struct, array_like=True, frozen=True):
    """What administrators say of a user ([MS-SAMR] 2.2.6.6); "": nothing, or what is known."""

    full_name: Text = ""
    description: Text = ""
    comment: Text = ""
    home: Text = ""
    home_drive: Text = ""
    script: Text = ""
    profile: Text = ""


class CreateUser(Message):
    """Make a user, who cannot log in until he has a password. Answer: `Outcome`."""

    by: Name
    name: Name


class DeleteUser(Message):
    """Remove a user. Answer: `Outcome`."""

    by: Name
    name: Name


class SetPassword(Message):
    """Give a user another password. Answer: `Outcome`."""

    by: Name
    user: Name
    scheme: Scheme
    data: Encrypted
    key: Key
    """The application key of the administrator's session."""
    salt: Salt = b""
    authenticator: Authenticator = b""
    must_change: bool = False
    """The user has to choose another one himself before he can log in."""


class SetStanding(Message):
    """Make a user's account another than it is; None: as it is. Answer: `Outcome`."""

    by: Name
    user: Name
    disabled: bool | None = None
    lasting: bool | None = None
    must_change: bool | None = None
    ends: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None
    texts: Texts | None = None


class ChangePassword(Message):
    """Give a user another password who proves that he knows his own. Answer: `Outcome`."""

    user: Name
    address: Address
    """Where he is: wrong proofs are made slow, as wrong logins are."""
    scheme: Scheme
    data: Encrypted
    verifier: Annotated[bytes, Meta(max_length=16)] = b""
    """RC4: the old hash, encrypted with the new one."""
    salt: Salt = b""
    authenticator: Authenticator = b""
    iterations: Annotated[int, Meta(ge=0)] = 0


UsersRequest = CreateUser | DeleteUser | SetPassword | SetStanding
