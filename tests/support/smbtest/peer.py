"""Which server the tests talk to: usmbd, or Samba's in its place (USMBD_TEST_PEER=smbd)."""

import os

import pytest


def peer() -> str:
    """Return "usmbd" or "smbd"."""
    return os.environ.get("USMBD_TEST_PEER", "usmbd")


def only_usmbd(reason: str) -> None:
    """Skip, and say why, where Samba's server takes usmbd's place."""
    if peer() != "usmbd":
        pytest.skip(reason)
