"""What the calls of LSA have in common: the interface, and what is open."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from usmbd.mountd.rpc.access import Access
from usmbd.mountd.rpc.calls import Calls

CALLS = Calls(UUID("12345778-1234-abcd-ef00-0123456789ab"), 0)
"""[MS-LSAD] 1.9, [MS-LSAT] 1.9."""

POLICY_VIEW_LOCAL_INFORMATION = 0x0001
POLICY_VIEW_AUDIT_INFORMATION = 0x0002
POLICY_GET_PRIVATE_INFORMATION = 0x0004
POLICY_TRUST_ADMIN = 0x0008
POLICY_CREATE_ACCOUNT = 0x0010
POLICY_CREATE_SECRET = 0x0020
POLICY_SERVER_ADMIN = 0x0400
POLICY_LOOKUP_NAMES = 0x0800
POLICY: Final = Access(
    all=0x000F1FFF, read=0x00020006, write=0x000207F8, execute=0x00020801, everybody=0x00020801
)
"""[MS-LSAD] 2.2.1.1.2. Everybody may look names up and see what the server is."""

ACCOUNT: Final = Access(
    all=0x000F000F, read=0x00020001, write=0x0002000E, execute=0x00020000, everybody=0
)
"""[MS-LSAD] 2.2.1.1.3: of accounts administrators alone learn."""

SECRET: Final = Access(
    all=0x000F0003, read=0x00020002, write=0x00020001, execute=0x00020000, everybody=0
)
"""[MS-LSAD] 2.2.1.1.4."""

SECRET_SET_VALUE, SECRET_QUERY_VALUE = 0x0001, 0x0002
ACCOUNT_VIEW, ACCOUNT_ADJUST_PRIVILEGES, DELETE = 0x0001, 0x0002, 0x00010000


@dataclass(frozen=True, slots=True)
class Policy:
    """An open policy."""

    granted: int


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """An open account, which holds rights."""

    sid: str
    granted: int


@dataclass(frozen=True, slots=True)
class OpenSecret:
    """An open secret."""

    name: str
    granted: int


KINDS: Final[tuple[tuple[type[Policy | OpenAccount | OpenSecret], Access], ...]] = (
    (Policy, POLICY),
    (OpenAccount, ACCOUNT),
    (OpenSecret, SECRET),
)
"""What may be open, and who may what with it."""
