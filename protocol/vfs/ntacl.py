"""`security.NTACL`, where the kernel lets only CAP_SYS_ADMIN store: a trade of the keeper's."""

import os
from typing import Final

from usmbd.protocol.vfs import keeper, kernel

XATTR: Final = "security.NTACL"


def _store(file: int, value: bytes) -> bytes:
    """Store a value for the file that a descriptor holds."""
    os.setxattr(kernel.fd_path(file), XATTR, value)
    return b""


NTACL: Final = keeper.Trade(1, _store)


def store(file: int, value: bytes) -> None:
    """Store the value of a file by the keeper, or as this process; OSError."""
    keeper.ask(NTACL, file, value)
