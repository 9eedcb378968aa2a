"""What the RPC process asks mountd of LSA's secrets ([MS-LSAD] 3.1.1.4).

Values go as the client sends and gets them, encrypted with his session's key: the RPC process
never knows one. Each question says `by` whom it is asked.
"""

from typing import Annotated

from msgspec import Meta

from usmbd.mountd.ipc.base import Message, Name

MAX_SECRET_NAME = 128
"""Characters of a name ([MS-LSAD] 3.1.1.4)."""

MAX_CIPHER = 32768
"""Bytes of an encrypted value: one answer has two, and a message 128 KiB."""

SecretName = Annotated[str, Meta(min_length=1, max_length=MAX_SECRET_NAME)]
Cipher = Annotated[bytes, Meta(max_length=MAX_CIPHER)]
Key = Annotated[bytes, Meta(min_length=16, max_length=64)]


class MakeSecret(Message):
    """Keep a secret that has no value yet. Answer: `Outcome`."""

    by: Name
    name: SecretName


class FindSecret(Message):
    """Is there such a secret? Answer: `Outcome`."""

    by: Name
    name: SecretName


class SetSecret(Message):
    """Give a secret another value. Answer: `Outcome`."""

    by: Name
    name: SecretName
    key: Key
    """The application key of the administrator's session."""
    new: Cipher | None = None
    """None: it has none from now on."""
    old: Cipher | None = None
    """None: what was the new one."""


class PutSecret(Message):
    """Give a secret a value alone, and make it where it is not there. Answer: `Outcome`."""

    by: Name
    name: SecretName
    key: Key
    new: Cipher


class AskSecret(Message):
    """What are a secret's values? Answer: `SecretValues`, or `Outcome`."""

    by: Name
    name: SecretName
    key: Key


class SecretValues(Message):
    """A secret's values and when they were set, as FILETIME."""

    new: Cipher | None
    new_time: int
    old: Cipher | None
    old_time: int


class DropSecret(Message):
    """Forget a secret. Answer: `Outcome`."""

    by: Name
    name: SecretName


SecretRequest = MakeSecret | FindSecret | SetSecret | PutSecret | AskSecret | DropSecret
