"""What pyverbs' errors say."""

import pytest

from usmbd.transport.smbdirect.verbs_library import error_code


@pytest.mark.parametrize(("code", "number"), [(1, 1), (12, 12), (0, 0), (-1, 0), ("x", 0)])
def test_the_errno_of_an_error(code: object, number: int) -> None:
    error = ValueError("pyverbs")
    error.error_code = code  # type: ignore[attr-defined]
    assert error_code(error) == number


def test_an_error_without_one() -> None:
    assert error_code(ValueError("pyverbs")) == 0
