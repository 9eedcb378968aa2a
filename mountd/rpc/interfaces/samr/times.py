"""Times as SAM has them, and in seconds since 1970 ([MS-DTYP] 2.3.3)."""

from usmbd.mountd.rpc.interfaces.samr.types import NEVER, ZERO

_EPOCH = 11644473600
"""Seconds from 1601, where a FILETIME begins, to 1970."""


def time_of(seconds: int, other: bytes) -> bytes:
    """Return a time since 1970 as FILETIME; `other` for 0."""
    return ((seconds + _EPOCH) * 10**7).to_bytes(8, "little") if seconds else other


def seconds_of(time: bytes) -> int:
    """Return a FILETIME in seconds since 1970; 0 for the time that never comes, or is not said."""
    return 0 if time in (NEVER, ZERO) else int.from_bytes(time, "little") // 10**7 - _EPOCH


def span(seconds: int) -> bytes:
    """Return how long something lasts ([MS-SAMR] 3.1.1.5): less than zero, or none."""
    return (-seconds * 10**7).to_bytes(8, "little", signed=True)
