"""FILETIME against POSIX time ([MS-DTYP] 2.3.3): 100 ns units since 1601-01-01 UTC."""

# Seconds from 1601-01-01 to 1970-01-01: 369 years with 89 leap days.
EPOCH_SECONDS = (369 * 365 + 89) * 86400
EPOCH = EPOCH_SECONDS * 10_000_000
# The largest time that Windows shows: a FILETIME's top bit is never set in a valid time.
MAXIMUM = 0x7FFFFFFFFFFFFFFF


def from_ns(ns: int) -> int:
    """Return the FILETIME of `ns` nanoseconds since 1970, held within 0 .. MAXIMUM."""
    filetime = ns // 100 + EPOCH
    return 0 if filetime < 0 else min(filetime, MAXIMUM)


def to_ns(filetime: int) -> int:
    """Return nanoseconds since 1970 (negative before); special values are the caller's."""
    return (filetime - EPOCH) * 100
