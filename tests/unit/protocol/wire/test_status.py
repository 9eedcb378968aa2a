"""Statuses against impacket's table of [MS-ERREF]."""

from impacket import nt_errors

from usmbd.protocol.wire.status import NtStatus, SmbError, is_error


def test_values_are_those_of_the_table() -> None:
    known = 0
    for status in NtStatus:
        value = getattr(nt_errors, f"STATUS_{status.name}", None)
        if value is not None:
            assert value == status
            known += 1
    assert known > 180


def test_error_carries_status_and_data() -> None:
    error = SmbError(NtStatus.BUFFER_TOO_SMALL, b"1234")
    assert (error.status, error.error_data) == (NtStatus.BUFFER_TOO_SMALL, b"1234")
    assert str(error) == "BUFFER_TOO_SMALL"


def test_warnings_are_no_errors() -> None:
    assert is_error(NtStatus.ACCESS_DENIED)
    assert not is_error(NtStatus.BUFFER_OVERFLOW)
    assert not is_error(NtStatus.PENDING)
