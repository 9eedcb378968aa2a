"""What the calls of SAM that change something take ([MS-SAMR] 2.2.6, 2.2.9, 2.2.11)."""

from typing import Annotated, Any

from usmbd.mountd.rpc.interfaces.samr import types as sam
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U8, U32, U64, Bytes, Octets, Union, Unique, structure

Password = Annotated[bytes, Bytes(516)]
"""SAMPR_ENCRYPTED_USER_PASSWORD ([MS-SAMR] 2.2.6.21)."""

SaltedPassword = Annotated[bytes, Bytes(532)]
"""SAMPR_ENCRYPTED_USER_PASSWORD_NEW ([MS-SAMR] 2.2.6.22)."""

PasswordPointer = Annotated[bytes | None, Unique(Bytes(516))]
HashPointer = Annotated[bytes | None, Unique(Bytes(16))]


@structure
class AesPassword:
    """SAMPR_ENCRYPTED_PASSWORD_AES ([MS-SAMR] 2.2.6.32)."""

    authenticator: Annotated[bytes, Bytes(64)]
    salt: Annotated[bytes, Bytes(16)]
    size: U32
    cipher: Annotated[bytes | None, Unique(Octets())]
    iterations: U64


@structure
class SetHashes:
    """SAMPR_USER_INTERNAL1_INFORMATION ([MS-SAMR] 2.2.6.23)."""

    nt_hash: Annotated[bytes, Bytes(16)]
    lm_hash: Annotated[bytes, Bytes(16)]
    nt_present: U8
    lm_present: U8
    expired: U8


@structure
class SetAllAndPassword:
    """SAMPR_USER_INTERNAL4_INFORMATION ([MS-SAMR] 2.2.6.24)."""

    all: Annotated[sam.UserAll, ndr.of(sam.UserAll)]
    password: Password


@structure
class SetPassword:
    """SAMPR_USER_INTERNAL5_INFORMATION ([MS-SAMR] 2.2.6.26)."""

    password: Password
    expired: U8


@structure
class SetAllAndSaltedPassword:
    """SAMPR_USER_INTERNAL4_INFORMATION_NEW ([MS-SAMR] 2.2.6.25)."""

    all: Annotated[sam.UserAll, ndr.of(sam.UserAll)]
    password: SaltedPassword


@structure
class SetSaltedPassword:
    """SAMPR_USER_INTERNAL5_INFORMATION_NEW ([MS-SAMR] 2.2.6.27)."""

    password: SaltedPassword
    expired: U8


@structure
class SetAesPassword:
    """SAMPR_USER_INTERNAL7_INFORMATION ([MS-SAMR] 2.2.6.33)."""

    password: Annotated[AesPassword, ndr.of(AesPassword)]
    expired: U8


@structure
class SetAllAndAesPassword:
    """SAMPR_USER_INTERNAL8_INFORMATION ([MS-SAMR] 2.2.6.34)."""

    all: Annotated[sam.UserAll, ndr.of(sam.UserAll)]
    password: Annotated[AesPassword, ndr.of(AesPassword)]


USER_SET = Union(
    ndr.Enumeration(),
    {
        **{level: arm for level, arm in sam.USER.arms.items() if arm is not None},
        18: ndr.of(SetHashes),
        23: ndr.of(SetAllAndPassword),
        24: ndr.of(SetPassword),
        25: ndr.of(SetAllAndSaltedPassword),
        26: ndr.of(SetSaltedPassword),
        31: ndr.of(SetAesPassword),
        32: ndr.of(SetAllAndAesPassword),
    },
)
"""SAMPR_USER_INFO_BUFFER ([MS-SAMR] 2.2.6.29), the levels that may be set."""

UserSet = Annotated[tuple[int, Any], USER_SET]


@structure
class ChangeFailure:
    """USER_PWD_CHANGE_FAILURE_INFORMATION ([MS-SAMR] 2.2.9.2)."""

    reason: U32
    filter: Annotated[str | None, ndr.UNICODE_STRING]
