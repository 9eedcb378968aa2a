"""What all messages are made of: their envelope, their base, the limits of names and numbers."""

from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

# LOGIN_NAME_MAX of Linux is 256; domains and workstations are DNS names at the longest (255).
MAX_NAME = 256
# [MS-SMB2] 2.2.9 wants share names below 80 characters; longer ones only miss.
MAX_SHARE_NAME = 255
# NTLMv2: 16 bytes of proof, 28 of blob and the challenge's AV pairs; Windows stays below 1 KiB.
MAX_NT_RESPONSE = 16 * 1024
# The longest Kerberos token that a domain gives (Windows' MaxTokenSize).
MAX_TICKET = 48 * 1024
# SPNEGO's list of mechanisms as DER, and a signature of it by Kerberos (28 to 40 bytes).
MAX_MECH_LIST = 1024
MAX_MIC = 256
# What a ticket said of its user, sealed: the names, and a number of 5 bytes for each group.
MAX_TICKET_FACTS = 16 * 1024
# An address as text with a scope: `fe80::...%interface`.
MAX_ADDRESS = 64
# NGROUPS_MAX of Linux.
MAX_GROUPS = 65536
# Of a name in SMB: 16 bits count its bytes.
MAX_PATH = 32767
# A DCE/RPC fragment has a 16-bit length ([C706] 12.6.3.1).
MAX_RPC_DATA = 64 * 1024
# What a server may answer in one message of a list; the rest follows in further ones.
MAX_ROWS = 256

Name = Annotated[str, Meta(max_length=MAX_NAME)]
ShareName = Annotated[str, Meta(min_length=1, max_length=MAX_SHARE_NAME)]
Address = Annotated[str, Meta(max_length=MAX_ADDRESS)]
# Session ids and handles use all 64 bits; msgspec's constraints reach only signed numbers of 64.
Handle = Annotated[int, Meta(ge=0)]
RpcData = Annotated[bytes, Meta(max_length=MAX_RPC_DATA)]
Groups = Annotated[list[int], Meta(max_length=MAX_GROUPS)]

T = TypeVar("T")


class Envelope(Struct, Generic[T], array_like=True, forbid_unknown_fields=True):
    """A message and the number by which its answer is known."""

    handle: Handle
    message: T


class Message(Struct, tag=True, forbid_unknown_fields=True):
    """The base of all messages: tagged by the class's name, strict about its fields."""
